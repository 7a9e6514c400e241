//! The top bar: where one is, how it is looked at, and how the page stands with its relay.

use joey_shared::view::{Kind, ViewKey};
use leptos::prelude::{Get, RwSignal, Set};
use wasm_bindgen::JsCast;
use web_sys::{Event, HtmlDetailsElement};

use super::format::shown;
use super::node::{El, Node, el, live, named, nothing, svg, with_class};
use super::{Ctx, address, status};
use crate::browser;
use crate::route::Page;
use crate::settings::WINDOWS;
use crate::table_rows::{Listing, Row};

/// Items of one section of the menu; whoever has more finds them faster by the dashboard's filter.
const MENU_ITEMS_MAX: usize = 300;

/// The bar.
pub(super) fn toolbar(ctx: Ctx) -> Node {
    let brand = with_class("a", "brand").attr("href", address(Page::Landing)).attr("title", "All applications");
    Node::Many(vec![
        with_class("a", "skip").attr("href", "#main").on("click", skip).child("Skip to content").into(),
        with_class("header", "bar")
            .child(brand.child(mark()).child(el("span").child("Joey")))
            .child(switcher(ctx))
            .child(live(move || crumbs(&ctx.page.get())))
            .child(with_class("span", "push"))
            .child(windows(ctx))
            .child(pause(ctx))
            .child(status::pill(ctx))
            .child(time(ctx))
            .child(theme(ctx))
            .into(),
    ])
}

/// The address after `#` is a page, so the usual link within a page must not be followed.
fn skip(event: Event) {
    event.prevent_default();
    if let Some(main) = browser::all("#main").first() {
        let _ = main.focus();
    }
}

/// The mark: bars that look out of a pouch.
fn mark() -> El {
    svg("svg")
        .attr("class", "mark")
        .attr("viewBox", "0 0 24 24")
        .attr("aria-hidden", "true")
        .child(svg("path").attr("class", "mark-bars").attr("d", "M7 12V8M11 12V3M15 12V6M19 12v-2"))
        .child(svg("path").attr("class", "mark-pouch").attr("d", "M2 11h20c0 6-4 10-10 10S2 17 2 11z"))
}

/// A `details` element whose content exists only while it is open.
pub(super) fn folding(class: &'static str, summary: El, body: El, content: impl Fn() -> Node + 'static) -> El {
    // Of the type of every other signal, so that their code exists once.
    let open = RwSignal::new(0_u64);
    let toggled = move |event: Event| {
        // Only this element toggles.
        let details = event.target().map(|target| target.unchecked_into::<HtmlDetailsElement>());
        open.set(details.is_some_and(|details| details.open()).into());
    };
    let content = live(move || if open.get() == 1 { content() } else { nothing() });
    with_class("details", class).on("toggle", toggled).child(summary).child(body.child(content))
}

/// The menu of applications and of everything in the one that is open.
fn switcher(ctx: Ctx) -> El {
    let name = live(move || ctx.page.get().app().map_or_else(|| "Applications".to_owned(), shown));
    let summary =
        el("summary").attr("title", "Go to").child(with_class("span", "ellipsis").attr("dir", "auto").child(name));
    let sheet = with_class("nav", "sheet").attr("aria-label", "Applications and their parts");
    folding("menu switcher", summary, sheet, move || items(ctx))
}

fn items(ctx: Ctx) -> Node {
    let page = ctx.page.get();
    let apps: Vec<String> = ctx.read().catalogue().keys().cloned().collect();
    let apps = apps.into_iter().map(|app| (app.clone(), address(Page::Dashboard(app)))).collect();
    let mut sections = vec![section("Applications", apps)];
    if let Some(app) = page.app() {
        let of = |listing: &Listing| {
            let rows = ctx.read().app(app).map(|store| listing.rows(store)).unwrap_or_default();
            let item = |row: Row| (row.label, address(Page::Detail(app.to_owned(), row.key)));
            rows.into_iter().take(MENU_ITEMS_MAX).map(item).collect::<Vec<(String, String)>>()
        };
        let own = vec![
            ("Dashboard".to_owned(), address(Page::Dashboard(app.to_owned()))),
            ("Workers".to_owned(), address(Page::Workers(app.to_owned()))),
        ];
        sections.push(section("This application", own));
        sections.push(section("Pipelines", of(&Listing::Pipelines)));
        sections.push(section("Workers", of(&Listing::Workers)));
        sections.push(section("Computations", of(&Listing::Computations)));
    }
    with_class("div", "columns").children(sections).into()
}

fn section(title: &'static str, items: Vec<(String, String)>) -> El {
    let items =
        items.into_iter().map(|(name, to)| el("li").child(named("a", "ellipsis", shown(&name)).attr("href", to)));
    el("section").child(el("h2").child(title)).child(el("ul").children(items))
}

