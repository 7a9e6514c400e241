//! The data points of one resource in one request, added up for each series and period.
//!
//! Several streams are one series if they differ only in attributes that are not part of its name. Adding them up here
//! saves updates.

use std::collections::HashMap;

use joey_shared::histogram::Histogram;
use joey_shared::series::Provenance;

use super::mapping::{Origin, SeriesNames};
use super::outcome::Refusals;
use super::streams::Interval;
use crate::data_point::DataPoint;
use crate::hub::Publisher;
use crate::ingest::wallaroo::PERIOD_NS;
use crate::metrics::RejectReason;

/// A series and a period of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SeriesPeriod {
    pub(super) names: SeriesNames,
    pub(super) provenance: Provenance,
    pub(super) period_ns: u64,
    pub(super) end_ns: u64,
}

impl SeriesPeriod {
    /// The period of an interval, with a length that the relay accepts. Two exports may follow each other within
    /// microseconds when a process ends, and none may lose its counts.
    ///
    /// # Errors
    /// [`RejectReason::BadTime`] if it begins before the Unix epoch.
    pub(super) fn new(
        names: SeriesNames,
        provenance: Provenance,
        Interval { start_ns, end_ns }: Interval,
    ) -> Result<Self, RejectReason> {
        let period_ns = end_ns.saturating_sub(start_ns).clamp(*PERIOD_NS.start(), *PERIOD_NS.end());
        if end_ns < period_ns { Err(RejectReason::BadTime) } else { Ok(Self { names, provenance, period_ns, end_ns }) }
    }
}

/// Histograms to publish.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The histogram of each series and period, and from how many data points or spans it is.
    sums: HashMap<SeriesPeriod, (Histogram, u64)>,
    /// A series that received a data point without counts.
    idle: Option<(SeriesPeriod, Histogram)>,
    /// Whether the resource sent anything that the relay uses, even if it has no counts yet.
    has_data: bool,
}

impl Batch {
    /// The histogram of a series and period, to which one data point or span is about to be added. `empty` is its
    /// initial value.
    pub(super) fn sum(&mut self, series: SeriesPeriod, empty: impl FnOnce() -> Histogram) -> &mut Histogram {
        self.has_data = true;
        let (sum, count) = self.sums.entry(series).or_insert_with(|| (empty(), 0));
        *count += 1;
        sum
    }

    /// Adds the histogram of one data point. An empty one is published if all are empty, because the time of an
    /// idle application goes on as well. To publish every empty one would retain series for ever.
    pub(super) fn add(&mut self, series: SeriesPeriod, histogram: &Histogram) {
        self.has_data = true;
        if !histogram.is_empty() {
            self.sum(series, || Histogram::new(histogram.grid())).merge(histogram);
        } else {
            self.idle = Some((series, Histogram::new(histogram.grid())));
        }
    }

    /// Records that the resource sent the base of a cumulative stream.
    pub(super) const fn add_base(&mut self) {
        self.has_data = true;
    }

    /// Whether it contains no histogram, not even an empty one.
    pub(super) fn is_empty(&self) -> bool {
        self.sums.is_empty() && self.idle.is_none()
    }

    pub(super) const fn has_data(&self) -> bool {
        self.has_data
    }

    /// Number of data points or spans.
    pub(super) fn count(&self) -> u64 {
        self.sums.values().map(|(_, count)| count).sum()
    }

    /// The longest of all periods, in ns; 0 if there is none.
    pub(super) fn longest_period_ns(&self) -> u64 {
        let idle = self.idle.as_ref().map(|(series, _)| series);
        self.sums.keys().chain(idle).map(|series| series.period_ns).max().unwrap_or(0)
    }

    /// Publishes everything, in the order of time.
    pub(super) fn publish(self, mut publisher: Publisher<'_>, origin: &Origin, refusals: &mut Refusals) {
        let mut sums: Vec<(SeriesPeriod, (Histogram, u64))> = self.sums.into_iter().collect();
        if sums.is_empty() {
            sums.extend(self.idle.map(|(series, empty)| (series, (empty, 0))));
        }
        sums.sort_by(|(a, _), (b, _)| (a.end_ns, &a.names).cmp(&(b.end_ns, &b.names)));
        for (SeriesPeriod { names, provenance, period_ns, end_ns }, (histogram, count)) in sums {
            let published = publisher.publish(&DataPoint {
                app: &origin.app,
                name: &names.name,
                category: names.category,
                worker: &origin.worker,
                pipeline: names.pipeline(),
                id: 0,
                provenance,
                histogram,
                period_ns,
                end_ns,
            });
            if let Err(reason) = published {
                refusals.refuse(reason, &names.name, count);
            }
        }
    }
}
