//! Checks delivery: the updates that the relay accepted are those that a viewer received plus those reported missing.
//!
//! Every frame carries a unique number as the count of one bin. A frame that arrives twice, never, or with the contents
//! of another frame is therefore detected. Numbers add up as counts do: if a viewer receives a rollup of a span instead
//! of its updates, the sum of its numbers is still known.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use joey_shared::series::Filter;
use joey_shared::wire::{Start, Subscribed, Update};

use super::viewer::Received;
use super::{Frame, Producer, Relay, Viewer};

/// The bin whose count is the number of a frame: 0.5 to 1 ms.
pub const NUMBER_BIN: usize = 20;

/// When the periods of numbered frames begin to end, in seconds: fifty frames at each even second from here on.
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

/// A frame that carries `number` and is as large as a histogram can be: about 650 bytes when sent to a viewer.
#[must_use]
pub fn padded(app: &str, worker: &str, number: u64) -> Frame {
    let bins: Vec<(usize, u64)> =
        (0..65).map(|bin| (bin, if bin == NUMBER_BIN { number } else { u64::MAX >> 2 })).collect();
    numbered(app, worker, number).with_bins(&bins, 1, u64::MAX)
}

/// Number that an update carries.
#[must_use]
pub fn number_in(update: &Update) -> u64 {
    update.histogram.count_at(NUMBER_BIN)
}

/// Sends frames with these numbers, in order.
pub fn send(producer: &mut Producer, app: &str, worker: &str, numbers: impl IntoIterator<Item = u64>) {
    let frames: Vec<Frame> = numbers.into_iter().map(|number| numbered(app, worker, number)).collect();
    producer.send_all(&frames);
}

/// A producer of `App` at `relay` that has sent number 1.
#[must_use]
pub fn start_producer(relay: &Relay) -> Producer {
    let mut producer = relay.producer("App", "w");
    send(&mut producer, "App", "w", [1]);
    relay.wait_for_accepted(1);
    producer
}

/// Records what one viewer received of one application, over all its connections.
#[derive(Clone, Debug, Default)]
pub struct DeliveryRecord {
    logs: BTreeMap<u64, Log>,
    /// The epoch of each feed of the open connection.
    feeds: BTreeMap<u32, u64>,
}

/// What was received of the log of one epoch.
#[derive(Clone, Debug, Default)]
struct Log {
    /// The first sequence number that this viewer subscribed to.
    from: u64,
    /// The next sequence number: all from `from` up to here were received or reported missing.
    next: u64,
    /// The number received with each sequence number.
    given: BTreeMap<u64, u64>,
    /// Spans received as rollups: first and last sequence number, sum of their numbers.
    rollups: Vec<(u64, u64, u128)>,
    /// Spans that were reported missing: first and last sequence number.
    missing: Vec<(u64, u64)>,
    /// Whether a batch may still begin before `next`. This holds for the first batch after a reconnect, since a batch
    /// is never split.
    may_overlap: bool,
}

impl DeliveryRecord {
    /// Records one message.
    ///
    /// # Panics
    /// If it contradicts an earlier one: a jump without a gap message, a duplicate sequence number, a lost tail.
    pub fn record(&mut self, received: &Received) {
        match received {
            Received::Subscribed(subscribed) => self.subscribed(subscribed),
            Received::Batch(head, updates, _) => {
                let log = self.log(head.feed);
                log.check_span(head.from, head.to);
                for update in updates {
                    log.record(update.seq, number_in(update));
                }
                log.next = head.to + 1;
            }
            Received::Rollup(head, items) => {
                let sum = items.iter().map(|item| u128::from(number_in(item))).sum();
                self.record_rollup(head.feed, head.from, head.to, sum);
            }
            Received::Gap(feed, from, to) => {
                let log = self.log(*feed);
                assert_eq!(*from, log.next, "a gap begins at the viewer's position");
                log.missing.push((*from, *to));
                log.next = to + 1;
            }
            Received::Heartbeat(sent) => {
                for &(feed, last) in sent {
                    assert_eq!(last + 1, self.log(feed).next, "all updates that the heartbeat counts have arrived");
                }
            }
            Received::Closed(_) => self.feeds.clear(),
            Received::Hello(_)
            | Received::Catalogue(..)
            | Received::Rejected(..)
            | Received::Series(..)
            | Received::Expires(_)
            | Received::Logs(..)
            | Received::Cluster(..)
            | Received::Relays(_)
            | Received::WallClock(..)
            | Received::Objectives(..) => {}
        }
    }

