//! Resource use of a relay up to a point in time, and quantiles of durations.

use std::time::{Duration, Instant};

use joey_tests::Relay;
use joey_tests::process::{cpu_secs, memory_mb};

/// Resource use of a relay up to a point in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Resident memory in MB of 2^20 bytes.
    pub(crate) rss_mb: f64,
    /// Its maximum so far.
    pub(crate) rss_max_mb: f64,
    cpu_secs: f64,
    at: Instant,
}

impl Usage {
    pub(crate) fn of(relay: &Relay) -> Self {
        let process = relay.process_id();
        let memory_mb = |field: &str| memory_mb(process, "status", field).unwrap_or(f64::NAN);
        Self {
            rss_mb: memory_mb("VmRSS:"),
            rss_max_mb: memory_mb("VmHWM:"),
            cpu_secs: cpu_secs(process).unwrap_or(f64::NAN),
            at: Instant::now(),
        }
    }

    /// Average number of cores used since `before`.
    pub(crate) fn cores_since(&self, before: &Self) -> f64 {
        self.cpu_since(before) / self.at.duration_since(before.at).as_secs_f64()
    }

    /// Seconds of CPU, in user space and in the kernel, used since `before`.
    pub(crate) fn cpu_since(&self, before: &Self) -> f64 {
        self.cpu_secs - before.cpu_secs
    }
}

/// The value of rank `ceil(q * n)`, in ms.
pub(crate) fn quantile_ms(durations: &mut [Duration], q: f64) -> f64 {
    durations.sort_unstable();
    let rank = (q * durations.len() as f64).ceil() as usize;
    durations.get(rank.saturating_sub(1)).map_or(f64::NAN, |duration| duration.as_secs_f64() * 1e3)
}
