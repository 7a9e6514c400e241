//! Restores a log from the records of the journal.

use joey_shared::series::Filter;
use joey_shared::wire::{BatchHead, Update};

use super::super::batch::{CutTime, EncodedUpdates};
use super::Log;
use crate::journal::BatchRecord;

impl Log {
    /// Appends a batch of the journal. Batches cut before `oldest_ns` only determine numbers, names and clocks. Returns the
    /// bytes and the series added.
    pub(in crate::hub) fn recover(&mut self, batch: &BatchRecord<'_>, oldest_ns: u64) -> (u64, u64) {
        let &BatchRecord { from, to, cut_ns, end_ns, period_ns, series_next, ref names, updates, .. } = batch;
        if from == 0 || to < from || to == u64::MAX || to <= self.head {
            return (0, 0);
        }
        let added_before = self.series.added();
        for entry in names {
            if self.series.get(entry.number).is_none() {
                let clock = self.clocks.add_series(&entry.key.worker);
                self.series.recover(entry.clone(), clock, cut_ns);
            }
        }
        self.series.reserve_numbers(series_next);
        let head = BatchHead { feed: 0, from, to, cut_ns, end_ns, period_ns, series: Vec::new() };
        let all: Result<Vec<Update>, _> = head.read(updates).collect();
        let all = all.ok().filter(|all| self.series.are_updates_of(&head, all)).unwrap_or_default();
        for update in &all {
            if let Some(series) = self.series.get_mut(update.series) {
                (series.last_received_ns, series.period_ns) = (cut_ns, update.period_ns);
                if let Some(clock) = series.clock {
                    self.clocks.get_mut(clock).recover(update.offset_ns, cut_ns);
                }
            }
            self.clock_ns = self.clock_ns.max(update.end_ns);
        }
        self.cut_ns = self.cut_ns.max(cut_ns);
        self.last_received_ns = self.last_received_ns.max(cut_ns);
        self.head = to;
        let series_added = self.series.added() - added_before;
        if cut_ns < oldest_ns || all.is_empty() {
            self.whole.skip_to(to + 1);
            return (0, series_added);
        }
        // Numbers in between are in a damaged part of the journal, or the disk did not take them.
        self.whole.skip_to(from);
        let names = self.series.names_since(self.whole.announced(), &Filter::All);
        let encoded = EncodedUpdates { end_ns, period_ns, updates };
        (self.whole.cut_encoded(&encoded, names, to, CutTime::of_history(self.cut_ns)), series_added)
    }

    /// Ends the recovery at `now_ns`. If the wall clock was set back while the relay was not running, the times of the
    /// history are shifted, so that it is not retained for too long.
    pub(in crate::hub) fn finish_recovery(&mut self, now_ns: u64) {
        self.recovered_through = self.head;
        let ahead_ns = self.cut_ns.saturating_sub(now_ns);
        if ahead_ns > 0 {
            self.cut_ns -= ahead_ns;
            self.last_received_ns = self.last_received_ns.saturating_sub(ahead_ns);
            self.whole.shift_back(ahead_ns);
            self.series.shift_back(ahead_ns);
        }
    }

    /// Last number that was read from the journal.
    pub(in crate::hub) const fn recovered_through(&self) -> u64 {
        self.recovered_through
    }
}
