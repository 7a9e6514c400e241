//! The simulated deploys of the web service: at regular times, a release that makes one operation slower, until it is
//! rolled back.
//!
//! Everything depends on the time alone, so all instances agree, and the log can say what happens.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::runtime::clock::monotonic_ns;

/// How long the slow release runs before it is rolled back, in seconds.
pub(super) const DEPLOYED_SECONDS: u64 = 180;
/// The time between two instances, in seconds: a rolling deploy.
const ROLLING_SECONDS: u64 = 10;

const SECOND_NS: u64 = 1_000_000_000;

/// When releases are deployed and rolled back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deploys {
    /// The start of the demo, in seconds since the Unix epoch.
    start_second: u64,
    /// The time from the start, or from a rollback, to the next deploy, in seconds.
    after_seconds: u64,
}

impl Deploys {
    pub(super) const fn new(start_second: u64, after: Duration) -> Self {
        let after_seconds = after.as_secs();
        Self { start_second, after_seconds: if after_seconds == 0 { 1 } else { after_seconds } }
    }

    /// Whether instance number `instance` runs the slow release in this second. Before the start none does.
    pub(super) const fn is_deployed(self, second: u64, instance: u64) -> bool {
        match second.checked_sub(self.start_second + instance * ROLLING_SECONDS) {
            Some(age) => age % (self.after_seconds + DEPLOYED_SECONDS) >= self.after_seconds,
            None => false,
        }
    }

    /// The next second after `second` in which the first instance changes its release.
    const fn next_change(self, second: u64) -> u64 {
        let cycle = self.after_seconds + DEPLOYED_SECONDS;
        let age = second.saturating_sub(self.start_second);
        let start = self.start_second + age / cycle * cycle;
        if age % cycle < self.after_seconds { start + self.after_seconds } else { start + cycle }
    }

    /// Writes each change into the log until `stop`.
    pub(super) async fn log(self, stop: CancellationToken) {
        let mut second = self.start_second;
        loop {
            second = self.next_change(second);
            let wait = Duration::from_nanos((second * SECOND_NS).saturating_sub(monotonic_ns()));
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            if self.is_deployed(second, 0) {
                tracing::info!(
                    rollback_in_s = DEPLOYED_SECONDS,
                    "demo: Web Shop deploys release 2.4.1, which makes GET /cart slower"
                );
            } else {
                tracing::info!(next_in_s = self.after_seconds, "demo: Web Shop rolls back to release 2.4.0");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_deployed_and_rolled_back_again_and_again() {
        let deploys = Deploys::new(1_000, Duration::from_secs(60));
        let first = |second| deploys.is_deployed(second, 0);
        assert_eq!([900, 1_000, 1_059, 1_060, 1_239, 1_240].map(first), [false, false, false, true, true, false]);
        assert_eq!([1_299, 1_300, 1_479, 1_480].map(first), [false, true, true, false]);
        assert_eq!(
            [1_000, 1_060, 1_239, 1_240].map(|second| deploys.next_change(second)),
            [1_060, 1_240, 1_240, 1_300]
        );
    }

    #[test]
    fn instances_follow_each_other() {
        let deploys = Deploys::new(1_000, Duration::ZERO);
        assert_eq!([1_001, 1_010, 1_011].map(|second| deploys.is_deployed(second, 1)), [false, false, true]);
    }
}
