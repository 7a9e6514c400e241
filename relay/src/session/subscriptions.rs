//! Subscriptions of one viewer: which ones have something to read, and which ones need no reading because a wider
//! subscription delivers the same updates.
//!
//! The cost of a turn depends on the number of new batches, not on the number of subscriptions.

use std::collections::{BTreeMap, BTreeSet};

use crate::hub::Subscription;

/// Maximum number of wider subscriptions tracked for one subscription. One is enough; with more, a viewer may receive
/// some updates twice.
const COVERING_MAX: usize = 8;

/// All subscriptions of one viewer, by the viewer's own numbers.
#[derive(Default)]
pub(super) struct Subscriptions {
    /// Most viewers have one entry. The box is for memory: a node of the map has room for 11 values, and 11 entries of 176 bytes
    /// would take 1.9 KB.
    all: BTreeMap<u32, Box<Entry>>,
    /// `(feed, subscription)`, sorted.
    by_feed: Vec<(u32, u32)>,
    /// Subscriptions that may have something to read.
    ready: BTreeSet<u32>,
    /// Subscriptions that no other subscription covers at present.
    independent: BTreeSet<u32>,
    /// Subscription that is read first in the next turn.
    first_next: u32,
}

/// A subscription, and the subscriptions that cover it.
struct Entry {
    subscription: Subscription,
    /// Subscriptions with a filter that includes this one; of two equal ones, the older covers the newer.
    covering: Vec<u32>,
    /// The one of them that delivers this subscription's updates at present.
    covered_by: Option<u32>,
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn contains(&self, sub: u32) -> bool {
        self.all.contains_key(&sub)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Subscription)> {
        self.all.iter().map(|(&sub, entry)| (sub, &entry.subscription))
    }

    pub(super) fn get(&self, sub: u32) -> Option<&Subscription> {
        self.all.get(&sub).map(|entry| &entry.subscription)
    }

    pub(super) fn get_mut(&mut self, sub: u32) -> Option<&mut Subscription> {
        self.all.get_mut(&sub).map(|entry| &mut entry.subscription)
    }

    pub(super) fn add(&mut self, sub: u32, subscription: Subscription) {
        let mut covering = Vec::new();
        for (&other, entry) in &mut self.all {
            if entry.subscription.covers(&subscription) {
                if covering.len() < COVERING_MAX {
                    covering.push(other);
                }
            } else if subscription.covers(&entry.subscription) && entry.covering.len() < COVERING_MAX {
                entry.covering.push(sub);
            }
        }
        let key = (subscription.feed(), sub);
        self.by_feed.insert(self.by_feed.partition_point(|other| *other < key), key);
        self.all.insert(sub, Box::new(Entry { subscription, covering, covered_by: None }));
        self.independent.insert(sub);
        self.ready.insert(sub);
    }

    pub(super) fn remove(&mut self, sub: u32) {
        let position = self.position(sub);
        self.all.remove(&sub);
        self.by_feed.retain(|&(_, other)| other != sub);
        self.independent.remove(&sub);
        self.ready.remove(&sub);
        for (&other, entry) in &mut self.all {
            entry.covering.retain(|&covering| covering != sub);
            if entry.covered_by == Some(sub) {
                entry.covered_by = None;
                // Until now the removed subscription has delivered its updates.
                entry.subscription.skip_to(position);
                self.independent.insert(other);
                self.ready.insert(other);
            }
        }
    }

    /// The single subscription that delivers everything, if there is one.
    pub(super) fn sole(&self) -> Option<u32> {
        if self.independent.len() == 1 { self.independent.first().copied() } else { None }
    }

    /// Marks the subscriptions to `feeds` as ready.
    pub(super) fn mark_ready(&mut self, feeds: BTreeSet<u32>) {
        for feed in feeds {
            let first = self.by_feed.partition_point(|&(other, _)| other < feed);
            self.ready
                .extend(self.by_feed[first..].iter().take_while(|&&(other, _)| other == feed).map(|&(_, sub)| sub));
        }
    }

    /// Subscriptions to read in this turn, in order.
    pub(super) fn due(&mut self) -> Vec<u32> {
        // It may have been delivered only a part of a broadcast.
        self.ready.extend(self.sole());
        // Decide for all before any of them advances. Otherwise the first one read would always be ahead of the others.
        let ready: Vec<u32> = self.ready.iter().copied().collect();
        ready.into_iter().for_each(|sub| self.update_coverage(sub));
        // Start with the subscription that the previous turn had no room for.
        self.ready.range(self.first_next..).chain(self.ready.range(..self.first_next)).copied().collect()
    }

    /// The turn ended before `sub` was read.
    pub(super) const fn resume_at(&mut self, sub: u32) {
        self.first_next = sub;
    }

    /// Marks that `sub` has nothing more to read for now.
    pub(super) fn mark_caught_up(&mut self, sub: u32) {
        self.ready.remove(&sub);
        self.update_coverage(sub);
    }

    pub(super) fn is_any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Position of a subscription, including what a covering subscription has delivered.
    pub(super) fn position(&self, sub: u32) -> u64 {
        let (mut position, mut at) = (0, Some(sub));
        // Each one covers the one before, so the loop ends.
        while let Some(entry) = at.and_then(|at| self.all.get(&at)) {
            position = position.max(entry.subscription.position());
            at = entry.covered_by;
        }
        position
    }

    /// Checks whether another subscription covers this one. It does if it is not ahead; otherwise this one still has to
    /// deliver the updates in between.
    fn update_coverage(&mut self, sub: u32) {
        let Some(own) = self.all.get(&sub) else { return };
        if own.covered_by.is_none() {
            let position = own.subscription.position();
            let covered_by = own.covering.iter().copied().find(|&covering| self.position(covering) <= position);
            let Some(own) = self.all.get_mut(&sub).filter(|_| covered_by.is_some()) else { return };
            own.covered_by = covered_by;
        }
        self.independent.remove(&sub);
        self.ready.remove(&sub);
    }
}
