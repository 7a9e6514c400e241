//! Finds the series of a frame by its bytes.
//!
//! A worker sends the same series in every period, so the bytes of a frame before its counts repeat. This prefix is decoded and
//! looked up once. After that only its bytes are compared, which takes a tenth of the time.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Maximum size of the cached prefixes of one connection, enough for about 600. Frames of other series are always decoded.
const BYTES_MAX: usize = 64 * 1024;

/// The cached prefixes of one connection.
#[derive(Debug, Default)]
pub(super) struct SeriesCache {
    /// In the order of their first frames.
    entries: Vec<Entry>,
    /// Positions in `entries`, by the hash of the prefix.
    positions: HashTable<usize>,
    hasher: DefaultHashBuilder,
    bytes: usize,
    /// The expected position of the next frame's prefix: the one after the last hit, because a worker sends its series
    /// in the same order in every period. A hit here saves the hash, which takes 13 of about 300 ns for a frame.
    next: usize,
}

#[derive(Debug)]
struct Entry {
    prefix: Box<[u8]>,
    series: CachedSeries,
}

/// A series of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CachedSeries {
    /// Index of the worker among those of the connection.
    pub(super) worker: usize,
    /// Number of the series in its log.
    pub(super) series: u32,
}

impl SeriesCache {
    /// Returns the series of the frames with this prefix, or `None` if it is not cached.
    pub(super) fn find(&mut self, prefix: &[u8]) -> Option<CachedSeries> {
        let is_same = |at: usize| self.entries.get(at).is_some_and(|entry| *entry.prefix == *prefix);
        let at = if is_same(self.next) {
            self.next
        } else {
            *self.positions.find(self.hasher.hash_one(prefix), |&at| is_same(at))?
        };
        self.next = if at + 1 < self.entries.len() { at + 1 } else { 0 };
        Some(self.entries[at].series)
    }

    /// Adds a prefix if there is room, or replaces the series of a cached one.
    pub(super) fn insert(&mut self, prefix: &[u8], series: CachedSeries) {
        let Self { entries, positions, hasher, .. } = self;
        let is_same = |at: &usize| entries.get(*at).is_some_and(|entry| *entry.prefix == *prefix);
        if let Some(&at) = positions.find(hasher.hash_one(prefix), is_same) {
            entries[at].series = series;
            return;
        }
        if self.bytes + prefix.len() > BYTES_MAX {
            return;
        }
        self.bytes += prefix.len();
        let Self { entries, positions, hasher, .. } = self;
        let rehash = |&at: &usize| hasher.hash_one(&*entries[at].prefix);
        positions.insert_unique(hasher.hash_one(prefix), entries.len(), rehash);
        entries.push(Entry { prefix: prefix.into(), series });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn series(worker: usize, series: u32) -> CachedSeries {
        CachedSeries { worker, series }
    }

    #[test]
    fn the_series_of_a_prefix_can_be_replaced() {
        let mut cache = SeriesCache::default();
        cache.insert(b"a", series(0, 1));
        cache.insert(b"b", series(0, 2));
        cache.insert(b"a", series(1, 3));
        assert_eq!((cache.find(b"a"), cache.find(b"b")), (Some(series(1, 3)), Some(series(0, 2))));
        assert_eq!(cache.entries.len(), 2);
    }

    #[test]
    fn prefixes_are_found_until_the_cache_is_full() {
        let mut cache = SeriesCache::default();
        let prefix = |at: usize| format!("{at:0>1024}").into_bytes();
        for at in 0..100 {
            assert_eq!(cache.find(&prefix(at)), None);
            cache.insert(&prefix(at), series(at % 3, at as u32));
        }
        for at in 0..100 {
            let expected = (at < BYTES_MAX / 1024).then_some(series(at % 3, at as u32));
            assert_eq!(cache.find(&prefix(at)), expected);
        }
        assert_eq!(cache.find(&prefix(0)[1..]), None);
        // In any order.
        for at in [7, 8, 0, 3, 3, 63, 0, 1] {
            assert_eq!(cache.find(&prefix(at)), Some(series(at % 3, at as u32)));
        }
    }
}
