//! The clocks of the workers of one log, for as long as a worker has series.

use std::collections::HashMap;

use super::worker_clock::WorkerClock;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    all: Vec<Entry>,
    of_worker: HashMap<String, u32>,
    /// Positions in `all` that can be used again.
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Entry {
    clock: WorkerClock,
    /// How many series are read by it.
    series: usize,
}

impl Clocks {
    /// The position of the clock of `worker` for one more series, made if need be.
    pub(super) fn enter(&mut self, worker: &str) -> u32 {
        let at = if let Some(&at) = self.of_worker.get(worker) {
            at
        } else {
            let at = self.free.pop().unwrap_or_else(|| {
                self.all.push(Entry::default());
                u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
            });
            self.of_worker.insert(worker.to_owned(), at);
            at
        };
        if let Some(entry) = self.all.get_mut(at as usize) {
            entry.series += 1;
        }
        at
    }

    /// One series of `worker` is gone. The last one takes the clock with it.
    pub(super) fn leave(&mut self, worker: &str) {
        let Some(&at) = self.of_worker.get(worker) else { return };
        let Some(entry) = self.all.get_mut(at as usize) else { return };
        entry.series = entry.series.saturating_sub(1);
        if entry.series == 0 {
            *entry = Entry::default();
            self.of_worker.remove(worker);
            self.free.push(at);
        }
    }

    /// The clock at a position that [`Clocks::enter`] gave.
    pub(super) fn at(&mut self, at: u32) -> &mut WorkerClock {
        &mut self.all[at as usize].clock
    }

    /// Whether the clock at this position holds frames.
    pub(super) fn holds(&self, at: u32) -> bool {
        self.all.get(at as usize).is_some_and(|entry| entry.clock.held() > 0)
    }

    /// The clock of `worker`, if it has one.
    pub(super) fn of(&self, worker: &str) -> Option<&WorkerClock> {
        let &at = self.of_worker.get(worker)?;
        self.all.get(at as usize).map(|entry| &entry.clock)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.of_worker.len()
    }

    /// The positions of all whose frames have waited too long at `now_ns`.
    pub(super) fn due(&self, now_ns: u64) -> Vec<u32> {
        let due = (0..).zip(&self.all).filter(|(_, entry)| entry.clock.is_due(now_ns));
        due.map(|(at, _)| at).collect()
    }

    /// Workers whose offset has changed since the last call, with the offset.
    pub(super) fn changed_offsets(&mut self) -> Vec<(String, i64)> {
        let Self { all, of_worker, .. } = self;
        let news = |(worker, at): (&String, &u32)| {
            let offset_ns = all.get_mut(*at as usize)?.clock.news()?;
            Some((worker.clone(), offset_ns))
        };
        of_worker.iter().filter_map(news).collect()
    }
}
