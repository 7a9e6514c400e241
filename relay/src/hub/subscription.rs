//! Viewers' positions in the feeds: where each begins, what it takes next, and what it is told when that is gone.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use joey_shared::series::{Filter, Topic};
use joey_shared::wire::{Refusal, Start, Subscribed};

use super::batch::Batch;
use super::broadcast::Listener;
use super::feed::{Feed, Next};
use super::{App, Hub, SLACK, rollup};
use crate::net::ws_frame::WsFrame;
use crate::runtime::clock::nanos;

/// Bytes after which one turn is over. What is read and not written yet is held even when the ring has dropped it.
const TURN_BYTES: usize = 256 * 1024;

/// A viewer that has not taken a batch for this long, in ns, is given sums: 10 s, the shortest after which one can exist.
const LATE_NS: u64 = super::batch::SPAN_NS;

/// A registered viewer. Dropping it leaves.
#[derive(Debug)]
pub struct Viewer {
    hub: Arc<Hub>,
    number: u64,
    listener: Arc<dyn Listener>,
}

impl Viewer {
    /// The viewer that the hub knows by `number`.
    pub(super) const fn new(hub: Arc<Hub>, number: u64, listener: Arc<dyn Listener>) -> Self {
        Self { hub, number, listener }
    }

    /// Follows `topic` in our own log of its application, or in that of the epoch `log`, from `start` on; `now_ns` stamps the
    /// batch that is cut so that the history is complete.
    ///
    /// # Errors
    /// [`Refusal::NoSuchApp`] when nobody has sent anything for it yet.
    pub fn subscribe(
        &self,
        sub: u32,
        topic: &Topic,
        log: Option<u64>,
        start: Start,
        now_ns: u64,
    ) -> Result<(Subscription, Subscribed), Refusal> {
        let hub = &self.hub;
        let own = hub.apps.read().get(&topic.app).filter(|own| log.is_none_or(|log| own.epoch == log)).cloned();
        let replica = || Some(hub.replica(&topic.app, log?)?.app.clone());
        let app = own.or_else(replica).ok_or(Refusal::NoSuchApp)?;
        if !topic.filter.is_well_named() {
            return Err(Refusal::NoSuchApp);
        }
        let mut log = app.log.lock();
        hub.cut(&app, &mut log, now_ns);
        if log.feed_of(&topic.filter).is_none() {
            if !log.has_room_for_feed() {
                return Err(Refusal::TooMany);
            }
            // Filtering five minutes of history takes a while; producers shall not wait for it.
            let whole = log.history();
            let part = log.series().part(&topic.filter, log.series().added());
            drop(log);
            let feed = Feed::filtered(hub.feed_number(), topic.filter.clone(), hub.rounds.clone(), &whole, &part);
            log = app.log.lock();
            hub.cut(&app, &mut log, now_ns);
            hub.ring_bytes.fetch_add(log.insert_feed(feed), Relaxed);
        }
        if let Some(feed) = log
            .feed_of(&topic.filter)
            .filter(|feed| feed.lacks_past() && looks_back(start, feed, app.epoch, log.by_origin(now_ns)))
        {
            let number = feed.number();
            let (whole, part) = (log.history(), log.series().part(&topic.filter, log.series().added()));
            drop(log);
            let past = Feed::past_of(number, &whole, &part);
            log = app.log.lock();
            let taken = log.feed_mut(number).map_or(0, |feed| feed.insert_past(past));
            hub.ring_bytes.fetch_add(taken, Relaxed);
        }
        let (head, origin_ns) = (log.head(), log.by_origin(now_ns));
        let feed = log.enter_feed(&topic.filter, self.number, self.listener.clone());
        let newest = feed.newest();
        let (next, missing) = match start {
            Start::Live => (head + 1, 0),
            Start::After { epoch, seq } if epoch == app.epoch => {
                let wanted = seq.saturating_add(1).min(head + 1);
                let next = feed.begin(wanted);
                (next, next - wanted)
            }
            Start::Back { span_ns } => (feed.since(since_ns(span_ns, origin_ns)), 0),
            Start::History => (feed.oldest(), 0),
            Start::After { .. } => (feed.oldest_of_all(), 0),
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
        let subscription = Subscription { hub: hub.clone(), app, filter, viewer, feed, next, single_through: newest };
        Ok((subscription, subscribed))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.hub.viewers.lock().remove(&self.number);
    }
}

/// One viewer's position in one feed. Dropping it stops following.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    app: Arc<App>,
    filter: Filter,
    viewer: u64,
    feed: u32,
    /// The next number that the viewer has not got.
    pub(super) next: u64,
    /// Up to here it gets single updates however slow it is, as long as they are held: this is the history that it asked for.
    pub(super) single_through: u64,
}

