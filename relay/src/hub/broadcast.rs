//! Queue of new batches for idle viewers. An idle viewer is up to date, and the broadcast task writes new batches to
//! its socket directly instead of waking the viewer's task.
//!
//! A broadcast may fail for any viewer: that viewer is woken and reads from its feed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::net::ws_frame::WsFrame;
use crate::runtime::clock::nanos;
use crate::runtime::sync::{AtomicU64, Mutex};

/// Maximum number of bytes queued for one feed. If broadcasting is slower than cutting, idle viewers are woken instead
/// and read at their own speed.
const QUEUED_BYTES_MAX: usize = 256 * 1024;
/// Maximum number of batches queued for one feed: as many as one write takes.
const QUEUED_BATCHES_MAX: usize = 64;

/// A viewer as the hub sees it.
pub trait Subscriber: Debug + Send + Sync {
    /// Wakes the viewer's task, because there may be something to read.
    fn wake(&self);

    /// Notifies the viewer that feed `feed` has new batches.
    fn notify_feed(&self, _feed: u32) {
        self.wake();
    }

    /// Whether the viewer receives broadcasts. Then it is only woken if a broadcast fails.
    fn is_idle(&self) -> bool {
        false
    }

    /// Wakes the viewer if it is idle and nothing has been sent to it for the time `_silent` at `_now`.
    fn wake_if_silent(&self, _now: Instant, _silent: Duration) {}

    /// Writes new batches to the viewer at `_now`, or wakes it.
    fn deliver(&self, _new: &NewBatches, _now: Instant) -> Delivered {
        self.wake();
        Delivered::default()
    }
}

impl Subscriber for Notify {
    fn wake(&self) {
        self.notify_one();
    }
}

/// New batches of one feed, in order.
#[derive(Debug)]
pub struct NewBatches {
    /// Number of the feed in the relay.
    pub feed: u32,
    /// The batches; empty if they exceed the queue limits.
    pub batches: Vec<NumberedBatch>,
}

/// One batch and the sequence numbers that it covers.
#[derive(Clone, Debug)]
pub struct NumberedBatch {
    /// First number.
    pub from: u64,
    /// Last number.
    pub to: u64,
    /// When the first of its updates arrived at this relay; `None` for data of other relays.
    pub received_ns: Option<u64>,
    /// The message.
    pub frame: WsFrame,
}

/// What was written to a viewer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivered {
    /// Number of messages.
    pub messages: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// Subscribers of one feed. Shared with broadcasts, which keep the list as it was.
pub(super) type Subscribers = Arc<Vec<(u64, Arc<dyn Subscriber>)>>;

/// New batches of one feed and its subscribers.
#[derive(Debug)]
pub struct Broadcast {
    /// The new batches.
    pub new: NewBatches,
    /// When the first of them was queued.
    pub queued_at: Instant,
    subscribers: Subscribers,
    bytes: usize,
}

impl Broadcast {
    /// Subscribers that receive them.
    #[must_use]
    pub fn subscribers(&self) -> &[(u64, Arc<dyn Subscriber>)] {
        &self.subscribers
    }
}

/// Queued broadcasts, at most one for each feed.
#[derive(Debug, Default)]
pub struct BroadcastQueue {
    queued: Mutex<BTreeMap<u32, Broadcast>>,
    work: Notify,
    last_duration_ns: AtomicU64,
}

impl BroadcastQueue {
    /// Waits until a broadcast may be queued.
    pub async fn ready(&self) {
        self.work.notified().await;
    }

    /// Takes all queued broadcasts, at most one for each feed, so that all feeds get their turn.
    #[must_use]
    pub fn take_all(&self) -> Vec<Broadcast> {
        std::mem::take(&mut *self.queued.lock()).into_values().collect()
    }

    /// Records how long sending all queued broadcasts took.
    pub fn record_duration(&self, took: Duration) {
        self.last_duration_ns.store(nanos(took), Relaxed);
    }

    /// How long the last call of [`BroadcastQueue::record_duration`] reported.
    #[must_use]
    pub fn last_duration(&self) -> Duration {
        Duration::from_nanos(self.last_duration_ns.load(Relaxed))
    }

