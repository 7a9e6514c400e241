//! The order in which the rows of tables read the model after a tick: a few in each animation frame.

use leptos::prelude::{GetUntracked, RwSignal, Set, Track};

/// Number of rows that read the model in one frame. A row with its charts takes about a quarter of a millisecond.
const ROWS_PER_FRAME: usize = 8;

/// The turn of one row. It comes in one of the frames after each tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The tick at which the row has last read the model.
    read: RwSignal<u64>,
    /// The tick that the row shows next.
    next: u64,
}

impl Turn {
    /// Subscribes to the turn.
    pub fn track(self) {
        self.read.track();
    }

    /// The tick at which the row has last read the model.
    #[must_use]
    pub fn tick(self) -> u64 {
        self.read.get_untracked()
    }

    /// The row reads the model now.
    pub(super) fn take_place(self) {
        self.read.set(self.next);
    }
}

/// The turns of all rows on the page.
#[derive(Debug, Default)]
pub(super) struct Turns {
    turns: Vec<Turn>,
    /// The last tick. Rows that have read the model at an earlier one still have a turn.
    tick: u64,
    /// Position of the first row that may take the next turn.
    next: usize,
}

impl Turns {
    /// Adds a row, which has just read the model.
    pub(super) fn add(&mut self, tick: u64) -> Turn {
        let turn = Turn { read: RwSignal::new(tick), next: tick };
        self.turns.push(turn);
        turn
    }

    /// Removes a row.
    pub(super) fn remove(&mut self, turn: Turn) {
        if let Some(at) = self.turns.iter().position(|other| other.read == turn.read) {
            self.turns.remove(at);
            self.next -= usize::from(at < self.next);
        }
    }

    /// Gives all rows a turn. Rows that have not had their last one come first.
    pub(super) const fn start(&mut self, tick: u64) {
        self.tick = tick;
    }

    /// The rows that take their turns in this frame.
    pub(super) fn take(&mut self) -> Vec<Turn> {
        let (before, after) = self.turns.split_at(self.next.min(self.turns.len()));
        let waiting = after.iter().chain(before).filter(|turn| turn.tick() < self.tick);
        let taken: Vec<Turn> = waiting.take(ROWS_PER_FRAME).map(|turn| Turn { next: self.tick, ..*turn }).collect();
        let last = taken.last().and_then(|last| self.turns.iter().position(|turn| turn.read == last.read));
        self.next = last.map_or(self.next, |last| last + 1);
        taken
    }

    /// Whether some rows have not had their turns.
    pub(super) fn are_due(&self) -> bool {
        self.turns.iter().any(|turn| turn.tick() < self.tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leptos::prelude::Owner;

    #[test]
    fn every_row_has_one_turn_after_each_tick_and_a_few_in_each_frame() {
        let owner = Owner::new();
        owner.set();
        let mut turns = Turns::default();
        let rows: Vec<Turn> = (0..20).map(|_| turns.add(0)).collect();
        let frames = |turns: &mut Turns| {
            let mut frames = vec![];
            while turns.are_due() {
                let taken = turns.take();
                frames.push(taken.len());
                taken.into_iter().for_each(Turn::take_place);
            }
            frames
        };
        for tick in 1..=3 {
            turns.start(tick);
            assert_eq!(frames(&mut turns), [8, 8, 4]);
            assert!(rows.iter().all(|row| row.tick() == tick));
        }
        // A new tick comes while rows are waiting: those that have waited come first, and none has two turns.
        turns.start(4);
        turns.take().into_iter().for_each(Turn::take_place);
        turns.start(5);
        assert_eq!(frames(&mut turns), [8, 8, 4]);
        assert!(rows.iter().all(|row| row.tick() == 5));
        // Rows go and come between the frames of a tick.
        turns.start(6);
        turns.take().into_iter().for_each(Turn::take_place);
        turns.remove(rows[3]);
        let new = turns.add(6);
        frames(&mut turns);
        assert!(rows.iter().enumerate().all(|(at, row)| at == 3 || row.tick() == 6) && new.tick() == 6);
    }
}