/// The way from the application to what is shown.
fn crumbs(page: &Page) -> El {
    let steps: Vec<(String, Option<String>)> = match page {
        Page::Landing | Page::Unknown(_) => Vec::new(),
        Page::Dashboard(_) => vec![("Dashboard".to_owned(), None)],
        Page::Workers(app) => {
            vec![("Dashboard".to_owned(), Some(address(Page::Dashboard(app.clone())))), ("Workers".to_owned(), None)]
        }
        Page::Detail(app, key) => {
            let total = |name: &Option<String>, key: fn(&str) -> ViewKey| {
                let name = name.clone().unwrap_or_default();
                (shown(&name), Some(address(Page::Detail(app.clone(), key(&name)))))
            };
            let mut steps = vec![("Dashboard".to_owned(), Some(address(Page::Dashboard(app.clone()))))];
            match key.kind {
                Kind::StartToEndByWorker => steps.push(total(&key.pipeline, ViewKey::pipeline)),
                Kind::NodeIngressEgressByPipeline => steps.push(total(&key.worker, ViewKey::worker)),
                Kind::ComputationByWorker => steps.push(total(&key.name, ViewKey::computation)),
                _ => {}
            }
            steps
        }
    };
    let steps = steps.into_iter().map(|(name, to)| {
        el("li").child(match to {
            Some(to) => named("a", "ellipsis", name).attr("href", to),
            None => named("span", "ellipsis", name).attr("aria-current", "page"),
        })
    });
    with_class("nav", "crumbs").attr("aria-label", "Where you are").child(el("ol").children(steps))
}

/// A button of a row of choices.
pub(super) fn choice(name: &'static str, chosen: impl Fn() -> bool + 'static, choose: impl Fn() + 'static) -> El {
    el("button")
        .attr("type", "button")
        .live("aria-pressed", move || chosen().to_string())
        .on("click", move |_| choose())
        .child(name)
}

/// The choice of windows.
fn windows(ctx: Ctx) -> El {
    let choices = WINDOWS.map(|(seconds, name)| {
        choice(name, move || ctx.window.get() == seconds, move || ctx.set_window(seconds))
            .attr("title", format!("Show the last {name}"))
    });
    with_class("div", "segments").attr("role", "group").attr("aria-label", "Window").children(choices)
}

fn icon() -> El {
    svg("svg").attr("viewBox", "0 0 16 16").attr("aria-hidden", "true")
}

fn pause(ctx: Ctx) -> El {
    let paused = move || ctx.paused.get().is_some();
    let path =
        svg("path").live("d", move || if paused() { "M5 3v10l8-5z" } else { "M4 3h3v10H4zM9 3h3v10H9z" }.to_owned());
    with_class("button", "pause")
        .attr("type", "button")
        .attr("data-testid", "pause")
        .live("aria-pressed", move || paused().to_string())
        .live("title", move || {
            if paused() { "Go on from now" } else { "Hold the picture; data keeps coming in" }.to_owned()
        })
        .on("click", move |_| if ctx.paused.peek().is_some() { ctx.resume() } else { ctx.pause() })
        .child(icon().child(path))
        .child(el("span").child(live(move || if paused() { "Go live" } else { "Pause" })))
}

/// The relay's clock, shown in the reader's zone; pressing it changes to UTC and back.
fn time(ctx: Ctx) -> El {
    let now = move || ctx.read().relay_ns(browser::now_ns());
    let title = move || {
        let full = now().map_or_else(String::new, |ns| ctx.zone(ns).full(ns));
        format!("{full} by the relay's clock; press for {}", if ctx.utc.get() { "local time" } else { "UTC" })
    };
    with_class("button", "time")
        .attr("type", "button")
        .live("title", title)
        .on("click", move |_| ctx.set_utc(!ctx.utc.peek()))
        .child(el("span").child(live(move || now().map_or_else(|| "--:--:--".to_owned(), |ns| ctx.zone(ns).time(ns)))))
        .child(with_class("span", "u").child(live(move || ctx.utc.get().then_some("UTC"))))
}

fn theme(ctx: Ctx) -> El {
    let name = move || format!("Colours: {}", ctx.theme.get().name());
    with_class("button", "theme")
        .attr("type", "button")
        .live("title", name)
        .live("aria-label", name)
        .on("click", move |_| ctx.set_theme(ctx.theme.peek().next()))
        .child(
            icon()
                .child(svg("circle").attr("cx", "8").attr("cy", "8").attr("r", "5.25"))
                .child(svg("path").attr("d", "M8 2.75a5.25 5.25 0 0 1 0 10.5z")),
        )
        .child(el("span").child(live(move || ctx.theme.get().name())))
}