    /// Records the sum of the numbers of a span that arrived as a rollup.
    ///
    /// # Panics
    /// If the span does not begin at the viewer's position.
    pub fn record_rollup(&mut self, feed: u32, from: u64, to: u64, sum: u128) {
        let log = self.log(feed);
        log.check_span(from, to);
        assert_eq!(from, log.next, "a rollup cannot be split");
        log.rollups.push((from, to, sum));
        log.next = to + 1;
    }

    fn subscribed(&mut self, subscribed: &Subscribed) {
        let &Subscribed { feed, epoch, next, missing, .. } = subscribed;
        self.feeds.insert(feed, epoch);
        let first = Log { from: next, next, ..Log::default() };
        let log = self.logs.entry(epoch).or_insert(first);
        assert_eq!(next, log.next + missing, "updates that will not be sent are reported missing");
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

    /// The newest sequence number of `epoch` that was received or reported missing.
    #[must_use]
    pub fn last_seq(&self, epoch: u64) -> u64 {
        self.logs.get(&epoch).map_or(0, |log| log.next - 1)
    }

    /// The numbers of `epoch` that were received as single updates, by sequence number.
    #[must_use]
    pub fn numbers(&self, epoch: u64) -> BTreeMap<u64, u64> {
        self.logs.get(&epoch).map_or_else(BTreeMap::new, |log| log.given.clone())
    }

    /// Number of updates of `epoch` that were reported missing.
    #[must_use]
    pub fn missing(&self, epoch: u64) -> u64 {
        self.logs.get(&epoch).map_or(0, |log| log.missing.iter().map(|(from, to)| to - from + 1).sum())
    }

    /// Number of updates of `epoch` that arrived in rollups.
    #[must_use]
    pub fn rolled_up(&self, epoch: u64) -> u64 {
        self.logs.get(&epoch).map_or(0, |log| log.rollups.iter().map(|(from, to, _)| to - from + 1).sum())
    }

    /// Where to resume after a disconnect: the log and its newest received sequence number.
    #[must_use]
    pub fn resume_start(&self, epoch: u64) -> Start {
        self.logs.get(&epoch).map_or(Start::History, |log| Start::After { epoch, seq: log.next - 1 })
    }

    /// Checks the log of `epoch` against the numbers that were sent, in the order of the log.
    ///
    /// # Panics
    /// If an update was lost without a report, arrived twice, or arrived with other contents.
    pub fn check(&self, epoch: u64, sent: &[u64]) {
        let log = self.logs.get(&epoch).expect("the viewer has subscribed to this log");
        assert_eq!(log.from, 1, "the viewer subscribed at the beginning");
        assert_eq!(log.next, sent.len() as u64 + 1, "every number arrived or was reported missing");
        let mut covered = vec![0_u8; sent.len() + 1];
        let mut cover = |from: u64, to: u64| (from..=to).for_each(|seq| covered[at(seq)] += 1);
        for (&seq, number) in &log.given {
            cover(seq, seq);
            assert_eq!(*number, sent[at(seq) - 1], "the contents of {seq}");
        }
        for &(from, to, sum) in &log.rollups {
            cover(from, to);
            let expected: u128 = sent[at(from) - 1..at(to)].iter().map(|&number| u128::from(number)).sum();
            assert_eq!(sum, expected, "the sum of {from} to {to}");
        }
        log.missing.iter().for_each(|&(from, to)| cover(from, to));
        let wrong = covered.iter().skip(1).position(|&times| times != 1);
        assert_eq!(
            wrong,
            None,
            "the first of {} updates that did not arrive or was not reported missing exactly once",
            sent.len()
        );
    }
}

impl Log {
    fn check_span(&mut self, from: u64, to: u64) {
        let overlaps = self.may_overlap && to >= self.next;
        assert!(from == self.next || (from < self.next && overlaps), "{from} to {to} arrived at {}", self.next);
        self.may_overlap = false;
    }

