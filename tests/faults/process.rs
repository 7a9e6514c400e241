//! A relay that is killed or stopped, and a producer that sends more than allowed.

use joey_tests::delivery::{CheckedViewer, check_frame_counts, numbered, send};
use joey_tests::{Relay, Viewer, eventually};

/// Three viewers that subscribe to `App`, which must exist.
fn checked_viewers(relay: &Relay) -> Vec<CheckedViewer> {
    (0..3).map(|_| CheckedViewer::subscribe("App", Viewer::connect(relay))).collect()
}

#[test]
fn a_killed_relay_loses_only_its_own_data_and_delivers_nothing_twice() {
    let mut relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    let mut sent: Vec<u64> = vec![1];
    send(&mut producer, "App", "w", sent.iter().copied());
    relay.wait_for_accepted(1);
    let mut checked_viewers = checked_viewers(&relay);
    for round in 1..=3 {
        let more: Vec<u64> = (round * 10_000..round * 10_000 + 3_000).collect();
        send(&mut producer, "App", "w", more.iter().copied());
        sent.extend(more);
        // In the middle of the log.
        checked_viewers.iter_mut().for_each(|checked| checked.read_to(500));
        relay.kill();
        for checked in &mut checked_viewers {
            assert_eq!(checked.read_to_close(), 1006);
            let reached = usize::try_from(checked.delivery.last_seq(checked.epoch)).expect("it fits");
            checked.check(&sent[..reached]);
        }
        relay.restart_on_same_ports();
        // A worker that reconnects sends what happens from then on.
        sent = (round * 10_000 + 5_000..round * 10_000 + 5_100).collect();
        producer = relay.producer("App", "w");
        send(&mut producer, "App", "w", sent.iter().copied());
        relay.wait_for_accepted(100);
        for checked in &mut checked_viewers {
            let dead = checked.epoch;
            checked.reconnect_to(relay.http);
            assert_ne!(checked.epoch, dead, "a new run has a new epoch");
        }
    }
    for checked in &mut checked_viewers {
        checked.read_to(100);
        checked.check(&sent);
    }
    check_frame_counts(&relay, 100, 0);
}

#[test]
fn stopping_sends_all_accepted_frames_before_closing() {
    // Long enough that no batch is cut before the end.
    let mut relay = Relay::start_with(&["--batch-ms", "1000"]);
    let mut producer = relay.producer("App", "w");
    send(&mut producer, "App", "w", [1]);
    relay.wait_for_accepted(1);
    let mut checked_viewers = checked_viewers(&relay);
    send(&mut producer, "App", "w", 2..=900);
    relay.wait_for_accepted(900);
    relay.signal("TERM");
    let sent: Vec<u64> = (1..=900).collect();
    for checked in &mut checked_viewers {
        assert_eq!(checked.read_to_close(), 1012);
        checked.check(&sent);
    }
    assert_eq!(relay.wait().code(), Some(0));
}

#[test]
fn a_flooding_producer_is_rate_limited_without_affecting_its_neighbour() {
    let relay = Relay::start_with(&["--frames-per-sec", "500"]);
    let mut neighbour = relay.producer("App", "w");
    send(&mut neighbour, "App", "w", [1]);
    relay.wait_for_accepted(1);
    let mut checked = CheckedViewer::subscribe("App", Viewer::connect(&relay));
    let flood: Vec<u8> = (1..=30_000).flat_map(|number| numbered("Flood", "w", number).encode()).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| relay.producer("Flood", "w").write(&flood));
        for number in 2..=1_000 {
            neighbour.send(&numbered("App", "w", number));
        }
        checked.read_to(1_000);
    });
    checked.check(&(1..=1_000).collect::<Vec<_>>());
    let rejected = eventually("all frames of the flood are counted", || {
        let (accepted, rejected) = relay.frame_counts();
        (accepted + rejected == 31_000).then_some(rejected)
    });
    // The relay accepts ten seconds' worth at once, and 500 a second after that.
    assert!(rejected > 0 && relay.rejected("rate_limit") == rejected, "{rejected} rejected");
    check_frame_counts(&relay, 31_000 - rejected, rejected);
}
