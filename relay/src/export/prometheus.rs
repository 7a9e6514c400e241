//! `/metrics/views`: chosen views as histograms for Prometheus, added up since the relay started.
//!
//! Scrapers that accept the protobuf format receive native histograms. The bins of a native histogram are powers of two
//! of its unit, so each view is exported in the unit of its bins, and no count moves to another bin. All other scrapers
//! receive classic histograms, whose edges are in seconds.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use joey_shared::histogram::{Grid, Histogram, Unit};
use joey_shared::wire::Update;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, NativeHistogram, NativeHistogramBuckets, NoLabelSet, prometheus_protobuf, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::follower::{Followed, Follower};
use super::view_filter::{AppView, ViewFilter};
use crate::hub::Hub;
use crate::metrics::Format;
use crate::runtime::sync::Mutex;

/// Maximum number of exported views. Updates of further ones are not exported and counted.
const VIEWS_MAX: usize = 2_000;
/// Nanoseconds in a second.
const NS_PER_SECOND: f64 = 1e9;
/// Help text of all histograms.
const HELP: &str = "Durations of a view since the relay started";

/// A format of `/metrics/views`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrometheusFormat {
    /// Native histograms in protobuf.
    Native,
    /// Classic histograms in text.
    Classic(Format),
}

impl PrometheusFormat {
    /// The format that a request with these `Accept` headers prefers.
    #[must_use]
    pub fn preferred(accept: &[&str]) -> Self {
        let (mut native, mut others) = (0.0_f32, 0.0_f32);
        for range in accept.iter().flat_map(|list| list.split(',')) {
            let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<String> = parts.collect();
            let quality = parameters.iter().find_map(|parameter| parameter.strip_prefix("q=")?.parse().ok());
            let quality = quality.unwrap_or(1.0);
            let is_set = |name: &str, value: &str| {
                let mut set = parameters.iter().filter_map(|parameter| parameter.strip_prefix(name));
                set.next().is_none_or(|set| set.trim_matches('"') == value)
            };
            if media == "application/vnd.google.protobuf" {
                // The values are compared in lower case.
                if is_set("proto=", "io.prometheus.client.metricfamily") && is_set("encoding=", "delimited") {
                    native = native.max(quality);
                }
            } else if ["application/openmetrics-text", "text/plain"].contains(&media.as_str()) {
                others = others.max(quality);
            }
        }
        if native > 0.0 && native >= others {
            Self::Native
        } else {
            Self::Classic(Format::preferred(accept.iter().copied()))
        }
    }

    /// The media type of this format.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Native => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
            Self::Classic(format) => format.media_type(),
        }
    }
}

/// The exported views.
#[derive(Debug)]
pub struct ViewHistograms {
    hub: Arc<Hub>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    follower: Option<Follower<Vec<Arc<AppView>>>>,
    filter: ViewFilter,
    views: BTreeMap<Arc<AppView>, Exported>,
}

/// The sums of one view.
#[derive(Debug, Default)]
struct Exported {
    /// One histogram for each unit. Nearly all views have one.
    totals: BTreeMap<Unit, Total>,
    updated_ns: u64,
}

/// All counts of a view in one unit.
#[derive(Clone, Debug)]
struct Total {
    histogram: Histogram,
    /// The sum in ns, if all updates have one. Unlike the sum of a histogram it does not saturate within years.
    sum_ns: Option<u128>,
}

impl ViewHistograms {
    /// Starts to add up the views that are chosen in the configuration.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Self {
        let filter = ViewFilter::new(&hub.config().metrics_views);
        let state = State { follower: None, filter, views: BTreeMap::new() };
        Self { hub, state: Mutex::new(state) }
    }

    /// Adds the updates since the last call. Call it more often than the ring buffer loses them.
    pub fn catch_up(&self) {
        let now_ns = self.hub.config().now_ns();
        let State { follower, filter, views } = &mut *self.state.lock();
        if follower.is_none() {
            *follower = Follower::new(&self.hub);
        }
        let Some(follower) = follower else { return };
        let dropped = &self.hub.counters().view_updates_dropped;
        follower.read(
            now_ns,
            |app, _, series| {
                AppView::of_series(app, series).filter(|view| filter.matches(view)).map(Arc::new).collect()
            },
            |chosen, Followed { update, .. }| {
                for view in chosen {
                    if views.len() >= VIEWS_MAX && !views.contains_key(view) {
                        dropped.inc();
                        continue;
                    }
                    views.entry(view.clone()).or_default().add(update, now_ns);
                }
            },
        );
        let retention_ns = self.hub.series_retention_ns();
        views.retain(|_, exported| now_ns.saturating_sub(exported.updated_ns) < retention_ns);
    }

    /// All views in `format`.
    #[must_use]
    pub fn render(&self, format: PrometheusFormat) -> Vec<u8> {
        self.catch_up();
        let mut rows: Vec<Row> = Vec::new();
        for (view, exported) in &self.state.lock().views {
            rows.extend(exported.totals.iter().map(|(&unit, total)| Row {
                view: view.clone(),
                unit,
                total: total.clone(),
            }));
        }
        let mut registry = Registry::with_prefix("joey");
        match format {
            PrometheusFormat::Native => {
                registry.register_collector(Box::new(Native { rows }));
                // A failure is impossible for an output in memory.
                prometheus_protobuf::encode_to_vec(&registry).unwrap_or_default()
            }
            PrometheusFormat::Classic(format) => {
                registry.register_collector(Box::new(Classic { rows }));
                let mut out = String::new();
                let _ = text::encode(&mut out, &registry);
                format.write(out).into_bytes()
            }
        }
    }
}

