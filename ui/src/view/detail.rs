//! One view in full: its figures, its time, its distribution, and the tables that lead on from it.

use std::rc::Rc;

use joey_shared::format;
use joey_shared::view::{Kind, ViewKey};
use joey_shared::window::Throughput;
use leptos::prelude::Get;

use super::format::{percentile, sentence, shown, throughput, throughput_columns};
use super::node::{El, Node, derived, el, live, named, nothing, with_class};
use super::{Ctx, address, detail_charts, notices, table};
use crate::route::Page;
use crate::statistics::{self, PERCENTILES, ViewStatistics};
use crate::table_rows::Listing;

/// The position of a view that does not exist yet.
const NOWHERE: u64 = u64::MAX - 1;

/// What the figures say.
struct Numbers {
    figures: ViewStatistics,
    ingestion: Option<Throughput>,
}

/// The page.
pub(super) fn page(ctx: Ctx, app: String, key: ViewKey) -> Node {
    notices::about(ctx, app, move |app| content(ctx, app, &key))
}

fn content(ctx: Ctx, app: &str, key: &ViewKey) -> El {
    let (of, wanted) = (app.to_owned(), key.clone());
    let at = derived(move || ctx.read().app(&of).and_then(|store| store.find(&wanted)).map_or(NOWHERE, |at| at as u64));
    let stored: Rc<str> = app.into();
    let shown_key = key.clone();
    let figures = move || match usize::try_from(at.get()) {
        Ok(at) if at as u64 != NOWHERE => {
            let latency = shown_key.kind.has_latency();
            let distribution = if latency { detail_charts::distribution(ctx, &stored, at).into() } else { nothing() };
            let strip = strip(ctx, &stored, at, shown_key.clone());
            Node::Many(vec![strip.into(), detail_charts::time(ctx, &stored, at, &shown_key.kind).into(), distribution])
        }
        _ => with_class("p", "nothing")
            .attr("data-testid", "empty")
            .child("Nothing has been measured under this name yet.")
            .into(),
    };
    notices::fading(ctx, app, "page detail")
        .attr("data-testid", "detail")
        .attr("data-kind", key.kind.as_str().to_owned())
        .child(heading(app, key))
        .child(live(figures))
        .children(listings(key).into_iter().map(|listing| table(ctx, app, listing, true)))
}

/// `Decode on initializer`, each part leading to its total.
fn heading(app: &str, key: &ViewKey) -> El {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (pipeline, worker, name) = (text(&key.pipeline), text(&key.worker), text(&key.name));
    let part = |tag, name: &str| named(tag, "part", shown(name));
    let plain = |name: &str| part("span", name);
    let link = |name: &str, key: fn(&str) -> ViewKey| {
        part("a", name).attr("href", address(Page::Detail(app.to_owned(), key(name))))
    };
    let on = |word: &'static str| with_class("span", "on").child(word);
    let (kind, parts): (&str, Vec<El>) = match &key.kind {
        Kind::StartToEnd => ("Pipeline", vec![plain(&pipeline)]),
        Kind::NodeIngressEgress => ("Worker", vec![plain(&worker)]),
        Kind::Computation => ("Computation", vec![plain(&name)]),
        Kind::StartToEndByWorker => {
            ("Pipeline by worker", vec![link(&pipeline, ViewKey::pipeline), on("on"), link(&worker, ViewKey::worker)])
        }
        Kind::NodeIngressEgressByPipeline => {
            ("Worker by pipeline", vec![link(&pipeline, ViewKey::pipeline), on("on"), link(&worker, ViewKey::worker)])
        }
        Kind::ComputationByWorker => (
            "Computation by worker",
            vec![
                link(&name, ViewKey::computation),
                on("on"),
                link(&worker, ViewKey::worker),
                on("in"),
                link(&pipeline, ViewKey::pipeline),
            ],
        ),
        Kind::PipelineIngestion => {
            ("Ingestion, counts only", vec![plain(&name), on("of"), link(&pipeline, ViewKey::pipeline)])
        }
        Kind::Other(category) => (category.as_str(), vec![plain(&name)]),
    };
    with_class("header", "head")
        .child(with_class("p", "kind").attr("dir", "auto").child(kind.to_owned()))
        .child(el("h1").children(parts))
}

