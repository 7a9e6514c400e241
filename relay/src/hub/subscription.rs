//! Subscriptions: the position of a viewer in a feed, where it starts, what it reads next, and which gaps it reports.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use joey_shared::series::{Filter, Topic};
use joey_shared::wire::{Start, SubscribeError, Subscribed};

use super::batch::Batch;
use super::broadcast::Subscriber;
use super::feed::{Feed, Next};
use super::{App, Hub, RETENTION_SLACK, rollup};
use crate::net::ws_frame::WsFrame;
use crate::runtime::clock::nanos;

/// Maximum number of bytes returned by one read. The bytes stay in memory until they are written, even if the ring
/// buffer evicts their batches.
const READ_BYTES_MAX: usize = 256 * 1024;

/// A viewer that is this far behind, in ns, receives rollups: 10 s, the shortest time after which a rollup can exist.
const ROLLUP_LAG_NS: u64 = super::batch::SPAN_NS;

/// A registered viewer. Dropping it unregisters the viewer.
#[derive(Debug)]
pub struct Viewer {
    hub: Arc<Hub>,
    number: u64,
    subscriber: Arc<dyn Subscriber>,
}

impl Viewer {
    /// Creates the handle of the viewer that the hub has registered under `number`.
    pub(super) const fn new(hub: Arc<Hub>, number: u64, subscriber: Arc<dyn Subscriber>) -> Self {
        Self { hub, number, subscriber }
    }

    /// Subscribes to `topic` from `start` on, in the relay's own log of the application, or in the log with epoch
    /// `log`. Pending updates are cut into a batch at `now_ns` first, so that the history is complete.
    ///
    /// # Errors
    /// [`SubscribeError::NoSuchApp`] if the application or the log does not exist.
    pub fn subscribe(
        &self,
        sub: u32,
        topic: &Topic,
        log: Option<u64>,
        start: Start,
        now_ns: u64,
    ) -> Result<(Subscription, Subscribed), SubscribeError> {
        let hub = &self.hub;
        let own = hub.apps.read().get(&topic.app).filter(|own| log.is_none_or(|log| own.epoch == log)).cloned();
        let replica = || Some(hub.replica(&topic.app, log?)?.app.clone());
        let app = own.or_else(replica).ok_or(SubscribeError::NoSuchApp)?;
        if !topic.filter.has_valid_names() {
            return Err(SubscribeError::NoSuchApp);
        }
        let mut log = app.log.lock();
        hub.cut(&app, &mut log, now_ns);
        if log.feed_for(&topic.filter).is_none() {
            if !log.has_room_for_feed() {
                return Err(SubscribeError::TooManySubscriptions);
            }
            // Filtering five minutes of history takes some time. Release the lock, so that producers do not wait.
            let whole = log.history();
            let matching = log.series().matching(&topic.filter, log.series().added());
            drop(log);
            let feed =
                Feed::filtered(hub.new_feed_number(), topic.filter.clone(), hub.broadcasts.clone(), &whole, &matching);
            log = app.log.lock();
            hub.cut(&app, &mut log, now_ns);
            hub.ring_bytes.fetch_add(log.insert_feed(feed), Relaxed);
        }
        if let Some(feed) = log.feed_for(&topic.filter).filter(|feed| {
            feed.lacks_old_rollups() && reaches_before_batches(start, feed, app.epoch, log.to_origin_clock(now_ns))
        }) {
            let number = feed.number();
            let (whole, matching) = (log.history(), log.series().matching(&topic.filter, log.series().added()));
            drop(log);
            let old = Feed::old_rollups(number, &whole, &matching);
            log = app.log.lock();
            let bytes = log.feed_mut(number).map_or(0, |feed| feed.insert_old_rollups(old));
            hub.ring_bytes.fetch_add(bytes, Relaxed);
        }
        let (head, origin_ns) = (log.published_head(), log.to_origin_clock(now_ns));
        let recovered_through = log.recovered_through();
        let feed = log.subscribe_feed(&topic.filter, self.number, self.subscriber.clone());
        let newest = feed.newest();
        let (next, missing) = match start {
            Start::Live => (head + 1, 0),
            Start::After { epoch, seq } if epoch == app.epoch => {
                let requested = seq.saturating_add(1).min(head + 1);
                let next = feed.first_readable(requested);
                (next, next - requested)
            }
            Start::Recent { span_ns } => (feed.position_since(since_ns(span_ns, origin_ns)), 0),
            Start::History => (feed.oldest(), 0),
            // The viewer may have the recovered part from the previous run, under the epoch of that run.
            Start::After { .. } => (feed.oldest_with_rollups().max(recovered_through + 1), 0),
        };
        let subscribed = Subscribed { sub, feed: feed.number(), epoch: app.epoch, next, head: newest, missing };
        drop(log);
        hub.evict_bytes();
        hub.counters.subscriptions.inc();
        if missing > 0 {
            hub.counters.gaps.inc();
            hub.counters.gap_updates.inc_by(missing);
        }
        let (viewer, feed) = (self.number, subscribed.feed);
        let filter = topic.filter.clone();
        let subscription =
            Subscription { hub: hub.clone(), app, filter, viewer, feed, next, no_rollups_through: newest };
        Ok((subscription, subscribed))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.hub.viewers.lock().remove(&self.number);
    }
}

