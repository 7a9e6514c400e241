//! The panels of a comparison on a detail page: a table of figures with both sides, and the difference heatmap.

use std::rc::Rc;

use joey_shared::compare::{Comparison, RateChange};
use joey_shared::format;
use joey_shared::histogram::{Histogram, Quantile};
use leptos::ev::{KeyboardEvent, PointerEvent};
use leptos::prelude::*;
use web_sys::HtmlCanvasElement;

use super::change_cells::ChangeView;
use super::chart::Chart;
use super::chart_table::{ChartTable, PlainTable};
use super::download::DownloadMenu;
use super::export_tables;
use super::format::{NO_VALUE, exact_range, mean, range_text};
use super::live_text::{LiveText, text_content};
use super::other_side::Viewed;
use super::time_selection::{TimeSelection, crosshair_after, is_hovering};
use crate::change_text::{self, ChangeText, bins_note};
use crate::chart::Size;
use crate::chart::bar_chart::{self, BinSet, percent_text};
use crate::chart::difference::{Difference, DifferenceColumn};
use crate::export::{Cell, ExportTable};
use crate::statistics::{PERCENTILES, ViewStatistics};
use crate::typed_percentile::TypedPercentile;
use crate::units;

/// The panels, while there is something to compare with.
#[component]
pub(super) fn ComparePanels(viewed: Viewed, has_latency: bool) -> impl IntoView {
    let is_compared = Memo::new(move |_| viewed.reference().is_some());
    view! {
        <Show when=move || is_compared.get()>
            <CompareFigures viewed has_latency/>
            <Show when=move || has_latency><DifferencePanel viewed/></Show>
        </Show>
    }
}

/// Two swatches: how each side is drawn.
#[component]
pub(super) fn Legend(viewed: Viewed) -> impl IntoView {
    let name = Memo::new(move |_| viewed.reference_name());
    move || {
        name.get().map(|name| {
            view! {
                <p class="legend" data-testid="legend">
                    <span class="key-here">"this"</span>
                    <span class="key-other ellipsis" dir="auto" translate="no" use:text_content=name></span>
                </p>
            }
        })
    }
}

/// A row of the table of figures.
#[derive(Clone, PartialEq)]
struct FigureRow {
    label: String,
    here: String,
    other: String,
    change: Option<ChangeText>,
    /// The change as a number, for data attributes: bins, or a ratio.
    value: Option<String>,
    is_supported: bool,
}

#[component]
fn CompareFigures(viewed: Viewed, has_latency: bool) -> impl IntoView {
    let ui = viewed.ui;
    let content = Memo::new(move |_| {
        ui.frame_loop.tick.track();
        let name = viewed.reference_name()?;
        let rows = figure_rows(viewed.statistics(), &ui.percentiles.read(), has_latency, &name);
        Some((name, rows))
    });
    let note = Signal::derive(move || {
        ui.frame_loop.tick.track();
        let [current, reference] = viewed.statistics();
        match (current.filter(|_| has_latency), reference) {
            (_, None) => "Nothing has been measured there under this name.".to_owned(),
            (Some(current), Some(reference)) => {
                let comparison = Comparison::new(&current.histogram, &reference.histogram);
                bins_note(comparison.is_folded(), comparison.is_exact()).to_owned()
            }
            (None, Some(_)) => String::new(),
        }
    });
    let row = |FigureRow { label, here, other, change, value, is_supported }: FigureRow| {
        let tooltip = change.as_ref().map(|text| text.tooltip.clone());
        let figure = label.clone();
        view! {
            <tr data-figure=figure>
                <th scope="row">{label}</th>
                <td use:text_content=here></td>
                <td use:text_content=other></td>
                <td class="delta" class:faint=!is_supported data-value=value title=tooltip>
                    <ChangeView text=change/>
                </td>
            </tr>
        }
    };
    view! {
        <section class="panel" data-testid="compared">
            <header>
                <h2>"Compared"</h2>
                <Legend viewed/>
                <LiveText class="tally" text=note/>
                <DownloadMenu
                    app=viewed.app
                    view=format!("{}: Compared", export_tables::view_name(&viewed.key.read_value()))
                    table=move || content.get_untracked().map(|(_, rows)| figures_table(rows))
                />
            </header>
            <div class="across">
                {move || content.get().map(|(name, rows)| view! {
                    <table class="compared">
                        <thead><tr>
                            <th scope="col">"figure"</th>
                            <th scope="col">"this"</th>
                            <th scope="col" class="ellipsis" dir="auto" translate="no">{name}</th>
                            <th scope="col">"change"</th>
                        </tr></thead>
                        <tbody>{rows.into_iter().map(row).collect_view()}</tbody>
                    </table>
                })}
            </div>
        </section>
    }
}

