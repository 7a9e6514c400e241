//! Which numbers of a log are merged already: a bitmap over the recent part of the log.
//!
//! Overlapping subscriptions and resumes bring the same update more than once. It is merged the first time only.

use alloc::collections::VecDeque;

/// Numbers kept below the newest: more than a relay's ring holds at 10,000 updates a second, in half a megabyte.
const SPAN: u64 = 1 << 22;

/// A set of recent numbers. Numbers far below the newest count as present: nothing that old is merged again.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeqSet {
    /// The number of the first bit; a multiple of 64.
    base: u64,
    words: VecDeque<u64>,
}

impl SeqSet {
    /// Adds `seq`; says whether it was absent.
    pub(crate) fn insert(&mut self, seq: u64) -> bool {
        if self.words.is_empty() {
            // Room below the first number seen: a subscription with history may come after a live one.
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
        fn says_what_a_plain_set_says(start in 0..u64::MAX - 100_000, steps in prop::collection::vec(0..500_u64, 1..200)) {
            let (mut ours, mut plain) = (SeqSet::default(), BTreeSet::new());
            for step in steps {
                prop_assert_eq!(ours.insert(start + step), plain.insert(start + step));
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_the_far_past_is_never_merged_again() {
        let mut set = SeqSet::default();
        for seq in [5, 1_000, SPAN, 3 * SPAN, u64::MAX - 64, u64::MAX] {
            assert!(set.insert(seq) && !set.insert(seq), "{seq}");
        }
        assert!(set.words.len() as u64 <= SPAN / 64);
        assert!(!set.insert(1_001));
    }
}
