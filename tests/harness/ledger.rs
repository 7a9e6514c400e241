//! Conservation: what was accepted is what a viewer was given, plus what it was told is missing.
//!
//! Every frame carries a number of its own as the count of one bin, so that a frame that comes twice, never, or with
//! somebody else's contents cannot pass for another. Numbers add as counts do: where a viewer is given the sum of a span
//! instead of its updates, the sum of its numbers is known all the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use joey_shared::series::Filter;
use joey_shared::wire::{Start, Subscribed, Update};

use super::viewer::Heard;
use super::{Frame, Producer, Relay, Viewer};

/// The bin whose count is a frame's number: 0.5 to 1 ms.
pub const NUMBER_BIN: usize = 20;

/// When the periods of numbered frames end, in seconds: fifty of them at each even second from here on.
const THEN_S: u64 = 1_700_000_000;

/// A frame that carries `number`, 1 or more.
#[must_use]
pub fn numbered(app: &str, worker: &str, number: u64) -> Frame {
    let name = format!("n{}", number % 50);
    let (min_ns, max_ns) = (1 << (NUMBER_BIN - 1), (1 << NUMBER_BIN) - 1);
    Frame::new(app, "computation", ["p", worker, &name], THEN_S + number / 50 * 2).with_bins(
        &[(NUMBER_BIN, number)],
        min_ns,
        max_ns,
    )
}

/// A frame that carries `number` and takes as much room as a histogram can: some 650 bytes on the way to a viewer.
#[must_use]
pub fn padded(app: &str, worker: &str, number: u64) -> Frame {
    let bins: Vec<(usize, u64)> =
        (0..65).map(|bin| (bin, if bin == NUMBER_BIN { number } else { u64::MAX >> 2 })).collect();
    numbered(app, worker, number).with_bins(&bins, 1, u64::MAX)
}

/// The number in an update.
#[must_use]
pub fn number_in(update: &Update) -> u64 {
    update.histogram.bins[NUMBER_BIN]
}

/// Sends the numbers of `numbers`, in order.
pub fn send(producer: &mut Producer, app: &str, worker: &str, numbers: impl IntoIterator<Item = u64>) {
    let frames: Vec<Frame> = numbers.into_iter().map(|number| numbered(app, worker, number)).collect();
    producer.send_all(&frames);
}

/// A producer of `App` at `relay`, which has sent number 1.
#[must_use]
pub fn begun(relay: &Relay) -> Producer {
    let mut producer = relay.producer("App", "w");
    send(&mut producer, "App", "w", [1]);
    relay.accepts(1);
    producer
}

/// What one viewer was told of one application, over all its connections.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    logs: BTreeMap<u64, Log>,
    /// The epoch behind each feed of the connection that is open.
    feeds: BTreeMap<u32, u64>,
}

/// What was told of the log of one epoch.
#[derive(Clone, Debug, Default)]
struct Log {
    /// Stamps before this one are another viewer's affair.
    from: u64,
    /// The next stamp: all from `from` up to here came or was named as missing.
    next: u64,
    /// The number that came with each stamp.
    given: BTreeMap<u64, u64>,
    /// Spans that came added up: first and last stamp, sum of their numbers.
    sums: Vec<(u64, u64, u128)>,
    /// Spans that were named as missing: first and last stamp.
    missing: Vec<(u64, u64)>,
    /// Whether a batch may still begin before `next`: the first after a return, since a batch is never cut up.
    may_overlap: bool,
}

impl Ledger {
    /// Enters one message.
    ///
    /// # Panics
    /// When it contradicts an earlier one: a jump that nobody announced, a stamp twice, a tail that was lost.
    pub fn enter(&mut self, heard: &Heard) {
        match heard {
            Heard::Subscribed(subscribed) => self.subscribed(subscribed),
            Heard::Batch(head, updates, _) => {
                let log = self.log(head.feed);
                log.covers(head.from, head.to);
                for update in updates {
                    log.give(update.seq, number_in(update));
                }
                log.next = head.to + 1;
            }
            Heard::Sum(head, items) => {
                let sum = items.iter().map(|item| u128::from(number_in(item))).sum();
                self.enter_sum(head.feed, head.from, head.to, sum);
            }
            Heard::Gap(feed, from, to) => {
                let log = self.log(*feed);
                assert_eq!(*from, log.next, "a gap begins where the viewer is");
                log.missing.push((*from, *to));
                log.next = to + 1;
            }
            Heard::Heartbeat(sent) => {
                for &(feed, last) in sent {
                    assert_eq!(last + 1, self.log(feed).next, "what the heartbeat speaks of has come");
                }
            }
            Heard::Closed(_) => self.feeds.clear(),
            Heard::Hello(_)
            | Heard::Catalogue(..)
            | Heard::Refused(..)
            | Heard::Series(..)
            | Heard::Expires(_)
            | Heard::Logs(..)
            | Heard::Cluster(..)
            | Heard::Relays(_)
            | Heard::WallClock(..) => {}
        }
    }

