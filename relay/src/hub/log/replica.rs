//! A log as a replica of another relay's log: it applies batches of the origin in order and reports gaps.

use bytes::Bytes;
use joey_shared::series::Filter;
use joey_shared::wire::{BatchHead, Blob, SeriesEntry, Update};

use super::super::batch::{CutTime, EncodedUpdates};
use super::super::feed::Feed;
use super::super::peers::{ApplyOutcome, ReplicaError};
use super::super::rollup;
use super::Log;

impl Log {
    /// Adds the series names of the origin. A series number stands for one series only and is never reused.
    pub(in crate::hub) fn add_names(
        &mut self,
        series: &[SeriesEntry],
        reserve: impl Fn() -> bool,
    ) -> Result<ApplyOutcome, ReplicaError> {
        let added_before = self.series.added();
        let received_ns = self.received_ns;
        for entry in series {
            match self.series.get_mut(entry.number) {
                Some(known) if known.entry == *entry => known.last_received_ns = received_ns,
                Some(_) => return Err(ReplicaError::Malformed),
                None if !reserve() => return Err(ReplicaError::Limit),
                None => {
                    self.series.insert(entry.clone(), None, received_ns);
                    self.add_to_matching_feeds(entry.number);
                }
            }
        }
        Ok(if self.series.added() > added_before { ApplyOutcome::Applied } else { ApplyOutcome::Duplicate })
    }

    /// Checks whether a message with this head is next in the log. An empty replica can start anywhere. If the message
    /// is next, adds the series names in it.
    fn check_position(&mut self, head: &BatchHead, reserve: impl Fn() -> bool) -> Result<ApplyOutcome, ReplicaError> {
        let &BatchHead { from, to, .. } = head;
        if from == 0 || to < from || to == u64::MAX {
            return Err(ReplicaError::Malformed);
        }
        if self.head == 0 && self.whole.is_unused() {
            self.head = from - 1;
            self.feeds_mut().for_each(|feed| feed.skip_to(from));
        }
        let outcome = outcome_of_range(self.head + 1, from, to);
        if outcome == ApplyOutcome::Applied {
            self.add_names(&head.series, reserve)?;
        }
        Ok(outcome)
    }

    /// Sets the receive time of the data that is applied next. A viewer is not late for data that this relay did not
    /// have.
    pub(in crate::hub) fn set_received_at(&mut self, now_ns: u64) {
        self.received_ns = now_ns;
        self.feeds_mut().for_each(|feed| feed.set_received_at(now_ns));
    }

    /// Applies a batch of the origin. Returns the bytes added.
    pub(in crate::hub) fn apply_batch(
        &mut self,
        head: &BatchHead,
        updates: Blob<'_>,
        reserve: impl Fn() -> bool,
    ) -> Result<(ApplyOutcome, u64), ReplicaError> {
        let outcome = self.check_position(head, reserve)?;
        if outcome != ApplyOutcome::Applied {
            return Ok((outcome, 0));
        }
        let behind_ns = self.received_ns.wrapping_sub(head.cut_ns).cast_signed();
        self.origin_behind_ns = Some(self.origin_behind_ns.map_or(behind_ns, |known_ns| known_ns.min(behind_ns)));
        let all: Vec<Update> = head.read(updates).collect::<Result<_, _>>().map_err(|_| ReplicaError::Malformed)?;
        if !self.series.are_updates_of(head, &all) {
            return Err(ReplicaError::Malformed);
        }
        self.mark_received(&all);
        let new: Vec<Update> = all.into_iter().filter(|update| update.seq > self.head).collect();
        let names = self.series.names_since(self.whole.announced(), &Filter::All);
        let cut = CutTime::of_history(head.cut_ns);
        let mut bytes = if head.from == self.head + 1 {
            let encoded = EncodedUpdates { end_ns: head.end_ns, period_ns: head.period_ns, updates };
            self.whole.cut_encoded(&encoded, names, head.to, cut)
        } else {
            self.whole.cut(new.iter(), names, head.to, cut)
        };
        bytes += self.cut_filtered_feeds(&new, head.to, cut).bytes;
        self.head = head.to;
        self.last_received_ns = self.last_received_ns.max(head.cut_ns);
        Ok((ApplyOutcome::Applied, bytes))
    }

