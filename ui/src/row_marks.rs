//! Marks of rows: what a reader has to know about where the numbers of a row come from, in a few words and with a tooltip.

use joey_shared::store::QUIET_SECONDS;
use joey_shared::wire::{AppEntry, WorkerEntry};

use crate::vocabulary::Words;

const S: u64 = 1_000_000_000;

/// A mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What it is, for tests and styles: `gone`, `stale`, `silent`, `restarted`, `returned`, `refused` or `late`.
    pub kind: &'static str,
    /// The words.
    pub text: String,
    /// The explanation.
    pub tooltip: String,
}

impl Mark {
    fn new(kind: &'static str, text: String, tooltip: impl Into<String>) -> Self {
        Self { kind, text, tooltip: tooltip.into() }
    }
}

/// What the marks of a row are made from. Times are in ns since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowState {
    /// Since when its worker is disconnected.
    pub gone_since_ns: Option<u64>,
    /// Since when no update of the view has arrived, if that is unusually long.
    pub stale_since_ns: Option<u64>,
    /// Since when nothing was counted, if that is unusually long.
    pub stalled_since_ns: Option<u64>,
    /// How often its worker has come back.
    pub returns: u32,
    /// When its worker last came back, if that is within the window.
    pub returned_ns: Option<u64>,
}

impl RowState {
    /// Adds what the catalogue says about the worker. The window began at `window_start_ns`.
    #[must_use]
    pub fn with_worker(self, worker: Option<&WorkerEntry>, window_start_ns: u64) -> Self {
        let Some(worker) = worker else { return self };
        let is_back = worker.connected && worker.reconnects > 0;
        Self {
            gone_since_ns: (!worker.connected).then_some(worker.since_ns),
            returns: worker.reconnects,
            returned_ns: (is_back && worker.since_ns >= window_start_ns).then_some(worker.since_ns),
            ..self
        }
    }

    /// Whether nothing arrives from the view at the moment.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.gone_since_ns.is_some() || self.stale_since_ns.is_some() || self.stalled_since_ns.is_some()
    }

    /// The mark of a row; the most serious one if there are several. `time` formats an instant.
    #[must_use]
    pub fn mark(&self, words: &Words, time: impl Fn(u64) -> String) -> Option<Mark> {
        let times = |returns: u32| if returns == 1 { "once".to_owned() } else { format!("{returns} times") };
        let worker = words.worker_in_text;
        if let Some(since_ns) = self.gone_since_ns {
            return Some(Mark::new("gone", format!("gone since {}", time(since_ns)), words.worker_gone));
        }
        if let Some(since_ns) = self.stale_since_ns {
            let tooltip = "Stale: no update of this row has arrived for more than three periods, while others have";
            return Some(Mark::new("stale", format!("stale since {}", time(since_ns)), tooltip));
        }
        if let Some(since_ns) = self.stalled_since_ns {
            let tooltip = "Nothing was counted for more than three periods";
            return Some(Mark::new("silent", format!("no events since {}", time(since_ns)), tooltip));
        }
        if let Some(since_ns) = self.returned_ns {
            let tooltip = format!(
                "This {worker} was away until {} and has come back {} in all. The window has no data of that time.",
                time(since_ns),
                times(self.returns)
            );
            return Some(Mark::new("restarted", format!("restarted {}", time(since_ns)), tooltip));
        }
        let tooltip = || format!("Times that this {worker} has come back: {}", self.returns);
        (self.returns > 0).then(|| Mark::new("returned", format!("back ×{}", self.returns), tooltip()))
    }
}

/// Since when no update of a view has arrived, if that is longer than three of its periods, while its application has sent
/// others. `last_ns` is its newest arrival and `app_ns` that of its application.
#[must_use]
pub fn stale_since_ns(last_ns: u64, app_ns: u64, period_ns: u64) -> Option<u64> {
    let limit_ns = period_ns.saturating_mul(3).max(QUIET_SECONDS * S);
    (last_ns > 0 && app_ns.saturating_sub(last_ns) > limit_ns).then_some(last_ns)
}

