//! The sequence numbers of a log that were counted: a bitmap over the recent part of the log.
//!
//! Overlapping subscriptions and resumed ones can deliver an update more than once. Only the first delivery is counted.

use alloc::collections::VecDeque;

/// Size of the bitmap in sequence numbers. It exceeds what a relay retains at 10,000 updates per second, and takes half
/// a megabyte.
const SPAN: u64 = 1 << 22;

/// A set of recent sequence numbers. Numbers far below the newest count as present, so old updates are not counted again.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeqSet {
    /// The number of the first bit; a multiple of 64.
    base: u64,
    words: VecDeque<u64>,
}

impl SeqSet {
    /// Inserts `seq`. Returns whether it was absent.
    pub(crate) fn insert(&mut self, seq: u64) -> bool {
        if self.words.is_empty() {
            // Leave space below the first number: a subscription with history may follow a live one.
            self.base = seq.saturating_sub(SPAN / 2) & !63;
        }
        let Some(offset) = seq.checked_sub(self.base) else { return false };
        let mut word = offset / 64;
        if word >= SPAN / 64 {
            let surplus = word - (SPAN / 64 - 1);
            if surplus >= self.words.len() as u64 {
                self.words.clear();
            } else {
                for _ in 0..surplus {
                    self.words.pop_front();
                }
            }
            self.base += surplus * 64;
            word -= surplus;
        }
        let word = usize::try_from(word).unwrap_or(usize::MAX);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (seq % 64);
        let absent = self.words[word] & bit == 0;
        self.words[word] |= bit;
        absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_like_a_plain_set(start in 0..u64::MAX - 100_000, steps in prop::collection::vec(0..500_u64, 1..200)) {
            let (mut ours, mut plain) = (SeqSet::default(), BTreeSet::new());
            for step in steps {
                prop_assert_eq!(ours.insert(start + step), plain.insert(start + step));
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_old_numbers_count_as_present() {
        let mut set = SeqSet::default();
        for seq in [5, 1_000, SPAN, 3 * SPAN, u64::MAX - 64, u64::MAX] {
            assert!(set.insert(seq) && !set.insert(seq), "{seq}");
        }
        assert!(set.words.len() as u64 <= SPAN / 64);
        assert!(!set.insert(1_001));
    }
}
