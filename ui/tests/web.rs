//! Tests that need a browser: pixels, text nodes, the address bar, text alternatives of canvases.
//!
//! `cargo xtask test` runs them in Chromium. On the host this file is empty.

#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, reason = "Clippy does not recognise the helpers of tests")]

use joey_shared::histogram::{Grid, Histogram};
use joey_shared::series::{COMPUTATION, SeriesKey};
use joey_shared::store::AppStore;
use joey_shared::view::ViewKey;
use joey_shared::wire::{
    AppEntry, BatchHead, Hello, SeriesEntry, ServerMessage, Subscribed, Update, UpdatesWriter, VERSION,
};
use joey_ui::chart::canvas::{Palette, paint};
use joey_ui::chart::{Ink, Rect, Shape, Size};
use joey_ui::route::{Page, Route};
use joey_ui::table_rows::Listing;
use joey_ui::view::{App, UiState, ViewTable};
use joey_ui::vocabulary;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};
use web_sys::{Document, Element, HtmlCanvasElement, HtmlElement};

wasm_bindgen_test_configure!(run_in_browser);

const S: u64 = 1_000_000_000;
const HOSTILE: &str = "<b id=\"injected\">bold</b>&lt;script&gt;";

fn document() -> Document {
    web_sys::window().unwrap().document().unwrap()
}

fn stage() -> Element {
    let stage = document().create_element("div").unwrap();
    document().body().unwrap().append_child(&stage).unwrap();
    stage
}

async fn sleep(ms: u32) {
    gloo_timers::future::TimeoutFuture::new(ms).await;
}

/// The colour at a point of a canvas.
fn pixel(canvas: &HtmlCanvasElement, x: f64, y: f64) -> [u8; 4] {
    let context = canvas.get_context("2d").unwrap().unwrap();
    let context = context.dyn_into::<web_sys::CanvasRenderingContext2d>().unwrap();
    let data = context.get_image_data(x, y, 1.0, 1.0).unwrap().data();
    [data[0], data[1], data[2], data[3]]
}

#[wasm_bindgen_test]
fn a_draw_list_becomes_pixels_in_the_style_sheets_colours() {
    let stage = stage();
    let style = document().create_element("style").unwrap();
    style.set_text_content(Some(
        ":root { --ink-bar: rgb(10, 20, 30); --heat-0: rgb(0, 0, 0); --heat-7: rgb(0, 200, 0); }",
    ));
    stage.append_child(&style).unwrap();
    let canvas = document().create_element("canvas").unwrap().dyn_into::<HtmlCanvasElement>().unwrap();
    stage.append_child(&canvas).unwrap();
    let palette = Palette::read(&stage, false).unwrap();
    let list = [
        Shape::rect(Ink::Bar, Rect { x: 0.0, y: 0.0, width: 10.0, height: 10.0 }),
        Shape::rect(Ink::Heat(255), Rect { x: 20.0, y: 0.0, width: 10.0, height: 10.0 }),
    ];
    paint(&canvas, &list, &palette, Size { width: 40.0, height: 20.0 }, 2.0);
    assert_eq!((canvas.width(), canvas.height()), (80, 40));
    assert_eq!(pixel(&canvas, 5.0, 5.0), [10, 20, 30, 255]);
    assert_eq!(pixel(&canvas, 50.0, 5.0), [0, 200, 0, 255]);
    assert_eq!(pixel(&canvas, 70.0, 35.0), [0, 0, 0, 0]);
    stage.remove();
}

/// Messages of a relay with one application of one computation, both called [`HOSTILE`].
fn messages() -> Vec<Vec<u8>> {
    let [category, pipeline, worker, name] = [COMPUTATION, "p", "w", HOSTILE].map(str::to_owned);
    let entry = SeriesEntry::new(0, 1, SeriesKey { category, pipeline, worker, name });
    let hello = Hello {
        version: VERSION,
        release: "test",
        epoch: 9,
        now_ns: 100 * S,
        ring_ns: 300 * S,
        series_retention_ns: 3_635 * S,
        demo: false,
        ingest_port: 5001,
    };
    let head =
        BatchHead { feed: 1, from: 1, to: 1, cut_ns: 100 * S, end_ns: 100 * S, period_ns: 2 * S, series: vec![entry] };
    let mut writer = UpdatesWriter::new(&head);
    let mut histogram = Histogram::default();
    (0..1000).for_each(|ns| histogram.record(ns));
    writer.push(&Update { seq: 1, series: 0, period_ns: 2 * S, end_ns: 100 * S, offset_ns: 0, histogram });
    vec![
        ServerMessage::Hello(hello).encode(),
        ServerMessage::Catalogue {
            full: true,
            apps: vec![AppEntry { app: HOSTILE.to_owned(), ..AppEntry::default() }],
            last: true,
        }
        .encode(),
        ServerMessage::Subscribed(Subscribed { sub: 1, feed: 1, epoch: 9, next: 1, head: 1, missing: 0 }).encode(),
        ServerMessage::Batch { head, updates: writer.finish() }.encode(),
    ]
}

