//! Clocks of the workers of one log. A clock exists as long as its worker has series.

use std::collections::HashMap;

use super::worker_clock::WorkerClock;

/// Worker clocks, addressed by position.
#[derive(Debug, Default)]
pub(super) struct WorkerClocks {
    all: Vec<Entry>,
    by_worker: HashMap<String, u32>,
    /// Positions in `all` that can be reused.
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Entry {
    clock: WorkerClock,
    /// Number of series that use this clock.
    series: usize,
}

impl WorkerClocks {
    /// Counts one more series of `worker`. Returns the position of the worker's clock and creates the clock if
    /// necessary.
    pub(super) fn add_series(&mut self, worker: &str) -> u32 {
        let at = if let Some(&at) = self.by_worker.get(worker) {
            at
        } else {
            let at = self.free.pop().unwrap_or_else(|| {
                self.all.push(Entry::default());
                u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
            });
            self.by_worker.insert(worker.to_owned(), at);
            at
        };
        if let Some(entry) = self.all.get_mut(at as usize) {
            entry.series += 1;
        }
        at
    }

    /// Counts one series of `worker` less. Removing the last series removes the clock.
    pub(super) fn remove_series(&mut self, worker: &str) {
        let Some(&at) = self.by_worker.get(worker) else { return };
        let Some(entry) = self.all.get_mut(at as usize) else { return };
        entry.series = entry.series.saturating_sub(1);
        if entry.series == 0 {
            *entry = Entry::default();
            self.by_worker.remove(worker);
            self.free.push(at);
        }
    }

    /// Returns the clock at a position from [`WorkerClocks::add_series`].
    pub(super) fn get_mut(&mut self, at: u32) -> &mut WorkerClock {
        &mut self.all[at as usize].clock
    }

    /// Whether the clock at this position holds frames.
    pub(super) fn holds_frames(&self, at: u32) -> bool {
        self.all.get(at as usize).is_some_and(|entry| entry.clock.held_count() > 0)
    }

    /// Returns the position of the clock of `worker`, if it exists.
    pub(super) fn position_of(&self, worker: &str) -> Option<u32> {
        self.by_worker.get(worker).copied()
    }

    /// Returns the clock of `worker`, if it exists.
    pub(super) fn of_worker(&self, worker: &str) -> Option<&WorkerClock> {
        let &at = self.by_worker.get(worker)?;
        self.all.get(at as usize).map(|entry| &entry.clock)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_worker.len()
    }

    /// Positions of the clocks with frames that have been held for too long at `now_ns`.
    pub(super) fn due(&self, now_ns: u64) -> Vec<u32> {
        let due = (0..).zip(&self.all).filter(|(_, entry)| entry.clock.is_due(now_ns));
        due.map(|(at, _)| at).collect()
    }

    /// Workers whose offset has changed since the last call, with their offsets.
    pub(super) fn changed_offsets(&mut self) -> Vec<(String, i64)> {
        let Self { all, by_worker, .. } = self;
        let changed = |(worker, at): (&String, &u32)| {
            let offset_ns = all.get_mut(*at as usize)?.clock.take_changed_offset()?;
            Some((worker.clone(), offset_ns))
        };
        by_worker.iter().filter_map(changed).collect()
    }
}
