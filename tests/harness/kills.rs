//! Kills a relay with a journal again and again under load, and checks that nothing is lost and nothing counts twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use joey_emit::send::{SendConfig, Sender, SeriesName, Totals};
use joey_shared::histogram::{Grid, Histogram};

use super::delivery::{CheckedViewer, NUMBER_BIN, send};
use super::{Relay, S, TIMEOUT, Viewer, eventually, now_ns};

/// Producers with acknowledgements.
const SENDERS: usize = 3;
/// Interval at which each of them sends a histogram.
const SEND_INTERVAL: Duration = Duration::from_millis(2);
/// A second viewer is connected during every so many runs of the relay only.
const ABSENCE: u32 = 3;

/// What happened.
#[derive(Clone, Copy, Debug)]
pub struct Kills {
    /// Number of histograms that were sent, and that arrived exactly once at every viewer.
    pub arrived_once: u64,
    /// Updates of a Wallaroo worker, which has no acknowledgements, that viewers saw before and after the kills.
    pub seen_before_and_after: u64,
    /// The longest time from the start of the process until it accepts connections.
    pub longest_start: Duration,
}

/// Stops [`send_numbers`] when it is dropped, also if a check fails.
#[derive(Debug)]
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Sends histograms that carry the numbers from `next`, one per `interval`, until `is_stopping`.
pub fn send_numbers(sender: &Sender, next: &AtomicU64, interval: Duration, is_stopping: &AtomicBool) {
    while !is_stopping.load(Relaxed) {
        let number = next.fetch_add(1, Relaxed);
        let mut histogram = Histogram::with_sum(Grid::WALLAROO);
        histogram.add(NUMBER_BIN, number);
        let name = format!("n{}", number % 20);
        sender.send(S, now_ns(), [(SeriesName::exact("computation", "p", name), histogram)]);
        thread::sleep(interval);
    }
}

/// Kills `relay`, which has a journal, `kills` times while it receives data, at random moments from `seed`.
///
/// # Panics
/// If an acknowledged update, or one that a viewer has seen, is lost or counted twice.
pub fn kill_repeatedly(relay: &mut Relay, kills: u32, seed: u64) -> Kills {
    let mut random = fastrand::Rng::with_seed(seed);
    let (next, is_stopping) = (AtomicU64::new(1), AtomicBool::new(false));
    let senders: Vec<Sender> = (0..SENDERS)
        .map(|at| {
            let relays = vec![relay.ingest.to_string()];
            let config = SendConfig { relays, ..SendConfig::new("App", format!("w{at}")) };
            Sender::start(config).expect("a thread can be started")
        })
        .collect();
    let mut longest_start = Duration::ZERO;
    let mut plain_number = 1;
    let mut plain = relay.producer("Plain", "w");
    send(&mut plain, "Plain", "w", [plain_number]);
    let (mut app, mut rare, mut plain_viewer) = thread::scope(|scope| {
        let _stop = StopOnDrop(&is_stopping);
        for sender in &senders {
            scope.spawn(|| send_numbers(sender, &next, SEND_INTERVAL, &is_stopping));
        }
        eventually("both applications exist", || (relay.metric("joey_apps") == 2).then_some(()));
        let subscribe = |app: &str| CheckedViewer::subscribe(app, Viewer::connect(relay));
        let (mut app, mut rare, mut plain_viewer) = (subscribe("App"), subscribe("App"), subscribe("Plain"));
        for kill in 0..kills {
            let from = plain_number + 1;
            plain_number += 40;
            send(&mut plain, "Plain", "w", from..=plain_number);
            // The second half is on its way when the relay dies.
            thread::sleep(Duration::from_millis(random.u64(..150)));
            plain_number += 40;
            send(&mut plain, "Plain", "w", plain_number - 39..=plain_number);
            thread::sleep(Duration::from_millis(random.u64(..60)));
            relay.kill();
            app.read_to_close();
            plain_viewer.read_to_close();
            if rare.viewer.is_some() {
                rare.read_to_close();
            }
            let start = Instant::now();
            relay.restart_on_same_ports();
            longest_start = longest_start.max(start.elapsed());
            for (viewer, is_due) in
                [(&mut app, true), (&mut plain_viewer, true), (&mut rare, (kill + 1).is_multiple_of(ABSENCE))]
            {
                if is_due {
                    let epoch = viewer.epoch;
                    viewer.reconnect_to(relay.http);
                    assert_eq!(viewer.epoch, epoch, "the log continues after kill {kill}");
                }
            }
            plain = relay.producer("Plain", "w");
        }
        (app, rare, plain_viewer)
    });
    for sender in &senders {
        assert!(sender.flush(TIMEOUT), "{:?}", sender.stats());
        let stats = sender.stats();
        assert_eq!((stats.dropped, stats.acknowledged), (Totals::default(), stats.recorded));
    }
    let sent = next.load(Relaxed) - 1;
    app.read_to(sent);
    if rare.viewer.is_none() {
        rare.reconnect_to(relay.http);
    }
    rare.read_to(sent);
    let mut late = CheckedViewer::subscribe("App", Viewer::connect(relay));
    late.read_to(sent);
    let mut everything: Option<BTreeMap<u64, u64>> = None;
    for viewer in [&app, &rare, &late] {
        let given = viewer.delivery.numbers(viewer.epoch);
        let mut numbers: Vec<u64> = given.values().copied().collect();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(1..=sent), "{sent} numbers were sent, {} arrived", numbers.len());
        assert_eq!(viewer.delivery.missing(viewer.epoch), 0);
        let known = everything.get_or_insert_with(|| given.clone());
        assert_eq!(*known, given, "all viewers see the same log");
    }
    let last = plain_number + 1;
    send(&mut plain, "Plain", "w", [last]);
    let number_of_last = |viewer: &CheckedViewer| viewer.delivery.numbers(viewer.epoch).values().next_back().copied();
    let mut plain_late = CheckedViewer::subscribe("Plain", Viewer::connect(relay));
    for viewer in [&mut plain_viewer, &mut plain_late] {
        while number_of_last(viewer) != Some(last) {
            viewer.next_message();
        }
        assert_eq!(viewer.delivery.missing(viewer.epoch), 0);
    }
    let seen = plain_viewer.delivery.numbers(plain_viewer.epoch);
    assert_eq!(plain_late.delivery.numbers(plain_late.epoch), seen, "what was seen is there after the kills");
    let mut distinct: Vec<u64> = seen.values().copied().collect();
    distinct.dedup();
    assert_eq!(distinct.len(), seen.len(), "nothing counts twice");
    assert_eq!(relay.metric("joey_task_panics_total"), 0);
    Kills { arrived_once: sent, seen_before_and_after: seen.len() as u64, longest_start }
}
