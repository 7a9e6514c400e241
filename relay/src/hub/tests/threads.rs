//! The hub with several threads: producers, the batch cutter, the sweeper, and viewers that subscribe, wait, read and
//! unsubscribe. No update is lost or delivered twice, no viewer hangs, and there is no deadlock.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use tokio::time::timeout;

use super::*;

/// A viewer that waits longer than this counts as hanging.
const TIMEOUT: Duration = Duration::from_secs(60);
const PRODUCERS: usize = 3;
const UPDATES: u64 = 2_000;
const VIEWERS: usize = 3;

/// Reads everything until it has every number, and waits for wake-ups.
async fn read_to_the_end(hub: Arc<Hub>) {
    let wake = Arc::<Notify>::default();
    let viewer = hub.register_viewer(wake.clone()).unwrap();
    let (mut all, subscribed) = viewer.subscribe(1, &topic(Filter::All), None, Start::History, NOW).unwrap();
    assert_eq!(subscribed.next, 1);
    let mut seen = BTreeSet::new();
    while seen.len() < PRODUCERS * UPDATES as usize {
        let read = all.read(7, NOW);
        assert_eq!(read.gap, None);
        for update in read.batches.iter().flat_map(|bytes| updates(bytes)) {
            assert!(seen.insert(update.seq), "{} was delivered twice", update.seq);
        }
        if read.batches.is_empty() {
            wake.notified().await;
        }
    }
    assert_eq!(seen.last(), Some(&(seen.len() as u64)));
}

/// Stops the other threads when the last viewer has finished or failed.
struct ViewerGuard<'a> {
    hub: &'a Arc<Hub>,
    viewers_left: &'a AtomicUsize,
    is_over: &'a AtomicBool,
}

impl Drop for ViewerGuard<'_> {
    fn drop(&mut self) {
        if self.viewers_left.fetch_sub(1, SeqCst) == 1 {
            self.is_over.store(true, SeqCst);
            // The batch cutter sleeps until there is work, so publish something.
            let app = self.hub.app("app").unwrap();
            self.hub.cut_all(NOW);
            self.hub.publish(&app, &data_point("a", COMPUTATION, 1_000), NOW).unwrap();
        }
    }
}

#[test]
fn no_update_is_lost_between_threads_and_no_viewer_hangs() {
    let hub = hub(Config { forget_after: Duration::ZERO, ..Config::default() });
    let app = hub.app("app").unwrap();
    let (producers_left, viewers_left) = (AtomicUsize::new(PRODUCERS), AtomicUsize::new(VIEWERS));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for worker in ["a", "b", "c"] {
            let (hub, app, producers_left) = (&hub, &app, &producers_left);
            scope.spawn(move || {
                hub.worker_joined(app, worker, NOW);
                for _ in 0..UPDATES {
                    hub.publish(app, &data_point(worker, COMPUTATION, 1_000), NOW).unwrap();
                }
                hub.worker_left(app, worker, NOW);
                producers_left.fetch_sub(1, SeqCst);
            });
        }
        // Like the relay: only the first pending update wakes it.
        let cutter = hub.clone();
        let is_over = &is_over;
        scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            while !is_over.load(SeqCst) {
                runtime.block_on(cutter.wait_for_work());
                cutter.cut_all(NOW);
            }
        });
        let others = (&hub, is_over);
        scope.spawn(move || {
            let (hub, is_over) = others;
            while !is_over.load(SeqCst) {
                // Everything is silent by now, but a reference always exists.
                hub.evict_old(NOW + 1);
                let (_, entries, version) = hub.catalogue_since(0);
                assert!(entries.len() == 1 && version <= hub.catalogue_version());
            }
        });
        scope.spawn(move || {
            let (hub, is_over) = others;
            while !is_over.load(SeqCst) {
                let viewer = hub.register_viewer(Arc::<Notify>::default()).unwrap();
                let (mut part, _) = viewer.subscribe(1, &topic(only("a")), None, Start::History, NOW).unwrap();
                let seqs = seqs(&mut part);
                assert!(seqs.is_sorted());
                assert!(hub.gauges(0).apps == 1);
            }
        });
        for _ in 0..VIEWERS {
            let guard = ViewerGuard { hub: &hub, viewers_left: &viewers_left, is_over };
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                // Move the guard into the thread, which drops it at its end.
                let guard = guard;
                let all = read_to_the_end(guard.hub.clone());
                runtime.block_on(async { timeout(TIMEOUT, all).await.expect("a viewer was not woken") });
            });
        }
    });
    assert_eq!(producers_left.into_inner(), 0);
    let held: u64 = hub.apps.read().values().map(|app| app.log.lock().ring_bytes()).sum();
    assert_eq!((hub.ring_bytes.load(Relaxed), hub.gauges(0).topics), (held, 1));
}
