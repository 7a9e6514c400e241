//! By how much a row of a table differs from its reference, and the order of rows by that.

use core::borrow::Borrow;

use joey_shared::compare::{Change, Comparison, QuantileChange, RateChange};
use joey_shared::histogram::Quantile;

use crate::statistics::{PERCENTILES, ViewStatistics};
use crate::table_rows::{Sort, TableRow};
use crate::typed_percentile::TypedPercentile;

/// A column of changes that a table can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeColumn {
    /// The distance of the distributions.
    Distance,
    /// A percentile, by its index in [`PERCENTILES`].
    Percentile(usize),
    /// A percentile that the user typed.
    Typed(TypedPercentile),
    /// The rate.
    Rate,
}

/// The percentiles with a column of changes, by their indices in [`PERCENTILES`]: p50 and p99.
pub const CHANGE_PERCENTILES: [usize; 2] = [0, 2];

/// By how much one view differs from its reference.
#[derive(Clone, Debug, PartialEq)]
pub struct RowChange {
    /// The latency; `None` if a side lacks it.
    pub latency: Option<LatencyChange>,
    /// The rate; `None` if a side lacks it.
    pub rate: Option<RateChange>,
    /// Whether the reference does not have the view.
    pub is_new: bool,
}

/// By how much the latency of one view differs.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyChange {
    /// The distance.
    pub change: Change,
    /// The changes of [`PERCENTILES`].
    pub quantiles: [Option<QuantileChange>; PERCENTILES.len()],
    /// The changes of the typed percentiles.
    pub typed: Vec<(TypedPercentile, Option<QuantileChange>)>,
    /// Whether one side had finer bins than those that are compared.
    pub is_folded: bool,
    /// Whether every count is compared in the bin that its duration belongs to.
    pub is_exact: bool,
}

impl RowChange {
    /// Compares the statistics of a view with those of its reference; `None` if the reference does not have the view.
    #[must_use]
    pub fn between(current: &ViewStatistics, reference: Option<&ViewStatistics>, typed: &[TypedPercentile]) -> Self {
        let Some(reference) = reference else { return Self { latency: None, rate: None, is_new: true } };
        let has_latency = current.quantiles[0].is_some() && reference.quantiles[0].is_some();
        let latency = has_latency.then(|| LatencyChange::between(current, reference, typed));
        Self { latency, rate: RateChange::between(current.throughput, reference.throughput), is_new: false }
    }

    /// What rows are ordered by; `None` if there is no such value, or too few events for it.
    #[must_use]
    pub fn rank(&self, column: ChangeColumn) -> Option<f64> {
        let latency = self.latency.as_ref();
        let octaves = |change: QuantileChange| f64::from(change.bins) / f64::from(1_u32 << change.scale);
        match column {
            ChangeColumn::Distance => latency?.change.rank(),
            ChangeColumn::Percentile(index) => {
                let latency = latency.filter(|latency| latency.supports(PERCENTILES[index].events_min))?;
                latency.quantiles[index].map(octaves)
            }
            ChangeColumn::Typed(percentile) => {
                let latency = latency.filter(|latency| latency.supports(percentile.events_min()))?;
                latency.typed_change(percentile).map(octaves)
            }
            ChangeColumn::Rate => self.rate?.ratio(),
        }
    }
}

impl LatencyChange {
    fn between(current: &ViewStatistics, reference: &ViewStatistics, typed: &[TypedPercentile]) -> Self {
        let comparison = Comparison::new(&current.histogram, &reference.histogram);
        let quantile = |quantile: Quantile| comparison.quantile(quantile);
        Self {
            change: comparison.change(),
            quantiles: PERCENTILES.map(|percentile| quantile(percentile.quantile)),
            typed: typed.iter().map(|percentile| (*percentile, quantile(percentile.quantile()))).collect(),
            is_folded: comparison.is_folded(),
            is_exact: comparison.is_exact(),
        }
    }

    /// Whether both sides have at least this number of events.
    #[must_use]
    pub fn supports(&self, events_min: u128) -> bool {
        self.change.count >= events_min && self.change.reference_count >= events_min
    }

    /// The change of a typed percentile.
    #[must_use]
    pub fn typed_change(&self, percentile: TypedPercentile) -> Option<QuantileChange> {
        self.typed.iter().find(|(other, _)| *other == percentile).and_then(|(_, change)| *change)
    }
}

