//! The tables of the panels as they are saved: exact values, ranges as two columns in ns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use joey_shared::compare::RateChange;
use joey_shared::histogram::{Histogram, Quantile};
use joey_shared::view::{Kind, ViewKey};
use joey_shared::wire::AppEntry;

use super::UiState;
use crate::band_data::Band;
use crate::chart::bar_chart::Bar;
use crate::chart::difference::{Difference, DifferenceColumn};
use crate::chart::timeline::Timeline;
use crate::export::{Cell, ExportTable};
use crate::hour_data::{Hour, Step};
use crate::overview_data::Operation;
use crate::percentile_list::{ShownPercentile, shown_percentiles};
use crate::row_change::RowChange;
use crate::statistics::{self, PERCENTILES, TABLE_PERCENTILES};
use crate::table_rows::TableRow;
use crate::time_format::UtcOffset;
use crate::typed_percentile::TypedPercentile;

fn names(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|column| (*column).to_owned()).collect()
}

/// The names of the percentiles of a table, and their quantiles.
fn table_percentiles(typed: &[TypedPercentile]) -> Vec<(String, Quantile)> {
    let shown = shown_percentiles(TABLE_PERCENTILES, typed).into_iter();
    shown.map(|percentile| (percentile.label(), percentile.quantile())).collect()
}

/// The table of the views in `rows`.
pub(super) fn views_table(ui: UiState, app: &str, rows: &[Arc<TableRow>]) -> ExportTable {
    use leptos::prelude::{GetUntracked, ReadValue, WriteValue};
    let percentiles = table_percentiles(&ui.percentiles.get_untracked());
    let mut columns = names(&["name", "qualifier", "kind", "pipeline", "worker", "metric", "events", "mean_ns"]);
    columns.extend(percentiles.iter().flat_map(|(name, _)| ExportTable::range_columns(name)));
    columns.extend(names(&[
        "min_per_s",
        "median_per_s",
        "max_per_s",
        "min_in_per_s",
        "median_in_per_s",
        "max_in_per_s",
    ]));
    columns.extend(names(&["covered_s", "window_s"]));
    let is_compared = ui.model.read_value().row_reference(app).is_some();
    if is_compared {
        columns.extend(change_columns(&percentiles));
    }
    let typed = ui.percentiles.get_untracked();
    let mut model = ui.model.write_value();
    let mut row = |row: &Arc<TableRow>| {
        let view = model.view_statistics(app, row.view_index)?;
        let ViewKey { kind, pipeline, worker, name } = &row.key;
        let ingestion = if *kind == Kind::StartToEnd {
            statistics::ingestion(model.app_mut(app)?, pipeline.as_deref())
        } else {
            None
        };
        let mut cells = vec![
            Cell::Text(row.label.clone()),
            Cell::name(row.qualifier.as_ref()),
            Cell::Text(kind.as_str().to_owned()),
            Cell::name(pipeline.as_ref()),
            Cell::name(worker.as_ref()),
            Cell::name(name.as_ref()),
            Cell::Integer(view.count),
            Cell::rate(view.histogram.mean_ns().filter(|_| kind.has_latency())),
        ];
        let quantile = |quantile| view.histogram.quantile(quantile).filter(|_| kind.has_latency());
        cells.extend(percentiles.iter().flat_map(|(_, wanted)| Cell::range(quantile(*wanted))));
        for throughput in [view.throughput, ingestion] {
            let values = throughput.map(|throughput| [throughput.min, throughput.median, throughput.max]);
            cells.extend((0..3).map(|index| Cell::rate(values.map(|values| values[index]))));
        }
        cells.extend([view.covered_seconds, view.window_seconds].map(|seconds| Cell::Integer(seconds.into())));
        if is_compared {
            let change = model.row_change(app, row.view_index, &typed)?;
            cells.extend(change_cells(&change, &typed));
        }
        Some(cells)
    };
    ExportTable { columns, rows: rows.iter().filter_map(&mut row).collect() }
}

