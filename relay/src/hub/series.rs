//! The series of one log: their numbers, and which feeds their updates pass to.
//!
//! A number is given once and never again, so what was said of it stays true after its series was let go.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashMap, HashSet, HashTable};
use joey_shared::series::{Filter, SeriesKey};
use joey_shared::wire::SeriesEntry;

use crate::data_point::DataPoint;

/// All series of one log.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    by_number: HashMap<u32, Series>,
    /// Numbers in the order in which their series were added here.
    order: BTreeMap<u64, u32>,
    /// Numbers by a hash of all names, which needs no owned key. Replicas have none.
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The next number to give.
    next: u32,
    /// How many were ever added.
    added: u64,
    /// Goes up with every change.
    version: u64,
}

/// One series.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) entry: SeriesEntry,
    /// Which of the log's clocks the ends of its periods are read from; none in a replica.
    pub(super) clock: Option<u32>,
    /// When its newest frame arrived, and the period of that, in ns.
    pub(super) heard_ns: u64,
    pub(super) period_ns: u64,
    /// The feeds of parts that its updates pass to.
    feeds: Vec<u32>,
    /// How many were added before it.
    place: u64,
}

/// Names that a feed has not announced yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) entries: Vec<SeriesEntry>,
    /// How many series had been added when these were looked up.
    pub(super) added: u64,
}

/// The series that pass one filter, as they are at one moment.
#[derive(Debug, Default)]
pub(super) struct Part {
    passing: HashSet<u32>,
    pub(super) names: Names,
}

impl Part {
    pub(super) fn passes(&self, number: u32) -> bool {
        self.passing.contains(&number)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.passing.is_empty()
    }
}

impl SeriesTable {
    /// The number of the series that `metrics` belongs to, if it has one.
    pub(super) fn find(&self, metrics: &DataPoint<'_>) -> Option<u32> {
        let is_same = |number: &u32| {
            self.by_number.get(number).is_some_and(|series| identity_of(&series.entry) == identity(metrics))
        };
        self.numbers.find(self.hasher.hash_one(identity(metrics)), is_same).copied()
    }

    /// Whether there is a number left to give.
    pub(super) const fn has_number(&self) -> bool {
        self.next < u32::MAX
    }

    /// Gives the series that `metrics` belongs to a number.
    pub(super) fn add(&mut self, metrics: &DataPoint<'_>, clock: u32, now_ns: u64) -> u32 {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        let [category, pipeline, worker, name] =
            [metrics.category, metrics.pipeline, metrics.worker, metrics.name].map(str::to_owned);
        let entry = SeriesEntry::new(number, metrics.id, SeriesKey { category, pipeline, worker, name });
        self.insert(entry, Some(clock), now_ns);
        let Self { by_number, hasher, numbers, .. } = self;
        let rehash =
            |number: &u32| by_number.get(number).map_or(0, |series| hasher.hash_one(identity_of(&series.entry)));
        numbers.insert_unique(hasher.hash_one(identity(metrics)), number, rehash);
        number
    }

    /// Adds a series whose number another relay gave.
    pub(super) fn insert(&mut self, entry: SeriesEntry, clock: Option<u32>, now_ns: u64) {
        let (number, place) = (entry.number, self.added);
        self.order.insert(place, number);
        let series = Series { entry, clock, heard_ns: now_ns, period_ns: 0, feeds: Vec::new(), place };
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

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// How many were ever added.
    pub(super) const fn added(&self) -> u64 {
        self.added
    }

    /// Goes up with every change.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Every series in the order in which they were added.
    pub(super) fn entries(&self) -> impl Iterator<Item = &SeriesEntry> {
        self.added_since(0)
    }

    /// Those that were added after the first `added`, as far as they are still there.
    pub(super) fn added_since(&self, added: u64) -> impl Iterator<Item = &SeriesEntry> {
        let numbers = self.order.range(added..).map(|(_, number)| number);
        numbers.filter_map(|number| self.by_number.get(number)).map(|series| &series.entry)
    }

    /// The same, as far as they pass `filter`.
    pub(super) fn names_since(&self, added: u64, filter: &Filter) -> Names {
        let entries = self.added_since(added).filter(|entry| filter.admits(&entry.key)).cloned().collect();
        Names { entries, added: self.added }
    }

    /// What passes `filter`, with those names that a feed of it has not announced that has announced the first `announced`.
    pub(super) fn part(&self, filter: &Filter, announced: u64) -> Part {
        let passing = self.entries().filter(|entry| filter.admits(&entry.key)).map(|entry| entry.number).collect();
        Part { passing, names: self.names_since(announced, filter) }
    }

    // === feeds of parts ===

    /// Updates of the series of `number` pass to `feed` too.
    pub(super) fn pass_to(&mut self, number: u32, feed: u32) {
        if let Some(series) = self.by_number.get_mut(&number) {
            series.feeds.push(feed);
        }
    }

    /// Updates of all series that `filter` admits pass to `feed` too.
    pub(super) fn pass_all_to(&mut self, filter: &Filter, feed: u32) {
        let admitted = self.by_number.values_mut().filter(|series| filter.admits(&series.entry.key));
        admitted.for_each(|series| series.feeds.push(feed));
    }

    /// There is no feed of this number any more.
    pub(super) fn pass_no_more_to(&mut self, feed: u32) {
        self.by_number.values_mut().for_each(|series| series.feeds.retain(|&other| other != feed));
    }

    /// The feeds of parts that updates of the series of `number` pass to.
    pub(super) fn feeds_of(&self, number: u32) -> &[u32] {
        self.by_number.get(&number).map_or(&[], |series| &series.feeds)
    }

    // === letting go ===

    /// Lets go of every series for which `goes` holds, and gives them.
    pub(super) fn let_go(&mut self, goes: impl Fn(&Series) -> bool) -> Vec<Series> {
        let Self { by_number, order, numbers, hasher, .. } = self;
        let gone: Vec<u32> = by_number.iter().filter(|(_, series)| goes(series)).map(|(&number, _)| number).collect();
        let gone: Vec<Series> = gone
            .into_iter()
            .filter_map(|number| {
                let series = by_number.remove(&number)?;
                order.remove(&series.place);
                let hash = hasher.hash_one(identity_of(&series.entry));
                if let Ok(known) = numbers.find_entry(hash, |&known| known == number) {
                    known.remove();
                }
                Some(series)
            })
            .collect();
        if !gone.is_empty() {
            self.version += 1;
            let length = self.by_number.len();
            if self.by_number.capacity() > 4 * length {
                self.by_number.shrink_to(2 * length);
                let Self { by_number, numbers, hasher, .. } = self;
                let hash = |number: &u32| {
                    by_number.get(number).map_or(0, |series| hasher.hash_one(identity_of(&series.entry)))
                };
                numbers.shrink_to(2 * length, hash);
            }
        }
        gone
    }
}

/// What makes two updates one series: all names and the producer's id.
type Identity<'a> = (&'a str, &'a str, &'a str, &'a str, u16);

const fn identity<'a>(metrics: &DataPoint<'a>) -> Identity<'a> {
    (metrics.category, metrics.pipeline, metrics.worker, metrics.name, metrics.id)
}

fn identity_of(entry: &SeriesEntry) -> Identity<'_> {
    let key = &entry.key;
    (&key.category, &key.pipeline, &key.worker, &key.name, entry.id)
}
