//! The sequence numbers of a log that were counted: a bitmap over the recent part of the log.
//!
//! Overlapping subscriptions and resumed ones can deliver an update more than once. Only the first delivery is counted.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

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

/// A set in a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeqSetState {
    /// The first number that is not counted as present.
    base: u64,
    /// The numbers, in ascending order: how many are absent, and how many present after them.
    runs: Vec<(u64, u64)>,
}

impl SeqSet {
    /// The set as a list of runs.
    pub(crate) fn state(&self) -> SeqSetState {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        let (mut absent, mut is_run) = (0, false);
        let mut push = |bits: u64, present: bool| match (present, is_run, runs.last_mut()) {
            (true, true, Some(run)) => run.1 += bits,
            (true, ..) => {
                runs.push((core::mem::take(&mut absent), bits));
                is_run = true;
            }
            (false, ..) => {
                absent += bits;
                is_run = false;
            }
        };
        for &word in &self.words {
            if word == 0 || word == u64::MAX {
                push(64, word != 0);
            } else {
                (0..64).for_each(|bit| push(1, word >> bit & 1 == 1));
            }
        }
        SeqSetState { base: self.base, runs }
    }

    /// The set of a recording; `None` if it is too large or not in order.
    pub(crate) fn from_state(state: &SeqSetState) -> Option<Self> {
        let SeqSetState { base, ref runs } = *state;
        let mut set = Self { base, words: VecDeque::new() };
        let mut at: u64 = 0;
        for &(absent, present) in runs {
            let from = at.checked_add(absent)?;
            at = from.checked_add(present).filter(|&end| end <= SPAN && base.checked_add(end).is_some())?;
            set.words.resize(usize::try_from(at.div_ceil(64)).ok()?, 0);
            for bit in from..at {
                *set.words.get_mut(usize::try_from(bit / 64).ok()?)? |= 1 << (bit % 64);
            }
        }
        (base % 64 == 0).then_some(set)
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

    proptest! {
        #[test]
        fn a_recorded_set_is_the_same(start in 0..u64::MAX - 100_000, steps in prop::collection::vec(0..200_u64, 0..99)) {
            let mut set = SeqSet::default();
            let mut seq = start;
            for step in steps {
                (seq..seq + step).step_by(1 + (step % 2) as usize).for_each(|seq| {
                    set.insert(seq);
                });
                seq += step;
            }
            let again = SeqSet::from_state(&set.state()).expect("it is valid");
            prop_assert_eq!((again.base, &again.words), (set.base, &set.words));
        }

        #[test]
        fn any_runs_are_a_set_or_rejected(base: u64, runs in prop::collection::vec((0..SPAN, 0..SPAN), 0..9)) {
            if let Some(mut set) = SeqSet::from_state(&SeqSetState { base, runs }) {
                set.insert(base);
                set.insert(u64::MAX);
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
