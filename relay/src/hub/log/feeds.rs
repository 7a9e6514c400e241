//! The feeds of a log: one of the whole application, and one for each filter that a viewer subscribes to.

use std::sync::Arc;

use joey_shared::series::Filter;

use super::super::batch::Batch;
use super::super::broadcast::Subscriber;
use super::super::feed::{Feed, History};
use super::Log;

/// Maximum number of filtered feeds of one application.
const FILTERED_FEEDS_MAX: usize = 1_000;

impl Log {
    pub(in crate::hub) fn feeds(&self) -> usize {
        1 + self.filtered_feeds.len()
    }

    /// Returns the feed with this filter, if it exists.
    pub(in crate::hub) fn feed_for(&self, filter: &Filter) -> Option<&Feed> {
        self.all_feeds().find(|feed| feed.filter() == filter)
    }

    /// Returns the feed with this number, if it exists.
    pub(in crate::hub) fn feed(&self, number: u32) -> Option<&Feed> {
        if number == self.whole.number() { Some(&self.whole) } else { self.filtered_feeds.get(&number) }
    }

    pub(super) fn all_feeds(&self) -> impl Iterator<Item = &Feed> {
        std::iter::once(&self.whole).chain(self.filtered_feeds.values())
    }

    /// Snapshot of the whole application's feed.
    pub(in crate::hub) fn history(&self) -> History {
        self.whole.history()
    }

    /// Adds a feed that was built from an earlier [`Log::history`], unless another thread has already added one with
    /// the same filter. Returns the bytes added.
    pub(in crate::hub) fn insert_feed(&mut self, mut feed: Feed) -> u64 {
        if self.feed_for(feed.filter()).is_some() {
            return 0;
        }
        feed.catch_up(&self.whole.history(), &self.series.matching(feed.filter(), feed.announced()));
        let bytes = feed.bytes();
        self.series.add_feed_to_matching(feed.filter(), feed.number());
        self.filtered_feeds.insert(feed.number(), feed);
        bytes
    }

    /// Subscribes a viewer to the feed with this filter, or to the whole application's feed if there is no such feed.
    pub(in crate::hub) fn subscribe_feed(
        &mut self,
        filter: &Filter,
        viewer: u64,
        subscriber: Arc<dyn Subscriber>,
    ) -> &Feed {
        let feed = match self.filtered_feeds.values_mut().find(|feed| feed.filter() == filter) {
            Some(feed) => feed,
            None => &mut self.whole,
        };
        feed.add_subscriber(viewer, subscriber);
        feed
    }

    /// Unsubscribes a viewer from the feed with this number. A filtered feed is removed with its last viewer.
    /// Returns the bytes freed.
    pub(in crate::hub) fn unsubscribe_feed(&mut self, number: u32, viewer: u64) -> u64 {
        let Some(feed) = self.feed_mut(number) else { return 0 };
        feed.remove_subscriber(viewer);
        if !feed.has_no_subscribers() {
            return 0;
        }
        let Some(feed) = self.filtered_feeds.remove(&number) else { return 0 };
        self.series.remove_feed(number);
        feed.bytes()
    }

    // === history ===

    pub(in crate::hub) fn ring_bytes(&self) -> u64 {
        self.all_feeds().map(Feed::bytes).sum()
    }

    /// Whether one more filtered feed is allowed.
    pub(in crate::hub) fn has_room_for_feed(&self) -> bool {
        self.filtered_feeds.len() < FILTERED_FEEDS_MAX
    }

    /// Drops the oldest message of the largest feed. Returns the bytes freed.
    pub(in crate::hub) fn evict_oldest(&mut self) -> u64 {
        self.feeds_mut().max_by_key(|feed| feed.bytes()).map_or(0, Feed::evict_oldest)
    }

    /// Drops batches cut before `oldest_ns`. Returns the bytes freed.
    pub(in crate::hub) fn evict_older(&mut self, oldest_ns: u64) -> u64 {
        let oldest_ns = self.to_origin_clock(oldest_ns);
        self.feeds_mut().map(|feed| feed.evict_older(oldest_ns)).sum()
    }

    /// Drops rollups cut before `oldest_ns`. Returns the bytes freed.
    pub(in crate::hub) fn evict_rollups(&mut self, oldest_ns: u64) -> u64 {
        let oldest_ns = self.to_origin_clock(oldest_ns);
        self.feeds_mut().map(|feed| feed.evict_rollups(oldest_ns)).sum()
    }

    /// Drops all history. Returns the bytes freed.
    pub(in crate::hub) fn evict_all(&mut self) -> u64 {
        self.feeds_mut().map(|feed| feed.evict_older(u64::MAX) + feed.evict_rollups(u64::MAX)).sum()
    }

    /// Ten seconds of a feed's batches that ended before `oldest_ns`, and the number of that feed.
    pub(in crate::hub) fn batches_to_roll_up(&self, oldest_ns: u64) -> Option<(u32, Vec<Batch>)> {
        let oldest_ns = self.to_origin_clock(oldest_ns);
        self.all_feeds().find_map(|feed| Some((feed.number(), feed.batches_to_roll_up(oldest_ns)?)))
    }

    /// Returns the feed with this number, if it exists.
    pub(in crate::hub) fn feed_mut(&mut self, number: u32) -> Option<&mut Feed> {
        if number == self.whole.number() { Some(&mut self.whole) } else { self.filtered_feeds.get_mut(&number) }
    }

    pub(super) fn feeds_mut(&mut self) -> impl Iterator<Item = &mut Feed> {
        std::iter::once(&mut self.whole).chain(self.filtered_feeds.values_mut())
    }
}
