//! Checks the traffic that `docs/scaling.md` states: every message and byte between a real server and two, three and
//! four real relays.

use std::time::Duration;

use joey_tests::delivery::send;
use joey_tests::{Nats, NatsSubscriber, Relay, eventually};

use super::{check, checked_viewer, only_log, relay, relays};

/// Messages and their bytes.
type Amount = [u64; 2];

/// Messages at the server, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Traffic {
    batches: Amount,
    /// Announcements of logs and subscriptions, to all relays.
    announcements: Amount,
    /// Requests for history, and parts of responses.
    history: Amount,
}

/// Counters of one relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RelayCounters {
    sent: Amount,
    received: Amount,
    requests: u64,
    batches: u64,
}

impl RelayCounters {
    fn by(relay: &Relay) -> Self {
        let metrics = relay.metrics();
        let metric = |name: &str| {
            let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.map_or(0, |value| value.parse().expect("metrics are whole numbers"))
        };
        let amount = |direction: &str| {
            ["messages", "bytes"].map(|what| metric(&format!("joey_cluster_{direction}_{what}_total")))
        };
        let requests = metric("joey_cluster_history_requests_total");
        Self { sent: amount("sent"), received: amount("received"), requests, batches: metric("joey_batches_total") }
    }
}

/// A client that receives every message and adds up the traffic.
struct TrafficCounter<'a> {
    subscriber: NatsSubscriber,
    traffic: Traffic,
    relays: Vec<&'a Relay>,
}

impl TrafficCounter<'_> {
    /// Adds up the messages since the last call, and returns whether there were any.
    fn drain(&mut self) -> bool {
        let received = self.subscriber.received();
        for (subject, payload) in &received {
            let amount = match subject.split('.').nth(2) {
                Some("log") => &mut self.traffic.batches,
                Some("logs" | "wants") => &mut self.traffic.announcements,
                _ => &mut self.traffic.history,
            };
            *amount = sum(*amount, [1, payload.len() as u64]);
        }
        !received.is_empty()
    }

    /// The totals at a time at which nothing is in flight.
    fn totals(&mut self) -> (Traffic, Vec<RelayCounters>) {
        eventually("no messages for 50 ms", || {
            self.drain();
            let first: Vec<RelayCounters> = self.relays.iter().map(|relay| RelayCounters::by(relay)).collect();
            std::thread::sleep(Duration::from_millis(50));
            let second: Vec<RelayCounters> = self.relays.iter().map(|relay| RelayCounters::by(relay)).collect();
            (!self.drain() && first == second).then_some((self.traffic, second))
        })
    }
}

fn sum(one: Amount, other: Amount) -> Amount {
    [one[0] + other[0], one[1] + other[1]]
}

fn difference(one: Amount, other: Amount) -> Amount {
    [one[0] - other[0], one[1] - other[1]]
}

#[test]
fn batches_are_published_only_for_subscribed_logs_and_once_each() {
    for count in 2..=4 {
        let nats = Nats::start();
        let relays = relays(count, |_| nats.url());
        let idle = relay(&nats.url());
        let all: Vec<&Relay> = relays.iter().chain([&idle]).collect();
        for relay in &all {
            relay.wait_for_relays(count + 1);
        }
        let subscriber = NatsSubscriber::subscribe(&nats, "joey.>");
        let mut counter = TrafficCounter { subscriber, traffic: Traffic::default(), relays: all };
        let mut producer = relays[0].producer("App", "w");
        send(&mut producer, "App", "w", 1..=500);
        relays[0].wait_for_accepted(500);
        eventually("the batch is cut", || (relays[0].metric("joey_batches_total") > 0).then_some(()));
        let epoch = only_log(&relays[0]);
        let mut local = checked_viewer(&relays[0], epoch);
        check(&mut local, 500);
        let (traffic, counted) = counter.totals();
        assert_eq!((traffic.batches, traffic.history), ([0, 0], [0, 0]), "no viewers at other relays");
        assert!(counted.iter().all(|relay| relay.requests == 0));

        // Each other relay requests the history once, or again if the response took a second; the response is one
        // message.
        let mut watching: Vec<_> = relays[1..].iter().map(|relay| checked_viewer(relay, epoch)).collect();
        watching.iter_mut().for_each(|checked| check(checked, 500));
        let (begun, before) = counter.totals();
        let requests: Vec<u64> = before.iter().map(|relay| relay.requests).collect();
        let watchers = 1..relays.len();
        let is_right = |(at, &requests): (usize, &u64)| {
            if watchers.contains(&at) { (1..=2).contains(&requests) } else { requests == 0 }
        };
        assert!(
            requests.iter().enumerate().all(is_right),
            "{requests:?}: the origin, the subscribed relays, the idle one"
        );
        let (request_count, history) = (requests.iter().sum::<u64>(), begun.history[0]);
        assert!(
            (request_count + count - 1..=2 * request_count).contains(&history),
            "{history} messages for {requests:?}"
        );

        for round in 0..10 {
            let from = 501 + round * 100;
            send(&mut producer, "App", "w", from..from + 100);
            watching.iter_mut().for_each(|checked| checked.read_to(from + 99));
        }
        watching.iter_mut().for_each(|checked| check(checked, 1_500));
        let (end, after) = counter.totals();
        let batches = difference(end.batches, begun.batches);
        let announcements = difference(end.announcements, begun.announcements);
        assert_eq!(end.history, begun.history, "no relay requested history");
        assert_eq!(batches[0], after[0].batches - before[0].batches, "each batch is published once for {count} relays");
        assert!(batches[1] / 1_000 <= 40, "{} bytes for each of 1,000 updates", batches[1]);
        let mut all_announcements = [0, 0];
        for (at, (before, after)) in before.iter().zip(&after).enumerate() {
            let (is_origin, is_idle) = (at == 0, at as u64 == count);
            let (sent, received) = (difference(after.sent, before.sent), difference(after.received, before.received));
            let own_announcements = difference(sent, if is_origin { batches } else { [0, 0] });
            all_announcements = sum(all_announcements, own_announcements);
            // Each subscribed relay receives each batch once, and every relay receives the announcements of the others.
            let watched = if is_origin || is_idle { [0, 0] } else { batches };
            assert_eq!(
                received,
                sum(difference(announcements, own_announcements), watched),
                "relay {at} of {count}, plus an idle one"
            );
        }
        assert_eq!(all_announcements, announcements, "there are no other messages");
    }
}
