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
    known: HashTable<Known>,
    hasher: DefaultHashBuilder,
    bytes: usize,
}

#[derive(Debug)]
struct Known {
    front: Box<[u8]>,
    worker: usize,
    series: u32,
}

impl Fronts {
    /// The place of the worker among those of the connection, and the number of the series.
    pub(super) fn find(&self, front: &[u8]) -> Option<(usize, u32)> {
        let known = self.known.find(self.hasher.hash_one(front), |known| *known.front == *front)?;
        Some((known.worker, known.series))
    }

    /// Remembers a front that was not found, if there is room.
    pub(super) fn insert(&mut self, front: &[u8], worker: usize, series: u32) {
        if self.bytes + front.len() > BYTES_MAX {
            return;
        }
        self.bytes += front.len();
        let Self { known, hasher, .. } = self;
        let hash = hasher.hash_one(front);
        known
            .insert_unique(hash, Known { front: front.into(), worker, series }, |known| hasher.hash_one(&*known.front));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