    /// Records one update. After a reconnect a batch may contain updates that were already received; they must be
    /// identical.
    fn record(&mut self, seq: u64, number: u64) {
        if seq >= self.next {
            assert_eq!(self.given.insert(seq, number), None, "{seq} arrived twice");
        } else if seq >= self.from {
            let is_known = self.given.get(&seq).is_none_or(|&known| known == number);
            assert!(is_known, "{seq} arrived again with other contents");
        }
    }
}

fn at(seq: u64) -> usize {
    usize::try_from(seq).expect("a sequence number fits")
}

/// A viewer that checks the delivery of one application and resumes where it was after a disconnect.
#[derive(Debug)]
pub struct CheckedViewer {
    /// The connection; `None` while disconnected.
    pub viewer: Option<Viewer>,
    /// What it has received.
    pub delivery: DeliveryRecord,
    /// The log that it is subscribed to.
    pub epoch: u64,
    app: String,
    /// Whether it is subscribed to this one log only, at any relay.
    is_single_log: bool,
}

impl CheckedViewer {
    /// Subscribes to `app` from its beginning, over an open connection.
    #[must_use]
    pub fn subscribe(app: &str, viewer: Viewer) -> Self {
        let (app, delivery) = (app.to_owned(), DeliveryRecord::default());
        let mut checked = Self { viewer: None, delivery, epoch: 0, app, is_single_log: false };
        checked.resume_on(viewer);
        checked
    }

    /// Subscribes to one log of `app` from its beginning, at the relay to which `viewer` is connected.
    #[must_use]
    pub fn subscribe_log(app: &str, epoch: u64, viewer: Viewer) -> Self {
        let (app, delivery) = (app.to_owned(), DeliveryRecord::default());
        let mut checked = Self { viewer: None, delivery, epoch, app, is_single_log: true };
        checked.resume_on(viewer);
        checked
    }

    /// Resumes over a new connection.
    pub fn resume_on(&mut self, mut viewer: Viewer) {
        self.delivery.feeds.clear();
        let start = self.delivery.resume_start(self.epoch);
        let (_, subscribed) = if self.is_single_log {
            viewer.subscribe_log(&self.app, self.epoch, Filter::All, start)
        } else {
            viewer.subscribe(&self.app, Filter::All, start)
        };
        self.epoch = subscribed.epoch;
        self.delivery.record(&Received::Subscribed(subscribed));
        self.viewer = Some(viewer);
    }

    /// Connects again and resumes.
    pub fn reconnect_to(&mut self, http: SocketAddr) {
        self.viewer = None;
        self.resume_on(Viewer::connect_to(http));
    }

    /// Receives one message.
    ///
    /// # Panics
    /// While disconnected.
    pub fn next_message(&mut self) -> Received {
        let received = self.viewer.as_mut().expect("it is connected").next_message();
        self.delivery.record(&received);
        received
    }

    /// Receives messages until the subscribed log has reached `last`.
    ///
    /// # Panics
    /// If the connection ends first.
    pub fn read_to(&mut self, last: u64) {
        while self.delivery.last_seq(self.epoch) < last {
            let received = self.next_message();
            assert!(!matches!(received, Received::Closed(_)), "{received:?} at {}", self.delivery.last_seq(self.epoch));
        }
    }

    /// Reads to `last` and checks that the numbers from 1 to `last` were delivered in this order.
    ///
    /// # Panics
    /// As [`CheckedViewer::read_to`] and [`CheckedViewer::check`].
    pub fn read_and_check(&mut self, last: u64) {
        self.read_to(last);
        self.check(&(1..=last).collect::<Vec<_>>());
    }

    /// Receives messages until the connection ends; returns its close code.
    pub fn read_to_close(&mut self) -> u16 {
        loop {
            if let Received::Closed(code) = self.next_message() {
                self.viewer = None;
                return code;
            }
        }
    }

