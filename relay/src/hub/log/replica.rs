//! A log as the replica of another relay's: it takes what that has cut, in order, and says what is missing.

use bytes::Bytes;
use joey_shared::series::Filter;
use joey_shared::wire::{BatchHead, Blob, SeriesEntry, Update};

use super::super::batch::Written;
use super::super::feed::Feed;
use super::super::peers::{Accepted, NotTaken};
use super::super::rollup;
use super::Log;

impl Log {
    /// Learns names that another relay gives to the numbers of its log. A number stands for one series only, for ever.
    pub(in crate::hub) fn learn(
        &mut self,
        series: &[SeriesEntry],
        take_place: impl Fn() -> bool,
    ) -> Result<Accepted, NotTaken> {
        let known = self.series.added();
        let came_ns = self.came_ns;
        for entry in series {
            match self.series.get_mut(entry.number) {
                Some(known) if known.entry == *entry => known.heard_ns = came_ns,
                Some(_) => return Err(NotTaken::Malformed),
                None if !take_place() => return Err(NotTaken::Limit),
                None => {
                    self.series.insert(entry.clone(), None, came_ns);
                    self.pass_to_parts(entry.number);
                }
            }
        }
        Ok(if self.series.added() > known { Accepted::Taken } else { Accepted::Again })
    }

    /// Whether something with this head can be taken, as far as its numbers tell; a replica begins anywhere. If so, the names
    /// in it are learnt.
    fn place(&mut self, head: &BatchHead, take_place: impl Fn() -> bool) -> Result<Accepted, NotTaken> {
        let &BatchHead { from, to, .. } = head;
        if from == 0 || to < from || to == u64::MAX {
            return Err(NotTaken::Malformed);
        }
        if self.head == 0 && self.whole.is_blank() {
            self.head = from - 1;
            self.feeds_mut().for_each(|feed| feed.skip_to(from));
        }
        let placed = place_after(self.head + 1, from, to);
        if placed == Accepted::Taken {
            self.learn(&head.series, take_place)?;
        }
        Ok(placed)
    }

    /// What is taken from now on has come at `now_ns`. A viewer is not late with what it could not have had before.
    pub(in crate::hub) fn comes_at(&mut self, now_ns: u64) {
        self.came_ns = now_ns;
        self.feeds_mut().for_each(|feed| feed.comes_at(now_ns));
    }

    /// Takes a batch of the log that this one is a replica of; gives the bytes that it takes.
    pub(in crate::hub) fn accept_batch(
        &mut self,
        head: &BatchHead,
        updates: Blob<'_>,
        take_place: impl Fn() -> bool,
    ) -> Result<(Accepted, u64), NotTaken> {
        let placed = self.place(head, take_place)?;
        if placed != Accepted::Taken {
            return Ok((placed, 0));
        }
        let behind_ns = self.came_ns.wrapping_sub(head.cut_ns).cast_signed();
        self.origin_behind_ns = Some(self.origin_behind_ns.map_or(behind_ns, |known_ns| known_ns.min(behind_ns)));
        let all: Vec<Update> = head.read(updates).collect::<Result<_, _>>().map_err(|_| NotTaken::Malformed)?;
        let numbers = |update: &Update| (head.from..=head.to).contains(&update.seq);
        let is_sound = |update: &Update| numbers(update) && self.series.get(update.series).is_some();
        if !all.iter().all(is_sound) || !all.is_sorted_by_key(|update| update.seq) {
            return Err(NotTaken::Malformed);
        }
        self.heard_now(&all);
        let new: Vec<Update> = all.into_iter().filter(|update| update.seq > self.head).collect();
        let names = self.series.names_since(self.whole.announced(), &Filter::All);
        let mut bytes = if head.from == self.head + 1 {
            let written = Written { end_ns: head.end_ns, period_ns: head.period_ns, updates };
            self.whole.cut_written(&written, names, head.to, head.cut_ns)
        } else {
            self.whole.cut(new.iter(), names, head.to, head.cut_ns)
        };
        bytes += self.cut_parts(&new, head.to, head.cut_ns).bytes;
        self.head = head.to;
        self.heard_ns = self.heard_ns.max(head.cut_ns);
        Ok((Accepted::Taken, bytes))
    }

