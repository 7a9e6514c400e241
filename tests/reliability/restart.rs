//! A relay is killed under load and restarted after a second.

use std::time::Duration;

use joey_tests::{Relay, eventually};

use crate::Measurement;
use crate::fleet::{Fleet, Seen};
use crate::load::Load;
use crate::usage::quantile_ms;

const VIEWERS: usize = 200;
const APPS: usize = 10;
const FRAMES_PER_SEC: u64 = 1_000;

pub(crate) fn measurements() -> Vec<Measurement> {
    let mut relay = Relay::start_with(&["--per-address", "0"]);
    let load = Load::start(&relay, APPS, FRAMES_PER_SEC);
    eventually("every application exists", || (relay.metric("joey_apps") == APPS as u64).then_some(()));
    let fleet = Fleet::start(relay.http, VIEWERS, APPS, &load.clock);
    eventually("all viewers are subscribed", || {
        (relay.metric("joey_subscriptions_total") == VIEWERS as u64).then_some(())
    });
    std::thread::sleep(Duration::from_secs(5));
    relay.kill();
    std::thread::sleep(Duration::from_secs(1));
    relay.restart_on_same_ports();
    let listening = std::time::Instant::now();
    std::thread::sleep(Duration::from_secs(10));
    let sent = load.finish();
    // The last batch may still be in flight.
    let accepted = relay.metric("joey_frames_accepted_total");
    std::thread::sleep(Duration::from_secs(1));
    let mut fresh = Vec::new();
    let (mut twice, mut wrong, mut lost_by_dead, mut missing, mut restarts) = (0, 0, 0, 0, 0);
    let seen = fleet.finish();
    for (at, seen) in seen.iter().enumerate() {
        let sent = &sent[at % APPS];
        let (dead, alive) = (sent.first().expect("it was sent once"), sent.last().expect("and again"));
        let (old, new) = by_age(seen);
        fresh.push(seen.first.values().max().map_or(Duration::MAX, |first| first.saturating_duration_since(listening)));
        // The viewer must have the beginning of the dead relay's log, and all of the new one's.
        wrong += u64::from(!old.iter().copied().eq(dead.clone().take(old.len())));
        wrong += u64::from(!new.iter().copied().eq(alive.clone()));
        lost_by_dead = lost_by_dead.max(dead.end() - dead.start() + 1 - old.len() as u64);
        twice += seen.twice;
        missing += seen.missing;
        restarts += seen.restarts;
    }
    let read: u64 = sent.iter().filter_map(|ranges| ranges.last()).map(|range| range.end() - range.start() + 1).sum();
    vec![
        Measurement::info(
            "up to date after the relay listens, median",
            format!("{:.0} ms", quantile_ms(&mut fresh, 0.5)),
        ),
        Measurement::at_most("up to date after the relay listens, p99", quantile_ms(&mut fresh, 0.99), 3_000.0, "ms"),
        Measurement::holds("updates that arrived twice", twice, twice == 0),
        Measurement::holds("logs with lost or changed updates", wrong, wrong == 0),
        Measurement::holds(
            "frames sent to the restarted relay, and accepted",
            format!("{read} / {accepted}"),
            read == accepted,
        ),
        Measurement::holds("missing updates, except those lost with the relay", missing, missing == 0),
        Measurement::holds("viewers that received the restart notice", restarts, restarts == VIEWERS),
        Measurement::info("frames lost with the dead relay, at most", format!("{lost_by_dead} per app")),
    ]
}

/// The numbers from the dead relay's log and from the new one's.
fn by_age(seen: &Seen) -> (&[u64], &[u64]) {
    let mut epochs: Vec<_> = seen.first.iter().collect();
    epochs.sort_by_key(|(_, first)| **first);
    let numbers =
        |at: usize| epochs.get(at).and_then(|(epoch, _)| seen.numbers.get(epoch)).map_or(&[][..], Vec::as_slice);
    (numbers(0), numbers(1))
}
