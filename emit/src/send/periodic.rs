//! The thread that collects histograms at the end of each period.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use joey_shared::histogram::Histogram;
use parking_lot::{Condvar, Mutex};

use super::{SendConfig, Sender, SeriesName, Stats};

/// Accepted periods in ns: 10 ms to 1 h, as at the relay.
const PERIOD_NS_MIN: u64 = 10_000_000;
const PERIOD_NS_MAX: u64 = 3_600_000_000_000;

/// Collects the histograms of a period.
type Collect = dyn FnMut() -> Vec<(SeriesName, Histogram)> + Send;

/// Sends the histograms that a function collects, at the end of each period. Dropping it sends the last, incomplete period, and
/// waits for acknowledgements for [`SendConfig::flush_timeout`].
#[derive(Debug)]
pub struct PeriodicSender {
    shared: Arc<Shared>,
}

struct Shared {
    sender: Sender,
    collector: Mutex<Collector>,
    is_closed: Mutex<bool>,
    closed: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.sender.fmt(out)
    }
}

struct Collector {
    collect: Box<Collect>,
    /// The end of the last period, in ns since the Unix epoch.
    last_end_ns: u64,
}

impl PeriodicSender {
    /// Starts to connect, and collects at every multiple of `period`. Periods are limited to 10 ms to 1 h.
    ///
    /// # Errors
    /// Fails if a thread cannot be started.
    pub fn start(
        config: SendConfig,
        period: Duration,
        collect: impl FnMut() -> Vec<(SeriesName, Histogram)> + Send + 'static,
    ) -> io::Result<Self> {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).clamp(PERIOD_NS_MIN, PERIOD_NS_MAX);
        let collector = Collector { collect: Box::new(collect), last_end_ns: now_ns() };
        let shared = Arc::new(Shared {
            sender: Sender::start(config)?,
            collector: Mutex::new(collector),
            is_closed: Mutex::new(false),
            closed: Condvar::new(),
        });
        let of_thread = shared.clone();
        thread::Builder::new().name("joey-emit".to_owned()).spawn(move || of_thread.run(period_ns))?;
        Ok(Self { shared })
    }

    /// What has become of the data so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.sender.stats()
    }

    /// Sends the current, incomplete period, and waits until everything is acknowledged or dropped, at most for
    /// `timeout`. Returns whether it is.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.shared.collect(now_ns());
        self.shared.sender.flush(timeout)
    }
}

impl Drop for PeriodicSender {
    fn drop(&mut self) {
        *self.shared.is_closed.lock() = true;
        self.shared.closed.notify_all();
        self.shared.collect(now_ns());
        self.shared.sender.close();
    }
}

impl Shared {
    fn run(&self, period_ns: u64) {
        let mut is_closed = self.is_closed.lock();
        while !*is_closed {
            let now_ns = now_ns();
            let end_ns = next_end(now_ns, period_ns);
            // The wall clock may be set during the wait. So the wait is short, and the end is computed again.
            let wait = Duration::from_nanos(end_ns.saturating_sub(now_ns)).min(Duration::from_secs(1));
            self.closed.wait_for(&mut is_closed, wait);
            if !*is_closed && self::now_ns() >= end_ns {
                // Without the lock, so that a collecting function may take its time.
                parking_lot::MutexGuard::unlocked(&mut is_closed, || self.collect(end_ns));
            }
        }
    }

    /// Sends what was recorded since the end of the last period, as a period that ends at `end_ns`.
    fn collect(&self, end_ns: u64) {
        let mut collector = self.collector.lock();
        let histograms = (collector.collect)();
        let period_ns = period_of(collector.last_end_ns, end_ns);
        collector.last_end_ns = end_ns;
        if !histograms.is_empty() {
            self.sender.send(period_ns, end_ns, histograms);
        }
    }
}

/// The next multiple of the period after `now_ns`.
const fn next_end(now_ns: u64, period_ns: u64) -> u64 {
    (now_ns / period_ns + 1) * period_ns
}

/// The length of the period between these ends, in ns, within the accepted range. It is out of range if the application was
/// suspended, its clock was set, or it flushes twice within 10 ms.
fn period_of(last_end_ns: u64, end_ns: u64) -> u64 {
    end_ns.saturating_sub(last_end_ns).clamp(PERIOD_NS_MIN, PERIOD_NS_MAX)
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_end_at_multiples_of_their_length() {
        assert_eq!([0, 1, 999, 1_000].map(|now_ns| next_end(now_ns, 1_000)), [1_000, 1_000, 1_000, 2_000]);
    }

    #[test]
    fn a_period_has_an_accepted_length_even_if_the_clock_was_set() {
        const S: u64 = 1_000_000_000;
        assert_eq!(period_of(10 * S, 12 * S), 2 * S);
        assert_eq!(period_of(10 * S, 10 * S), PERIOD_NS_MIN);
        assert_eq!(period_of(10 * S, 3 * S), PERIOD_NS_MIN);
        assert_eq!(period_of(10 * S, 9_999 * S), PERIOD_NS_MAX);
    }
}
