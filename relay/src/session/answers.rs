//! Names of series, as answers to what a viewer asks: each name once where it asks again, and all of it from a budget of bytes.
//!
//! A question takes ten bytes, and its answer may take a megabyte. Whoever has had more than its budget is not listened to for a
//! while, which nobody else notices.

use std::time::Duration;

use joey_shared::series::Filter;
use joey_shared::vecmap::VecMap;
use joey_shared::wire::ServerMessage;
use tokio::time::Instant;

use super::Session;
use crate::hub::App;
use crate::net::ws_frame::WsFrame;

/// Bytes of names that one viewer gets in a second, in the long run: 1 MiB.
const BYTES_PER_SEC: f64 = 1_048_576.0;
/// Seconds' worth of them that it gets at once: 8 MiB, the names of some 100,000 series.
const BURST: Duration = Duration::from_secs(8);
/// How long it may have to wait for the next answer. A viewer that is not listened to cannot show that it lives.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What one viewer was answered.
#[derive(Debug)]
pub(super) struct Answers {
    /// When all that it was told would have been told at the steady rate.
    paid_until: Instant,
    /// For each application that it has asked about, the epoch of its log and how many series had been added to that.
    described: VecMap<String, (u64, u64)>,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self { paid_until: Instant::now(), described: VecMap::new() }
    }

    /// When the next question is heard, if not now.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.paid_until.checked_sub(BURST).filter(|&due| due > now)
    }

    fn charge(&mut self, bytes: usize, now: Instant) {
        let paid_until = self.paid_until.max(now) + Duration::from_secs_f64(bytes as f64 / BYTES_PER_SEC);
        self.paid_until = paid_until.min(now + BURST + WAIT_MAX);
    }

    /// Another token may let the viewer see what it was not told.
    pub(super) fn forget(&mut self) {
        self.described.clear();
    }
}

impl Session {
    /// Names the series of `app`, as far as the viewer may see them and has not been told them when it asked before.
    pub(super) fn describe(&mut self, app: String) {
        #[cfg(test)]
        assert_ne!(app, crate::runtime::panic_guard::PANIC_NAME);
        let claims = &self.pass.claims;
        let Some(own) = self.hub.own(&app).filter(|_| claims.allow_app(&app)) else {
            // As for an application that nobody has heard of.
            let epoch = self.hub.epoch();
            return self.say(&ServerMessage::Series { app, epoch, series: Vec::new(), last: true });
        };
        let epoch = own.epoch();
        let known = self.answers.described.get(&app).filter(|(known, _)| *known == epoch);
        let admits = |category: &str| claims.allow_category(category);
        let (names, added) = match known {
            Some(&(_, added)) => own.names_since(added, admits),
            None => own.names_of(admits),
        };
        if self.answers.described.len() >= self.hub.config().apps_max {
            // Of applications that were forgotten since.
            self.answers.described.clear();
        }
        self.answers.described.insert(app, (epoch, added));
        self.tell(&names);
    }

    /// Names every series of `app` that `filter` admits.
    pub(super) fn name(&mut self, app: &App, filter: &Filter) {
        self.tell(&app.names(filter));
    }

    fn tell(&mut self, names: &[WsFrame]) {
        self.answers.charge(names.iter().map(|frame| frame.len()).sum(), Instant::now());
        names.iter().for_each(|frame| self.push(frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_exceeds_its_budget_waits_and_never_for_ever() {
        let mut answers = Answers::new();
        let start = Instant::now();
        answers.charge(8 << 20, start);
        assert_eq!(answers.due(start), None);
        answers.charge(1 << 20, start);
        assert_eq!(answers.due(start), Some(start + Duration::from_secs(1)));
        assert_eq!(answers.due(start + Duration::from_secs(1)), None);
        answers.charge(1 << 40, start);
        assert_eq!(answers.due(start), Some(start + WAIT_MAX));
        // What was not used is not saved up.
        let later = start + Duration::from_secs(1_000);
        answers.charge(9 << 20, later);
        assert_eq!(answers.due(later), Some(later + Duration::from_secs(1)));
    }
}
