//! Which series a connection's frames are of, by their bytes.
//!
//! A worker sends the same series in every period, so all of a frame up to its counts has come before. It is checked and looked
//! up once; after that the bytes are compared, which takes a tenth of the time.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Bytes of fronts that one connection remembers, some 600 of them. Frames of other series are decoded each time.
const BYTES_MAX: usize = 64 * 1024;

/// What one connection has sent.
#[derive(Debug, Default)]
pub(super) struct Fronts {
    /// In the order in which they first came.
    known: Vec<Known>,
    /// Positions in `known`.
    places: HashTable<usize>,
    hasher: DefaultHashBuilder,
    bytes: usize,
    /// Where the next front is looked for first: behind the last one, since a worker sends its series in the same order in
    /// every period. It saves the hash, 13 of some 300 ns for a frame.
    next: usize,
}

#[derive(Debug)]
struct Known {
    front: Box<[u8]>,
    worker: usize,
    series: u32,
}

impl Fronts {
    /// The place of the worker among those of the connection, and the number of the series.
    pub(super) fn find(&mut self, front: &[u8]) -> Option<(usize, u32)> {
        let is_same = |at: usize| self.known.get(at).is_some_and(|known| *known.front == *front);
        let at = if is_same(self.next) {
            self.next
        } else {
            *self.places.find(self.hasher.hash_one(front), |&at| is_same(at))?
        };
        self.next = if at + 1 < self.known.len() { at + 1 } else { 0 };
        let Known { worker, series, .. } = self.known[at];
        Some((worker, series))
    }

    /// Remembers a front that was not found, if there is room, or that is of another series by now.
    pub(super) fn insert(&mut self, front: &[u8], worker: usize, series: u32) {
        let Self { known, places, hasher, .. } = self;
        let is_same = |at: &usize| known.get(*at).is_some_and(|known| *known.front == *front);
        if let Some(&at) = places.find(hasher.hash_one(front), is_same) {
            known[at] = Known { front: front.into(), worker, series };
            return;
        }
        if self.bytes + front.len() > BYTES_MAX {
            return;
        }
        self.bytes += front.len();
        let Self { known, places, hasher, .. } = self;
        let rehash = |&at: &usize| hasher.hash_one(&*known[at].front);
        places.insert_unique(hasher.hash_one(front), known.len(), rehash);
        known.push(Known { front: front.into(), worker, series });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_can_become_that_of_another_series() {
        let mut fronts = Fronts::default();
        fronts.insert(b"a", 0, 1);
        fronts.insert(b"b", 0, 2);
        fronts.insert(b"a", 1, 3);
        assert_eq!((fronts.find(b"a"), fronts.find(b"b")), (Some((1, 3)), Some((0, 2))));
        assert_eq!(fronts.known.len(), 2);
    }

    #[test]
    fn fronts_are_found_again_and_only_so_many_are_kept() {
        let mut fronts = Fronts::default();
        let front = |at: usize| format!("{at:0>1024}").into_bytes();
        for at in 0..100 {
            assert_eq!(fronts.find(&front(at)), None);
            fronts.insert(&front(at), at % 3, at as u32);
        }
        for at in 0..100 {
            let expected = (at < BYTES_MAX / 1024).then_some((at % 3, at as u32));
            assert_eq!(fronts.find(&front(at)), expected);
        }
        assert_eq!(fronts.find(&front(0)[1..]), None);
        // In any order.
        for at in [7, 8, 0, 3, 3, 63, 0, 1] {
            assert_eq!(fronts.find(&front(at)), Some((at % 3, at as u32)));
        }
    }
}
