//! The landing page: every application at a glance, or how to get the first one.

use joey_shared::format;
use joey_shared::store::AppStore;
use joey_shared::wire::AppEntry;
use leptos::prelude::Get;

use super::chart::chart;
use super::format::{exact_range, exact_rates, in_and_out, range, rate_sentence, shown};
use super::node::{El, Node, derived, el, item, live, named, with_class};
use super::table::{open, panel};
use super::{Ctx, address, notices};
use crate::browser;
use crate::chart::sparkline;
use crate::chart_data;
use crate::route::Page;
use crate::settings::host_name;
use crate::statistics::AppStatistics;

/// One application's line.
struct Line {
    entry: AppEntry,
    figures: AppStatistics,
    /// How long ago it was heard, in seconds.
    heard: Option<u64>,
    stale: bool,
    /// How many viewers it has, where several relays count them.
    viewers: Option<u32>,
}

/// The page.
pub(super) fn page(ctx: Ctx) -> Node {
    let known = derived(move || {
        let model = ctx.read();
        match (model.seen().relay().is_some(), model.catalogue().is_empty()) {
            (_, false) => 2,
            (true, true) => 1,
            (false, true) => 0,
        }
    });
    let content = move || match known.get() {
        0 => searching(ctx),
        1 => welcome(ctx),
        _ => el("div").child(list(ctx)).child(
            with_class("p", "below")
                .child("To add an application, start it with ")
                .child(el("code").child(producer_line(ctx))),
        ),
    };
    Node::Many(vec![
        with_class("h1", "visually-hidden").child("Applications").into(),
        notices::banner(ctx, None).into(),
        live(content),
    ])
}

fn list(ctx: Ctx) -> El {
    let apps = move || ctx.read().catalogue().keys().cloned().collect::<Vec<String>>();
    let heads = [
        ("name", "Application"),
        ("number", "Workers up"),
        ("number", "Events/s, in -|< out"),
        ("spark", "Rate"),
        ("number wide", "End to end p50"),
        ("number wide", "p99"),
        ("number", "Series"),
        ("number", "Last heard"),
    ];
    let rows = move || apps().into_iter().map(|app| item(app.clone(), move || row(ctx, app))).collect();
    panel(["applications", "Applications", "apps landing"], &heads, move || apps().len(), rows)
}

fn line(ctx: Ctx, app: &str) -> Option<Line> {
    let mut model = ctx.read();
    let now_ns = model.relay_ns(browser::now_ns()).unwrap_or(0);
    let entry = model.catalogue().get(app)?.clone();
    let figures = model.app_statistics(app).unwrap_or_default();
    let store = model.app(app);
    let heard_ns = store.map_or(0, AppStore::heard_ns).max(entry.heard_ns);
    let heard = (heard_ns > 0).then(|| now_ns.saturating_sub(heard_ns) / 1_000_000_000);
    let stale =
        store.is_some_and(|store| store.silent_for(now_ns).is_some()) && heard.is_none_or(|seconds| seconds > 5);
    let cluster = model.seen().cluster();
    let viewers = cluster.and_then(|cluster| cluster.watching.iter().find(|(name, _)| name == app));
    let viewers = viewers.map(|(_, viewers)| *viewers);
    Some(Line { entry, figures, heard, stale, viewers })
}

fn row(ctx: Ctx, app: String) -> El {
    let to = address(Page::Dashboard(app.clone()));
    let of = app.clone();
    let line = move || line(ctx, &of);
    let (labelled, stale, watched) = (line.clone(), line.clone(), line.clone());
    let (first, last) = (line.clone(), line);
    let painted = app.clone();
    let rates = chart(
        ctx,
        "spark",
        move || rate_sentence(labelled().and_then(|line| line.figures.egress)),
        move |size| {
            let mut model = ctx.model.get();
            let (from, to) = chart_data::window_range(model.app(&painted)?);
            Some(sparkline::rate(&model.app_statistics(&painted)?.rates, from, to, size))
        },
    );
    let name = named("a", "row-link ellipsis", shown(&app)).attr("href", to.clone());
    let viewers = live(move || {
        let viewers = watched()?.viewers?;
        Some(with_class("span", "of").child(format!("{viewers} watching")))
    });
    el("tr")
        .attr("data-testid", "application")
        .attr("data-app", app)
        .live("class", move || if stale().is_some_and(|line| line.stale) { "stalled" } else { "" }.to_owned())
        .on("click", move |event| open(&event, &to))
        .child(
            with_class("th", "name").attr("scope", "row").child(with_class("div", "label").child(name).child(viewers)),
        )
        .child(live(move || first().map(|line| vec![workers(&line), through(&line)])))
        .child(with_class("td", "spark").child(rates))
        .child(live(move || last().map(|line| rest(&line))))
}