#[wasm_bindgen_test]
async fn names_stay_text_and_canvases_have_names() {
    let stage = stage();
    let handle = leptos::mount::mount_to(stage.clone().unchecked_into::<HtmlElement>(), || {
        let ui = UiState::start();
        provide_context(ui);
        provide_context(&vocabulary::WALLAROO);
        {
            let mut model = ui.model.write_value();
            model.show(&Page::Dashboard(HOSTILE.to_owned()), 0);
            // The relay that the page uses without settings.
            let relay = model.relays().next().unwrap().id();
            model.relay_mut(relay).unwrap().connected();
            for message in messages() {
                model.receive(relay, &message, 0).unwrap();
            }
        }
        view! { <ViewTable app=StoredValue::new(HOSTILE.to_owned()) listing=Listing::Computations/> }
    });
    let mut link = None;
    // Rows are added when their time comes.
    for _ in 0..100 {
        link = stage.query_selector("a.row-link").unwrap();
        if link.is_some() && stage.query_selector("td[data-col=p99]").unwrap().is_some() {
            break;
        }
        sleep(50).await;
    }
    assert!(document().get_element_by_id("injected").is_none());
    let link = link.unwrap_or_else(|| panic!("{}", stage.inner_html()));
    assert_eq!(link.text_content().as_deref(), Some(HOSTILE));
    let route = Route::parse(&link.get_attribute("href").unwrap());
    assert_eq!(route.page, Page::Detail(HOSTILE.to_owned(), ViewKey::computation(HOSTILE)));
    let cell = stage.query_selector("td[data-col=p99]").unwrap().unwrap();
    assert_eq!(["data-low", "data-high"].map(|name| cell.get_attribute(name).unwrap()), ["512", "999"]);
    let canvases = stage.query_selector_all("canvas").unwrap();
    assert_eq!(canvases.length(), 2);
    for at in 0..canvases.length() {
        let canvas = canvases.get(at).unwrap().dyn_into::<Element>().unwrap();
        assert_eq!(canvas.get_attribute("role").as_deref(), Some("img"));
        assert!(
            canvas.get_attribute("aria-label").unwrap().contains("p99"),
            "{:?}",
            canvas.get_attribute("aria-label")
        );
    }
    drop(handle);
    stage.remove();
}

#[wasm_bindgen_test]
async fn the_address_bar_leads_to_pages_of_any_name() {
    let location = web_sys::window().unwrap().location();
    let before = location.hash().unwrap();
    let stage = stage();
    let handle = leptos::mount::mount_to(stage.clone().unchecked_into::<HtmlElement>(), App);
    for name in ["a/b?c#d%e@f:g*h i", "Décodage · 解码 🚀", HOSTILE, ""] {
        let route =
            Route { window_seconds: Some(60), ..Route::to(Page::Detail(name.to_owned(), ViewKey::computation(name))) };
        location.set_hash(&route.address()).unwrap();
        sleep(60).await;
        assert_eq!(Route::parse(&location.hash().unwrap()), route);
        if !name.is_empty() {
            assert_eq!(document().title(), format!("{name} · {name} · Joey"));
        }
        let pressed = stage.query_selector(".segments button[aria-pressed=true]").unwrap().unwrap();
        assert_eq!(pressed.text_content().as_deref(), Some("1 m"));
    }
    location.set_hash("#/no/such/page").unwrap();
    sleep(60).await;
    assert!(stage.text_content().unwrap().contains("There is no such page"));
    location.set_hash(&before).unwrap();
    // The page must still be mounted when the event arrives.
    sleep(60).await;
    drop(handle);
    stage.remove();
}

#[wasm_bindgen_test]
fn five_minutes_of_a_thousand_fine_views_fit_into_64_megabytes() {
    // A quarter of the views; the rest takes as much.
    const VIEWS: u32 = 250;
    let histogram = |second: u64| {
        let mut histogram = Histogram::with_sum(Grid::FINEST);
        // 40 bins, of which five are far from the others.
        for bin in (160..195_u64).chain([200, 207, 215, 231, 250]) {
            histogram.add(bin as usize, 1 + (bin * 7 + second) % 150);
        }
        histogram.set_bounds();
        histogram.sum_ns = Some(2_000 * 8_123_456);
        histogram
    };
    let entry = |number: u32| {
        let [category, pipeline, worker] = ["x", "", "w"].map(str::to_owned);
        SeriesEntry::new(number, 0, SeriesKey { category, pipeline, worker, name: number.to_string() })
    };
    let mut store = AppStore::default();
    store.announce(1, &(0..VIEWS).map(entry).collect::<Vec<_>>());
    let pages_before = core::arch::wasm32::memory_size::<0>();
    for second in 1..=300 {
        for series in 0..VIEWS {
            let seq = second * u64::from(VIEWS) + u64::from(series);
            let histogram = histogram(second + u64::from(series));
            store.apply(
                1,
                &Update { seq, series, period_ns: S, end_ns: second * S, offset_ns: 0, histogram },
                second * S,
            );
        }
    }
    let bytes = (core::arch::wasm32::memory_size::<0>() - pages_before) * 65_536;
    let total = store.histogram(0);
    assert_eq!((total.grid(), total.occupied().count()), (Grid::FINEST, 40));
    assert!(bytes <= (64 << 20) / 4, "{bytes} bytes");
}