fn figures_table(rows: Vec<FigureRow>) -> ExportTable {
    let columns = ["figure", "this", "other_side", "change"].map(str::to_owned).to_vec();
    let row = |row: FigureRow| {
        let change = row.value.and_then(|value| value.parse().ok()).filter(|value: &f64| value.is_finite());
        vec![Cell::Text(row.label), Cell::Text(row.here), Cell::Text(row.other), Cell::rate(change)]
    };
    ExportTable { columns, rows: rows.into_iter().map(row).collect() }
}

fn figure_rows(
    [current, reference]: [Option<ViewStatistics>; 2],
    typed: &[TypedPercentile],
    has_latency: bool,
    name: &str,
) -> Vec<FigureRow> {
    let sides = [current.as_ref(), reference.as_ref()];
    let mut rows = Vec::new();
    if has_latency {
        let histograms = sides.map(|side| side.map_or_else(Histogram::default, |side| side.histogram.clone()));
        let comparison = Comparison::new(&histograms[0], &histograms[1]);
        let change = comparison.change();
        let text = change.distance.map(|_| change_text::distance(&change, name));
        rows.push(FigureRow {
            label: "distribution".to_owned(),
            here: String::new(),
            other: String::new(),
            value: change.distance.map(|distance| distance.share.to_string()),
            change: text,
            is_supported: change.rank().is_some(),
        });
        rows.extend(percentiles(typed).into_iter().map(|(label, quantile, events_min)| {
            let [here, other] = sides.map(|side| range_text(side.and_then(|side| side.histogram.quantile(quantile))));
            let moved = comparison.quantile(quantile);
            let is_supported = change.count >= events_min && change.reference_count >= events_min;
            FigureRow {
                change: moved.map(|moved| change_text::quantile(&moved, &label, name)),
                value: moved.map(|moved| moved.bins.to_string()),
                label,
                here,
                other,
                is_supported,
            }
        }));
        let means = sides.map(|side| side.and_then(|side| side.histogram.mean_ns()));
        if means.iter().any(Option::is_some) {
            let ratio = means[0].zip(means[1]).filter(|(_, other)| *other > 0.0).map(|(here, other)| here / other);
            let [here, other] = means.map(|value| value.map_or_else(|| NO_VALUE.to_owned(), |ns| mean(ns).thin()));
            let tooltip = "the sum that the source reports, divided by the number of events".to_owned();
            let text = |ratio| ChangeText { main: change_text::times(ratio), aside: String::new(), tooltip };
            rows.push(FigureRow {
                label: "mean".to_owned(),
                here,
                other,
                value: ratio.map(|ratio| ratio.to_string()),
                change: ratio.map(text),
                is_supported: true,
            });
        }
    }
    rows.push(plain_row("events", sides.map(|side| side.map(|side| format::count(side.count)))));
    let known = |side: &ViewStatistics| format!("{} of {}\u{2009}s", side.covered_seconds, side.window_seconds);
    rows.push(plain_row("known", sides.map(|side| side.map(known))));
    let throughputs = sides.map(|side| side.and_then(|side| side.throughput));
    let rate = RateChange::between(throughputs[0], throughputs[1]);
    let [here, other] = throughputs.map(|throughput| {
        throughput
            .map_or_else(|| NO_VALUE.to_owned(), |throughput| format!("{}/s", format::rate(throughput.median).thin()))
    });
    rows.push(FigureRow {
        label: "median rate".to_owned(),
        here,
        other,
        value: rate.and_then(|rate| rate.ratio()).map(|ratio| ratio.to_string()),
        change: rate.map(|rate| change_text::rate(&rate, name)),
        is_supported: true,
    });
    rows
}

