//! Series of one log: their numbers, and the feeds that receive their updates.
//!
//! A number is never reused, so a reference to it stays valid after its series has expired.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashMap, HashSet, HashTable};
use joey_shared::series::{Filter, Provenance, SeriesKey};
use joey_shared::wire::{BatchHead, SeriesEntry, Update};

use crate::data_point::DataPoint;

/// All series of one log.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    by_number: HashMap<u32, Series>,
    /// Numbers in the order in which the series were added.
    order: BTreeMap<u64, u32>,
    /// Numbers by a hash of all names, which avoids owned keys. Empty in replicas.
    by_identity: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Number of series of each provenance.
    by_provenance: BTreeMap<Provenance, usize>,
    /// Next free number.
    next: u32,
    /// Number of series ever added.
    added: u64,
    /// Increases with every change.
    version: u64,
}

/// One series.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) entry: SeriesEntry,
    /// Position of the worker's clock in the log; `None` in a replica.
    pub(super) clock: Option<u32>,
    /// When the newest frame arrived, and its period in ns.
    pub(super) last_received_ns: u64,
    pub(super) period_ns: u64,
    /// filtered feeds that receive its updates.
    feeds: Vec<u32>,
    /// Number of series that were added before it.
    position: u64,
}

/// Series names that a feed has not announced yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) entries: Vec<SeriesEntry>,
    /// Number of series that had been added at the time of the lookup.
    pub(super) added: u64,
}

/// Snapshot of the series that match a filter.
#[derive(Debug, Default)]
pub(super) struct MatchingSeries {
    numbers: HashSet<u32>,
    pub(super) names: Names,
}