    /// Enters the sum of the numbers of a span that came added up.
    ///
    /// # Panics
    /// When the span does not begin where the viewer is.
    pub fn enter_sum(&mut self, feed: u32, from: u64, to: u64, sum: u128) {
        let log = self.log(feed);
        log.covers(from, to);
        assert_eq!(from, log.next, "a sum cannot be taken apart");
        log.sums.push((from, to, sum));
        log.next = to + 1;
    }

    fn subscribed(&mut self, subscribed: &Subscribed) {
        let &Subscribed { feed, epoch, next, missing, .. } = subscribed;
        self.feeds.insert(feed, epoch);
        let first = Log { from: next, next, ..Log::default() };
        let log = self.logs.entry(epoch).or_insert(first);
        assert_eq!(next, log.next + missing, "what is neither to come nor there is named");
        if missing > 0 {
            log.missing.push((log.next, next - 1));
        }
        log.next = next;
        log.may_overlap = true;
    }

    fn log(&mut self, feed: u32) -> &mut Log {
        let epoch = self.feeds.get(&feed).expect("a feed is announced before it is used");
        self.logs.get_mut(epoch).expect("an announced feed has a log")
    }

    /// The newest stamp of `epoch` that came or was named.
    #[must_use]
    pub fn reached(&self, epoch: u64) -> u64 {
        self.logs.get(&epoch).map_or(0, |log| log.next - 1)
    }

    /// How many updates of `epoch` were named as missing.
    #[must_use]
    pub fn missing(&self, epoch: u64) -> u64 {
        self.logs.get(&epoch).map_or(0, |log| log.missing.iter().map(|(from, to)| to - from + 1).sum())
    }

    /// How many updates of `epoch` came added up.
    #[must_use]
    pub fn added_up(&self, epoch: u64) -> u64 {
        self.logs.get(&epoch).map_or(0, |log| log.sums.iter().map(|(from, to, _)| to - from + 1).sum())
    }

    /// Where to go on after a break: the newest log and its newest stamp.
    #[must_use]
    pub fn resume(&self, epoch: u64) -> Start {
        self.logs.get(&epoch).map_or(Start::History, |log| Start::After { epoch, seq: log.next - 1 })
    }

    /// Checks the log of `epoch` against the numbers that were sent, in the order of the log.
    ///
    /// # Panics
    /// When anything was lost without a word, came twice, or came with other contents.
    pub fn check(&self, epoch: u64, sent: &[u64]) {
        let log = self.logs.get(&epoch).expect("the viewer has heard of this log");
        assert_eq!(log.from, 1, "the viewer was there from the beginning");
        assert_eq!(log.next, sent.len() as u64 + 1, "every number came or was named");
        let mut covered = vec![0_u8; sent.len() + 1];
        let mut cover = |from: u64, to: u64| (from..=to).for_each(|seq| covered[at(seq)] += 1);
        for (&seq, number) in &log.given {
            cover(seq, seq);
            assert_eq!(*number, sent[at(seq) - 1], "the contents of {seq}");
        }
        for &(from, to, sum) in &log.sums {
            cover(from, to);
            let expected: u128 = sent[at(from) - 1..at(to)].iter().map(|&number| u128::from(number)).sum();
            assert_eq!(sum, expected, "the sum of {from} to {to}");
        }
        log.missing.iter().for_each(|&(from, to)| cover(from, to));
        let wrong = covered.iter().skip(1).position(|&times| times != 1);
        assert_eq!(wrong, None, "each came, or was named as missing, once; this position of {} did not", sent.len());
    }
}

