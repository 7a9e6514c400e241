//! The large charts of a detail page: time with its readout, and the distribution in two forms. Each has a table twin.

use std::rc::Rc;

use joey_shared::format;
use joey_shared::histogram::{Histogram, Quantile};
use joey_shared::view::Kind;
use leptos::prelude::{Get, GetUntracked, RwSignal, Set, Track};
use wasm_bindgen::JsCast;
use web_sys::{Event, HtmlElement, KeyboardEvent, PointerEvent};

use super::Ctx;
use super::chart::numbered;
use super::format::{NONE, exact_range, joined, range_text, sentence};
use super::node::{El, el, live, with_class};
use super::toolbar::{choice, folding};
use crate::chart::bar_chart::{self, BinSet};
use crate::chart::timeline::Timeline;
use crate::chart::{Size, percentile_curve};
use crate::chart_data;
use crate::statistics::PERCENTILES;
use crate::time_format::Zones;

/// What the readout says: names and values.
type Reading = Vec<(&'static str, String)>;

fn timeline(ctx: Ctx, app: &str, at: usize, hover: Option<u64>) -> Option<Timeline> {
    let mut model = ctx.model.get();
    let store = model.app_mut(app)?;
    let (from, to) = chart_data::window_range(store);
    let zones = Zones::between(from, to, |second| ctx.zone_now(second.saturating_mul(1_000_000_000)));
    chart_data::timeline(store, at, zones, hover)
}

fn histogram(ctx: Ctx, app: &str, at: usize) -> Histogram {
    ctx.model.get().view_statistics(app, at).map_or_else(Histogram::default, |figures| figures.histogram)
}

fn words(ctx: Ctx, app: &str, at: usize) -> String {
    ctx.read().view_statistics(app, at).map_or_else(String::new, |figures| sentence(&figures))
}

/// Latency and throughput over time, with one crosshair and one readout.
pub(super) fn time(ctx: Ctx, app: &Rc<str>, at: usize, kind: &Kind) -> El {
    let (latency, both_ends) = (kind.has_latency(), *kind == Kind::StartToEnd);
    // The second under the crosshair; 0 for none.
    let hover = RwSignal::new(0);
    let number = ctx.clock.reserve();
    let point = move |second: Option<u64>| {
        let second = second.unwrap_or(0);
        if second != hover.get_untracked() {
            hover.set(second);
            ctx.clock.touch(number);
        }
    };
    let chart_at = {
        let app = Rc::clone(app);
        move |hover: u64| timeline(ctx, &app, at, Some(hover).filter(|&second| second > 0))
    };
    let (moved_over, pressed_on, painted, read) = (chart_at.clone(), chart_at.clone(), chart_at.clone(), chart_at);
    let moved = move |event: Event| {
        // What listens here is a canvas, and what it hears is a pointer.
        let canvas = event.target().map(|target| target.unchecked_into::<HtmlElement>());
        let size =
            canvas.map(|canvas| Size { width: canvas.client_width().into(), height: canvas.client_height().into() });
        let x = f64::from(event.unchecked_ref::<PointerEvent>().offset_x());
        point(size.and_then(|size| moved_over(0)?.second_at(x, size)));
    };
    let pressed = move |event: Event| {
        let now = Some(hover.get_untracked()).filter(|&second| second > 0);
        let Some(chart) = pressed_on(0) else { return };
        let key = event.dyn_ref::<KeyboardEvent>().map(|event| event.key()).unwrap_or_default();
        let next = match key.as_str() {
            "ArrowLeft" => Some(now.map_or(chart.through, |second| second.saturating_sub(1))),
            "ArrowRight" => Some(now.map_or(chart.through, |second| second + 1)),
            "Home" => Some(chart.from),
            "End" => Some(chart.through),
            "Escape" => None,
            _ => return,
        };
        event.prevent_default();
        point(next.map(|second| second.clamp(chart.from, chart.to)));
    };
    let title = if latency { "Latency and throughput over time" } else { "Throughput over time" };
    let (named, of) = (Rc::clone(app), Rc::clone(app));
    let label = move || format!("{title}: {}", words(ctx, &named, at));
    let paint = move |size| painted(hover.get_untracked()).map(|chart| chart.draw(size));
    let canvas = numbered(ctx, number, if latency { "timeline" } else { "timeline low" }, label, paint)
        .attr("tabindex", "0")
        .attr("title", "Point, or use the arrow keys, to read a second")
        .on("pointermove", moved.clone())
        .on("pointerdown", moved)
        .on("pointerleave", move |_| point(None))
        .on("keydown", pressed);
    let read = move || {
        ctx.clock.tick.track();
        let reading = read(hover.get()).map(|chart| reading(&chart, chart.hover)).unwrap_or_default();
        reading
            .into_iter()
            .map(|(name, value)| {
                let class = match name {
                    "in" => "swatch in",
                    "out" if both_ends => "swatch out",
                    _ => "",
                };
                with_class("div", class).child(el("dt").child(name)).child(el("dd").child(value))
            })
            .collect::<Vec<El>>()
    };
    let readout = with_class("dl", "readout").attr("data-testid", "readout").child(live(read));
    with_class("section", "panel chart-panel")
        .attr("data-testid", "time")
        .child(el("header").child(el("h2").child(title)).child(readout))
        .child(canvas)
        .child(twin(ctx, move || time_table(ctx, &of, at)))
}

/// What there is to read at `hover`, or at the newest complete second.
fn reading(chart: &Timeline, hover: Option<u64>) -> Reading {
    let second = hover.filter(|second| (chart.from..=chart.to).contains(second)).unwrap_or(chart.through);
    let mut reading = vec![("", chart.zones.time(second))];
    if chart.ingestion.is_some() {
        let rate = chart.ingestion_at(second);
        reading.push(("in", rate.map_or_else(|| NONE.to_owned(), |rate| format!("{}/s", format::rate(rate).thin()))));
    }
    let (rate, complete) = chart.rate_at(second).map_or((None, true), |(rate, complete)| (Some(rate), complete));
    let partial = if complete { "" } else { " so far" };
    reading.push((
        "out",
        rate.map_or_else(|| NONE.to_owned(), |rate| format!("{}/s{partial}", format::rate(rate).thin())),
    ));
    if chart.latency {
        let histogram = chart.column_at(second).map(|column| Histogram { bins: column.bins, ..Histogram::default() });
        for (name, quantile) in [("p50", Quantile::P50), ("p99", Quantile::P99)] {
            reading.push((name, range_text(histogram.as_ref().and_then(|histogram| histogram.quantile(quantile)))));
        }
        reading
            .push(("events", histogram.map_or_else(|| NONE.to_owned(), |histogram| format::count(histogram.count()))));
    }
    reading
}

/// The percentile curve and the shares by bin, side by side.
pub(super) fn distribution(ctx: Ctx, app: &Rc<str>, at: usize) -> El {
    // Position in the choices.
    let set = RwSignal::new(0);
    let chosen = |at: u64| BinSet::CHOICES.get(at as usize).map_or(BinSet::Default, |(set, _)| *set);
    let counts = {
        let app = Rc::clone(app);
        move || histogram(ctx, &app, at)
    };
    let (curve_counts, bars_counts, named_counts, left_counts, right_counts) =
        (counts.clone(), counts.clone(), counts.clone(), counts.clone(), counts);
    let (curve_number, bars_number) = (ctx.clock.reserve(), ctx.clock.reserve());
    let named = Rc::clone(app);
    let curve_label = move || format!("Percentile curve: {}", words(ctx, &named, at));
    let curve = numbered(ctx, curve_number, "curve", curve_label, move |size| {
        Some(percentile_curve::draw(&curve_counts(), size))
    });
    let bars_label = move || {
        ctx.clock.tick.track();
        let bars = bar_chart::bars(&named_counts(), chosen(set.get())).into_iter().filter(|bar| bar.count > 0);
        let bars = bars.map(|bar| format!("{} {}", bar.label, bar_chart::percent_text(bar.percent)));
        format!("Percent of events by latency: {}", joined(bars, ", "))
    };
    let bars = numbered(ctx, bars_number, "bars", bars_label, move |size| {
        Some(bar_chart::draw(&bar_chart::bars(&bars_counts(), chosen(set.get_untracked())), size))
    });
    let choices = (0_u64..).zip(BinSet::CHOICES).map(|(at, (_, name))| {
        let choose = move || {
            set.set(at);
            ctx.clock.touch(bars_number);
        };
        choice(name, move || set.get() == at, choose)
    });
    let panel = |name: &'static str, title: &'static str| {
        (
            with_class("section", "panel chart-panel").attr("data-testid", name),
            el("header").child(el("h2").child(title)),
        )
    };
    let (left, left_head) = panel("curve", "Latency by percentile");
    let (right, right_head) = panel("bars", "Percent of events by latency");
    let choices = with_class("div", "segments").attr("role", "group").attr("aria-label", "Bins").children(choices);
    with_class("div", "pair")
        .child(left.child(left_head).child(curve).child(twin(ctx, move || curve_table(&left_counts()))))
        .child(
            right
                .child(right_head.child(choices))
                .child(bars)
                .child(twin(ctx, move || bars_table(&right_counts(), chosen(set.get())))),
        )
}

/// The table behind a chart, made only while it is open.
fn twin(ctx: Ctx, table: impl Fn() -> Option<El> + 'static) -> El {
    folding("twin", el("summary").child("as table"), with_class("div", "scroll"), move || {
        ctx.clock.tick.track();
        table().into()
    })
}

/// A table of texts; the first cell of each row names it.
fn plain_table(heads: Vec<&'static str>, rows: Vec<Vec<String>>) -> El {
    let heads = heads.into_iter().map(|head| el("th").attr("scope", "col").child(head));
    let rows = rows.into_iter().map(|cells| {
        let cells = cells
            .into_iter()
            .enumerate()
            .map(|(at, text)| if at == 0 { el("th").attr("scope", "row").child(text) } else { el("td").child(text) });
        el("tr").children(cells)
    });
    el("table").child(el("thead").child(el("tr").children(heads))).child(el("tbody").children(rows))
}

fn time_table(ctx: Ctx, app: &str, at: usize) -> Option<El> {
    let chart = timeline(ctx, app, at, None)?;
    let seconds = (chart.from.max(chart.first?)..=chart.to).rev();
    let heads =
        reading(&chart, None).into_iter().map(|(name, _)| if name.is_empty() { "second" } else { name }).collect();
    let rows =
        seconds.map(|second| reading(&chart, Some(second)).into_iter().map(|(_, value)| value).collect()).collect();
    Some(plain_table(heads, rows))
}

fn curve_table(histogram: &Histogram) -> Option<El> {
    let rows = PERCENTILES.iter().map(|shown| {
        let range = histogram.quantile(shown.quantile);
        vec![shown.label.to_owned(), range_text(range), range.map(exact_range).unwrap_or_default()]
    });
    Some(plain_table(vec!["percentile", "range", "exactly"], rows.collect()))
}

fn bars_table(histogram: &Histogram, set: BinSet) -> Option<El> {
    let rows = bar_chart::bars(histogram, set).into_iter().map(|bar| {
        let low = format!("{} ns", format::count(bar.low.into()));
        vec![
            bar.label,
            low,
            format::count(bar.count),
            bar_chart::decimal(bar.percent, 4),
            bar_chart::decimal(bar.cumulative, 4),
        ]
    });
    Some(plain_table(vec!["latency", "from", "events", "percent", "cumulative"], rows.collect()))
}