/// The workers of `app` called `workers`, with the measurements of each.
pub(super) fn workers_table(ui: UiState, app: &str, workers: &[String]) -> ExportTable {
    use leptos::prelude::{GetUntracked, WriteValue};
    let percentiles = table_percentiles(&ui.percentiles.get_untracked());
    let mut columns = names(&["worker", "connected", "since", "returns", "clock_offset_ns", "events", "recent_per_s"]);
    columns.extend(percentiles.iter().flat_map(|(name, _)| ExportTable::range_columns(name)));
    columns.extend(names(&["min_per_s", "median_per_s", "max_per_s", "covered_s", "window_s"]));
    let mut model = ui.model.write_value();
    let mut row = |worker: &String| {
        let entries = &model.catalogue().get(app)?.workers;
        let entry = entries.iter().find(|entry| entry.worker == *worker)?.clone();
        let view_index = model.app(app).and_then(|store| store.find(&ViewKey::worker(worker)));
        let view = view_index.and_then(|view_index| model.view_statistics(app, view_index));
        let view = view.as_ref();
        let integer = |value: Option<u128>| value.map_or(Cell::Missing, Cell::Integer);
        let mut cells = vec![
            Cell::Text(worker.clone()),
            Cell::Flag(entry.connected),
            Cell::Text(UtcOffset::iso(entry.since_ns)),
            Cell::Integer(entry.reconnects.into()),
            Cell::Number(entry.offset_ns as f64),
            integer(view.map(|view| view.count)),
            Cell::rate(view.and_then(|view| view.recent_rate)),
        ];
        let quantile = |quantile| view.and_then(|view| view.histogram.quantile(quantile));
        cells.extend(percentiles.iter().flat_map(|(_, wanted)| Cell::range(quantile(*wanted))));
        let throughput = view.and_then(|view| view.throughput).map(|rates| [rates.min, rates.median, rates.max]);
        cells.extend((0..3).map(|index| Cell::rate(throughput.map(|rates| rates[index]))));
        cells.push(integer(view.map(|view| view.covered_seconds.into())));
        cells.push(integer(view.map(|view| view.window_seconds.into())));
        Some(cells)
    };
    ExportTable { columns, rows: workers.iter().filter_map(&mut row).collect() }
}

/// All applications of the landing page.
pub(super) fn apps_table(ui: UiState) -> ExportTable {
    use leptos::prelude::WriteValue;
    let mut columns = names(&["application", "workers", "workers_connected", "series", "in_per_s", "out_per_s"]);
    columns.extend(names(&["worst_kind", "worst_name"]));
    columns.extend(["p50", "p99"].iter().flat_map(|name| ExportTable::range_columns(name)));
    columns.extend(names(&["approximate", "sampled", "over_limit", "rejected_for_name", "late", "last_received"]));
    let mut model = ui.model.write_value();
    let apps: Vec<AppEntry> = model.catalogue().values().cloned().collect();
    let row = |entry: AppEntry| {
        let statistics = model.app_statistics(&entry.app).unwrap_or_default();
        let worst = statistics.worst_pipeline.or(statistics.slowest_computation);
        let connected = entry.workers.iter().filter(|worker| worker.connected).count();
        let mut cells = vec![
            Cell::Text(entry.app),
            Cell::Integer(entry.workers.len() as u128),
            Cell::Integer(connected as u128),
            Cell::Integer(entry.series.into()),
            Cell::rate(statistics.rate_in),
            Cell::rate(statistics.rate_out),
            worst.as_ref().map_or(Cell::Missing, |worst| Cell::Text(worst.key.kind.as_str().to_owned())),
            worst.as_ref().map_or(Cell::Missing, |worst| Cell::Text(view_name(&worst.key))),
        ];
        cells.extend(Cell::range(worst.as_ref().map(|worst| worst.p50)));
        cells.extend(Cell::range(worst.as_ref().map(|worst| worst.p99)));
        cells.extend([Cell::Flag(entry.is_approximate), Cell::Flag(entry.is_sampled)]);
        cells.extend([entry.over_limit, entry.rejected_for_name, entry.late].map(|count| Cell::Integer(count.into())));
        cells.push(if entry.last_received_ns == 0 {
            Cell::Missing
        } else {
            Cell::Text(UtcOffset::iso(entry.last_received_ns))
        });
        cells
    };
    ExportTable { columns, rows: apps.into_iter().map(row).collect() }
}

/// The cells that identify an operation of the landing page, and their names.
const OPERATION_COLUMNS: [&str; 5] = ["application", "kind", "pipeline", "worker", "name"];

