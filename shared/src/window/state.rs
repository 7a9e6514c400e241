//! A window in a recording.
//!
//! An update spreads its events over its period, so a window cannot be written as updates again without loss. Its slots
//! are written instead.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::{SECONDS_MAX, SLOT_NS, STEP, Slot, Window};
use crate::histogram::Histogram;
use crate::wire::{Blob, PackedHistogram, WireError, encode, read_histogram, take, write_histogram};

/// Latest second that is accepted. No clock in ns reaches it.
const SECOND_MAX: u64 = u64::MAX / SLOT_NS - 2 * SECONDS_MAX;

/// A window in a recording, without its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WindowState {
    /// The first second in which the view existed.
    first: Option<u64>,
    /// The last second with a count.
    last: Option<u64>,
    /// The last second that is merged into a step.
    coarse: u64,
}

impl Window {
    /// The window from second `from` on, without its slots. Earlier seconds do not exist in it.
    pub(crate) fn state(&self, from: u64) -> WindowState {
        WindowState { first: self.first.map(|first| first.max(from)), last: self.last, coarse: self.coarse }
    }

    /// Writes the slots from second `from` on.
    pub(crate) fn write_slots(&self, from: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut previous = 0;
        for slot in self.slots.iter().filter(|slot| slot.second >= from) {
            write_slot(&mut bytes, slot.second - previous, slot.events, &slot.histogram.unpack());
            previous = slot.second;
        }
        bytes
    }

    /// Writes the events of each slot of the window, and all latencies of the window in its last second.
    pub(crate) fn write_sum(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut previous = 0;
        let slots = self.slots.range(self.outside..).filter(|slot| slot.second < self.clock);
        let empty = Histogram::default();
        for slot in slots.filter(|slot| slot.events > 0) {
            write_slot(&mut bytes, slot.second - previous, slot.events, &empty);
            previous = slot.second;
        }
        let sum = self.histogram();
        if self.clock > previous && (!sum.is_empty()) {
            let last = self.slots.back().filter(|slot| slot.second == self.clock);
            write_slot(&mut bytes, self.clock - previous, last.map_or(0, |slot| slot.events), &sum);
        }
        bytes
    }

    /// The window of a recording, which ends with second `clock` and is `seconds` long.
    ///
    /// # Errors
    /// Fails if it cannot be the state of a window.
    pub(crate) fn from_state(state: WindowState, slots: Blob<'_>, clock: u64, seconds: u64) -> Result<Self, WireError> {
        let WindowState { first, last, coarse } = state;
        let is_valid = clock <= SECOND_MAX && coarse <= clock.saturating_add(SECONDS_MAX) && coarse % STEP == 0;
        let is_early =
            |second: Option<u64>| second.is_none_or(|second| (1..=clock.saturating_add(STEP)).contains(&second));
        if !is_valid || !is_early(first) || !is_early(last) {
            return Err(WireError::Malformed);
        }
        let mut window = Self { clock, coarse, first, last, ..Self::new(seconds) };
        window.slots = read_slots(slots.0, &window)?;
        window.set_seconds(seconds);
        Ok(window)
    }
}

/// Writes one slot: the distance to the previous one, whole events, the fraction of an event with its bits reversed (most
/// are a half or none), and the histogram.
fn write_slot(bytes: &mut Vec<u8>, distance: u64, events: u128, histogram: &Histogram) {
    let (whole, fraction) = ((events >> 64) as u64, events as u64);
    bytes.extend(encode(&(distance, whole, fraction.reverse_bits())));
    write_histogram(bytes, histogram);
}

fn read_slots(mut rest: &[u8], window: &Window) -> Result<VecDeque<Slot>, WireError> {
    let mut slots = VecDeque::new();
    let mut second: u64 = 0;
    while !rest.is_empty() {
        let (distance, whole, fraction): (u64, u64, u64) = take(&mut rest)?;
        second = second.checked_add(distance).filter(|_| distance > 0).ok_or(WireError::Malformed)?;
        let is_retained = second <= window.clock.saturating_add(STEP) && second + SECONDS_MAX > window.clock;
        if !is_retained || second != window.slot_second(second) {
            return Err(WireError::Malformed);
        }
        let histogram = read_histogram(&mut rest)?;
        let events = u128::from(whole) << 64 | u128::from(fraction.reverse_bits());
        let (min_ns, max_ns) = (histogram.min_ns, histogram.max_ns);
        slots.push_back(Slot { second, histogram: PackedHistogram::pack(&histogram), min_ns, max_ns, events });
    }
    Ok(slots)
}
