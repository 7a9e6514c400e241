//! The state of an application in a recording. It gives a replaying viewer what the recording one had.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::{AppStore, GAPS_MAX, Gap, LOGS_MAX, Log, Open, View};
use crate::histogram::Unit;
use crate::seqset::{SeqSet, SeqSetState};
use crate::series::Provenance;
use crate::store::ranges::ReceivedRanges;
use crate::view::ViewKey;
use crate::window::state::WindowState;
use crate::window::{Window, second_of};
use crate::wire::{Blob, WireError};

/// An application without its views.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppState {
    pub(crate) app: String,
    clock_ns: u64,
    through_ns: u64,
    /// Arrival, start and length of the newest period, until it is complete.
    open: Option<(u64, u64, u64)>,
    last_received_ns: u64,
    late: u64,
    /// Beginning, end and number of missing updates.
    gaps: Vec<(u64, u64, Option<u64>)>,
    logs: Vec<LogState>,
}

/// What was received of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LogState {
    epoch: u64,
    counted: SeqSetState,
    ranges: ReceivedRanges,
}

/// A view of the application whose state precedes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ViewState<'a> {
    pub(crate) app: String,
    key: ViewKey,
    id: u16,
    provenance: Provenance,
    /// The unit of its histograms in ns, or 0 while it has none.
    unit_ns: u64,
    last_received_ns: u64,
    period_ns: u64,
    window: WindowState,
    #[serde(borrow)]
    slots: Cow<'a>,
}

/// Bytes that are owned when written and borrowed when read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cow<'a> {
    Owned(Vec<u8>),
    Borrowed(Blob<'a>),
}

impl Cow<'_> {
    fn blob(&self) -> Blob<'_> {
        match self {
            Self::Owned(bytes) => Blob(bytes),
            Self::Borrowed(blob) => *blob,
        }
    }
}

impl Serialize for Cow<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.blob().serialize(serializer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Cow<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Blob::deserialize(deserializer).map(Self::Borrowed)
    }
}

impl AppStore {
    /// The state without the views. `with_logs` tells whether updates follow, of which some may have been counted already.
    pub(crate) fn state(&self, app: &str, with_logs: bool) -> AppState {
        let logs = self.logs.iter().filter(|_| with_logs);
        let log = |log: &Log| LogState { epoch: log.epoch, counted: log.counted.state(), ranges: log.ranges.clone() };
        AppState {
            app: app.to_string(),
            clock_ns: self.clock_ns,
            through_ns: self.through_ns,
            open: self.open.map(|open| (open.arrival_ns, open.start_ns, open.period_ns)),
            last_received_ns: self.last_received_ns,
            late: self.late,
            gaps: self.gaps.iter().map(|gap| (gap.from_ns, gap.to_ns, gap.updates)).collect(),
            logs: logs.map(log).collect(),
        }
    }

    /// The state of view `at` with the seconds from `from` on.
    pub(crate) fn view_state(&self, app: &str, at: usize, from: u64) -> ViewState<'static> {
        self.view_state_of(app, at, from, |window| window.write_slots(from))
    }

    /// The state of view `at` with the events of each second of its window and the sum of all latencies.
    pub(crate) fn view_sum(&self, app: &str, at: usize) -> ViewState<'static> {
        self.view_state_of(app, at, self.first_second(), Window::write_sum)
    }

    /// The first second of the windows.
    pub(crate) const fn first_second(&self) -> u64 {
        (second_of(self.clock_ns) + 1).saturating_sub(self.seconds)
    }

    fn view_state_of(
        &self,
        app: &str,
        at: usize,
        from: u64,
        slots: impl FnOnce(&Window) -> Vec<u8>,
    ) -> ViewState<'static> {
        let view = &self.views[at];
        // The window of a view that receives nothing slides only when it is read.
        let mut window = view.window.clone();
        window.slide(second_of(self.clock_ns));
        ViewState {
            app: app.to_string(),
            key: view.key.clone(),
            id: view.id,
            provenance: view.provenance,
            unit_ns: view.unit.map_or(0, Unit::ns),
            last_received_ns: view.last_received_ns,
            period_ns: view.period_ns,
            window: window.state(from),
            slots: Cow::Owned(slots(&window)),
        }
    }

    /// The application of a recording, with windows of `seconds` and without views. Its gaps are those of `relay`.
    ///
    /// # Errors
    /// Fails if it cannot be the state of an application.
    pub(crate) fn from_state(state: AppState, seconds: u64, relay: u32) -> Result<Self, WireError> {
        if state.gaps.len() > GAPS_MAX || state.logs.len() > LOGS_MAX {
            return Err(WireError::Malformed);
        }
        let log = |LogState { epoch, counted, ranges }: LogState| {
            let counted = SeqSet::from_state(&counted).filter(|_| ranges.is_valid())?;
            Some(Log { epoch, series: BTreeMap::new(), counted, ranges })
        };
        let logs: Option<Vec<Log>> = state.logs.into_iter().map(log).collect();
        let gaps = state.gaps.into_iter();
        let gaps = gaps.map(|(from_ns, to_ns, updates)| Gap { from_ns, to_ns, updates, relay });
        let open = |(arrival_ns, start_ns, period_ns)| Open { arrival_ns, start_ns, period_ns };
        Ok(Self {
            logs: logs.ok_or(WireError::Malformed)?,
            clock_ns: state.clock_ns,
            through_ns: state.through_ns,
            open: state.open.map(open),
            revision: 1,
            last_received_ns: state.last_received_ns,
            late: state.late,
            gaps: gaps.collect(),
            interval_start_ns: state.last_received_ns,
            ..Self::new(seconds)
        })
    }

    /// Adds a view of the recording.
    ///
    /// # Errors
    /// Fails if it cannot be the state of a view, or if the view exists.
    pub(crate) fn add_view(&mut self, state: ViewState<'_>) -> Result<(), WireError> {
        if self.index.contains_key(&state.key) {
            return Err(WireError::Malformed);
        }
        let window = Window::from_state(state.window, state.slots.blob(), second_of(self.clock_ns), self.seconds)?;
        let unit = match state.unit_ns {
            0 => None,
            ns => Some(Unit::ALL.into_iter().find(|unit| unit.ns() == ns).ok_or(WireError::Malformed)?),
        };
        self.revision += 1;
        self.index.insert(state.key.clone(), self.views.len());
        self.views.push(View {
            key: state.key,
            id: state.id,
            provenance: state.provenance,
            unit,
            window,
            last_received_ns: state.last_received_ns,
            period_ns: state.period_ns,
            revision: self.revision,
            interval: self.interval,
        });
        Ok(())
    }
}
