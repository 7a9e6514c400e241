//! A relay that is killed or stopped, and a producer that sends more than anybody should.

use joey_tests::ledger::{Witness, check_books, numbered, send};
use joey_tests::{Relay, Viewer, eventually};

/// Three viewers that follow `App`, which must exist.
fn witnesses(relay: &Relay) -> Vec<Witness> {
    (0..3).map(|_| Witness::of("App", Viewer::connect(relay))).collect()
}

#[test]
fn a_killed_relay_costs_what_it_alone_held_and_nothing_comes_twice() {
    let mut relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    let mut sent: Vec<u64> = vec![1];
    send(&mut producer, "App", "w", sent.iter().copied());
    relay.accepts(1);
    let mut witnesses = witnesses(&relay);
    for round in 1..=3 {
        let more: Vec<u64> = (round * 10_000..round * 10_000 + 3_000).collect();
        send(&mut producer, "App", "w", more.iter().copied());
        sent.extend(more);
        // In the middle of it.
        witnesses.iter_mut().for_each(|witness| witness.reads_to(500));
        relay.kill();
        for witness in &mut witnesses {
            assert_eq!(witness.reads_to_the_end(), 1006);
            let reached = usize::try_from(witness.ledger.reached(witness.epoch)).expect("it fits");
            witness.check(&sent[..reached]);
        }
        relay.restart_on_same_ports();
        // A worker that comes back goes on with what happens from then on.
        sent = (round * 10_000 + 5_000..round * 10_000 + 5_100).collect();
        producer = relay.producer("App", "w");
        send(&mut producer, "App", "w", sent.iter().copied());
        relay.accepts(100);
        for witness in &mut witnesses {
            let dead = witness.epoch;
            witness.returns_to(relay.http);
            assert_ne!(witness.epoch, dead, "another run is another epoch");
        }
    }
    for witness in &mut witnesses {
        witness.reads_to(100);
        witness.check(&sent);
    }
    check_books(&relay, 100, 0);
}

#[test]
fn stopping_sends_what_was_accepted_before_it_says_goodbye() {
    // So long that nothing would be cut by itself before the end.
    let mut relay = Relay::start_with(&["--batch-ms", "1000"]);
    let mut producer = relay.producer("App", "w");
    send(&mut producer, "App", "w", [1]);
    relay.accepts(1);
    let mut witnesses = witnesses(&relay);
    send(&mut producer, "App", "w", 2..=900);
    relay.accepts(900);
    relay.signal("TERM");
    let sent: Vec<u64> = (1..=900).collect();
    for witness in &mut witnesses {
        assert_eq!(witness.reads_to_the_end(), 1012);
        witness.check(&sent);
    }
    assert_eq!(relay.wait().code(), Some(0));
}

#[test]
fn a_producer_that_floods_is_held_to_its_rate_and_its_neighbour_is_exact() {
    let relay = Relay::start_with(&["--frames-per-sec", "500"]);
    let mut neighbour = relay.producer("App", "w");
    send(&mut neighbour, "App", "w", [1]);
    relay.accepts(1);
    let mut witness = Witness::of("App", Viewer::connect(&relay));
    let flood: Vec<u8> = (1..=30_000).flat_map(|number| numbered("Flood", "w", number).encode()).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| relay.producer("Flood", "w").write(&flood));
        for number in 2..=1_000 {
            neighbour.send(&numbered("App", "w", number));
        }
        witness.reads_to(1_000);
    });
    witness.check(&(1..=1_000).collect::<Vec<_>>());
    let refused = eventually("the whole flood was read", || {
        let (accepted, refused) = relay.counted();
        (accepted + refused == 31_000).then_some(refused)
    });
    // Ten seconds' worth at once are taken, and 500 a second after that.
    assert!(refused > 0 && relay.rejected("rate_limit") == refused, "{refused} refused");
    check_books(&relay, 31_000 - refused, refused);
}
