//! The state of the objectives that a relay watches itself.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::view::ViewKey;

/// Maximum number of views of one objective in a message. The counts include the others.
pub const OBJECTIVE_VIEWS_MAX: usize = 20;

/// An objective of the relay, and its state in the views of one application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectiveEntry {
    /// The objective as text, such as `start-to-end/*: p99 < 10ms over 1m`.
    pub objective: String,
    /// The number of views in each state.
    pub counts: ObjectiveCounts,
    /// At most [`OBJECTIVE_VIEWS_MAX`] views: missed ones first, then pending, undecided, met, and those without events.
    pub views: Vec<ObjectiveView>,
}

/// The number of views in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectiveCounts {
    /// Views that miss the objective.
    pub missed: u32,
    /// Views that miss it, but not for long enough to count.
    pub pending: u32,
    /// Views for which the bins do not decide.
    pub undecided: u32,
    /// Views that meet it.
    pub met: u32,
    /// Views without events.
    pub no_data: u32,
}

/// The state of an objective in one view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectiveView {
    /// The view.
    pub view: ViewKey,
    /// The state.
    pub state: ObjectiveState,
    /// Since when it has this state, in ns since the Unix epoch by the relay's clock.
    pub since_ns: u64,
    /// The measured value, for people: `p99` as a range, a rate, or burn rates.
    pub value: String,
}

/// The state of an objective in a view, worst first. Add new variants at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ObjectiveState {
    /// It is missed.
    Missed,
    /// It is missed, but not for long enough to count.
    Pending,
    /// The threshold cuts a bin, so that it is not known.
    Undecided,
    /// It is met.
    Met,
    /// There were no events.
    NoData,
}

impl ObjectiveState {
    /// All states, worst first.
    pub const ALL: [Self; 5] = [Self::Missed, Self::Pending, Self::Undecided, Self::Met, Self::NoData];

    /// The state in words, as `joey watch --once` prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Pending => "pending",
            Self::Undecided => "undecided",
            Self::Met => "met",
            Self::NoData => "no data",
        }
    }
}

impl ObjectiveCounts {
    /// The number of views in `state`.
    #[must_use]
    pub const fn of(&self, state: ObjectiveState) -> u32 {
        match state {
            ObjectiveState::Missed => self.missed,
            ObjectiveState::Pending => self.pending,
            ObjectiveState::Undecided => self.undecided,
            ObjectiveState::Met => self.met,
            ObjectiveState::NoData => self.no_data,
        }
    }

    /// Counts one more view in `state`.
    pub const fn add(&mut self, state: ObjectiveState) {
        let count = match state {
            ObjectiveState::Missed => &mut self.missed,
            ObjectiveState::Pending => &mut self.pending,
            ObjectiveState::Undecided => &mut self.undecided,
            ObjectiveState::Met => &mut self.met,
            ObjectiveState::NoData => &mut self.no_data,
        };
        *count = count.saturating_add(1);
    }
}
