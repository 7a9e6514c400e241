//! The data of each chart, read from a store.

use joey_shared::store::AppStore;
use joey_shared::view::Kind;
use joey_shared::window::{SLOT_NS, second_of};

use crate::chart::timeline::{Column, Timeline};
use crate::statistics::{RateSeries, ingestion_views, missing_seconds, rates};
use crate::time_format::UtcOffsets;

/// The first and last second of the window.
#[must_use]
pub fn window_range(store: &AppStore) -> (u64, u64) {
    let to = second_of(store.clock_ns());
    ((to + 1).saturating_sub(store.seconds()), to)
}

/// The timeline of the view at `view_index`. `hover` is the second under the crosshair.
pub fn timeline(
    store: &mut AppStore,
    view_index: usize,
    utc_offsets: UtcOffsets,
    hover: Option<u64>,
) -> Option<Timeline> {
    let view = store.views().get(view_index)?;
    let (key, period_seconds) = (view.key.clone(), (view.period_ns / SLOT_NS).max(1));
    let (from, to) = window_range(store);
    let through = store.through_second();
    let complete = rates(store, &[view_index]);
    let ingestion = (key.kind == Kind::StartToEnd)
        .then(|| ingestion_views(store, key.pipeline.as_deref()))
        .filter(|views| !views.is_empty())
        .map(|views| rates(store, &views));
    let missing = missing_seconds(store, from, to);
    let total = store.histogram(view_index);
    let window = store.window_at(view_index);
    let first = window.first_second();
    let mut partial = RateSeries { start_second: (through + 1).max(from), values: Vec::new() };
    if first.is_some_and(|first| first <= to) && through < to {
        window.for_each_rate(partial.start_second..=to, |_, rate| partial.values.push(rate));
    }
    let mut columns: Vec<Column> = Vec::new();
    let mut previous = from.saturating_sub(1);
    window.for_each_column(from..=to, |second, width, histogram| {
        let width = period_seconds.max(width).min(second.saturating_sub(previous)).max(1);
        // The bins of the window are the coarsest of all its periods.
        let histogram =
            if histogram.grid() == total.grid() { histogram.clone() } else { histogram.in_grid(total.grid()) };
        let sum_ns = histogram.sum_ns;
        let histogram = histogram.with_statistics(u64::MAX, 0, sum_ns);
        columns.push(Column { second, width, histogram });
        previous = second;
    });
    Some(Timeline {
        from,
        to,
        through,
        first,
        has_latency: key.kind.has_latency(),
        columns,
        total,
        rates: complete,
        partial,
        ingestion,
        missing,
        utc_offsets,
        hover,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fine_update, service_of, store_of, update};
    use joey_shared::histogram::{Grid, Histogram, Unit};
    use joey_shared::view::ViewKey;
    use joey_shared::wire::Update;

    #[test]
    fn a_timeline_has_periods_rates_and_a_partial_end() {
        let mut store = store_of(&[
            update(1, 2, 100, &[5; 4]),
            update(2, 2, 102, &[5, 9]),
            update(3, 2, 110, &[9]),
            update(4, 3, 110, &[1; 6]),
        ]);
        let view_index = store.find(&ViewKey::pipeline("p")).unwrap();
        let chart = timeline(&mut store, view_index, UtcOffsets::default(), None).unwrap();
        assert_eq!((chart.to, chart.through, chart.first), (110, 108, Some(99)));
        let columns: Vec<_> = chart.columns.iter().map(|column| (column.second, column.width)).collect();
        assert_eq!(columns, [(100, 2), (102, 2), (110, 2)]);
        assert_eq!(chart.rates.values, [2.0, 2.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!((chart.partial.start_second, chart.partial.values.as_slice()), (109, &[0.5, 0.5][..]));
        assert_eq!(chart.ingestion_at(109), None);
        assert!(timeline(&mut store, 99, UtcOffsets::default(), None).is_none());
    }

    #[test]
    fn periods_have_the_bins_of_the_window() {
        let coarse = Grid::new(0, Unit::Seconds).unwrap();
        let histogram = Histogram::from_counts(coarse, coarse.bin_of(1_000_000), [1]);
        let mut store =
            service_of(&[fine_update(1, 0, 100, &[1_000_000; 3]), Update { histogram, ..fine_update(2, 0, 102, &[]) }]);
        let chart = timeline(&mut store, 0, UtcOffsets::default(), None).unwrap();
        assert_eq!(chart.total.grid(), coarse);
        let counts = chart.columns.iter().map(|column| column.histogram.count_at(coarse.bin_of(1_000_000)));
        assert_eq!(counts.collect::<Vec<_>>(), [3, 1]);
        // Without the coarse period, the fine bins are shown.
        let mut store = service_of(&[fine_update(1, 0, 100, &[1_000_000; 3])]);
        let chart = timeline(&mut store, 0, UtcOffsets::default(), None).unwrap();
        assert_eq!((chart.total.grid().scale(), chart.columns[0].histogram.grid()), (3, chart.total.grid()));
        assert_eq!(chart.columns[0].histogram.mean_ns(), Some(1_000_000.0));
    }

    #[test]
    fn counts_have_a_timeline_without_latency() {
        let mut store = store_of(&[update(1, 3, 100, &[5; 4])]);
        let view_index = ingestion_views(&store, Some("p"))[0];
        assert!(!timeline(&mut store, view_index, UtcOffsets::default(), None).unwrap().has_latency);
        assert_eq!(window_range(&store), (0, 100));
    }
}