impl Log {
    fn covers(&mut self, from: u64, to: u64) {
        let overlaps = self.may_overlap && to >= self.next;
        assert!(from == self.next || (from < self.next && overlaps), "{from} to {to} came at {}", self.next);
        self.may_overlap = false;
    }

    /// One update. What a batch holds from before the viewer's return, the viewer has: it must be the same again.
    fn give(&mut self, seq: u64, number: u64) {
        if seq >= self.next {
            assert_eq!(self.given.insert(seq, number), None, "{seq} came twice");
        } else if seq >= self.from {
            let is_known = self.given.get(&seq).is_none_or(|&known| known == number);
            assert!(is_known, "{seq} came again with other contents");
        }
    }
}

fn at(seq: u64) -> usize {
    usize::try_from(seq).expect("a stamp fits")
}

/// A viewer that keeps a ledger of one application, and that goes on where it was after a break.
#[derive(Debug)]
pub struct Witness {
    /// The connection; `None` in a break.
    pub viewer: Option<Viewer>,
    /// What it was told.
    pub ledger: Ledger,
    /// The log that it follows.
    pub epoch: u64,
    app: String,
    /// Whether it follows this one log only, wherever it is held.
    is_bound: bool,
}

impl Witness {
    /// Follows `app` from its beginning, over a connection that is open.
    #[must_use]
    pub fn of(app: &str, viewer: Viewer) -> Self {
        let (app, ledger) = (app.to_owned(), Ledger::default());
        let mut witness = Self { viewer: None, ledger, epoch: 0, app, is_bound: false };
        witness.returns(viewer);
        witness
    }

    /// Follows one log of `app` from its beginning, whichever relay `viewer` is connected to.
    #[must_use]
    pub fn of_log(app: &str, epoch: u64, viewer: Viewer) -> Self {
        let (app, ledger) = (app.to_owned(), Ledger::default());
        let mut witness = Self { viewer: None, ledger, epoch, app, is_bound: true };
        witness.returns(viewer);
        witness
    }

    /// Goes on over a new connection.
    pub fn returns(&mut self, mut viewer: Viewer) {
        self.ledger.feeds.clear();
        let start = self.ledger.resume(self.epoch);
        let (_, subscribed) = if self.is_bound {
            viewer.follow_log(&self.app, self.epoch, Filter::All, start)
        } else {
            viewer.follow(&self.app, Filter::All, start)
        };
        self.epoch = subscribed.epoch;
        self.ledger.enter(&Heard::Subscribed(subscribed));
        self.viewer = Some(viewer);
    }

    /// Connects anew and goes on.
    pub fn returns_to(&mut self, http: SocketAddr) {
        self.viewer = None;
        self.returns(Viewer::connect_to(http));
    }

    /// Takes one message.
    ///
    /// # Panics
    /// In a break.
    pub fn take(&mut self) -> Heard {
        let heard = self.viewer.as_mut().expect("it is connected").take();
        self.ledger.enter(&heard);
        heard
    }

    /// Takes what comes until the log that it follows has come this far.
    ///
    /// # Panics
    /// When the connection ends first.
    pub fn reads_to(&mut self, last: u64) {
        while self.ledger.reached(self.epoch) < last {
            let heard = self.take();
            assert!(!matches!(heard, Heard::Closed(_)), "{heard:?} at {}", self.ledger.reached(self.epoch));
        }
    }

    /// Reads to `last` and checks that the numbers from 1 to `last` were sent in this order.
    ///
    /// # Panics
    /// As [`Witness::reads_to`] and [`Witness::check`].
    pub fn reads_all(&mut self, last: u64) {
        self.reads_to(last);
        self.check(&(1..=last).collect::<Vec<_>>());
    }

    /// Takes what comes until the connection ends; gives the code.
    pub fn reads_to_the_end(&mut self) -> u16 {
        loop {
            if let Heard::Closed(code) = self.take() {
                self.viewer = None;
                return code;
            }
        }
    }

    /// Checks what it was told of the log that it follows.
    pub fn check(&self, sent: &[u64]) {
        self.ledger.check(self.epoch, sent);
    }
}

