//! Relays with a journal that share what they ingest: one is killed and continues its log, and the viewers of the other
//! receive every number once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use joey_emit::send::{SendConfig, Sender, Totals};
use joey_tests::kills::{StopOnDrop, send_numbers};
use joey_tests::{Nats, Relay, eventually};
use tempfile::TempDir;

use super::{checked_viewer, only_log, wait_for_connected};

/// Interval at which a number is sent.
const SEND_INTERVAL: Duration = Duration::from_millis(20);

/// Two relays that have found each other, each with a journal.
fn relays(nats: &Nats) -> ([Relay; 2], [TempDir; 2]) {
    let folders = [(); 2].map(|()| TempDir::new().expect("a journal can be written"));
    let relays = folders.each_ref().map(|folder| {
        let journal = folder.path().to_str().expect("it is UTF-8");
        let relay = Relay::start_with(&["--nats", &nats.url(), "--journal", journal]);
        wait_for_connected(&relay, true);
        relay
    });
    relays.iter().for_each(|relay| relay.wait_for_relays(2));
    (relays, folders)
}

/// A producer of `App` with acknowledgements.
fn sender(relay: &Relay) -> Sender {
    let config = SendConfig { relays: vec![relay.ingest.to_string()], ..SendConfig::new("App", "w") };
    Sender::start(config).expect("a thread can be started")
}

/// Kills and restarts the relay `killed` again and again while the first one receives numbers. Checks that everything is
/// acknowledged, and that a viewer that stays at the relay `watched`, and late viewers of both, receive each number once.
fn check_kills(killed: usize, watched: usize, seed: u64) {
    let nats = Nats::start();
    let (mut relays, _folders) = relays(&nats);
    let sender = sender(&relays[0]);
    let (next, is_stopping) = (AtomicU64::new(1), AtomicBool::new(false));
    let mut random = fastrand::Rng::with_seed(seed);
    let (epoch, mut watching) = thread::scope(|scope| {
        let _stop = StopOnDrop(&is_stopping);
        scope.spawn(|| send_numbers(&sender, &next, SEND_INTERVAL, &is_stopping));
        let epoch = only_log(&relays[0]);
        let mut watching = checked_viewer(&relays[watched], epoch);
        for kill in 0..4 {
            // What was sent so far arrives while all relays run. A viewer that does not read would be disconnected.
            watching.read_to(next.load(Relaxed) - 1);
            thread::sleep(Duration::from_millis(random.u64(..100)));
            relays[killed].kill();
            if kill % 2 == 1 {
                // The other relay notices.
                relays[1 - killed].wait_for_relays(1);
            }
            relays[killed].restart_on_same_ports();
            wait_for_connected(&relays[killed], true);
        }
        (epoch, watching)
    });
    eventually("everything is acknowledged", || {
        // A viewer that does not answer would be disconnected.
        watching.viewer.as_mut().expect("it is connected").answer_pings();
        sender.flush(Duration::ZERO).then_some(())
    });
    let stats = sender.stats();
    assert_eq!((stats.dropped, stats.acknowledged), (Totals::default(), stats.recorded));
    let sent = next.load(Relaxed) - 1;
    watching.read_to(sent);
    // Each relay lists this log only.
    let mut late = relays.each_ref().map(|relay| checked_viewer(relay, epoch));
    late.iter_mut().for_each(|viewer| viewer.read_to(sent));
    let given = watching.delivery.numbers(epoch);
    let mut numbers: Vec<u64> = given.values().copied().collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(1..=sent), "{sent} numbers were sent, {} arrived", numbers.len());
    for viewer in [&watching, &late[0], &late[1]] {
        assert_eq!(viewer.delivery.missing(epoch), 0);
        assert_eq!(viewer.delivery.numbers(epoch), given, "all viewers see the same log");
    }
    for relay in &relays {
        assert_eq!(relay.metric("joey_task_panics_total"), 0);
    }
}

#[test]
fn viewers_of_another_relay_receive_each_number_of_a_killed_relay_once() {
    check_kills(0, 1, 1);
}

#[test]
fn viewers_of_a_relay_are_not_affected_when_another_one_is_killed() {
    check_kills(1, 0, 2);
}
