//! Resource use of a process, from `/proc`.

use std::time::{Duration, Instant};

use joey_tests::Relay;

/// Clock ticks per second, the same on every current Linux.
const TICKS_PER_SEC: f64 = 100.0;

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
        let read =
            |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", relay.process_id())).unwrap_or_default();
        let status = read("status");
        let kb = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok()).unwrap_or(f64::NAN)
        };
        let stat = read("stat");
        // The name in parentheses can contain any character; user and system time are the 14th and 15th field.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(f64::NAN);
        Self {
            rss_mb: kb("VmRSS:") / 1024.0,
            rss_max_mb: kb("VmHWM:") / 1024.0,
            cpu_secs: (ticks(11) + ticks(12)) / TICKS_PER_SEC,
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