impl MatchingSeries {
    pub(super) fn contains(&self, number: u32) -> bool {
        self.numbers.contains(&number)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

impl SeriesTable {
    /// Returns the number of the series of `point`, if the series exists.
    pub(super) fn find(&self, point: &DataPoint<'_>) -> Option<u32> {
        let is_same = |number: &u32| {
            self.by_number.get(number).is_some_and(|series| {
                series.entry.provenance == point.provenance && identity_of(&series.entry) == identity(point)
            })
        };
        self.by_identity.find(self.hasher.hash_one(identity(point)), is_same).copied()
    }

    /// Whether a free number is left.
    pub(super) const fn has_number(&self) -> bool {
        self.next < u32::MAX
    }

    /// Adds the series of `point` and returns its number.
    pub(super) fn add(&mut self, point: &DataPoint<'_>, clock: u32, now_ns: u64) -> u32 {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        let [category, pipeline, worker, name] =
            [point.category, point.pipeline, point.worker, point.name].map(str::to_owned);
        let key = SeriesKey { category, pipeline, worker, name };
        let entry = SeriesEntry { number, id: point.id, provenance: point.provenance, key };
        self.insert(entry, Some(clock), now_ns);
        self.index(number, self.hasher.hash_one(identity(point)));
        number
    }

    /// Adds a series with its number from the journal. An earlier series of the same identity is no longer found.
    pub(super) fn recover(&mut self, entry: SeriesEntry, clock: u32, now_ns: u64) {
        let number = entry.number;
        let hash = self.hasher.hash_one(identity_of(&entry));
        let Self { by_number, by_identity, .. } = self;
        let is_same = |known: &u32| {
            by_number.get(known).is_some_and(|known| {
                known.entry.provenance == entry.provenance && identity_of(&known.entry) == identity_of(&entry)
            })
        };
        if let Ok(earlier) = by_identity.find_entry(hash, is_same) {
            earlier.remove();
        }
        self.insert(entry, Some(clock), now_ns);
        self.reserve_numbers(number.saturating_add(1));
        self.index(number, hash);
    }

    /// Number of the next new series.
    pub(super) const fn next_number(&self) -> u32 {
        self.next
    }

    /// New series get numbers from `next` on.
    pub(super) fn reserve_numbers(&mut self, next: u32) {
        self.next = self.next.max(next);
    }

    /// Moves the times of all series back by `ns`.
    pub(super) fn shift_back(&mut self, ns: u64) {
        for series in self.by_number.values_mut() {
            series.last_received_ns = series.last_received_ns.saturating_sub(ns);
        }
    }

    /// Makes an existing series known by the hash of its identity.
    fn index(&mut self, number: u32, hash: u64) {
        let Self { by_number, hasher, by_identity, .. } = self;
        let rehash =
            |number: &u32| by_number.get(number).map_or(0, |series| hasher.hash_one(identity_of(&series.entry)));
        by_identity.insert_unique(hash, number, rehash);
    }

    /// Adds a series with a number from another relay.
    pub(super) fn insert(&mut self, entry: SeriesEntry, clock: Option<u32>, now_ns: u64) {
        let (number, position) = (entry.number, self.added);
        self.order.insert(position, number);
        *self.by_provenance.entry(entry.provenance).or_default() += 1;
        let series = Series { entry, clock, last_received_ns: now_ns, period_ns: 0, feeds: Vec::new(), position };
        self.by_number.insert(number, series);
        self.added += 1;
        self.version += 1;
    }

    pub(super) fn get(&self, number: u32) -> Option<&Series> {
        self.by_number.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Series> {
        self.by_number.get_mut(&number)
    }

    /// Whether `updates` of another process can be those of the batch `head`: numbered within its range in ascending order,
    /// and of known series.
    pub(super) fn are_updates_of(&self, head: &BatchHead, updates: &[Update]) -> bool {
        let is_valid =
            |update: &Update| (head.from..=head.to).contains(&update.seq) && self.get(update.series).is_some();
        updates.iter().all(is_valid) && updates.is_sorted_by(|one, next| one.seq < next.seq)
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// The different provenances of the series, in ascending order of their sources.
    pub(super) fn provenances(&self) -> impl Iterator<Item = &Provenance> {
        self.by_provenance.keys()
    }

    /// Number of series ever added.
    pub(super) const fn added(&self) -> u64 {
        self.added
    }

    /// Increases with every change.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// All series in the order in which they were added.
    pub(super) fn entries(&self) -> impl Iterator<Item = &SeriesEntry> {
        self.added_since(0)
    }

    /// Existing series that were added after the first `added`.
    pub(super) fn added_since(&self, added: u64) -> impl Iterator<Item = &SeriesEntry> {
        let numbers = self.order.range(added..).map(|(_, number)| number);
        numbers.filter_map(|number| self.by_number.get(number)).map(|series| &series.entry)
    }

    /// Existing series that were added after the first `added` and match `filter`.
    pub(super) fn names_since(&self, added: u64, filter: &Filter) -> Names {
        let entries = self.added_since(added).filter(|entry| filter.matches(&entry.key)).cloned().collect();
        Names { entries, added: self.added }
    }

    /// Series that match `filter`. The names exclude the first `announced` series.
    pub(super) fn matching(&self, filter: &Filter, announced: u64) -> MatchingSeries {
        let numbers = self.entries().filter(|entry| filter.matches(&entry.key)).map(|entry| entry.number).collect();
        MatchingSeries { numbers, names: self.names_since(announced, filter) }
    }

    // === filtered feeds ===

    /// Adds `feed` to the series with this number.
    pub(super) fn add_feed(&mut self, number: u32, feed: u32) {
        if let Some(series) = self.by_number.get_mut(&number) {
            series.feeds.push(feed);
        }
    }

    /// Adds `feed` to all series that `filter` admits.
    pub(super) fn add_feed_to_matching(&mut self, filter: &Filter, feed: u32) {
        let admitted = self.by_number.values_mut().filter(|series| filter.matches(&series.entry.key));
        admitted.for_each(|series| series.feeds.push(feed));
    }

    /// Removes `feed` from all series.
    pub(super) fn remove_feed(&mut self, feed: u32) {
        self.by_number.values_mut().for_each(|series| series.feeds.retain(|&other| other != feed));
    }

    /// filtered feeds that receive updates of the series with this number.
    pub(super) fn feeds_of(&self, number: u32) -> &[u32] {
        self.by_number.get(&number).map_or(&[], |series| &series.feeds)
    }

    // === expiry ===

    /// Removes and returns every series for which `should_expire` holds.
    pub(super) fn expire(&mut self, should_expire: impl Fn(&Series) -> bool) -> Vec<Series> {
        let Self { by_number, order, by_identity, hasher, by_provenance, .. } = self;
        let expired: Vec<u32> =
            by_number.iter().filter(|(_, series)| should_expire(series)).map(|(&number, _)| number).collect();
        let expired: Vec<Series> = expired
            .into_iter()
            .filter_map(|number| {
                let series = by_number.remove(&number)?;
                order.remove(&series.position);
                if let Some(count) = by_provenance.get_mut(&series.entry.provenance) {
                    *count -= 1;
                }
                let hash = hasher.hash_one(identity_of(&series.entry));
                if let Ok(known) = by_identity.find_entry(hash, |&known| known == number) {
                    known.remove();
                }
                Some(series)
            })
            .collect();
        if !expired.is_empty() {
            by_provenance.retain(|_, count| *count > 0);
            self.version += 1;
            let length = self.by_number.len();
            if self.by_number.capacity() > 4 * length {
                self.by_number.shrink_to(2 * length);
                let Self { by_number, by_identity, hasher, .. } = self;
                let hash = |number: &u32| {
                    by_number.get(number).map_or(0, |series| hasher.hash_one(identity_of(&series.entry)))
                };
                by_identity.shrink_to(2 * length, hash);
            }
        }
        expired
    }
}

/// Identity of a series, together with its provenance: all names and the producer's ID.
type Identity<'a> = (&'a str, &'a str, &'a str, &'a str, u16);

const fn identity<'a>(point: &DataPoint<'a>) -> Identity<'a> {
    (point.category, point.pipeline, point.worker, point.name, point.id)
}

fn identity_of(entry: &SeriesEntry) -> Identity<'_> {
    let key = &entry.key;
    (&key.category, &key.pipeline, &key.worker, &key.name, entry.id)
}
