//! A relay is killed under load and comes back after a second.

use std::time::Duration;

use joey_tests::{Relay, eventually};

use crate::Figure;
use crate::fleet::{Fleet, Seen};
use crate::load::Load;
use crate::usage::quantile_ms;

const VIEWERS: usize = 200;
const APPS: usize = 10;
const FRAMES_PER_SEC: u64 = 1_000;

pub(crate) fn figures() -> Vec<Figure> {
    let mut relay = Relay::start_with(&["--per-address", "0"]);
    let load = Load::start(&relay, APPS, FRAMES_PER_SEC);
    eventually("every application is there", || (relay.metric("joey_apps") == APPS as u64).then_some(()));
    let fleet = Fleet::start(relay.http, VIEWERS, APPS, &load.clock);
    eventually("all viewers watch", || (relay.metric("joey_subscriptions_total") == VIEWERS as u64).then_some(()));
    std::thread::sleep(Duration::from_secs(5));
    relay.kill();
    std::thread::sleep(Duration::from_secs(1));
    relay.restart_on_same_ports();
    let listening = std::time::Instant::now();
    std::thread::sleep(Duration::from_secs(10));
    let sent = load.finish();
    // The last batch is on its way for a moment.
    let accepted = relay.metric("joey_frames_accepted_total");
    std::thread::sleep(Duration::from_secs(1));
    let mut fresh = Vec::new();
    let (mut twice, mut wrong, mut lost_by_dead, mut missing, mut told) = (0, 0, 0, 0, 0);
    let seen = fleet.finish();
    for (at, seen) in seen.iter().enumerate() {
        let sent = &sent[at % APPS];
        let (dead, alive) = (sent.first().expect("it was sent once"), sent.last().expect("and again"));
        let (old, new) = by_age(seen);
        fresh.push(seen.first.values().max().map_or(Duration::MAX, |first| first.saturating_duration_since(listening)));
        // Of the dead relay's log, the beginning; of the new one's, everything.
        wrong += u64::from(!old.iter().copied().eq(dead.clone().take(old.len())));
        wrong += u64::from(!new.iter().copied().eq(alive.clone()));
        lost_by_dead = lost_by_dead.max(dead.end() - dead.start() + 1 - old.len() as u64);
        twice += seen.twice;
        missing += seen.missing;
        told += seen.restarts;
    }
    let read: u64 = sent.iter().filter_map(|ranges| ranges.last()).map(|range| range.end() - range.start() + 1).sum();
    vec![
        Figure::known("fresh again after the relay listens, median", format!("{:.0} ms", quantile_ms(&mut fresh, 0.5))),
        Figure::at_most("fresh again after the relay listens, p99", quantile_ms(&mut fresh, 0.99), 3_000.0, "ms"),
        Figure::holds("updates that came twice", twice, twice == 0),
        Figure::holds("logs with a number lost or changed", wrong, wrong == 0),
        Figure::holds(
            "frames sent to the new relay, and accepted by it",
            format!("{read} / {accepted}"),
            read == accepted,
        ),
        Figure::holds("updates missing besides what died with the relay", missing, missing == 0),
        Figure::holds("viewers that were told of the restart", told, told == VIEWERS),
        Figure::known("written to the dead relay and never heard of, at most", format!("{lost_by_dead} an app")),
    ]
}

/// What came from the dead relay's log and from the new one's.
fn by_age(seen: &Seen) -> (&[u64], &[u64]) {
    let mut epochs: Vec<_> = seen.first.iter().collect();
    epochs.sort_by_key(|(_, first)| **first);
    let numbers =
        |at: usize| epochs.get(at).and_then(|(epoch, _)| seen.numbers.get(epoch)).map_or(&[][..], Vec::as_slice);
    (numbers(0), numbers(1))
}