/// The percentiles of the page and the typed ones, ascending: name, quantile, number of events that it needs.
fn percentiles(typed: &[TypedPercentile]) -> Vec<(String, Quantile, u128)> {
    let fixed = PERCENTILES.iter().map(|shown| (shown.label.to_owned(), shown.quantile, shown.events_min));
    let typed = typed.iter().map(|typed| (typed.label(), typed.quantile(), typed.events_min()));
    let mut all: Vec<(String, Quantile, u128)> = fixed.chain(typed).collect();
    all.sort_by_key(|(_, quantile, _)| *quantile);
    all.dedup_by_key(|(_, quantile, _)| *quantile);
    all
}

/// A row whose sides differ in length, so that a change would mean nothing.
fn plain_row(label: &str, sides: [Option<String>; 2]) -> FigureRow {
    let [here, other] = sides.map(|side| side.unwrap_or_else(|| NO_VALUE.to_owned()));
    FigureRow { label: label.to_owned(), here, other, change: None, value: None, is_supported: true }
}

/// The difference heatmap with a crosshair and a readout.
#[component]
fn DifferencePanel(viewed: Viewed) -> impl IntoView {
    let ui = viewed.ui;
    let hover = RwSignal::new(None);
    let id = ui.frame_loop.new_chart_id();
    let set_hover = move |second: Option<u64>| {
        if second != hover.get_untracked() {
            hover.set(second);
            ui.frame_loop.repaint_chart(id);
        }
    };
    let on_pointer = move |event: PointerEvent| {
        let canvas = event_target::<HtmlCanvasElement>(&event);
        let size = Size { width: canvas.client_width().into(), height: canvas.client_height().into() };
        set_hover(viewed.difference(None).and_then(|chart| chart.second_at(f64::from(event.offset_x()), size)));
    };
    let on_keydown = move |event: KeyboardEvent| {
        let Some(chart) = viewed.difference(None) else { return };
        let last = chart.columns.last().map_or(chart.to, |column| column.second);
        if let Some(next) = crosshair_after(&event, hover.get_untracked(), last, (chart.from, chart.to)) {
            set_hover(next);
        }
    };
    let values = Memo::new(move |_| {
        ui.frame_loop.tick.track();
        let second = hover.get();
        viewed.difference(None).map(|chart| readout(&chart, second)).unwrap_or_default()
    });
    let label = Signal::derive(move || {
        let values = values.get().into_iter().map(|(name, text)| format!("{name} {text}"));
        format!("Difference of the shares over time: {}", values.collect::<Vec<_>>().join(", "))
    });
    let draw = move |size| {
        let name = viewed.reference_name_untracked().unwrap_or_default();
        viewed.difference(hover.get_untracked()).map(|chart| chart.draw(size, &name))
    };
    let value = |(name, text): (&'static str, String)| {
        view! {
            <div>
                <dt use:text_content=name.to_owned()></dt>
                <dd use:text_content=text></dd>
            </div>
        }
    };
    view! {
        <section class="panel chart-panel" data-testid="difference">
            <header>
                <h2>"Difference over time"</h2>
                <dl class="readout">{move || values.get().into_iter().map(value).collect_view()}</dl>
                <DownloadMenu
                    app=viewed.app
                    view=format!("{}: Difference over time", export_tables::view_name(&viewed.key.read_value()))
                    table=move || viewed.difference(None).map(|chart| export_tables::difference_table(&chart))
                    chart=id
                />
            </header>
            <TimeSelection axis=Rc::new(move |size| viewed.difference(None).map(|chart| chart.axis(size))) crosshair=hover>
                <Chart
                    class="difference"
                    label
                    draw
                    id
                    attr:tabindex="0"
                    attr:title="The share of a column's events in each bin, minus the share on the other side. \
                    Drag to show a range of time."
                    on:pointermove=on_pointer
                    on:pointerdown=on_pointer
                    on:pointerleave=move |event: PointerEvent| if is_hovering(&event) { set_hover(None) }
                    on:keydown=on_keydown
                />
            </TimeSelection>
            <ChartTable table=move || Some(table(&viewed.difference(None)?))/>
        </section>
    }
}

