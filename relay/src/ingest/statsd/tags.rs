//! Which sets of tags are series of their own.

use std::collections::HashMap;

/// Maximum number of sets of tags of one metric of one application. Further sets are counted together as `other`.
pub(super) const SETS_PER_METRIC_MAX: usize = 100;
/// Maximum number of sets of tags over all metrics: about 4 MB, and 16 MB with the longest names.
const SETS_MAX: usize = 20_000;
/// Periods after which an unused set is forgotten: 10 min.
const UNUSED_PERIODS_MAX: u64 = 600;

/// The sets of tags that are series of their own.
#[derive(Debug, Default)]
pub(super) struct TagSets {
    /// The period in which each set was used last.
    used: HashMap<TagSet, u64>,
    /// Number of sets of each metric.
    sets: HashMap<(String, String), usize>,
    period: u64,
}

/// A set of tags of one metric.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TagSet {
    app: String,
    metric: String,
    tags: String,
}

impl TagSets {
    /// Whether this set of tags is a series of its own. Adds it if there is room.
    pub(super) fn admits(&mut self, app: &str, metric: &str, tags: &str) -> bool {
        let [app, metric, tags] = [app, metric, tags].map(str::to_owned);
        let set = TagSet { app, metric, tags };
        if let Some(used) = self.used.get_mut(&set) {
            *used = self.period;
            return true;
        }
        if self.used.len() >= SETS_MAX {
            return false;
        }
        let sets = self.sets.entry((set.app.clone(), set.metric.clone())).or_default();
        if *sets >= SETS_PER_METRIC_MAX {
            return false;
        }
        *sets += 1;
        self.used.insert(set, self.period);
        true
    }

    /// Begins the next period.
    pub(super) fn next_period(&mut self) {
        self.period += 1;
        if !self.period.is_multiple_of(UNUSED_PERIODS_MAX / 10) {
            return;
        }
        let Self { used, sets, period } = self;
        used.retain(|_, used| *period - *used < UNUSED_PERIODS_MAX);
        sets.clear();
        for TagSet { app, metric, .. } in used.keys() {
            *sets.entry((app.clone(), metric.clone())).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_a_limited_number_of_sets_until_they_are_unused() {
        let mut sets = TagSets::default();
        let admitted = |sets: &mut TagSets, metric: &str, from: usize| {
            (from..from + 200).filter(|set| sets.admits("app", metric, &set.to_string())).count()
        };
        assert_eq!(admitted(&mut sets, "a", 0), SETS_PER_METRIC_MAX);
        assert_eq!(admitted(&mut sets, "a", 0), SETS_PER_METRIC_MAX, "known sets stay");
        assert_eq!(admitted(&mut sets, "a", 1_000), 0);
        assert_eq!(admitted(&mut sets, "b", 0), SETS_PER_METRIC_MAX, "another metric has its own limit");
        for _ in 0..2 * UNUSED_PERIODS_MAX {
            sets.next_period();
        }
        assert_eq!(admitted(&mut sets, "a", 1_000), SETS_PER_METRIC_MAX);
    }

    #[test]
    fn the_number_of_sets_is_limited_over_all_metrics() {
        let mut sets = TagSets::default();
        let admitted = (0..2 * SETS_MAX).filter(|set| sets.admits("app", &(set / 50).to_string(), &set.to_string()));
        assert_eq!(admitted.count(), SETS_MAX);
    }
}