impl Exported {
    fn add(&mut self, update: &Update, now_ns: u64) {
        self.updated_ns = now_ns;
        let Update { histogram, .. } = update;
        let empty = || Total { histogram: Histogram::new(histogram.grid()), sum_ns: Some(0) };
        let total = self.totals.entry(histogram.grid().unit()).or_insert_with(empty);
        total.histogram.merge(histogram);
        if !histogram.is_empty() {
            total.sum_ns = total.sum_ns.zip(histogram.sum_ns).map(|(sum, more)| sum.saturating_add(more.into()));
        }
    }
}

/// One time series.
#[derive(Debug)]
struct Row {
    view: Arc<AppView>,
    unit: Unit,
    total: Total,
}

impl Row {
    fn labels(&self) -> Vec<(&'static str, String)> {
        let AppView { app, key } = &*self.view;
        let names = [("pipeline", &key.pipeline), ("worker", &key.worker), ("name", &key.name)];
        let names = names.into_iter().filter_map(|(label, name)| Some((label, name.clone()?)));
        [("app", app.clone()), ("kind", key.kind.as_str().to_owned())].into_iter().chain(names).collect()
    }

    fn has_latency(&self) -> bool {
        self.view.key.kind.has_latency()
    }

    fn count(&self) -> u64 {
        u64::try_from(self.total.histogram.count()).unwrap_or(u64::MAX)
    }

    /// The sum in units of `unit_ns` ns. It is not a number if a source reports none: a sum of 0 would be wrong.
    fn sum(&self, unit_ns: f64) -> f64 {
        self.total.sum_ns.map_or(f64::NAN, |sum| sum as f64 / unit_ns)
    }
}

/// Encodes the rows without latencies as counters.
fn encode_counters(encoder: &mut DescriptorEncoder<'_>, rows: &[Row]) -> Result<(), fmt::Error> {
    let rows: Vec<&Row> = rows.iter().filter(|row| !row.has_latency()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let help = "Events of a view without durations since the relay started";
    let mut family = encoder.encode_descriptor("view_events", help, None, MetricType::Counter)?;
    for row in rows {
        family.encode_family(&row.labels())?.encode_counter::<NoLabelSet, _, f64>(&row.count(), None)?;
    }
    Ok(())
}

/// Native histograms.
#[derive(Debug)]
struct Native {
    rows: Vec<Row>,
}

impl Collector for Native {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for unit in Unit::ALL {
            let name = match unit {
                Unit::Nanoseconds => "view_duration_nanoseconds",
                Unit::Microseconds => "view_duration_microseconds",
                Unit::Milliseconds => "view_duration_milliseconds",
                Unit::Seconds => "view_duration_seconds",
            };
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.has_latency() && row.unit == unit).collect();
            if rows.is_empty() {
                continue;
            }
            let mut family = encoder.encode_descriptor(name, HELP, None, MetricType::Histogram)?;
            for row in rows {
                let histogram = &row.total.histogram;
                let (spans, deltas) = native_buckets(histogram);
                let native = NativeHistogram {
                    schema: histogram.grid().scale().into(),
                    // The bin of zero contains nothing else.
                    zero_threshold: 0.0,
                    zero_count: histogram.count_at(0),
                    negative: NativeHistogramBuckets { spans: &[], deltas: &[] },
                    positive: NativeHistogramBuckets { spans: &spans, deltas: &deltas },
                    created: None,
                };
                let sum = row.sum(unit.ns() as f64);
                let labels = row.labels();
                let mut metric = family.encode_family(&labels)?;
                metric.encode_histogram_with_native::<NoLabelSet>(sum, row.count(), &[], None, native)?;
            }
        }
        encode_counters(&mut encoder, &self.rows)
    }
}