/// Position of one viewer in one feed. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    app: Arc<App>,
    filter: Filter,
    viewer: u64,
    feed: u32,
    /// Next sequence number to send to the viewer.
    pub(super) next: u64,
    /// Up to this number the viewer receives single updates if they are stored, even if it is slow: this is the history
    /// that it requested.
    pub(super) no_rollups_through: u64,
}

/// Result of [`Subscription::read`].
#[derive(Debug, Default)]
pub struct Read {
    /// First and last number of a range that is no longer stored.
    pub gap: Option<(u64, u64)>,
    /// Encoded messages, in order: batches and rollups.
    pub batches: Vec<WsFrame>,
    /// Whether more messages are available.
    pub has_more: bool,
}

impl Subscription {
    /// Reads up to `messages_max` batches or rollups and advances the position. `now_ns` determines whether the viewer
    /// is late.
    pub fn read(&mut self, messages_max: usize, now_ns: u64) -> Read {
        let mut read = Read::default();
        while let Some(span) = self.read_until_missing_rollup(&mut read, messages_max, now_ns) {
            let rollups = rollup::roll_up(self.feed, &span);
            let mut log = self.app.log.lock();
            let Some(feed) = log.feed_mut(self.feed) else { break };
            self.hub.ring_bytes.fetch_add(feed.insert_rollups(rollups), Relaxed);
            // If another thread has stored the rollup meanwhile, the next iteration reads it.
            if feed.rollup_from(self.next).is_none() {
                break;
            }
        }
        read
    }

    /// Reads until a rollup is needed that does not exist. Returns the batches for that rollup.
    fn read_until_missing_rollup(&mut self, read: &mut Read, messages_max: usize, now_ns: u64) -> Option<Vec<Batch>> {
        let counters = &self.hub.counters;
        let log = self.app.log.lock();
        let feed = log.feed(self.feed)?;
        let mut bytes: usize = read.batches.iter().map(|batch| batch.len()).sum();
        loop {
            if read.batches.len() >= messages_max || bytes >= READ_BYTES_MAX {
                read.has_more = true;
                break;
            }
            let begin = feed.first_readable(self.next);
            if begin > self.next {
                if !read.batches.is_empty() {
                    read.has_more = true;
                    break;
                }
                read.gap = Some((self.next, begin - 1));
                counters.gaps.inc();
                counters.gap_updates.inc_by(begin - self.next);
                self.next = begin;
            }
            let gets_rollups = self.hub.config.rollups > Duration::ZERO && self.next > self.no_rollups_through;
            let late_ns = if gets_rollups { now_ns.saturating_sub(ROLLUP_LAG_NS) } else { 0 };
            match feed.next_message(self.next, late_ns) {
                Next::Message(message) => {
                    self.next = message.to + 1;
                    bytes += message.frame.len();
                    read.batches.push(message.frame.clone());
                }
                Next::MissingRollup(batches) => return Some(batches),
                Next::Nothing => break,
            }
        }
        None
    }

    /// Number of the feed in the relay.
    #[must_use]
    pub const fn feed(&self) -> u32 {
        self.feed
    }

    /// Next sequence number to send to the viewer.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.next
    }

    /// Advances to `position` because the viewer has received the updates before it another way.
    pub fn skip_to(&mut self, position: u64) {
        self.next = self.next.max(position);
    }

    /// Whether this subscription delivers everything that `other` delivers.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.app, &other.app) && self.filter.covers(&other.filter)
    }

    /// The application.
    #[must_use]
    pub const fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Name of the application.
    #[must_use]
    pub fn app_name(&self) -> &str {
        &self.app.name
    }

    /// Filter of the subscription.
    #[must_use]
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let freed = self.app.log.lock().unsubscribe_feed(self.feed, self.viewer);
        self.hub.ring_bytes.fetch_sub(freed, Relaxed);
    }
}

/// Whether `start` is before the batches of `feed`, in a log of `epoch`.
fn reaches_before_batches(start: Start, feed: &Feed, epoch: u64, now_ns: u64) -> bool {
    match start {
        Start::Live | Start::History => false,
        Start::After { epoch: other, seq } => other != epoch || seq.saturating_add(1) < feed.oldest(),
        Start::Recent { span_ns } => feed.starts_after(since_ns(span_ns, now_ns)),
    }
}

/// Earliest cut time of the messages for a viewer that requests the last `span_ns`.
fn since_ns(span_ns: u64, now_ns: u64) -> u64 {
    now_ns.saturating_sub(span_ns.saturating_add(nanos(RETENTION_SLACK)))
}
