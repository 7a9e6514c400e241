//! The ranges of a log that a viewer has received, and for which topics.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::series::{Filter, SeriesKey};

/// Maximum number of received ranges of one log. A viewer has few topics, and adjacent ranges are merged.
const RANGES_MAX: usize = 4_096;

/// The received ranges of one log. Adjacent ranges of a topic are merged, so there are few.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReceivedRanges(Vec<ReceivedRange>);

/// A range of a log that was received for one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ReceivedRange {
    filter: Filter,
    /// First and last number.
    from: u64,
    to: u64,
    /// Whether it was received as rollups, which do not list the updates they contain.
    is_rollup: bool,
}

/// Series that were received before for a range or for a part of it.
#[derive(Clone, Debug)]
pub(crate) struct AlreadyReceived {
    /// The series.
    pub(crate) filter: Filter,
    /// Whether they were received for the whole range.
    pub(crate) is_whole: bool,
}

impl ReceivedRanges {
    /// Whether these are not more than a viewer has. A recording can contain anything.
    pub(super) fn is_valid(&self) -> bool {
        self.0.len() <= RANGES_MAX
    }

    /// Records that the range `from..=to` was received for the topic of `filter`.
    pub(crate) fn record(&mut self, filter: &Filter, from: u64, to: u64, is_rollup: bool) {
        let ranges = &mut self.0;
        // It usually continues the last range.
        let is_adjacent = |range: &ReceivedRange| {
            range.is_rollup == is_rollup
                && range.filter == *filter
                && from <= range.to.saturating_add(1)
                && range.from <= to.saturating_add(1)
        };
        if let Some(range) = ranges.iter_mut().rev().find(|range| is_adjacent(range)) {
            (range.from, range.to) = (range.from.min(from), range.to.max(to));
            return;
        }
        if ranges.len() == RANGES_MAX {
            ranges.remove(0);
        }
        ranges.push(ReceivedRange { filter: filter.clone(), from, to, is_rollup });
    }

    /// Returns the series of the topic of `filter` that were received before for at least a part of `from..=to`.
    pub(crate) fn already_received(&self, filter: &Filter, from: u64, to: u64) -> Vec<AlreadyReceived> {
        let overlapping = self.0.iter().filter(|range| range.from <= to && from <= range.to);
        overlapping
            .filter_map(|range| {
                // Of two topics, one contains the other, or they have no series in common.
                let filter = if range.filter.covers(filter) {
                    filter
                } else if filter.covers(&range.filter) {
                    &range.filter
                } else {
                    return None;
                };
                Some(AlreadyReceived { filter: filter.clone(), is_whole: range.from <= from && to <= range.to })
            })
            .collect()
    }

    /// Whether the update `seq` of series `key` is part of a rollup that was received.
    pub(crate) fn is_in_rollup(&self, seq: u64, key: &SeriesKey) -> bool {
        let mut rollups = self.0.iter().filter(|range| range.is_rollup);
        rollups.any(|rollup| (rollup.from..=rollup.to).contains(&seq) && rollup.filter.matches(key))
    }
}