/// The occupied bins as spans of consecutive buckets, and the difference of each count from the previous one.
///
/// Prometheus' bucket `i` of schema `s` contains the values above `2^((i - 1) / 2^s)`, so its number is that of
/// OpenTelemetry plus 1.
fn native_buckets(histogram: &Histogram) -> (Vec<(i32, u32)>, Vec<i64>) {
    let (mut spans, mut deltas) = (Vec::<(i32, u32)>::new(), Vec::new());
    let (mut next_index, mut last_count) = (0, 0_i64);
    for (bin, count) in histogram.occupied().filter(|&(bin, _)| bin > 0) {
        // At most 513 bins, and at most 240 below one second.
        let index = i32::try_from(histogram.grid().index_of_bin(bin) + 1).unwrap_or(i32::MAX);
        match spans.last_mut() {
            Some((_, length)) if index == next_index => *length += 1,
            _ => spans.push((index - next_index, 1)),
        }
        next_index = index + 1;
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        deltas.push(count - last_count);
        last_count = count;
    }
    if spans.is_empty() {
        // Prometheus recognizes a native histogram without buckets by an empty span.
        spans.push((0, 0));
    }
    (spans, deltas)
}

/// Classic histograms.
#[derive(Debug)]
struct Classic {
    rows: Vec<Row>,
}

impl Collector for Classic {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let rows = classic_rows(&self.rows);
        let mut ranges: HashMap<Grid, (usize, usize)> = HashMap::new();
        for Row { total: Total { histogram, .. }, .. } in &rows {
            let (first, last) = octaves(histogram);
            let range = ranges.entry(histogram.grid()).or_insert((first, last));
            *range = (range.0.min(first), range.1.max(last));
        }
        if !rows.is_empty() {
            let mut family = encoder.encode_descriptor("view_duration_seconds", HELP, None, MetricType::Histogram)?;
            for row in &rows {
                let histogram = &row.total.histogram;
                let buckets = classic_buckets(histogram, ranges.get(&histogram.grid()).copied().unwrap_or_default());
                let count = buckets.iter().map(|(_, count)| count).sum();
                let labels = row.labels();
                let mut metric = family.encode_family(&labels)?;
                metric.encode_histogram::<NoLabelSet>(row.sum(NS_PER_SECOND), count, &buckets, None)?;
            }
        }
        encode_counters(&mut encoder, &self.rows)
    }
}

/// One row for each view with latencies: its histograms in several units are merged, because their labels are the same.
fn classic_rows(rows: &[Row]) -> Vec<Row> {
    let mut merged: Vec<Row> = Vec::new();
    for row in rows.iter().filter(|row| row.has_latency()) {
        match merged.last_mut() {
            Some(Row { view, total: Total { histogram, sum_ns }, .. }) if *view == row.view => {
                histogram.merge(&row.total.histogram);
                *sum_ns = sum_ns.zip(row.total.sum_ns).map(|(sum, more)| sum.saturating_add(more));
            }
            _ => merged.push(Row { view: row.view.clone(), unit: row.unit, total: row.total.clone() }),
        }
    }
    merged
}

/// The first and the last bin of the octaves around the occupied bins, and of one more on either side.
fn octaves(histogram: &Histogram) -> (usize, usize) {
    let grid = histogram.grid();
    let octave = 1_usize << grid.scale();
    let occupied = || histogram.occupied().map(|(bin, _)| bin).filter(|&bin| bin > 0);
    let (first, last) = (occupied().next().unwrap_or(1), occupied().last().unwrap_or(1));
    let first = ((first - 1) / octave).saturating_sub(1) * octave + 1;
    (first, (((last - 1) / octave + 2) * octave).min(grid.bins() - 1))
}

/// The upper edges in seconds and the counts of the bins from `first` to `last`, after the bin of zero.
///
/// All views with the same bins have the same edges, so that they can be added up by their label `le`. There are more
/// than those with counts: a bucket that appears later would begin with a count that Prometheus does not know as an
/// increase.
fn classic_buckets(histogram: &Histogram, (first, last): (usize, usize)) -> Vec<(f64, u64)> {
    let grid = histogram.grid();
    let edge = |bin: usize| (grid.high(bin) as f64 / NS_PER_SECOND, histogram.count_at(bin));
    let zero = std::iter::once((0.0, histogram.count_at(0)));
    let below = grid.high(first.saturating_sub(1)) as f64 / NS_PER_SECOND;
    let below = (first > 1).then_some((below, 0));
    let above = std::iter::once((f64::INFINITY, 0));
    zero.chain(below).chain((first..=last).map(edge)).chain(above).collect()
}

#[cfg(test)]
mod tests;