    /// Queues `batch` of feed `feed` for the idle subscribers, and wakes all others at once.
    pub(super) fn enqueue(&self, feed: u32, subscribers: &Subscribers, batch: NumberedBatch) {
        let mut is_anyone_idle = false;
        for (_, subscriber) in subscribers.iter() {
            if subscriber.is_idle() {
                is_anyone_idle = true;
            } else {
                subscriber.notify_feed(feed);
            }
        }
        if !is_anyone_idle {
            return;
        }
        let mut queued = self.queued.lock();
        let empty = || Broadcast {
            new: NewBatches { feed, batches: Vec::new() },
            queued_at: Instant::now(),
            subscribers: subscribers.clone(),
            bytes: 0,
        };
        let broadcast = queued.entry(feed).or_insert_with(empty);
        // More viewers may have subscribed since the broadcast was queued.
        broadcast.subscribers = subscribers.clone();
        broadcast.bytes = broadcast.bytes.saturating_add(batch.frame.bytes().len());
        // If the batch does not follow directly, viewers have to read the gap or the rollup from the feed.
        let is_consecutive = broadcast.new.batches.last().is_none_or(|last| last.to + 1 == batch.from);
        if is_consecutive && broadcast.bytes <= QUEUED_BYTES_MAX && broadcast.new.batches.len() < QUEUED_BATCHES_MAX {
            broadcast.new.batches.push(batch);
        } else {
            broadcast.bytes = usize::MAX;
            broadcast.new.batches.clear();
        }
        drop(queued);
        self.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Fake {
        is_idle: bool,
        woken: Mutex<u32>,
    }

    impl Subscriber for Fake {
        fn wake(&self) {
            *self.woken.lock() += 1;
        }

        fn is_idle(&self) -> bool {
            self.is_idle
        }
    }

    fn fake(is_idle: bool) -> Arc<Fake> {
        Arc::new(Fake { is_idle, ..Fake::default() })
    }

    fn batch(from: u64, to: u64, bytes: usize) -> NumberedBatch {
        NumberedBatch { from, to, received_ns: None, frame: WsFrame::new(&vec![0; bytes]) }
    }

    #[test]
    fn idle_viewers_are_queued_and_all_others_are_woken_at_once() {
        let (idle, busy) = (fake(true), fake(false));
        let subscribers: Subscribers = Arc::new(vec![(1, idle.clone()), (2, busy.clone())]);
        let broadcasts = BroadcastQueue::default();
        broadcasts.enqueue(7, &subscribers, batch(1, 5, 10));
        broadcasts.enqueue(3, &subscribers, batch(1, 2, 10));
        let later: Subscribers = Arc::new(vec![(1, idle.clone()), (2, busy.clone()), (3, fake(true))]);
        broadcasts.enqueue(7, &later, batch(6, 9, 10));
        assert_eq!((*idle.woken.lock(), *busy.woken.lock()), (0, 3));
        let due = broadcasts.take_all();
        let seen = due
            .iter()
            .map(|broadcast| (broadcast.new.feed, broadcast.new.batches.len(), broadcast.subscribers().len()));
        let seen: Vec<_> = seen.collect();
        assert_eq!(seen, [(3, 1, 2), (7, 2, 3)], "one broadcast per feed, with the latest subscribers");
        assert!(broadcasts.take_all().is_empty());
        broadcasts.enqueue(7, &Arc::new(vec![(2, busy)]), batch(10, 10, 10));
        assert!(broadcasts.take_all().is_empty(), "no subscriber is idle");
    }

    #[test]
    fn a_gap_or_too_many_bytes_empties_the_broadcast() {
        let subscribers: Subscribers = Arc::new(vec![(1, fake(true))]);
        for batches in [
            vec![batch(1, 5, 10), batch(21, 25, 10), batch(26, 26, 10)],
            vec![batch(1, 5, QUEUED_BYTES_MAX), batch(6, 6, 10), batch(7, 7, 10)],
            (1..=100).map(|number| batch(number, number, 1)).collect(),
        ] {
            let broadcasts = BroadcastQueue::default();
            batches.into_iter().for_each(|batch| broadcasts.enqueue(7, &subscribers, batch));
            let due = broadcasts.take_all();
            assert!(due.len() == 1 && due[0].new.batches.is_empty(), "{due:?}");
        }
    }
}
