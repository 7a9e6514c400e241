//! What `joey pipe` and `joey replay` say of a connection that fails. Both wait for a relay unless they must not, so the first
//! failure is told at once: a wrong address would otherwise look like a relay that is down.

use joey_emit::send::Stats;

use crate::runtime::console;

/// Tells of the first failure since there was a connection.
#[derive(Default)]
pub(super) struct Failures {
    is_told: bool,
}

impl Failures {
    pub(super) fn tell(&mut self, stats: &Stats) {
        if stats.is_connected {
            self.is_told = false;
        } else if let Some(reason) = failure(stats).filter(|_| !self.is_told) {
            self.is_told = true;
            console::line(format_args!("joey: {reason}; trying again"));
        }
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
