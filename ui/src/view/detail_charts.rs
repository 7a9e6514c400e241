//! The large charts of a detail page: the timeline with its readout, and two charts of the distribution. Each has a table
//! with the same values.

use std::rc::Rc;

use joey_shared::format;
use joey_shared::histogram::Histogram;
use joey_shared::view::{Kind, ViewKey};
use leptos::ev::{KeyboardEvent, PointerEvent};
use leptos::prelude::*;
use web_sys::HtmlCanvasElement;

use super::chart::Chart;
use super::chart_table::{ChartTable, PlainTable};
use super::compare_panels::{self, Legend};
use super::download::DownloadMenu;
use super::export_tables;
use super::format::{exact_range, range_text, view_summary};
use super::live_text::{LiveText, text_content};
use super::other_side::Viewed;
use super::percentile_handles::PercentileHandles;
use super::readout::{ReadoutValue, readout};
use super::threshold::{Threshold, ThresholdHandle};
use super::time_selection::{TimeSelection, crosshair_after, is_hovering};
use super::{AppName, UiState, use_ui, use_words};
use crate::chart::bar_chart::{self, BinSet};
use crate::chart::timeline::Timeline;
use crate::chart::{Size, percentile_curve};
use crate::chart_data;
use crate::statistics::PERCENTILES;
use crate::time_format::UtcOffsets;
use crate::typed_percentile::TypedPercentile;
use crate::vocabulary::Words;

/// The timeline of a view. `hover` is the second under the crosshair.
fn timeline(ui: UiState, app: AppName, view_index: usize, hover: Option<u64>) -> Option<Timeline> {
    let mut model = ui.model.write_value();
    let store = model.app_mut(&app.read_value())?;
    let (from, to) = chart_data::window_range(store);
    let offset_at = |second: u64| ui.utc_offset_untracked(second.saturating_mul(1_000_000_000));
    chart_data::timeline(store, view_index, UtcOffsets::between(from, to, offset_at), hover)
}

/// The text alternative of a view's charts.
fn summary(ui: UiState, app: AppName, view_index: usize) -> String {
    let statistics = ui.read_model().view_statistics(&app.read_value(), view_index);
    statistics.as_ref().map(view_summary).unwrap_or_default()
}

/// Latency and throughput over time, with a crosshair and a readout.
#[component]
pub(super) fn TimelineChart(app: AppName, view_index: usize, key: ViewKey) -> impl IntoView {
    let (ui, words) = (use_ui(), use_words());
    let (name, kind) = (export_tables::view_name(&key), key.kind);
    let hover = RwSignal::new(None);
    let id = ui.frame_loop.new_chart_id();
    let set_hover = move |second: Option<u64>| {
        if second != hover.get_untracked() {
            hover.set(second);
            ui.frame_loop.repaint_chart(id);
        }
    };
    let chart_at = move |hover| timeline(ui, app, view_index, hover);
    let on_pointer = move |event: PointerEvent| {
        let canvas = event_target::<HtmlCanvasElement>(&event);
        let size = Size { width: canvas.client_width().into(), height: canvas.client_height().into() };
        set_hover(chart_at(None).and_then(|chart| chart.second_at(f64::from(event.offset_x()), size)));
    };
    let on_keydown = move |event: KeyboardEvent| {
        let Some(chart) = chart_at(None) else { return };
        if let Some(next) = crosshair_after(&event, hover.get_untracked(), chart.through, (chart.from, chart.to)) {
            set_hover(next);
        }
    };
    let has_latency = kind.has_latency();
    let title = if has_latency { "Latency and throughput over time" } else { "Throughput over time" };
    let label = Signal::derive(move || format!("{title}: {}", summary(ui, app, view_index)));
    let threshold = Threshold { ui, app, view_index };
    let draw = move |size| {
        chart_at(hover.get_untracked()).map(|chart| {
            let mut list = chart.draw(size);
            threshold.draw(&mut list, chart.latency_axis(size));
            list
        })
    };
    let chart_view = move || {
        view! {
            <Chart
                class=if has_latency { "timeline" } else { "timeline low" }
                label
                draw
                id
                attr:tabindex="0"
                attr:title="Point, or use the arrow keys, to read a second. Drag, or use Shift and the arrow keys and then \
                Enter, to show a range of time."
                on:pointermove=on_pointer
                on:pointerdown=on_pointer
                on:pointerleave=move |event: PointerEvent| if is_hovering(&event) { set_hover(None) }
                on:keydown=on_keydown
            />
        }
    };
    // Throughput alone has no latency axis.
    let chart_view = if has_latency {
        let axis = move |size| chart_at(None)?.latency_axis(size);
        view! { <ThresholdHandle threshold axis chart=id>{chart_view()}</ThresholdHandle> }.into_any()
    } else {
        chart_view().into_any()
    };
    view! {
        <section class="panel chart-panel" data-testid="time">
            <header>
                <h2>{title}</h2>
                <Readout app view_index hover shows_ingestion=kind == Kind::StartToEnd/>
                <DownloadMenu
                    app
                    view=format!("{name}: {title}")
                    table=move || chart_at(None).map(|chart| export_tables::timeline_table(&chart))
                    chart=id
                />
            </header>
            <TimeSelection axis=Rc::new(move |size| chart_at(None).map(|chart| chart.axis(size))) crosshair=hover>
                {chart_view}
            </TimeSelection>
            <ChartTable table=move || timeline_table(ui, words, app, view_index)/>
        </section>
    }
}