/// `rows` in the order of `column`. Rows without a value, or with too few events, are last in either direction and keep their
/// order.
#[must_use]
pub fn sort_by_change<R: Borrow<TableRow>>(
    rows: Vec<R>,
    sort: Sort,
    column: ChangeColumn,
    mut change: impl FnMut(&TableRow) -> Option<RowChange>,
) -> Vec<R> {
    let ranked = rows.into_iter().map(|row| (change(row.borrow()).and_then(|change| change.rank(column)), row));
    let mut ranked: Vec<(Option<f64>, R)> = ranked.collect();
    ranked.sort_by(|(a, _), (b, _)| match (a, b) {
        (Some(a), Some(b)) if sort.descending => b.total_cmp(a),
        (Some(a), Some(b)) => a.total_cmp(b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    ranked.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::view_statistics;
    use crate::table_rows::{Column, Listing};
    use crate::testing::{store_of, update};
    use joey_shared::compare::Evidence;
    use joey_shared::view::ViewKey;

    /// The statistics of the computation with these durations in one period.
    fn statistics(durations: &[u64]) -> ViewStatistics {
        // A later period makes this one complete.
        let mut store = store_of(&[update(1, 0, 100, durations), update(2, 2, 104, &[1])]);
        let at = store.find(&ViewKey::computation("n")).unwrap();
        view_statistics(&mut store, at).unwrap()
    }

    #[test]
    fn a_row_has_a_change_for_each_column() {
        let typed = TypedPercentile::parse_list("75");
        let (now, before) = (statistics(&[900; 400]), statistics(&[[100; 100], [400; 100]].concat()));
        let change = RowChange::between(&now, Some(&before), &typed);
        let latency = change.latency.as_ref().unwrap();
        assert_eq!(latency.change.evidence, Evidence::Changed);
        assert_eq!(change.rank(ChangeColumn::Distance), Some(1.0));
        // 64–128 ns to 512–1024 ns, and 256–512 ns to the same.
        assert_eq!(change.rank(ChangeColumn::Percentile(0)), Some(3.0));
        assert_eq!(change.rank(ChangeColumn::Percentile(2)), Some(1.0));
        assert_eq!(change.rank(ChangeColumn::Typed(typed[0])), Some(1.0));
        // The 99.9th percentile needs 1,000 events.
        assert_eq!((change.rank(ChangeColumn::Percentile(3)), latency.quantiles[3].map(|q| q.bins)), (None, Some(1)));
        // The median second: 200 a second for two seconds, then none.
        assert!(change.rate.is_some());
    }

    #[test]
    fn what_the_reference_lacks_has_no_change() {
        let now = statistics(&[900; 400]);
        let missing = RowChange::between(&now, None, &[]);
        assert_eq!((missing.latency.is_none(), missing.rate, missing.is_new), (true, None, true));
        let empty = RowChange::between(&now, Some(&statistics(&[])), &[]);
        assert!(empty.latency.is_none() && !empty.is_new);
        assert_eq!(empty.rank(ChangeColumn::Distance), None);
    }

    #[test]
    fn rows_without_a_sound_change_are_last() {
        let store = store_of(&[]);
        let [one] = Listing::Computations.rows(&store).try_into().unwrap();
        let rows: Vec<TableRow> = ["few", "half", "none", "all", "new"]
            .map(|label| TableRow { label: label.to_owned(), ..TableRow::clone(&one) })
            .to_vec();
        let before = statistics(&[100; 400]);
        let change = |row: &TableRow| {
            let half = [[100; 200], [900; 200]].concat();
            let now = match row.label.as_str() {
                "few" => statistics(&[900; 20]),
                "half" => statistics(&half),
                "all" => statistics(&[900; 400]),
                _ => statistics(&[100; 300]),
            };
            Some(RowChange::between(&now, (row.label != "new").then_some(&before), &[]))
        };
        let labels = |descending| {
            let column = ChangeColumn::Distance;
            let sort = Sort { column: Column::Change(column), descending };
            let rows = sort_by_change(rows.clone(), sort, column, change);
            rows.into_iter().map(|row| row.label).collect::<Vec<_>>()
        };
        assert_eq!(labels(true), ["all", "half", "few", "none", "new"]);
        assert_eq!(labels(false), ["half", "all", "few", "none", "new"]);
    }
}
