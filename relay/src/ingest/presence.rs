//! Which workers are present, for sources without a connection: a worker joins with its first data, and leaves when it
//! has been silent.

use std::collections::HashMap;
use std::sync::Arc;

use crate::hub::{App, Hub};
use crate::runtime::sync::Mutex;

/// A worker leaves after this many of its periods without data.
const SILENT_PERIODS: u64 = 3;

/// A worker does not leave before this time, in ns: 30 s.
const SILENCE_NS_MIN: u64 = 30_000_000_000;

/// Maximum number of workers. More are not listed as connected; their data is not affected.
const WORKERS_MAX: usize = 10_000;

/// The workers of one kind of source.
#[derive(Debug)]
pub struct Presence {
    hub: Arc<Hub>,
    workers: Mutex<HashMap<(String, String), Present>>,
}

#[derive(Debug)]
struct Present {
    app: Arc<App>,
    /// When its data last arrived, on the relay's clock.
    last_ns: u64,
    period_ns: u64,
}

impl Present {
    const fn is_silent(&self, now_ns: u64) -> bool {
        let silence_ns = self.period_ns.saturating_mul(SILENT_PERIODS);
        let silence_ns = if silence_ns > SILENCE_NS_MIN { silence_ns } else { SILENCE_NS_MIN };
        now_ns.saturating_sub(self.last_ns) > silence_ns
    }
}

impl Presence {
    /// Creates it without workers.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub, workers: Mutex::default() }
    }

    /// Records that data of `worker` arrived at `now_ns`, for a period of `period_ns`.
    pub fn seen(&self, app: &Arc<App>, worker: &str, period_ns: u64, now_ns: u64) {
        let mut workers = self.workers.lock();
        let key = (app.name().to_owned(), worker.to_owned());
        let is_full = workers.len() >= WORKERS_MAX;
        match workers.get_mut(&key) {
            Some(present) if Arc::ptr_eq(&present.app, app) => {
                present.last_ns = present.last_ns.max(now_ns);
                present.period_ns = period_ns;
                return;
            }
            // The application was forgotten and has returned.
            Some(_) => {}
            None if is_full => return,
            None => {}
        }
        workers.insert(key, Present { app: app.clone(), last_ns: now_ns, period_ns });
        drop(workers);
        tracing::info!(app = app.name(), worker, "worker joined");
        self.hub.worker_joined(app, worker, now_ns);
    }

    /// Reports the workers that have been silent for too long. Call it about once per second.
    pub fn sweep(&self, now_ns: u64) {
        let left: Vec<((String, String), Present)> =
            self.workers.lock().extract_if(|_, present| present.is_silent(now_ns)).collect();
        for ((_, worker), Present { app, .. }) in left {
            tracing::info!(app = app.name(), worker, "worker left: it is silent");
            self.hub.worker_left(&app, &worker, now_ns);
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let now_ns = self.hub.config().now_ns();
        for ((_, worker), Present { app, .. }) in self.workers.lock().drain() {
            self.hub.worker_left(&app, &worker, now_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const S: u64 = 1_000_000_000;

    /// Number of connections of each worker in the catalogue.
    fn connected(hub: &Hub) -> Vec<(String, u32)> {
        let (_, apps, _) = hub.catalogue_since(0);
        let workers = apps.into_iter().flat_map(|app| app.workers);
        workers.map(|worker| (worker.worker, u32::from(worker.connected))).collect()
    }

    #[test]
    fn a_worker_joins_with_its_first_data_and_leaves_after_three_silent_periods() {
        let hub = Arc::new(Hub::new(Config::default(), 7));
        let presence = Presence::new(hub.clone());
        let app = hub.app("app").unwrap();
        for second in 0..5 {
            presence.seen(&app, "slow", 60 * S, second * S);
            presence.seen(&app, "fast", S, second * S);
        }
        assert_eq!(connected(&hub), [("fast".to_owned(), 1), ("slow".to_owned(), 1)]);
        presence.sweep(34 * S);
        assert_eq!(connected(&hub), [("fast".to_owned(), 1), ("slow".to_owned(), 1)]);
        presence.sweep(35 * S);
        assert_eq!(connected(&hub), [("fast".to_owned(), 0), ("slow".to_owned(), 1)]);
        presence.sweep(184 * S);
        assert_eq!(connected(&hub), [("fast".to_owned(), 0), ("slow".to_owned(), 1)]);
        presence.sweep(185 * S);
        assert_eq!(connected(&hub), [("fast".to_owned(), 0), ("slow".to_owned(), 0)]);
        presence.seen(&app, "fast", S, 200 * S);
        assert_eq!(connected(&hub), [("fast".to_owned(), 1), ("slow".to_owned(), 0)]);
        drop(presence);
        assert_eq!(connected(&hub), [("fast".to_owned(), 0), ("slow".to_owned(), 0)]);
    }

    #[test]
    fn a_worker_joins_again_when_its_application_was_forgotten() {
        let hub = Arc::new(Hub::new(Config::default(), 7));
        let presence = Presence::new(hub.clone());
        presence.seen(&hub.app("app").unwrap(), "w", S, S);
        let other = Arc::new(Hub::new(Config::default(), 8)).app("app").unwrap();
        presence.seen(&other, "w", S, 2 * S);
        assert!(presence.workers.lock().values().all(|present| Arc::ptr_eq(&present.app, &other)));
    }

    #[test]
    fn the_number_of_workers_is_limited() {
        let hub = Arc::new(Hub::new(Config::default(), 7));
        let presence = Presence::new(hub.clone());
        let app = hub.app("app").unwrap();
        (0..WORKERS_MAX + 5).for_each(|number| presence.seen(&app, &number.to_string(), S, S));
        assert_eq!(presence.workers.lock().len(), WORKERS_MAX);
    }
}
