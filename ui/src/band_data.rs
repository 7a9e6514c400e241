//! The latencies of a view over time in a few slices, for small charts: the ranges of the median and the 99th percentile of each.

use joey_shared::histogram::{Histogram, Quantile, QuantileRange};
use joey_shared::store::AppStore;
use joey_shared::window::SLOT_NS;

use crate::chart::latency_axis::{LatencyRange, log2};
use crate::chart_data::window_range;

/// About how many slices a window has.
const SLICES: u64 = 30;

/// A slice of time and the ranges of its percentiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slice {
    /// Its last second. All slices are equally long.
    pub to: u64,
    /// The range of the median.
    pub p50: QuantileRange,
    /// The range of the 99th percentile.
    pub p99: QuantileRange,
    /// The number of events.
    pub count: u128,
}

/// The slices of a window. A slice without events is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Band {
    /// The first second of the window.
    pub from: u64,
    /// The last second of the window.
    pub to: u64,
    /// The length of a slice in seconds.
    pub slice_seconds: u64,
    /// The slices, in order.
    pub slices: Vec<Slice>,
}

impl Band {
    /// The band of the view at `view_index`.
    pub fn of(store: &mut AppStore, view_index: usize) -> Option<Self> {
        let period = store.views().get(view_index)?.period_ns.div_ceil(SLOT_NS);
        let (from, to) = window_range(store);
        let slice_seconds = slice_seconds(store.seconds(), period);
        let mut band = Self { from, to, slice_seconds, slices: Vec::new() };
        let mut open: Option<(u64, Histogram)> = None;
        store.window_at(view_index).for_each_column(from..=to, |second, _, histogram| {
            // Slices end at multiples of their length, so that they stay as they are while the window moves on.
            let end = second.next_multiple_of(slice_seconds);
            match &mut open {
                Some((open_end, sum)) if *open_end == end => sum.merge(histogram),
                _ => {
                    band.close(open.take());
                    open = Some((end, histogram.clone()));
                }
            }
        });
        band.close(open);
        Some(band)
    }

    fn close(&mut self, open: Option<(u64, Histogram)>) {
        let Some((to, histogram)) = open else { return };
        if let (Some(p50), Some(p99)) = (histogram.quantile(Quantile::P50), histogram.quantile(Quantile::P99)) {
            self.slices.push(Slice { to, p50, p99, count: histogram.count() });
        }
    }

    /// The latencies from the lowest median to the highest 99th percentile.
    #[must_use]
    pub fn range(&self) -> Option<LatencyRange> {
        let range = |slice: &Slice| LatencyRange { low: log2(slice.p50.low.into()), high: log2(slice.p99.high) };
        self.slices.iter().map(range).reduce(LatencyRange::union)
    }
}

/// The length of a slice of a window of `seconds`, in seconds. It is a multiple of the period, so that each has as many.
fn slice_seconds(seconds: u64, period: u64) -> u64 {
    let wanted = seconds.div_ceil(SLICES).max(1);
    // The oldest seconds of a long window are in steps of ten.
    let wanted = if wanted > 10 { wanted.next_multiple_of(10) } else { wanted };
    wanted.next_multiple_of(period.clamp(1, wanted.max(10)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fine_update, service_of};

    #[test]
    fn slices_add_up_their_seconds_exactly() {
        let updates: Vec<_> = (1..=100)
            .filter(|second| !(41..=60).contains(second))
            .map(|second| {
                fine_update(second, 0, 1_000 + second, &[1_000_000, 8_000_000][..1 + usize::from(second > 90)])
            })
            .collect();
        let mut store = service_of(&updates);
        let band = Band::of(&mut store, 0).unwrap();
        assert_eq!((band.from, band.to, band.slice_seconds), (801, 1_100, 10));
        let ends: Vec<u64> = band.slices.iter().map(|slice| slice.to).collect();
        assert_eq!(ends, [1_010, 1_020, 1_030, 1_040, 1_070, 1_080, 1_090, 1_100]);
        assert_eq!(band.slices.iter().map(|slice| slice.count).sum::<u128>(), store.histogram(0).count());
        let last = band.slices.last().unwrap();
        assert!(last.p50.low <= 1_000_000 && last.p50.high >= 1_000_000 && last.p99.high >= 8_000_000);
        let range = band.range().unwrap();
        assert!(range.low < 20.0 && range.high > 22.5, "{range:?}");
        // The last slice is the same in a window that is a few seconds on.
        assert_eq!(Band::of(&mut store, 3).unwrap(), Band { slices: Vec::new(), ..band });
    }

    #[test]
    fn a_slice_has_whole_periods() {
        let seconds = |window| [1, 2, 10, 60].map(|period| slice_seconds(window, period));
        assert_eq!(seconds(10), [1, 2, 10, 10]);
        assert_eq!(seconds(60), [2, 2, 10, 10]);
        assert_eq!(seconds(300), [10, 10, 10, 10]);
        assert_eq!(seconds(3_600), [120, 120, 120, 120]);
    }
}