    /// Checks what it received of the subscribed log.
    pub fn check(&self, sent: &[u64]) {
        self.delivery.check(self.epoch, sent);
    }
}

/// Checks the relay's counters: every frame that was sent was accepted or rejected for a reason, and no task has
/// panicked.
///
/// # Panics
/// If that does not happen.
pub fn check_frame_counts(relay: &Relay, accepted: u64, rejected: u64) {
    super::eventually_is("frames accepted and rejected", &(accepted, rejected), || relay.frame_counts());
    assert_eq!(relay.metric("joey_task_panics_total"), 0);
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use joey_shared::wire::BatchHead;

    use super::*;

    fn batch(from: u64, to: u64, updates: &[(u64, u64)]) -> Received {
        let update = |&(seq, number): &(u64, u64)| {
            let mut histogram = joey_shared::histogram::Histogram::default();
            histogram.add(NUMBER_BIN, number);
            Update { seq, series: 0, period_ns: 1, end_ns: 1, offset_ns: 0, histogram }
        };
        let head = BatchHead { feed: 1, from, to, cut_ns: 0, end_ns: 0, period_ns: 0, series: Vec::new() };
        Received::Batch(head, updates.iter().map(update).collect(), Vec::new())
    }

    /// Checks whether a viewer that receives these messages got the numbers 10, 20, 30, 40 correctly.
    fn check(received: &[Received], is_valid: bool) {
        let first = Subscribed { sub: 1, feed: 1, epoch: 7, next: 1, head: 0, missing: 0 };
        let outcome = catch_unwind(|| {
            let mut delivery = DeliveryRecord::default();
            delivery.record(&Received::Subscribed(first));
            received.iter().for_each(|received| delivery.record(received));
            delivery.check(7, &[10, 20, 30, 40]);
        });
        assert_eq!(outcome.is_ok(), is_valid, "{received:?}");
    }

    #[test]
    fn received_and_missing_updates_add_up() {
        let whole = batch(1, 2, &[(1, 10), (2, 20)]);
        check(&[whole.clone(), batch(3, 4, &[(3, 30), (4, 40)])], true);
        check(&[whole.clone(), Received::Gap(1, 3, 4)], true);
        check(
            &[whole.clone(), Received::Gap(1, 3, 3), batch(4, 4, &[(4, 40)]), Received::Heartbeat(vec![(1, 4)])],
            true,
        );
        let back = Subscribed { sub: 2, feed: 1, epoch: 7, next: 4, head: 4, missing: 1 };
        check(&[whole.clone(), Received::Closed(1006), Received::Subscribed(back), batch(4, 4, &[(4, 40)])], true);
        let back = Subscribed { sub: 2, feed: 1, epoch: 7, next: 3, head: 4, missing: 0 };
        let again = batch(2, 4, &[(2, 20), (3, 30), (4, 40)]);
        check(&[whole, Received::Closed(1006), Received::Subscribed(back), again], true);
    }

    #[test]
    fn lost_repeated_or_changed_updates_are_detected() {
        let whole = batch(1, 2, &[(1, 10), (2, 20)]);
        check(std::slice::from_ref(&whole), false);
        check(&[whole.clone(), batch(3, 4, &[(3, 30)])], false);
        check(&[whole.clone(), batch(4, 4, &[(4, 40)])], false);
        check(&[whole.clone(), batch(3, 4, &[(3, 30), (4, 41)])], false);
        check(&[whole.clone(), batch(2, 4, &[(2, 20), (3, 30), (4, 40)])], false);
        check(&[whole.clone(), batch(3, 3, &[(3, 30)]), batch(3, 4, &[(3, 30), (4, 40)])], false);
        check(&[whole.clone(), Received::Heartbeat(vec![(1, 4)])], false);
        check(&[whole, Received::Gap(1, 2, 4)], false);
    }

    #[test]
    fn a_rollup_must_equal_the_sum_of_its_span() {
        let check = |from: u64, to: u64, sum: u128, is_valid: bool| {
            let first = Subscribed { sub: 1, feed: 1, epoch: 7, next: 1, head: 0, missing: 0 };
            let outcome = catch_unwind(|| {
                let mut delivery = DeliveryRecord::default();
                delivery.record(&Received::Subscribed(first));
                delivery.record(&batch(1, 1, &[(1, 10)]));
                delivery.record_rollup(1, from, to, sum);
                delivery.check(7, &[10, 20, 30, 40]);
            });
            assert_eq!(outcome.is_ok(), is_valid, "{from} to {to}: {sum}");
        };
        check(2, 4, 90, true);
        check(2, 4, 91, false);
        check(2, 3, 50, false);
        check(1, 4, 100, false);
    }
}
