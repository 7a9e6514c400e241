//! Series names in answer to Describe commands. Repeated commands return only new names, and all names count against a
//! byte budget.
//!
//! A command has ten bytes, but its answer may have a megabyte. A viewer over its budget is not read for a while, which
//! does not affect other viewers.

use std::collections::BTreeMap;
use std::time::Duration;

use joey_shared::series::Filter;
use joey_shared::wire::ServerMessage;
use tokio::time::Instant;

use super::Session;
use crate::hub::App;
use crate::net::ws_frame::WsFrame;

/// Budget of names for one viewer in bytes per second: 1 MiB.
const BYTES_PER_SEC: f64 = 1_048_576.0;
/// Burst of the budget, in seconds: 8 MiB, the names of about 100,000 series.
const BUDGET_BURST: Duration = Duration::from_secs(8);
/// Maximum delay of a command. A viewer that is not read cannot show that it is alive.
const DELAY_MAX: Duration = Duration::from_secs(10);

/// Describe commands that one viewer has sent, and its budget.
#[derive(Debug)]
pub(super) struct DescribeState {
    /// When all names sent so far would have been sent at the steady rate.
    budget_used_until: Instant,
    /// For each described application: the epoch of its log, and the number of series that had been added.
    described: BTreeMap<String, (u64, u64)>,
}

impl DescribeState {
    pub(super) fn new() -> Self {
        Self { budget_used_until: Instant::now(), described: BTreeMap::new() }
    }

    /// When the next command may be handled, or `None` if now.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.budget_used_until.checked_sub(BUDGET_BURST).filter(|&due| due > now)
    }

    fn charge(&mut self, bytes: usize, now: Instant) {
        let budget_used_until = self.budget_used_until.max(now) + Duration::from_secs_f64(bytes as f64 / BYTES_PER_SEC);
        self.budget_used_until = budget_used_until.min(now + BUDGET_BURST + DELAY_MAX);
    }

    /// Forgets the described series, because another token may allow more of them.
    pub(super) fn clear(&mut self) {
        self.described.clear();
    }
}

impl Session {
    /// Sends the series of `app` that the viewer may see and has not received as an answer before.
    pub(super) fn describe(&mut self, app: String) {
        #[cfg(test)]
        assert_ne!(app, crate::runtime::panic_guard::PANIC_NAME);
        let claims = &self.permissions.claims;
        let Some(own) = self.hub.own_app(&app).filter(|_| claims.allow_app(&app)) else {
            // The same answer as for an application that does not exist.
            let epoch = self.hub.epoch();
            return self.send(&ServerMessage::Series { app, epoch, series: Vec::new(), last: true });
        };
        let epoch = own.epoch();
        let known = self.describe.described.get(&app).filter(|(known, _)| *known == epoch);
        let admits = |category: &str| claims.allow_category(category);
        let (names, added) = match known {
            Some(&(_, added)) => own.series_messages_since(added, admits),
            None => own.series_messages_of(admits),
        };
        if self.describe.described.len() >= self.hub.config().apps_max {
            // Some of these applications have been removed since.
            self.describe.described.clear();
        }
        self.describe.described.insert(app, (epoch, added));
        self.send_name_frames(&names);
    }

    /// Sends every series of `app` that `filter` admits.
    pub(super) fn send_names(&mut self, app: &App, filter: &Filter) {
        self.send_name_frames(&app.series_messages(filter));
    }

    fn send_name_frames(&mut self, names: &[WsFrame]) {
        self.describe.charge(names.iter().map(|frame| frame.len()).sum(), Instant::now());
        names.iter().for_each(|frame| self.push(frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_over_its_budget_waits_a_limited_time() {
        let mut state = DescribeState::new();
        let start = Instant::now();
        state.charge(8 << 20, start);
        assert_eq!(state.due(start), None);
        state.charge(1 << 20, start);
        assert_eq!(state.due(start), Some(start + Duration::from_secs(1)));
        assert_eq!(state.due(start + Duration::from_secs(1)), None);
        state.charge(1 << 40, start);
        assert_eq!(state.due(start), Some(start + DELAY_MAX));
        // Unused budget does not accumulate.
        let later = start + Duration::from_secs(1_000);
        state.charge(9 << 20, later);
        assert_eq!(state.due(later), Some(later + Duration::from_secs(1)));
    }
}
