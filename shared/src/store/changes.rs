//! Which seconds have changed since a revision, so that what was computed from earlier seconds need not be computed again.

use alloc::collections::VecDeque;

/// Maximum number of remembered changes.
const CHANGES_MAX: usize = 256;

/// The changes of the seconds of a store.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    /// Changes before and in this revision are not known.
    known_after: u64,
    /// Revisions with the first second that changed in them, both in ascending order. A change is forgotten when a later one
    /// has an earlier second: whoever asks for changes since then gets the earlier second anyway.
    changes: VecDeque<(u64, u64)>,
}

impl Changes {
    /// No changes after `revision`.
    pub(super) const fn new(revision: u64) -> Self {
        Self { known_after: revision, changes: VecDeque::new() }
    }

    /// In `revision`, which is later than all others, seconds from `second` on have changed.
    pub(super) fn record(&mut self, revision: u64, second: u64) {
        while self.changes.back().is_some_and(|&(_, other)| other >= second) {
            self.changes.pop_back();
        }
        self.changes.push_back((revision, second));
        if self.changes.len() > CHANGES_MAX
            && let Some((revision, _)) = self.changes.pop_front()
        {
            self.known_after = revision;
        }
    }

    /// The first second that has changed after `revision`; `u64::MAX` if there is none, 0 if it is unknown.
    pub(super) fn since(&self, revision: u64) -> u64 {
        if revision < self.known_after {
            return 0;
        }
        let at = self.changes.partition_point(|&(other, _)| other <= revision);
        self.changes.get(at).map_or(u64::MAX, |&(_, second)| second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_change_is_found_or_unknown(seconds in prop::collection::vec(1..2_000_u64, 1..600), since in 0..700_u64) {
            let mut changes = Changes::new(5);
            let mut all = alloc::vec::Vec::new();
            for (at, &second) in seconds.iter().enumerate() {
                // Most seconds are near the newest one.
                let second = if second % 7 == 0 { second } else { 2_000 + at as u64 };
                all.push((6 + at as u64, second));
                changes.record(6 + at as u64, second);
            }
            let first = all.iter().filter(|(revision, _)| *revision > since).map(|&(_, second)| second).min();
            let found = changes.since(since);
            prop_assert!(found == first.unwrap_or(u64::MAX) || (found == 0 && since < changes.known_after));
            prop_assert!(changes.changes.len() <= CHANGES_MAX);
        }
    }
}
