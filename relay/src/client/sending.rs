//! What `joey pipe` and `joey replay` say of a connection that fails. Both wait for a relay unless they must not, so the first
//! failure is told at once: a wrong address would otherwise look like a relay that is down.

use joey_emit::send::{Sender, Stats};

use crate::runtime::console;

/// Tells of the first failure since all connections worked.
#[derive(Default)]
pub(super) struct Failures {
    is_told: bool,
}

impl Failures {
    /// Tells of the first one of the connections of `all` that has failed, unless that was told.
    pub(super) fn tell<'a>(&mut self, all: impl IntoIterator<Item = &'a Sender>) {
        let stats: Vec<Stats> = all.into_iter().map(Sender::stats).collect();
        if let Some(reason) = self.new_failure(&stats) {
            console::line(format_args!("joey: {reason}; trying again"));
        }
    }

    /// Whether a failure was told and some connection may still not work.
    pub(super) const fn is_told(&self) -> bool {
        self.is_told
    }

    fn new_failure(&mut self, all: &[Stats]) -> Option<String> {
        if all.iter().all(|stats| stats.is_connected) {
            self.is_told = false;
            return None;
        }
        let reason = all.iter().find_map(failure).filter(|_| !self.is_told)?;
        self.is_told = true;
        Some(reason)
    }
}

/// Why there is no connection, if the last attempt has failed.
pub(super) fn failure(stats: &Stats) -> Option<String> {
    let error = stats.last_error.as_ref().filter(|_| !stats.is_connected)?;
    Some(if stats.is_reachable { error.clone() } else { with_advice(error) })
}

/// `error`, which is that nothing listens at the address, and what to do.
pub(super) fn with_advice(error: &str) -> String {
    format!("{error}; start a relay with joey serve, or name its port for producers with --relay or JOEY_PIPE_RELAY")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_while_other_connections_work() {
        let connected = Stats { is_connected: true, ..Stats::default() };
        let failed = Stats { is_reachable: true, last_error: Some("closed".to_owned()), ..Stats::default() };
        let mut failures = Failures::default();
        let both = [connected.clone(), failed];
        assert_eq!(failures.new_failure(&both).as_deref(), Some("closed"));
        assert_eq!(failures.new_failure(&both), None);
        assert_eq!(failures.new_failure(&[connected.clone(), connected]), None);
        assert!(failures.new_failure(&both).is_some(), "it is told again once all have worked");
    }
}