fn workers(line: &Line) -> El {
    let (up, all) = (line.entry.workers.iter().filter(|worker| worker.connected).count(), line.entry.workers.len());
    let title =
        if up < all { format!("{} of {all} workers gone", all - up) } else { "All workers are connected".to_owned() };
    let up_class = if up < all { "n warn" } else { "n" };
    with_class("td", "number")
        .attr("data-head", "workers up")
        .attr("title", title)
        .child(with_class("span", up_class).child(up.to_string()))
        .child(with_class("span", "of").child(format!(" of {all}")))
}

fn through(line: &Line) -> El {
    let (ingress, egress) = (line.figures.ingress, line.figures.egress);
    with_class("td", "number")
        .attr("data-head", "events/s")
        .attr("title", format!("{}, mean of the last 10 complete seconds", exact_rates(ingress, egress)))
        .child(in_and_out(ingress, egress))
}

fn rest(line: &Line) -> Vec<El> {
    let worst = line.figures.worst.as_ref();
    let pipeline = worst.and_then(|worst| worst.key.pipeline.clone()).unwrap_or_default();
    let latency = |head: &'static str, value| {
        let exact = move |range| format!("worst pipeline: {pipeline}: {}", exact_range(range));
        let title = Option::map(value, exact).unwrap_or_default();
        with_class("td", "number wide").attr("data-head", head).attr("title", title).child(range(value))
    };
    let heard = line.heard.map_or_else(
        || "never".to_owned(),
        |seconds| if seconds < 3 { "now".to_owned() } else { format!("{} ago", format::age(seconds)) },
    );
    let cell = |head: &'static str, text: String| with_class("td", "number").attr("data-head", head).child(text);
    vec![
        latency.clone()("end to end p50", worst.map(|worst| worst.p50)),
        latency("p99", worst.map(|worst| worst.p99)),
        cell("series", line.entry.series.to_string()),
        cell("last heard", heard),
    ]
}

/// What a producer is started with, to be seen here.
fn producer_line(ctx: Ctx) -> String {
    let host = browser::host();
    let host = match host_name(&host) {
        "" | "localhost" => "127.0.0.1",
        name => name,
    };
    let port = ctx.read().seen().relay().map_or(5001, |relay| relay.ingest_port);
    format!("--metrics {host}:{port}")
}

/// What stands here before the relay has said anything.
fn searching(ctx: Ctx) -> El {
    let address = Some(ctx.connection.address.get()).filter(|address| !address.is_empty());
    let address = address.unwrap_or_else(|| "no address".to_owned());
    with_class("div", "notice")
        .child(el("p").child("Looking for the relay at ").child(el("code").child(address)).child("."))
}

/// What somebody sees who has just started a relay.
fn welcome(ctx: Ctx) -> El {
    let text = producer_line(ctx);
    let copy = el("button").attr("type", "button").on("click", move |_| browser::copy(&text)).child("Copy");
    with_class("section", "welcome")
        .attr("data-testid", "empty")
        .child(el("h2").child("Ready. Nothing is sending yet."))
        .child(el("p").child(
            "Joey shows, live, how long every step of a running stream processor takes and how much goes through it. Point a \
             Wallaroo application at this relay; it shows up here within seconds, and needs no other change:",
        ))
        .child(
            with_class("div", "copy")
                .child(el("code").attr("data-testid", "producer-line").child(producer_line(ctx)))
                .child(copy),
        )
        .child(
            el("p")
                .child("Just looking? ")
                .child(el("code").child("joey demo"))
                .child(" starts a relay that makes up its own pipelines, workers and stalls."),
        )
}
