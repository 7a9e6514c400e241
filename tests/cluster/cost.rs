//! What sharing costs, against what `docs/scaling.md` says that it costs: every message and byte that crosses to a real server,
//! for two, three and four real relays.

use std::time::Duration;

use joey_tests::ledger::send;
use joey_tests::{Ear, Nats, Relay, eventually};

use super::{check, only_log, relay, relays, witness};

/// Messages and their bytes.
type Amount = [u64; 2];

/// What was said at the server, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Said {
    batches: Amount,
    /// Of logs and wants, to all.
    words: Amount,
    /// Questions, and parts of answers.
    history: Amount,
}

/// What one relay counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    sent: Amount,
    received: Amount,
    asked: u64,
    batches: u64,
}

impl Counted {
    fn by(relay: &Relay) -> Self {
        let metrics = relay.metrics();
        let figure = |name: &str| {
            let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.map_or(0, |value| value.parse().expect("figures are whole numbers"))
        };
        let amount = |way: &str| ["messages", "bytes"].map(|what| figure(&format!("joey_cluster_{way}_{what}_total")));
        let asked = figure("joey_cluster_history_requests_total");
        Self { sent: amount("sent"), received: amount("received"), asked, batches: figure("joey_batches_total") }
    }
}

/// Somebody who hears everything and adds it up.
struct Accountant<'a> {
    ear: Ear,
    said: Said,
    relays: Vec<&'a Relay>,
}

impl Accountant<'_> {
    /// Adds up what was said since it was asked last, and says whether anything was.
    fn hears(&mut self) -> bool {
        let heard = self.ear.so_far();
        for (subject, payload) in &heard {
            let amount = match subject.split('.').nth(2) {
                Some("log") => &mut self.said.batches,
                Some("logs" | "wants") => &mut self.said.words,
                _ => &mut self.said.history,
            };
            *amount = sum(*amount, [1, payload.len() as u64]);
        }
        !heard.is_empty()
    }

    /// The books at a moment at which nothing is under way.
    fn closes(&mut self) -> (Said, Vec<Counted>) {
        eventually("a moment of silence", || {
            self.hears();
            let first: Vec<Counted> = self.relays.iter().map(|relay| Counted::by(relay)).collect();
            std::thread::sleep(Duration::from_millis(50));
            let second: Vec<Counted> = self.relays.iter().map(|relay| Counted::by(relay)).collect();
            (!self.hears() && first == second).then_some((self.said, second))
        })
    }
}

fn sum(one: Amount, other: Amount) -> Amount {
    [one[0] + other[0], one[1] + other[1]]
}

fn less(one: Amount, other: Amount) -> Amount {
    [one[0] - other[0], one[1] - other[1]]
}

#[test]
fn what_nobody_watches_elsewhere_costs_no_message_and_what_is_watched_costs_what_is_written() {
    for count in 2..=4 {
        let nats = Nats::start();
        let relays = relays(count, |_| nats.url());
        let idle = relay(&nats.url());
        let all: Vec<&Relay> = relays.iter().chain([&idle]).collect();
        for relay in &all {
            relay.knows(count + 1);
        }
        let ear = Ear::at(&nats, "joey.>");
        let mut accountant = Accountant { ear, said: Said::default(), relays: all };
        let mut producer = relays[0].producer("App", "w");
        send(&mut producer, "App", "w", 1..=500);
        relays[0].accepts(500);
        eventually("it is cut", || (relays[0].metric("joey_batches_total") > 0).then_some(()));
        let epoch = only_log(&relays[0]);
        let mut local = witness(&relays[0], epoch);
        check(&mut local, 500);
        let (said, counted) = accountant.closes();
        assert_eq!((said.batches, said.history), ([0, 0], [0, 0]), "nobody watches elsewhere");
        assert!(counted.iter().all(|relay| relay.asked == 0));

        // Each other relay asks for what there is once, or again where the answer took a second; the answer is one message.
        let mut watching: Vec<_> = relays[1..].iter().map(|relay| witness(relay, epoch)).collect();
        watching.iter_mut().for_each(|witness| check(witness, 500));
        let (begun, before) = accountant.closes();
        let asked: Vec<u64> = before.iter().map(|relay| relay.asked).collect();
        let watchers = 1..relays.len();
        let is_right =
            |(at, &asked): (usize, &u64)| if watchers.contains(&at) { (1..=2).contains(&asked) } else { asked == 0 };
        assert!(asked.iter().enumerate().all(is_right), "{asked:?}: the origin, those who watch, the idle one");
        let (questions, history) = (asked.iter().sum::<u64>(), begun.history[0]);
        assert!((questions + count - 1..=2 * questions).contains(&history), "{history} messages for {asked:?}");

        for round in 0..10 {
            let from = 501 + round * 100;
            send(&mut producer, "App", "w", from..from + 100);
            watching.iter_mut().for_each(|witness| witness.reads_to(from + 99));
        }
        watching.iter_mut().for_each(|witness| check(witness, 1_500));
        let (end, after) = accountant.closes();
        let batches = less(end.batches, begun.batches);
        let words = less(end.words, begun.words);
        assert_eq!(end.history, begun.history, "nothing was missing");
        assert_eq!(batches[0], after[0].batches - before[0].batches, "each batch once, for {count} relays as for two");
        assert!(batches[1] / 1_000 <= 40, "{} bytes for each of 1,000 updates", batches[1]);
        let mut words_of_all = [0, 0];
        for (at, (before, after)) in before.iter().zip(&after).enumerate() {
            let (is_origin, is_idle) = (at == 0, at as u64 == count);
            let (sent, received) = (less(after.sent, before.sent), less(after.received, before.received));
            let own_words = less(sent, if is_origin { batches } else { [0, 0] });
            words_of_all = sum(words_of_all, own_words);
            // Whoever watches gets each batch once, and everybody gets the words of the others.
            let watched = if is_origin || is_idle { [0, 0] } else { batches };
            assert_eq!(received, sum(less(words, own_words), watched), "relay {at} of {count}, and one that is idle");
        }
        assert_eq!(words_of_all, words, "nobody says anything else");
    }
}
