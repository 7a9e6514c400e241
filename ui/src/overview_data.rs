//! What the landing page shows of the operations of all applications: those that changed most, the slowest and the busiest.
//!
//! An operation is a pipeline, an operation of a service, or a computation if the landing page has it.

use joey_shared::histogram::{Quantile, QuantileRange};
use joey_shared::store::AppStore;
use joey_shared::view::{Kind, ViewKey};

use crate::recent_change::RecentChange;
use crate::statistics::rates;

/// Maximum number of operations that are looked at. A landing page with more is still quick.
const OPERATIONS_MAX: usize = 1_000;
/// Maximum number of operations whose change is computed: the busiest.
const COMPARED_MAX: usize = 200;
/// The number of rows of each list.
pub const LISTED: usize = 8;
/// Maximum number of small charts.
pub const CHARTS_MAX: usize = 24;
/// The minimum distance of the distributions in the list of changes. With many events, chance explains no more than a
/// fraction of this.
const DISTANCE_MIN: f64 = 0.05;
/// The minimum number of events for a 99th percentile.
const EVENTS_MIN: u128 = 100;

/// One operation of an application.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// The application.
    pub app: String,
    /// The view.
    pub key: ViewKey,
    /// The index of the view in the store.
    pub view_index: usize,
    /// The number of events in the window.
    pub count: u128,
    /// The median.
    pub p50: Option<QuantileRange>,
    /// The 99th percentile.
    pub p99: Option<QuantileRange>,
    /// Events per second lately.
    pub rate: Option<f64>,
    /// How the end of the window differs from the rest of it.
    pub change: Option<RecentChange>,
}

impl Operation {
    /// Its name on screen.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key
            .pipeline
            .as_deref()
            .filter(|_| self.key.kind == Kind::StartToEnd)
            .or(self.key.name.as_deref())
            .unwrap_or("")
    }
}

/// The lists of the landing page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overview {
    /// What changed most lately, beyond chance.
    pub changed: Vec<Operation>,
    /// The highest 99th percentiles.
    pub slowest: Vec<Operation>,
    /// The highest rates.
    pub busiest: Vec<Operation>,
    /// Those with a small chart, grouped by application.
    pub charted: Vec<Operation>,
}

/// The operations of `app`.
pub fn operations(app: &str, store: &mut AppStore) -> Vec<Operation> {
    let is_operation = |key: &ViewKey| matches!(key.kind, Kind::StartToEnd | Kind::Computation);
    let views = store.views_by_key().filter(|(_, view)| is_operation(&view.key));
    let views: Vec<(usize, ViewKey)> =
        views.map(|(view_index, view)| (view_index, view.key.clone())).take(OPERATIONS_MAX).collect();
    let operation = |(view_index, key): (usize, ViewKey)| {
        let histogram = store.histogram(view_index);
        Operation {
            app: app.to_owned(),
            key,
            view_index,
            count: histogram.count(),
            p50: histogram.quantile(Quantile::P50),
            p99: histogram.quantile(Quantile::P99),
            rate: rates(store, &[view_index]).recent(),
            change: None,
        }
    };
    views.into_iter().map(operation).filter(|operation| operation.count > 0).collect()
}

/// The lists of `operations`. `change` returns the change of one of them.
pub fn overview(
    mut operations: Vec<Operation>,
    mut change: impl FnMut(&Operation) -> Option<RecentChange>,
) -> Overview {
    operations.sort_by(|a, b| b.rate.unwrap_or(0.0).total_cmp(&a.rate.unwrap_or(0.0)));
    operations.truncate(OPERATIONS_MAX);
    for operation in operations.iter_mut().take(COMPARED_MAX) {
        operation.change = change(operation);
    }
    let busiest: Vec<Operation> = operations.iter().take(LISTED).cloned().collect();
    let rank = |operation: &Operation| operation.change.as_ref().and_then(RecentChange::rank);
    let is_listed = |operation: &&Operation| rank(operation).is_some_and(|rank| rank >= DISTANCE_MIN);
    let mut changed: Vec<Operation> = operations.iter().filter(is_listed).cloned().collect();
    changed.sort_by(|a, b| rank(b).unwrap_or(0.0).total_cmp(&rank(a).unwrap_or(0.0)));
    changed.truncate(LISTED);
    let p99 = |operation: &Operation| operation.p99.map(|range| (range.high, range.low));
    let mut slowest: Vec<Operation> =
        operations.iter().filter(|operation| operation.count >= EVENTS_MIN).cloned().collect();
    slowest.sort_by_key(|operation| core::cmp::Reverse(p99(operation)));
    slowest.truncate(LISTED);
    let mut charted: Vec<Operation> = operations.into_iter().take(CHARTS_MAX).collect();
    charted.sort_by(|a, b| (&a.app, &a.key).cmp(&(&b.app, &b.key)));
    Overview { changed, slowest, busiest, charted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fine_update, service_of, store_of, update};
    use joey_shared::wire::Update;

    #[test]
    fn the_slowest_the_busiest_and_what_changed_are_first() {
        let durations = |second: u64| if second > 540 { 9_000_000 } else { 1_000_000 };
        let mut seq = 0;
        let mut next = |series, second, durations: &[u64]| {
            seq += 1;
            fine_update(seq, series, second, durations)
        };
        let mut updates: Vec<Update> = (301..=600).map(|second| next(0, second, &[durations(second); 4])).collect();
        updates.extend((301..=600).map(|second| next(3, second, &[70_000_000; 2])));
        updates.extend((301..=600).map(|second| next(2, second, &[5; 9])));
        let mut store = service_of(&updates);
        let mut rare = store_of(&[update(1, 2, 100, &[900_000_000; 3])]);
        let mut all = operations("Shop", &mut store);
        all.extend(operations("Rare", &mut rare));
        assert_eq!(all.len(), 4);
        let overview = overview(all, |operation| {
            (operation.app == "Shop").then(|| RecentChange::of(&mut store, operation.view_index)).flatten()
        });
        let names = |list: &[Operation]| list.iter().map(|one| one.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&overview.changed), ["GET /"]);
        assert_eq!(overview.changed[0].change.as_ref().unwrap().text().0, "slower");
        // Too few events for a 99th percentile.
        assert_eq!(names(&overview.slowest), ["render", "GET /", "GET / spans"]);
        assert_eq!(names(&overview.busiest), ["GET / spans", "GET /", "render", "p"]);
        assert_eq!(names(&overview.charted), ["p", "GET /", "GET / spans", "render"]);
    }
}