/// The values of the column at `second`, or of the last column.
fn readout(chart: &Difference, second: Option<u64>) -> Vec<(&'static str, String)> {
    let column = second.map_or_else(|| chart.columns.last(), |second| chart.column_at(second));
    let time = second.unwrap_or_else(|| column.map_or(chart.to, |column| column.second));
    let mut values = vec![("", chart.utc_offsets.time(time))];
    let Some(column) = column else {
        values.push(("", "nothing to compare".to_owned()));
        return values;
    };
    let row = row_of(chart, column);
    values.extend(HEADS.into_iter().zip(row).skip(1));
    values
}

/// The values of a column.
const HEADS: [&str; 6] = ["second", "events", "other side", "more of", "less of", "distance"];

fn row_of(chart: &Difference, column: &DifferenceColumn) -> [String; 6] {
    let differences = column.differences(chart.grid);
    let extreme = |sign: f64| {
        let largest = differences.iter().copied().max_by(|(_, a), (_, b)| (a * sign).total_cmp(&(b * sign)));
        let (bin, difference) = largest.filter(|(_, difference)| difference * sign > 0.0)?;
        let range = units::range(column.current.range_of(bin)).thin();
        let size = percent_text(difference.abs() * 100.0);
        Some(format!("{range} by {size}"))
    };
    let [more, less] = [1.0, -1.0].map(|sign| extreme(sign).unwrap_or_else(|| NO_VALUE.to_owned()));
    let distance = column.comparison().distance().map(|distance| percent_text(distance.share * 100.0));
    [
        chart.utc_offsets.time(column.second),
        format::count(column.current.count()),
        format::count(column.reference.count()),
        more,
        less,
        distance.unwrap_or_else(|| NO_VALUE.to_owned()),
    ]
}

fn table(chart: &Difference) -> PlainTable {
    let rows = chart.columns.iter().rev().map(|column| row_of(chart, column).to_vec());
    PlainTable { heads: HEADS.to_vec(), rows: rows.collect() }
}

/// The table below the percentile curve with both sides.
pub(super) fn percentile_table(histogram: &Histogram, reference: &Histogram, typed: &[TypedPercentile]) -> PlainTable {
    let comparison = Comparison::new(histogram, reference);
    let rows = percentiles(typed).into_iter().map(|(label, quantile, _)| {
        let [here, other] = [histogram, reference].map(|side| side.quantile(quantile));
        let exact = [here, other].map(|range| range.map(exact_range).unwrap_or_default());
        let change = comparison.quantile(quantile).map(|change| change_text::quantile(&change, &label, ""));
        let change = change.map_or_else(|| NO_VALUE.to_owned(), |text| format!("{} {}", text.main, text.aside));
        let [exact_here, exact_other] = exact;
        vec![label, range_text(here), range_text(other), change, exact_here, exact_other]
    });
    let heads = vec!["percentile", "this", "other side", "change", "exactly", "exactly, other side"];
    PlainTable { heads, rows: rows.collect() }
}

/// The table below the bars with both sides.
pub(super) fn bar_table(histogram: &Histogram, reference: &Histogram, set: BinSet) -> PlainTable {
    let [bars, others] = bar_chart::paired_bars(histogram, reference, set);
    let rows = bars.into_iter().zip(others).map(|(bar, other)| {
        let percent = |share: f64| format!("{share:.4}");
        let low = format!("{} ns", format::count(bar.low.into()));
        let counts = [bar.count, other.count].map(format::count);
        let [here, there] = counts;
        vec![bar.label, low, here, percent(bar.percent), there, percent(other.percent)]
    });
    let heads = vec!["latency", "from", "events", "percent", "events, other side", "percent, other side"];
    PlainTable { heads, rows: rows.collect() }
}
