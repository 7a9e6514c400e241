//! The minimum and maximum of the histograms in a window, maintained as slots come and go.

/// The minimum and maximum of the slots in a window.
///
/// They are unknown after the last slot that has one of them has left, until all slots are read again. This is rare: in a window
/// of 300 seconds, one in 300 seconds has the maximum.
#[derive(Clone, Debug, Default)]
pub(super) struct Extremes {
    min: Lowest,
    /// The maximum, as its complement.
    max: Lowest,
}

/// The lowest of some values.
#[derive(Clone, Copy, Debug)]
struct Lowest {
    value: u64,
    /// Number of slots that have it. At 0, all slots have a higher value, or there are none.
    slots: u32,
}

impl Default for Lowest {
    fn default() -> Self {
        Self { value: u64::MAX, slots: 0 }
    }
}

impl Lowest {
    fn add(&mut self, value: u64) {
        if value < self.value {
            *self = Self { value, slots: 1 };
        } else if value == self.value {
            self.slots += 1;
        }
    }

    fn remove(&mut self, value: u64) {
        if value == self.value {
            self.slots = self.slots.saturating_sub(1);
        }
    }
}

impl Extremes {
    /// A slot with counts has come.
    pub(super) fn add(&mut self, min_ns: u64, max_ns: u64) {
        self.min.add(min_ns);
        self.max.add(!max_ns);
    }

    /// A slot with counts has left.
    pub(super) fn remove(&mut self, min_ns: u64, max_ns: u64) {
        self.min.remove(min_ns);
        self.max.remove(!max_ns);
    }

    /// The minimum and maximum, if they are known.
    pub(super) const fn get(&self) -> Option<(u64, u64)> {
        if self.min.slots > 0 && self.max.slots > 0 { Some((self.min.value, !self.max.value)) } else { None }
    }

    /// The extremes of slots with these minimums and maximums.
    pub(super) fn of(slots: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut extremes = Self::default();
        slots.for_each(|(min_ns, max_ns)| extremes.add(min_ns, max_ns));
        extremes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn extremes_are_those_of_all_slots_or_unknown(values in prop::collection::vec((0..4_u64, 0..4_u64), 1..60), keep in 1..8_usize) {
            let mut extremes = Extremes::default();
            for (at, &(min_ns, max_ns)) in values.iter().enumerate() {
                extremes.add(min_ns, max_ns);
                if at >= keep {
                    let (min_ns, max_ns) = values[at - keep];
                    extremes.remove(min_ns, max_ns);
                }
                let slots = &values[(at + 1).saturating_sub(keep)..=at];
                let all = Extremes::of(slots.iter().copied()).get();
                prop_assert!(extremes.get().is_none() || extremes.get() == all);
                let expected = (slots.iter().map(|slot| slot.0).min(), slots.iter().map(|slot| slot.1).max());
                prop_assert_eq!(all, expected.0.zip(expected.1));
            }
        }
    }
}