/// The marks of an application: what the relay refused, or could not place in time. `restarted_ns` is when the relay or its
/// log last began anew within the window.
#[must_use]
pub fn app_marks(entry: &AppEntry, restarted_ns: Option<u64>, time: impl Fn(u64) -> String) -> Vec<Mark> {
    let count = |number: u64| joey_shared::format::count(number.into());
    let mut marks = Vec::new();
    if let Some(at_ns) = restarted_ns {
        let tooltip = "The relay restarted; how many updates are missing is unknown";
        marks.push(Mark::new("restarted", format!("relay restarted {}", time(at_ns)), tooltip));
    }
    let refused = entry.over_limit + entry.rejected_for_name;
    if refused > 0 {
        let tooltip = format!(
            "Frames that the relay refused: {} because a limit was reached, {} because of an invalid name",
            count(entry.over_limit),
            count(entry.rejected_for_name)
        );
        marks.push(Mark::new("refused", format!("{} refused", count(refused)), tooltip));
    }
    if entry.late > 0 {
        let tooltip = "Frames that were older than the history that the relay retains; no window counts them";
        marks.push(Mark::new("late", format!("{} late", count(entry.late)), tooltip));
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{SERVICE, WALLAROO};

    fn worker(connected: bool, since_ns: u64, reconnects: u32) -> WorkerEntry {
        WorkerEntry { worker: "w".to_owned(), connected, since_ns, reconnects, offset_ns: 0, offset_since_ns: 0 }
    }

    fn text(state: RowState) -> Option<(&'static str, String)> {
        state.mark(&WALLAROO, |ns| (ns / S).to_string()).map(|mark| (mark.kind, mark.text))
    }

    #[test]
    fn a_row_has_its_most_serious_mark() {
        let quiet = RowState { stalled_since_ns: Some(3 * S), ..RowState::default() };
        assert_eq!(text(RowState::default()), None);
        assert_eq!(text(quiet), Some(("silent", "no events since 3".to_owned())));
        let stale = RowState { stale_since_ns: Some(2 * S), ..quiet };
        assert_eq!(text(stale), Some(("stale", "stale since 2".to_owned())));
        let gone = stale.with_worker(Some(&worker(false, 5 * S, 1)), 0);
        assert_eq!(text(gone), Some(("gone", "gone since 5".to_owned())));
        assert!(gone.is_quiet() && stale.is_quiet() && !RowState::default().is_quiet());
    }

    #[test]
    fn a_worker_that_came_back_within_the_window_has_restarted() {
        let state =
            |since_s, start_s| RowState::default().with_worker(Some(&worker(true, since_s * S, 2)), start_s * S);
        assert_eq!(text(state(10, 5)), Some(("restarted", "restarted 10".to_owned())));
        assert_eq!(text(state(10, 11)), Some(("returned", "back ×2".to_owned())));
        assert_eq!(text(RowState::default().with_worker(Some(&worker(true, 10 * S, 0)), 0)), None);
        let mark = state(10, 5).mark(&SERVICE, |ns| (ns / S).to_string()).unwrap();
        assert!(mark.tooltip.starts_with("This instance was away until 10 and has come back 2 times"));
    }

    #[test]
    fn a_row_is_stale_if_only_others_have_updates() {
        assert_eq!(stale_since_ns(100 * S, 105 * S, S), None);
        assert_eq!(stale_since_ns(100 * S, 106 * S, S), Some(100 * S));
        assert_eq!(stale_since_ns(100 * S, 130 * S, 10 * S), None);
        assert_eq!(stale_since_ns(0, 500 * S, S), None);
    }

    #[test]
    fn an_application_says_what_was_refused() {
        let entry = AppEntry { over_limit: 1_000, rejected_for_name: 2, late: 3, ..AppEntry::default() };
        let texts: Vec<String> =
            app_marks(&entry, Some(7 * S), |ns| (ns / S).to_string()).into_iter().map(|mark| mark.text).collect();
        assert_eq!(texts, ["relay restarted 7", "1\u{202f}002 refused", "3 late"]);
        assert_eq!(app_marks(&AppEntry::default(), None, |_| String::new()), []);
    }
}