fn operation_cells(operation: &Operation) -> Vec<Cell> {
    let ViewKey { kind, pipeline, worker, name } = &operation.key;
    let mut cells = vec![Cell::Text(operation.app.clone()), Cell::Text(kind.as_str().to_owned())];
    cells.extend([pipeline, worker, name].map(|name| Cell::name(name.as_ref())));
    cells
}

/// A list of operations of the landing page.
pub(super) fn operations_table(operations: &[Operation]) -> ExportTable {
    let mut columns = names(&OPERATION_COLUMNS);
    columns.extend(names(&["events", "recent_per_s"]));
    columns.extend(["p50", "p99"].iter().flat_map(|name| ExportTable::range_columns(name)));
    columns.extend(names(&["change_share", "change_direction"]));
    let row = |operation: &Operation| {
        let mut cells = operation_cells(operation);
        cells.extend([Cell::Integer(operation.count), Cell::rate(operation.rate)]);
        cells.extend([operation.p50, operation.p99].into_iter().flat_map(Cell::range));
        let distance = operation.change.as_ref().and_then(|change| change.change.distance);
        cells.push(Cell::rate(distance.map(|distance| distance.share)));
        let direction = distance.map(|distance| if distance.is_slower { "slower" } else { "faster" });
        cells.push(direction.map_or(Cell::Missing, |direction| Cell::Text(direction.to_owned())));
        cells
    };
    ExportTable { columns, rows: operations.iter().map(row).collect() }
}

/// The slices of the small charts of the landing page.
pub(super) fn bands_table(operations: &[Operation], bands: &BTreeMap<(String, usize), Band>) -> ExportTable {
    let mut columns = names(&OPERATION_COLUMNS);
    columns.extend(names(&["time", "unix_s", "seconds", "events"]));
    columns.extend(["p50", "p99"].iter().flat_map(|name| ExportTable::range_columns(name)));
    let mut rows = Vec::new();
    for operation in operations {
        let Some(band) = bands.get(&(operation.app.clone(), operation.view_index)) else { continue };
        rows.extend(band.slices.iter().map(|slice| {
            let mut cells = operation_cells(operation);
            cells.push(Cell::Text(UtcOffset::iso(slice.to.saturating_mul(1_000_000_000))));
            cells.extend([slice.to, band.slice_seconds].map(|seconds| Cell::Integer(seconds.into())));
            cells.push(Cell::Integer(slice.count));
            cells.extend([slice.p50, slice.p99].into_iter().flat_map(|range| Cell::range(Some(range))));
            cells
        }));
    }
    ExportTable { columns, rows }
}

/// The columns of the changes of a table: the distance, its evidence, and for each percentile the number of bins and the range of
/// ratios.
fn change_columns(percentiles: &[(String, Quantile)]) -> Vec<String> {
    let mut columns = names(&["change_share", "change_direction", "change_evidence", "reference_events"]);
    columns.extend(
        percentiles
            .iter()
            .flat_map(|(name, _)| ["bins", "ratio_low", "ratio_high"].map(|part| format!("{name}_change_{part}"))),
    );
    columns.push("median_rate_ratio".to_owned());
    columns
}

/// The cells of these columns.
fn change_cells(change: &RowChange, typed: &[TypedPercentile]) -> Vec<Cell> {
    let latency = change.latency.as_ref();
    let distance = latency.and_then(|latency| latency.change.distance);
    let text = |text: Option<&str>| text.map_or(Cell::Missing, |text| Cell::Text(text.to_owned()));
    // What is at least a number may be infinite, which CSV and JSON cannot express.
    let number = |number: Option<f64>| number.filter(|number| number.is_finite()).map_or(Cell::Missing, Cell::Number);
    let mut cells = vec![
        number(distance.map(|distance| distance.share)),
        text(distance.map(|distance| if distance.is_slower { "slower" } else { "faster" })),
        text(latency.map(|latency| latency.change.evidence.name())),
        latency.map_or(Cell::Missing, |latency| Cell::Integer(latency.change.reference_count)),
    ];
    let shown = shown_percentiles(TABLE_PERCENTILES, typed).into_iter().map(|percentile| match percentile {
        ShownPercentile::Fixed(index) => latency.and_then(|latency| latency.quantiles[index]),
        ShownPercentile::Typed(typed) => latency.and_then(|latency| latency.typed_change(typed)),
    });
    cells.extend(shown.flat_map(|change| {
        let bins = change.map(|change| f64::from(change.bins));
        [bins, change.map(|change| change.ratio.0), change.map(|change| change.ratio.1)].map(number)
    }));
    cells.push(number(change.rate.as_ref().and_then(RateChange::ratio)));
    cells
}

