//! An application's workers: who is connected, who is gone since when, and how each is doing.

use joey_shared::format;
use joey_shared::view::ViewKey;
use joey_shared::wire::WorkerEntry;

use super::format::{exact_rate, percentile_cells, rate, shown, throughput, throughput_columns};
use super::node::{El, Node, el, item, live, named, with_class};
use super::table::{open, panel};
use super::{Ctx, address, notices};
use crate::browser;
use crate::route::Page;
use crate::statistics::ViewStatistics;

/// One worker.
struct Line {
    worker: WorkerEntry,
    figures: Option<ViewStatistics>,
    /// How long it is connected or gone, in seconds.
    seconds: u64,
}

/// The page.
pub(super) fn page(ctx: Ctx, app: String) -> Node {
    notices::about(ctx, app, move |app| content(ctx, app))
}

fn content(ctx: Ctx, app: &str) -> El {
    let of = app.to_owned();
    let names = move || {
        let model = ctx.read();
        let workers = model.catalogue().get(&of).map_or(&[][..], |entry| &entry.workers);
        workers.iter().map(|worker| worker.worker.clone()).collect::<Vec<String>>()
    };
    let (listed, counted) = (names.clone(), names.clone());
    let title = el("a").attr("href", address(Page::Dashboard(app.to_owned()))).attr("dir", "auto").child(shown(app));
    let heading = with_class("h1", "ellipsis").child(title).child(with_class("span", "on").child(": workers"));
    let heads = [
        ("name", "Worker"),
        ("state", "State"),
        ("number", "Returns"),
        ("number", "Events/s"),
        ("number wide", "p50"),
        ("number wide", "p95"),
        ("number wide", "p99"),
        ("number", "min/s"),
        ("number", "median/s"),
        ("number", "max/s"),
    ];
    let of = app.to_owned();
    let rows = move || {
        let row_of = |worker: String| {
            let app = of.clone();
            item(worker.clone(), move || row(ctx, app, worker))
        };
        listed().into_iter().map(row_of).collect()
    };
    let none = move || names().is_empty().then(|| with_class("p", "nothing").child("No worker has introduced itself."));
    let panel = panel(["workers", "Workers", "apps workers"], &heads, move || counted().len(), rows).child(live(none));
    with_class("div", "page").child(with_class("header", "head").child(heading)).child(panel)
}

fn row(ctx: Ctx, app: String, worker: String) -> El {
    let to = address(Page::Detail(app.clone(), ViewKey::worker(&worker)));
    let name = named("a", "row-link ellipsis", shown(&worker)).attr("href", to.clone());
    let of = worker.clone();
    let line = move || line(ctx, &app, &of);
    let gone = line.clone();
    el("tr")
        .attr("data-testid", "worker")
        .attr("data-kind", "node-ingress-egress")
        .attr("data-worker", worker)
        .live("class", move || {
            if gone().is_some_and(|line| !line.worker.connected) { "stalled" } else { "" }.to_owned()
        })
        .on("click", move |event| open(&event, &to))
        .child(with_class("th", "name").attr("scope", "row").child(with_class("div", "label").child(name)))
        .child(live(move || line().map(|line| cells(ctx, &line))))
}

fn line(ctx: Ctx, app: &str, worker: &str) -> Option<Line> {
    let mut model = ctx.read();
    let now_ns = model.relay_ns(browser::now_ns()).unwrap_or(0);
    let entry = model.catalogue().get(app)?.workers.iter().find(|entry| entry.worker == worker)?.clone();
    let at = model.app(app).and_then(|store| store.find(&ViewKey::worker(worker)));
    let figures = at.and_then(|at| model.view_statistics(app, at));
    let seconds = now_ns.saturating_sub(entry.since_ns) / 1_000_000_000;
    Some(Line { worker: entry, figures, seconds })
}

fn cells(ctx: Ctx, line: &Line) -> Vec<El> {
    let WorkerEntry { connected, since_ns, returns, .. } = line.worker;
    let zone = ctx.zone(since_ns);
    let (class, word) = if connected { ("state up", "connected") } else { ("state gone", "gone") };
    let since = format!(" since {} ({})", zone.time(since_ns), format::age(line.seconds));
    let state = with_class("td", class)
        .attr("data-connected", connected.to_string())
        .attr("title", format!("since {}", zone.full(since_ns)))
        .child(with_class("span", "dot").attr("aria-hidden", "true"))
        .child(word)
        .child(with_class("span", "sub").child(since));
    let figures = line.figures.as_ref();
    let recent = figures.and_then(|figures| figures.recent);
    let number = |head: &'static str| with_class("td", "number").attr("data-head", head);
    let mut cells = vec![
        state,
        number("returns").child(returns.to_string()),
        number("events/s").attr("title", exact_rate(recent)).child(rate(recent)),
    ];
    cells.extend(percentile_cells(figures, 3));
    for (column, out, _) in throughput_columns(figures.and_then(|figures| figures.throughput), None) {
        cells.push(throughput(number(column), column, out, None));
    }
    cells
}