/// The tables that lead on: those of the original Metrics UI.
fn listings(key: &ViewKey) -> Vec<Listing> {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (pipeline, worker, name) = (text(&key.pipeline), text(&key.worker), text(&key.name));
    match key.kind {
        Kind::StartToEnd => vec![Listing::PipelineByWorker(pipeline.clone()), Listing::ComputationsFor(pipeline)],
        Kind::NodeIngressEgress => vec![Listing::PipelinesOn(worker.clone()), Listing::ComputationsOn(worker)],
        Kind::Computation => vec![Listing::ComputationOnWorker(name)],
        Kind::StartToEndByWorker | Kind::NodeIngressEgressByPipeline => {
            vec![Listing::ComputationsForOn(pipeline, worker)]
        }
        Kind::ComputationByWorker | Kind::PipelineIngestion | Kind::Other(_) => Vec::new(),
    }
}

fn strip(ctx: Ctx, app: &Rc<str>, at: usize, key: ViewKey) -> El {
    let app = Rc::clone(app);
    let latency = key.kind.has_latency();
    let both_ends = key.kind == Kind::StartToEnd;
    let numbers = move || {
        let mut model = ctx.read();
        let figures = model.view_statistics(&app, at)?;
        let ingestion =
            if both_ends { statistics::ingestion(model.app_mut(&app)?, key.pipeline.as_deref()) } else { None };
        Some(Numbers { figures, ingestion })
    };
    let named = numbers.clone();
    let figures = move || {
        let numbers = numbers()?;
        let mut figures = if latency { percentiles(&numbers.figures) } else { Vec::new() };
        figures.extend(rates(&numbers, both_ends));
        figures.push(coverage(ctx, &numbers.figures));
        Some(figures)
    };
    let label = move || named().map_or_else(String::new, |numbers| sentence(&numbers.figures));
    with_class("dl", if both_ends { "strip figures both" } else { "strip figures" })
        .live("aria-label", label)
        .child(live(figures))
}

fn percentiles(figures: &ViewStatistics) -> Vec<El> {
    let figure = |at: usize| {
        let (value, supported) = percentile(el("dd"), Some(figures), at);
        let class = match (supported, figures.count) {
            (true, _) => "figure",
            (false, 0) => "figure faint empty",
            _ => "figure faint",
        };
        with_class("div", class).child(el("dt").child(PERCENTILES[at].label)).child(value)
    };
    (0..PERCENTILES.len()).map(figure).collect()
}

fn rates(numbers: &Numbers, both_ends: bool) -> Vec<El> {
    let class = if both_ends { "figure rate forked" } else { "figure rate" };
    let columns = throughput_columns(numbers.figures.throughput, numbers.ingestion);
    let figure = |(column, out, ingress): (&'static str, Option<f64>, Option<f64>)| {
        let unit = with_class("span", "note-word").child(if ingress.is_some() { "/s, in -|< out" } else { "/s" });
        with_class("div", class).child(el("dt").child(column).child(unit)).child(throughput(
            el("dd"),
            column,
            out,
            ingress,
        ))
    };
    columns.map(figure).into()
}

fn coverage(ctx: Ctx, figures: &ViewStatistics) -> El {
    let (covered, seconds) = (figures.covered, figures.seconds);
    let known = with_class("dd", if covered < seconds { "sub warn" } else { "sub" })
        .attr("data-testid", "coverage")
        .attr("title", "Seconds of the window for which this page has the data")
        .child(format!("{covered} of {seconds}\u{2009}s known"));
    let stalled = figures
        .stalled_since
        .map(|since| with_class("dd", "sub warn").child(format!("no events since {}", ctx.zone(since).time(since))));
    let count = el("dd").attr("data-col", "count").attr("data-value", format::digits(figures.count));
    with_class("div", "figure events")
        .child(el("dt").child("events in window"))
        .child(count.child(with_class("span", "n").child(format::count(figures.count))))
        .child(known)
        .child(stalled)
}