/// A timeline, with one row for each second and one column for each bin of the heatmap. The latencies of a period are
/// in the row of the second in which it ended, so that counts add up.
pub(super) fn timeline_table(chart: &Timeline) -> ExportTable {
    let bins: Vec<usize> = chart.total.occupied().map(|(bin, _)| bin).filter(|_| chart.has_latency).collect();
    let mut columns = names(&["time", "unix_s", "complete"]);
    columns.extend(chart.ingestion.as_ref().map(|_| "in_per_s".to_owned()));
    columns.push("out_per_s".to_owned());
    if chart.has_latency {
        columns.extend(names(&["period_s", "events"]));
        columns.extend(["p50", "p99"].iter().flat_map(|name| ExportTable::range_columns(name)));
        let grid = chart.total.grid();
        columns.extend(bins.iter().map(|&bin| format!("events_{}_to_{}_ns", grid.low(bin), grid.high(bin))));
    }
    let row = |second: u64| {
        let rate = chart.rate_at(second);
        let mut cells = vec![
            Cell::Text(UtcOffset::iso(second.saturating_mul(1_000_000_000))),
            Cell::Integer(second.into()),
            Cell::Flag(second <= chart.through),
        ];
        cells.extend(chart.ingestion.as_ref().map(|_| Cell::rate(chart.ingestion_at(second))));
        cells.push(Cell::rate(rate.map(|(rate, _)| rate)));
        if chart.has_latency {
            let column = chart.columns.iter().find(|column| column.second == second);
            let histogram = column.map(|column| &column.histogram);
            let integer = |value: Option<u128>| value.map_or(Cell::Missing, Cell::Integer);
            cells.push(integer(column.map(|column| column.width.into())));
            cells.push(integer(histogram.map(Histogram::count)));
            for quantile in [Quantile::P50, Quantile::P99] {
                cells.extend(Cell::range(histogram.and_then(|histogram| histogram.quantile(quantile))));
            }
            cells.extend(bins.iter().map(|&bin| integer(histogram.map(|histogram| histogram.count_at(bin).into()))));
        }
        cells
    };
    let first = chart.first.map_or(chart.to + 1, |first| first.max(chart.from));
    ExportTable { columns, rows: (first..=chart.to).map(row).collect() }
}

/// The difference over time, with one row for each column of the chart, and the differences of the shares in its bins.
pub(super) fn difference_table(chart: &Difference) -> ExportTable {
    let differences: Vec<Vec<(usize, f64)>> =
        chart.columns.iter().map(|column| column.differences(chart.grid)).collect();
    let bins: BTreeSet<usize> = differences.iter().flatten().map(|(bin, _)| *bin).collect();
    let mut columns = names(&["time", "unix_s", "seconds", "events", "reference_events", "distance"]);
    let bin_name = |bin: &usize| format!("share_difference_{}_to_{}_ns", chart.grid.low(*bin), chart.grid.high(*bin));
    columns.extend(bins.iter().map(bin_name));
    let row = |(column, differences): (&DifferenceColumn, &Vec<(usize, f64)>)| {
        let mut cells = vec![
            Cell::Text(UtcOffset::iso(column.second.saturating_mul(1_000_000_000))),
            Cell::Integer(column.second.into()),
            Cell::Integer(column.width.into()),
            Cell::Integer(column.current.count()),
            Cell::Integer(column.reference.count()),
            column.comparison().distance().map_or(Cell::Missing, |distance| Cell::Number(distance.share)),
        ];
        // Bins without events on either side differ by exactly zero.
        let difference =
            |bin: &usize| differences.iter().find(|(other, _)| other == bin).map_or(0.0, |(_, share)| *share);
        cells.extend(bins.iter().map(|bin| Cell::Number(difference(bin))));
        cells
    };
    ExportTable { columns, rows: chart.columns.iter().zip(&differences).map(row).collect() }
}

