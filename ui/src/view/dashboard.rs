//! An application's dashboard: four figures, then its pipelines, workers and computations.

use joey_shared::histogram::QuantileRange;
use wasm_bindgen::JsCast;
use web_sys::{Event, HtmlInputElement, KeyboardEvent};

use super::chart::chart;
use super::format::{exact_range, exact_rates, in_and_out, joined, range, rate_sentence, shown};
use super::node::{El, Node, el, live, named, with_class};
use super::{Ctx, address, notices, table};
use crate::chart::sparkline;
use crate::chart_data;
use crate::route::Page;
use crate::statistics::{AppStatistics, WorstView};
use crate::table_rows::Listing;

/// The figures of the strip.
struct Strip {
    app: AppStatistics,
    workers_up: usize,
    gone: Vec<String>,
}

/// The page.
pub(super) fn page(ctx: Ctx, app: String) -> Node {
    notices::about(ctx, app, move |app| content(ctx, app))
}

fn content(ctx: Ctx, app: &str) -> El {
    let heading = named("h1", "ellipsis", shown(app));
    notices::fading(ctx, app, "page")
        .child(with_class("header", "head").child(heading).child(filter(ctx)))
        .child(strip(ctx, app))
        .child(table(ctx, app, Listing::Pipelines, true))
        .child(table(ctx, app, Listing::Workers, true))
        .child(table(ctx, app, Listing::Computations, true))
        .child(table(ctx, app, Listing::Others, false))
}

/// The box that filters every table of the page.
fn filter(ctx: Ctx) -> El {
    // Only the input listens.
    let input = |event: &Event| event.target().map(|target| target.unchecked_into::<HtmlInputElement>());
    let typed = move |event: Event| ctx.filter.set(input(&event).map(|input| input.value()).unwrap_or_default());
    let pressed = move |event: Event| {
        let escape = event.dyn_ref::<KeyboardEvent>().is_some_and(|event| event.key() == "Escape");
        if let Some(input) = input(&event).filter(|_| escape) {
            input.set_value("");
            ctx.filter.set(String::new());
        }
    };
    let input = el("input")
        .attr("id", "filter")
        .attr("type", "search")
        .attr("placeholder", "Filter rows")
        .attr("spellcheck", "false")
        .attr("autocomplete", "off")
        .attr("title", "Press / to come here, Escape to clear")
        .on("input", typed)
        .on("keydown", pressed);
    with_class("label", "filter")
        .child(with_class("span", "visually-hidden").child("Filter rows"))
        .child(input)
        .child(el("kbd").attr("aria-hidden", "true").child("/"))
}

fn read(ctx: Ctx, app: &str) -> Option<Strip> {
    let mut model = ctx.read();
    let figures = model.app_statistics(app)?;
    let workers = model.catalogue().get(app).map_or(&[][..], |entry| &entry.workers);
    let gone: Vec<String> =
        workers.iter().filter(|worker| !worker.connected).map(|worker| worker.worker.clone()).collect();
    Some(Strip { app: figures, workers_up: workers.len() - gone.len(), gone })
}

fn strip(ctx: Ctx, app: &str) -> El {
    let of = || app.to_owned();
    let (named, painted, first, rest) = (of(), of(), of(), of());
    let label = move || rate_sentence(read(ctx, &named).and_then(|strip| strip.app.egress));
    let rates = chart(ctx, "spark", label, move |size| {
        let mut model = ctx.model.get();
        let (from, to) = chart_data::window_range(model.app(&painted)?);
        Some(sparkline::rate(&model.app_statistics(&painted)?.rates, from, to, size))
    });
    let rate = with_class("div", "with-spark")
        .child(el("dt").child("Events per second").child(with_class("span", "note-word").child("in -|< out")))
        .child(live(move || read(ctx, &first).map(|strip| through(&strip.app))))
        .child(rates);
    let others = move || {
        read(ctx, &rest).map(|strip| {
            vec![
                extreme(&rest, "End to end, worst pipeline", strip.app.worst.as_ref(), true),
                extreme(&rest, "Slowest computation", strip.app.slowest.as_ref(), false),
                workers(&rest, &strip),
            ]
        })
    };
    with_class("dl", "strip").child(rate).child(live(others))
}

fn through(app: &AppStatistics) -> El {
    let exact = exact_rates(app.ingress, app.egress);
    el("dd")
        .attr("title", format!("{exact}, mean of the last 10 complete seconds"))
        .child(in_and_out(app.ingress, app.egress))
}

/// A view that stands out: its percentiles, and where it is.
fn extreme(app: &str, title: &'static str, extreme: Option<&WorstView>, with_median: bool) -> El {
    let figure = |tag: &'static str, value: Option<QuantileRange>| {
        el("span")
            .attr("title", value.map(exact_range).unwrap_or_default())
            .child(with_class("span", "tag").child(tag))
            .child(range(value))
    };
    let median = with_median.then(|| figure("p50", extreme.map(|extreme| extreme.p50)));
    let link = extreme.map(|extreme| {
        let name =
            shown([&extreme.key.pipeline, &extreme.key.name].into_iter().flatten().next().map_or("", String::as_str));
        let to = address(Page::Detail(app.to_owned(), extreme.key.clone()));
        named("a", "ellipsis", name).attr("href", to)
    });
    el("div")
        .child(el("dt").child(title))
        .child(with_class("dd", "two").child(median).child(figure("p99", extreme.map(|extreme| extreme.p99))))
        .child(with_class("dd", "sub").child(link))
}

fn workers(app: &str, strip: &Strip) -> El {
    let all = strip.workers_up + strip.gone.len();
    let words = if strip.gone.is_empty() {
        "all connected".to_owned()
    } else {
        format!("gone: {}", joined(strip.gone.clone(), ", "))
    };
    let to = address(Page::Workers(app.to_owned()));
    let link = named("a", "ellipsis", words).attr("href", to);
    el("div")
        .child(el("dt").child("Workers up"))
        .child(
            el("dd")
                .child(with_class("span", "n").child(strip.workers_up.to_string()))
                .child(with_class("span", "of").child(format!(" of {all}"))),
        )
        .child(with_class("dd", if strip.gone.is_empty() { "sub" } else { "sub warn" }).child(link))
}