/// Checks the relay's own books: everything that was sent was accepted or refused for a reason, and no task has panicked.
///
/// # Panics
/// When that does not come about.
pub fn check_books(relay: &Relay, accepted: u64, refused: u64) {
    super::eventually_is("frames accepted and refused", &(accepted, refused), || relay.counted());
    assert_eq!(relay.metric("joey_task_panics_total"), 0);
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use joey_shared::wire::BatchHead;

    use super::*;

    fn batch(from: u64, to: u64, stamps: &[(u64, u64)]) -> Heard {
        let update = |&(seq, number): &(u64, u64)| {
            let mut histogram = joey_shared::histogram::Histogram::default();
            histogram.bins[NUMBER_BIN] = number;
            Update { seq, series: 0, period_ns: 1, end_ns: 1, offset_ns: 0, histogram }
        };
        let head = BatchHead { feed: 1, from, to, cut_ns: 0, end_ns: 0, period_ns: 0, series: Vec::new() };
        Heard::Batch(head, stamps.iter().map(update).collect(), Vec::new())
    }

    /// Whether a viewer that hears this of the numbers 10, 20, 30, 40 has been treated well.
    fn check(heard: &[Heard], is_sound: bool) {
        let first = Subscribed { sub: 1, feed: 1, epoch: 7, next: 1, head: 0, missing: 0 };
        let outcome = catch_unwind(|| {
            let mut ledger = Ledger::default();
            ledger.enter(&Heard::Subscribed(first));
            heard.iter().for_each(|heard| ledger.enter(heard));
            ledger.check(7, &[10, 20, 30, 40]);
        });
        assert_eq!(outcome.is_ok(), is_sound, "{heard:?}");
    }

    #[test]
    fn what_came_and_what_was_named_makes_a_whole() {
        let whole = batch(1, 2, &[(1, 10), (2, 20)]);
        check(&[whole.clone(), batch(3, 4, &[(3, 30), (4, 40)])], true);
        check(&[whole.clone(), Heard::Gap(1, 3, 4)], true);
        check(&[whole.clone(), Heard::Gap(1, 3, 3), batch(4, 4, &[(4, 40)]), Heard::Heartbeat(vec![(1, 4)])], true);
        let back = Subscribed { sub: 2, feed: 1, epoch: 7, next: 4, head: 4, missing: 1 };
        check(&[whole.clone(), Heard::Closed(1006), Heard::Subscribed(back), batch(4, 4, &[(4, 40)])], true);
        let back = Subscribed { sub: 2, feed: 1, epoch: 7, next: 3, head: 4, missing: 0 };
        let again = batch(2, 4, &[(2, 20), (3, 30), (4, 40)]);
        check(&[whole, Heard::Closed(1006), Heard::Subscribed(back), again], true);
    }

    #[test]
    fn what_is_lost_or_doubled_or_changed_is_found() {
        let whole = batch(1, 2, &[(1, 10), (2, 20)]);
        check(std::slice::from_ref(&whole), false);
        check(&[whole.clone(), batch(3, 4, &[(3, 30)])], false);
        check(&[whole.clone(), batch(4, 4, &[(4, 40)])], false);
        check(&[whole.clone(), batch(3, 4, &[(3, 30), (4, 41)])], false);
        check(&[whole.clone(), batch(2, 4, &[(2, 20), (3, 30), (4, 40)])], false);
        check(&[whole.clone(), batch(3, 3, &[(3, 30)]), batch(3, 4, &[(3, 30), (4, 40)])], false);
        check(&[whole.clone(), Heard::Heartbeat(vec![(1, 4)])], false);
        check(&[whole, Heard::Gap(1, 2, 4)], false);
    }

    #[test]
    fn a_sum_must_be_that_of_its_span() {
        let check = |from: u64, to: u64, sum: u128, is_sound: bool| {
            let first = Subscribed { sub: 1, feed: 1, epoch: 7, next: 1, head: 0, missing: 0 };
            let outcome = catch_unwind(|| {
                let mut ledger = Ledger::default();
                ledger.enter(&Heard::Subscribed(first));
                ledger.enter(&batch(1, 1, &[(1, 10)]));
                ledger.enter_sum(1, from, to, sum);
                ledger.check(7, &[10, 20, 30, 40]);
            });
            assert_eq!(outcome.is_ok(), is_sound, "{from} to {to}: {sum}");
        };
        check(2, 4, 90, true);
        check(2, 4, 91, false);
        check(2, 3, 50, false);
        check(1, 4, 100, false);
    }
}