/// The last hour, with one row for each step of ten seconds.
pub(super) fn hour_table(hour: &Hour) -> ExportTable {
    let mut columns = names(&["time", "unix_s", "per_s"]);
    columns.extend(ExportTable::range_columns("p99"));
    let row = |step: &Step| {
        let time = Cell::Text(UtcOffset::iso(step.to.saturating_mul(1_000_000_000)));
        let mut cells = vec![time, Cell::Integer(step.to.into()), Cell::rate(step.rate)];
        cells.extend(Cell::range(step.p99));
        cells
    };
    ExportTable { columns, rows: hour.steps.iter().map(row).collect() }
}

/// The percentiles of a distribution.
pub(super) fn percentile_table(histogram: &Histogram, typed: &[TypedPercentile]) -> ExportTable {
    let mut percentiles: Vec<(Quantile, u128)> =
        PERCENTILES.iter().map(|percentile| (percentile.quantile, percentile.events_min)).collect();
    percentiles.extend(typed.iter().map(|percentile| (percentile.quantile(), percentile.events_min())));
    percentiles.sort_unstable();
    percentiles.dedup();
    let count = histogram.count();
    let row = |(quantile, events_min): (Quantile, u128)| {
        let [low, high] = Cell::range(histogram.quantile(quantile));
        let percentile = Cell::Number(f64::from(quantile.millionths()) / 10_000.0);
        vec![percentile, low, high, Cell::Integer(count), Cell::Flag(count >= events_min)]
    };
    let columns = names(&["percentile", "low_ns", "high_ns", "events", "enough_events"]);
    ExportTable { columns, rows: percentiles.into_iter().map(row).collect() }
}

/// The bars of a distribution.
pub(super) fn bar_table(bars: &[Bar]) -> ExportTable {
    let row = |bar: &Bar| {
        vec![
            Cell::Integer(bar.low.into()),
            Cell::Integer(bar.high),
            Cell::Integer(bar.count),
            Cell::Number(bar.percent),
            Cell::Number(bar.cumulative_percent),
        ]
    };
    let columns = names(&["low_ns", "high_ns", "events", "percent", "cumulative_percent"]);
    ExportTable { columns, rows: bars.iter().map(row).collect() }
}

/// What a view is called in the name of a file: `Decode on initializer`.
pub(super) fn view_name(key: &ViewKey) -> String {
    let names = [&key.name, &key.pipeline, &key.worker].into_iter().filter_map(|name| name.as_deref());
    names.collect::<Vec<&str>>().join(" on ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart_data::timeline;
    use crate::testing::{store_of, update};
    use crate::time_format::UtcOffsets;

    #[test]
    fn the_counts_of_a_timeline_add_up() {
        let mut store = store_of(&[update(1, 2, 100, &[5, 5, 900]), update(2, 2, 104, &[6]), update(3, 2, 110, &[9])]);
        let view_index = store.find(&ViewKey::pipeline("p")).unwrap();
        let chart = timeline(&mut store, view_index, UtcOffsets::default(), None).unwrap();
        let table = timeline_table(&chart);
        let column = |name: &str| table.columns.iter().position(|column| column == name).unwrap();
        let sum = |name: &str| -> u128 {
            let cells = table.rows.iter().map(|row| &row[column(name)]);
            cells.map(|cell| if let Cell::Integer(count) = cell { *count } else { 0 }).sum()
        };
        assert_eq!((sum("events"), sum("events_4_to_8_ns"), sum("events_512_to_1024_ns")), (5, 3, 1));
        assert_eq!(table.rows[0][0], Cell::Text("1970-01-01T00:01:39Z".to_owned()));
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
    }

    #[test]
    fn percentiles_are_in_order_and_say_if_there_are_too_few_events() {
        let mut histogram = Histogram::default();
        histogram.add(5, 100);
        let typed = TypedPercentile::parse_list("99.95,99");
        let table = percentile_table(&histogram, &typed);
        let rows: Vec<_> = table.rows.iter().map(|row| (row[0].clone(), row[4].clone())).collect();
        let expected = [(50.0, true), (95.0, true), (99.0, true), (99.9, false), (99.95, false), (99.99, false)];
        assert_eq!(rows, expected.map(|(percentile, enough)| (Cell::Number(percentile), Cell::Flag(enough))));
    }
}