    /// The series of `updates`, which another relay has sent, have been heard.
    fn heard_now(&mut self, updates: &[Update]) {
        for update in updates {
            if let Some(series) = self.series.get_mut(update.series) {
                (series.heard_ns, series.period_ns) = (self.came_ns, update.period_ns);
            }
        }
    }

    /// Takes a sum of the log that this one is a replica of; gives the bytes that it takes. One that is known in part cannot be
    /// taken apart: the rest of it is a gap.
    pub(in crate::hub) fn accept_sum(
        &mut self,
        head: &BatchHead,
        updates: Blob<'_>,
        take_place: impl Fn() -> bool,
    ) -> Result<(Accepted, u64), NotTaken> {
        let placed = self.place(head, take_place)?;
        if placed != Accepted::Taken {
            return Ok((placed, 0));
        }
        if head.from <= self.head {
            return Ok(self.accept_gap(self.head + 1, head.to));
        }
        let items: Vec<Update> = head.read(updates).collect::<Result<_, _>>().map_err(|_| NotTaken::Malformed)?;
        self.heard_now(&items);
        let covered = self.head;
        let Self { whole, parts, series, heard_ns, .. } = self;
        let all = rollup::filtered(whole.number(), head, updates, |_| true);
        let mut bytes = whole.append_sum(all);
        for part in parts.values_mut() {
            let passes = |number: u32| series.feeds_of(number).contains(&part.number());
            let sum = rollup::filtered(part.number(), head, updates, passes);
            let names = series.names_since(part.announced(), part.filter());
            bytes += part.cover(names, covered, *heard_ns);
            bytes += part.append_sum(sum);
        }
        self.head = head.to;
        Ok((Accepted::Taken, bytes))
    }

    /// Goes on behind numbers that nobody has any more.
    pub(in crate::hub) fn accept_gap(&mut self, from: u64, to: u64) -> (Accepted, u64) {
        if self.whole.is_blank() {
            return (Accepted::Again, 0);
        }
        let placed = place_after(self.head + 1, from, to);
        if placed != Accepted::Taken {
            return (placed, 0);
        }
        let Self { parts, series, head, heard_ns, .. } = self;
        let cover = |part: &mut Feed| {
            let names = series.names_since(part.announced(), part.filter());
            part.cover(names, *head, *heard_ns)
        };
        let bytes = parts.values_mut().map(cover).sum();
        self.head = to;
        self.feeds_mut().for_each(|feed| feed.skip_to(to + 1));
        (placed, bytes)
    }

    /// The time `ns` of our clock by the clock that the batches of this log were cut by.
    pub(in crate::hub) const fn by_origin(&self, ns: u64) -> u64 {
        match self.origin_behind_ns {
            Some(behind_ns) => ns.saturating_add_signed(behind_ns.saturating_neg()),
            None => ns,
        }
    }

    /// Everything after number `after`, or everything for 0, as messages; and the first number that they cover.
    pub(in crate::hub) fn pieces_after(&self, after: u64) -> (Vec<Bytes>, u64) {
        let begins = if after == 0 { self.whole.oldest_of_all() } else { self.whole.begin(after.saturating_add(1)) };
        (self.whole.pieces_from(begins), begins)
    }
}

/// What becomes of `from..=to` where `next` is the first number that is not there yet.
const fn place_after(next: u64, from: u64, to: u64) -> Accepted {
    if to < next {
        Accepted::Again
    } else if from > next {
        Accepted::Gap { from: next, to: from - 1 }
    } else {
        Accepted::Taken
    }
}