/// The values under the crosshair.
#[component]
fn Readout(app: AppName, view_index: usize, hover: RwSignal<Option<u64>>, shows_ingestion: bool) -> impl IntoView {
    let (ui, words) = (use_ui(), use_words());
    let values = Memo::new(move |_| {
        ui.frame_loop.tick.track();
        let chart = timeline(ui, app, view_index, hover.get());
        chart.map(|chart| readout(&chart, chart.hover, words)).unwrap_or_default()
    });
    let value = move |ReadoutValue { name, text }| {
        let class = match name {
            "in" => "swatch in",
            "out" if shows_ingestion => "swatch out",
            _ => "",
        };
        view! {
            <div class=class>
                <dt use:text_content=name.to_owned()></dt>
                <dd use:text_content=text></dd>
            </div>
        }
    };
    view! {
        <dl class="readout" data-testid="readout">
            {move || values.get().into_iter().map(value).collect_view()}
        </dl>
    }
}

/// The percentile curve and the share of events by latency, side by side.
#[component]
pub(super) fn DistributionCharts(app: AppName, view_index: usize, key: ViewKey) -> impl IntoView {
    let ui = use_ui();
    let id = ui.frame_loop.new_chart_id();
    let name = export_tables::view_name(&key);
    let curve_name = format!("{name}: Latency by percentile");
    let label = Signal::derive(move || format!("Percentile curve: {}", summary(ui, app, view_index)));
    let histogram = move || histogram(ui, &app.read_value(), view_index);
    let viewed = Viewed::new(ui, app, key);
    let threshold = Threshold { ui, app, view_index };
    let draw = move |size| {
        let (histogram, reference) = viewed.histograms();
        let mut list = percentile_curve::draw(&histogram, reference.as_ref(), size);
        threshold.draw(&mut list, Some(percentile_curve::latency_axis(&histogram, reference.as_ref(), size)));
        Some(list)
    };
    let axis = move |size| {
        let (histogram, reference) = viewed.histograms();
        Some(percentile_curve::latency_axis(&histogram, reference.as_ref(), size))
    };
    let table = move || {
        let typed = ui.percentiles.read();
        Some(match viewed.histograms() {
            (_, None) => percentile_table(&histogram(), &typed),
            (histogram, Some(reference)) => compare_panels::percentile_table(&histogram, &reference, &typed),
        })
    };
    view! {
        <div class="pair">
            <section class="panel chart-panel" data-testid="curve">
                <header>
                    <h2>"Latency by percentile"</h2>
                    <Legend viewed/>
                    <DownloadMenu
                        app
                        view=curve_name
                        table=move || Some(export_tables::percentile_table(&histogram(), &ui.percentiles.read_untracked()))
                        chart=id
                    />
                </header>
                <PercentileHandles viewed>
                    <ThresholdHandle threshold axis chart=id><Chart class="curve" label draw id/></ThresholdHandle>
                </PercentileHandles>
                <ChartTable table/>
            </section>
            <BarChart app view_index viewed name/>
        </div>
    }
}