/// What a subscription gives.
#[derive(Debug, Default)]
pub struct Read {
    /// Numbers that the ring no longer held, first and last.
    pub gap: Option<(u64, u64)>,
    /// Encoded messages, in order.
    pub batches: Vec<WsFrame>,
    /// Whether it was cut short because it is enough for one turn.
    pub is_cut_short: bool,
}

impl Subscription {
    /// Takes up to `pieces_max` batches, or sums of them, from where this viewer is; `now_ns` tells whether it is late.
    pub fn read(&mut self, pieces_max: usize, now_ns: u64) -> Read {
        let mut read = Read::default();
        while let Some(span) = self.read_until_sum(&mut read, pieces_max, now_ns) {
            let sums = rollup::of(self.feed, &span);
            let mut log = self.app.log.lock();
            let Some(feed) = log.feed_mut(self.feed) else { break };
            self.hub.ring_bytes.fetch_add(feed.insert_sums(sums), Relaxed);
            // Somebody else may have made it meanwhile; then that one is read.
            if feed.sum_from(self.next).is_none() {
                break;
            }
        }
        read
    }

    /// Reads on; gives the batches whose sum comes next where nobody has made it yet.
    fn read_until_sum(&mut self, read: &mut Read, pieces_max: usize, now_ns: u64) -> Option<Vec<Batch>> {
        let counters = &self.hub.counters;
        let log = self.app.log.lock();
        let feed = log.feed(self.feed)?;
        let mut bytes: usize = read.batches.iter().map(|batch| batch.len()).sum();
        loop {
            if read.batches.len() >= pieces_max || bytes >= TURN_BYTES {
                read.is_cut_short = true;
                break;
            }
            let begin = feed.begin(self.next);
            if begin > self.next {
                if !read.batches.is_empty() {
                    read.is_cut_short = true;
                    break;
                }
                read.gap = Some((self.next, begin - 1));
                counters.gaps.inc();
                counters.gap_updates.inc_by(begin - self.next);
                self.next = begin;
            }
            let gets_sums = self.hub.config.rollups > Duration::ZERO && self.next > self.single_through;
            let late_ns = if gets_sums { now_ns.saturating_sub(LATE_NS) } else { 0 };
            match feed.piece(self.next, late_ns) {
                Next::Piece(piece) => {
                    self.next = piece.to + 1;
                    bytes += piece.frame.len();
                    read.batches.push(piece.frame.clone());
                }
                Next::SumOf(batches) => return Some(batches),
                Next::Nothing => break,
            }
        }
        None
    }

    /// The relay's number for the feed.
    #[must_use]
    pub const fn feed(&self) -> u32 {
        self.feed
    }

    /// The next number that the viewer has not got.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.next
    }

    /// Something else has brought the viewer to `position`.
    pub fn skip_to(&mut self, position: u64) {
        self.next = self.next.max(position);
    }

    /// Whether everything that `other` brings comes over this one as well.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.app, &other.app) && self.filter.covers(&other.filter)
    }

    /// The application.
    #[must_use]
    pub const fn of(&self) -> &Arc<App> {
        &self.app
    }

    /// The application's name.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.app.name
    }

    /// Which of its updates.
    #[must_use]
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let freed = self.app.log.lock().leave_feed(self.feed, self.viewer);
        self.hub.ring_bytes.fetch_sub(freed, Relaxed);
    }
}

/// Whether `start` reaches back beyond the batches of `feed`, in a log of `epoch`.
fn looks_back(start: Start, feed: &Feed, epoch: u64, now_ns: u64) -> bool {
    match start {
        Start::Live | Start::History => false,
        Start::After { epoch: known, seq } => known != epoch || seq.saturating_add(1) < feed.oldest(),
        Start::Back { span_ns } => feed.is_younger_than(since_ns(span_ns, now_ns)),
    }
}

/// When what a viewer gets was cut at the earliest that asks for the last `span_ns`.
fn since_ns(span_ns: u64, now_ns: u64) -> u64 {
    now_ns.saturating_sub(span_ns.saturating_add(nanos(SLACK)))
}
