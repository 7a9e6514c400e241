//! The hub from several threads at once: producers, the cutter, the sweeper, and viewers that come, wait, read and leave. No
//! update is lost or comes twice, nobody waits for ever, and nobody waits in a circle.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use tokio::time::timeout;

use super::*;

/// As long as a viewer may wait before it counts as for ever.
const PATIENCE: Duration = Duration::from_secs(60);
const PRODUCERS: usize = 3;
const UPDATES: u64 = 2_000;
const VIEWERS: usize = 3;

/// Follows everything until it has every number, sleeping until it is woken.
async fn follow_to_the_end(hub: Arc<Hub>) {
    let wake = Arc::<Notify>::default();
    let viewer = hub.enter(wake.clone()).unwrap();
    let (mut all, subscribed) = viewer.subscribe(1, &topic(Filter::All), None, Start::History, NOW).unwrap();
    assert_eq!(subscribed.next, 1);
    let mut seen = BTreeSet::new();
    while seen.len() < PRODUCERS * UPDATES as usize {
        let read = all.read(7, NOW);
        assert_eq!(read.gap, None);
        for update in read.batches.iter().flat_map(|bytes| updates(bytes)) {
            assert!(seen.insert(update.seq), "{} came twice", update.seq);
        }
        if read.batches.is_empty() {
            wake.notified().await;
        }
    }
    assert_eq!(seen.last(), Some(&(seen.len() as u64)));
}

/// When the last viewer is through, or has failed, everybody else may stop.
struct Leaving<'a> {
    hub: &'a Arc<Hub>,
    following: &'a AtomicUsize,
    is_over: &'a AtomicBool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if self.following.fetch_sub(1, SeqCst) == 1 {
            self.is_over.store(true, SeqCst);
            // The cutter sleeps until there is work.
            let app = self.hub.app("app").unwrap();
            self.hub.cut_all(NOW);
            self.hub.publish(&app, &metrics("a", COMPUTATION, 1_000), NOW).unwrap();
        }
    }
}

#[test]
fn nothing_is_lost_between_threads_and_nobody_sleeps_for_ever() {
    let hub = hub(Config { forget_after: Duration::ZERO, ..Config::default() });
    let app = hub.app("app").unwrap();
    let (publishing, following) = (AtomicUsize::new(PRODUCERS), AtomicUsize::new(VIEWERS));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for worker in ["a", "b", "c"] {
            let (hub, app, publishing) = (&hub, &app, &publishing);
            scope.spawn(move || {
                hub.worker_joined(app, worker, NOW);
                for _ in 0..UPDATES {
                    hub.publish(app, &metrics(worker, COMPUTATION, 1_000), NOW).unwrap();
                }
                hub.worker_left(app, worker, NOW);
                publishing.fetch_sub(1, SeqCst);
            });
        }
        // As the relay does it: woken by the first update that waits, and not otherwise.
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
                // All is silent by now, but somebody always holds it.
                hub.evict_old(NOW + 1);
                let (_, entries, version) = hub.catalogue_since(0);
                assert!(entries.len() == 1 && version <= hub.catalogue_version());
            }
        });
        scope.spawn(move || {
            let (hub, is_over) = others;
            while !is_over.load(SeqCst) {
                let viewer = hub.enter(Arc::<Notify>::default()).unwrap();
                let (mut part, _) = viewer.subscribe(1, &topic(only("a")), None, Start::History, NOW).unwrap();
                let seqs = seqs(&mut part);
                assert!(seqs.is_sorted());
                assert!(hub.gauges(0).apps == 1);
            }
        });
        for _ in 0..VIEWERS {
            let leaving = Leaving { hub: &hub, following: &following, is_over };
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                // The thread takes all of it, and drops it at its end.
                let leaving = leaving;
                let all = follow_to_the_end(leaving.hub.clone());
                runtime.block_on(async { timeout(PATIENCE, all).await.expect("somebody was not woken") });
            });
        }
    });
    assert_eq!(publishing.into_inner(), 0);
    let held: u64 = hub.apps.read().values().map(|app| app.log.lock().ring_bytes()).sum();
    assert_eq!((hub.ring_bytes.load(Relaxed), hub.gauges(0).topics), (held, 1));
}