/// The share of events by latency, with a choice of bins.
#[component]
fn BarChart(app: AppName, view_index: usize, viewed: Viewed, name: String) -> impl IntoView {
    let ui = use_ui();
    let bin_set = RwSignal::new(BinSet::Default);
    let id = ui.frame_loop.new_chart_id();
    let histogram = move || histogram(ui, &app.read_value(), view_index);
    let label = Signal::derive(move || {
        ui.frame_loop.tick.track();
        let bars = bar_chart::bars(&histogram(), bin_set.get()).into_iter().filter(|bar| bar.count > 0);
        let bars = bars.map(|bar| format!("{} {}", bar.label, bar_chart::percent_text(bar.percent)));
        format!("Percent of events by latency: {}", bars.collect::<Vec<_>>().join(", "))
    });
    let draw = move |size| {
        let set = bin_set.get_untracked();
        Some(match viewed.histograms() {
            (histogram, None) => bar_chart::draw(&bar_chart::bars(&histogram, set), None, size),
            (histogram, Some(reference)) => {
                let [bars, others] = bar_chart::paired_bars(&histogram, &reference, set);
                bar_chart::draw(&bars, Some(&others), size)
            }
        })
    };
    let note = Signal::derive(move || {
        ui.frame_loop.tick.track();
        let bins = bin_set.get().bins_per_bar(&histogram());
        bins.map_or_else(String::new, |bins| format!("each bar adds up {bins} bins"))
    });
    let choice = |(set, name): (BinSet, &'static str)| {
        let choose = move |_| {
            bin_set.set(set);
            ui.frame_loop.repaint_chart(id);
        };
        view! {
            <button type="button" aria-pressed=move || (bin_set.get() == set).to_string() on:click=choose>{name}</button>
        }
    };
    let table = move || {
        let set = bin_set.get();
        Some(match viewed.histograms() {
            (histogram, None) => bar_table(&histogram, set),
            (histogram, Some(reference)) => compare_panels::bar_table(&histogram, &reference, set),
        })
    };
    view! {
        <section class="panel chart-panel" data-testid="bars">
            <header>
                <h2>"Percent of events by latency"</h2>
                <Legend viewed/>
                <LiveText class="tally" text=note/>
                <div class="segments" role="group" aria-label="Bins">
                    {BinSet::CHOICES.into_iter().map(choice).collect_view()}
                </div>
                <DownloadMenu
                    app
                    view=format!("{name}: Percent of events by latency")
                    table=move || Some(export_tables::bar_table(&bar_chart::bars(&histogram(), bin_set.get_untracked())))
                    chart=id
                />
            </header>
            <Chart class="bars" label draw id/>
            <ChartTable table/>
        </section>
    }
}

fn timeline_table(ui: UiState, words: &Words, app: AppName, view_index: usize) -> Option<PlainTable> {
    let chart = timeline(ui, app, view_index, None)?;
    let seconds = (chart.from.max(chart.first?)..=chart.to).rev();
    let heads =
        readout(&chart, None, words).into_iter().map(|value| if value.name.is_empty() { "second" } else { value.name });
    let row = |second| readout(&chart, Some(second), words).into_iter().map(|value| value.text).collect();
    Some(PlainTable { heads: heads.collect(), rows: seconds.map(row).collect() })
}

fn percentile_table(histogram: &Histogram, typed: &[TypedPercentile]) -> PlainTable {
    let fixed = PERCENTILES.iter().map(|percentile| (percentile.quantile, percentile.label.to_owned()));
    let mut percentiles: Vec<_> =
        fixed.chain(typed.iter().map(|percentile| (percentile.quantile(), percentile.label()))).collect();
    percentiles.sort_unstable();
    percentiles.dedup();
    let rows = percentiles.into_iter().map(|(quantile, label)| {
        let range = histogram.quantile(quantile);
        vec![label, range_text(range), range.map(exact_range).unwrap_or_default()]
    });
    PlainTable { heads: vec!["percentile", "range", "exactly"], rows: rows.collect() }
}

fn bar_table(histogram: &Histogram, set: BinSet) -> PlainTable {
    let rows = bar_chart::bars(histogram, set).into_iter().map(|bar| {
        let low = format!("{} ns", format::count(bar.low.into()));
        let percent = |share: f64| format!("{share:.4}");
        vec![bar.label, low, format::count(bar.count), percent(bar.percent), percent(bar.cumulative_percent)]
    });
    PlainTable { heads: vec!["latency", "from", "events", "percent", "cumulative"], rows: rows.collect() }
}

/// The histogram of a view; empty while there is none.
fn histogram(ui: UiState, app: &str, view_index: usize) -> Histogram {
    let statistics = ui.model.write_value().view_statistics(app, view_index);
    statistics.map_or_else(Histogram::default, |statistics| statistics.histogram)
}