    /// Records that the series of `updates` have been received.
    fn mark_received(&mut self, updates: &[Update]) {
        for update in updates {
            if let Some(series) = self.series.get_mut(update.series) {
                (series.last_received_ns, series.period_ns) = (self.received_ns, update.period_ns);
            }
        }
    }

    /// Applies a rollup of the origin. Returns the bytes added. A rollup whose numbers are partly known cannot be
    /// split, so its remaining numbers become a gap.
    pub(in crate::hub) fn apply_rollup(
        &mut self,
        head: &BatchHead,
        updates: Blob<'_>,
        reserve: impl Fn() -> bool,
    ) -> Result<(ApplyOutcome, u64), ReplicaError> {
        let outcome = self.check_position(head, reserve)?;
        if outcome != ApplyOutcome::Applied {
            return Ok((outcome, 0));
        }
        if head.from <= self.head {
            return Ok(self.apply_gap(self.head + 1, head.to));
        }
        let items: Vec<Update> = head.read(updates).collect::<Result<_, _>>().map_err(|_| ReplicaError::Malformed)?;
        self.mark_received(&items);
        let covered = self.head;
        let Self { whole, filtered_feeds, series, last_received_ns, .. } = self;
        let all = rollup::filtered(whole.number(), head, updates, |_| true);
        let mut bytes = whole.append_rollup(all);
        for feed in filtered_feeds.values_mut() {
            let matches = |number: u32| series.feeds_of(number).contains(&feed.number());
            let rollup = rollup::filtered(feed.number(), head, updates, matches);
            let names = series.names_since(feed.announced(), feed.filter());
            bytes += feed.cut_empty(names, covered, *last_received_ns);
            bytes += feed.append_rollup(rollup);
        }
        self.head = head.to;
        Ok((ApplyOutcome::Applied, bytes))
    }

    /// Skips numbers that no relay has any more.
    pub(in crate::hub) fn apply_gap(&mut self, from: u64, to: u64) -> (ApplyOutcome, u64) {
        if self.whole.is_unused() {
            return (ApplyOutcome::Duplicate, 0);
        }
        let outcome = outcome_of_range(self.head + 1, from, to);
        if outcome != ApplyOutcome::Applied {
            return (outcome, 0);
        }
        let Self { filtered_feeds, series, head, last_received_ns, .. } = self;
        let cover = |feed: &mut Feed| {
            let names = series.names_since(feed.announced(), feed.filter());
            feed.cut_empty(names, *head, *last_received_ns)
        };
        let bytes = filtered_feeds.values_mut().map(cover).sum();
        self.head = to;
        self.feeds_mut().for_each(|feed| feed.skip_to(to + 1));
        (outcome, bytes)
    }

    /// Converts `ns` from our clock to the clock of the relay that cut the batches of this log.
    pub(in crate::hub) const fn to_origin_clock(&self, ns: u64) -> u64 {
        match self.origin_behind_ns {
            Some(behind_ns) => ns.saturating_add_signed(behind_ns.saturating_neg()),
            None => ns,
        }
    }

    /// All messages after number `after`, or all messages if it is 0. Also returns the first number that they cover.
    pub(in crate::hub) fn messages_after(&self, after: u64) -> (Vec<Bytes>, u64) {
        let begins = if after == 0 {
            self.whole.oldest_with_rollups()
        } else {
            self.whole.first_readable(after.saturating_add(1))
        };
        (self.whole.messages_from(begins), begins)
    }
}

/// Outcome for a message that covers `from..=to` if `next` is the first missing number.
const fn outcome_of_range(next: u64, from: u64, to: u64) -> ApplyOutcome {
    if to < next {
        ApplyOutcome::Duplicate
    } else if from > next {
        ApplyOutcome::Gap { from: next, to: from - 1 }
    } else {
        ApplyOutcome::Applied
    }
}
