//! What one viewer follows: which of its subscriptions have something to read, and which need not be read, since a wider one
//! brings the same.
//!
//! What a turn costs depends on what is new, not on how much is followed.

use std::collections::BTreeSet;

use joey_shared::vecmap::VecMap;

use crate::hub::Subscription;

/// Wider subscriptions that one is held against. Any of them will do; a viewer with more only gets some things twice.
const WIDER_MAX: usize = 8;

/// All subscriptions of one viewer, by its own numbers.
#[derive(Default)]
pub(super) struct Subscriptions {
    /// A tree would take 1.9 KB for the one entry that most viewers have.
    all: VecMap<u32, Following>,
    /// `(feed, subscription)` in order.
    by_feed: Vec<(u32, u32)>,
    /// Those that may have something to read.
    ready: BTreeSet<u32>,
    /// Those that no other subscription is read for.
    untied: BTreeSet<u32>,
    /// Which one is read first in the next turn.
    begins_at: u32,
}

/// A subscription, and which others would bring the same.
struct Following {
    subscription: Subscription,
    /// Subscriptions that cover this one; of two equal ones the older covers.
    wider: Vec<u32>,
    /// The one of them that does bring the same at present.
    tied_to: Option<u32>,
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn contains(&self, sub: u32) -> bool {
        self.all.contains_key(&sub)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Subscription)> {
        self.all.iter().map(|(&sub, following)| (sub, &following.subscription))
    }

    pub(super) fn get(&self, sub: u32) -> Option<&Subscription> {
        self.all.get(&sub).map(|following| &following.subscription)
    }

    pub(super) fn get_mut(&mut self, sub: u32) -> Option<&mut Subscription> {
        self.all.get_mut(&sub).map(|following| &mut following.subscription)
    }

    pub(super) fn enter(&mut self, sub: u32, subscription: Subscription) {
        let mut wider = Vec::new();
        for (&other, following) in self.all.iter_mut() {
            if following.subscription.covers(&subscription) {
                if wider.len() < WIDER_MAX {
                    wider.push(other);
                }
            } else if subscription.covers(&following.subscription) && following.wider.len() < WIDER_MAX {
                following.wider.push(sub);
            }
        }
        let place = (subscription.feed(), sub);
        self.by_feed.insert(self.by_feed.partition_point(|other| *other < place), place);
        self.all.insert(sub, Following { subscription, wider, tied_to: None });
        self.untied.insert(sub);
        self.ready.insert(sub);
    }

    pub(super) fn leave(&mut self, sub: u32) {
        let position = self.position(sub);
        self.all.remove(&sub);
        self.by_feed.retain(|&(_, other)| other != sub);
        self.untied.remove(&sub);
        self.ready.remove(&sub);
        for (&other, following) in self.all.iter_mut() {
            following.wider.retain(|&wider| wider != sub);
            if following.tied_to == Some(sub) {
                following.tied_to = None;
                // So far it has come over the one that ends.
                following.subscription.skip_to(position);
                self.untied.insert(other);
                self.ready.insert(other);
            }
        }
    }

    /// The one subscription that brings everything, if there is just one.
    pub(super) fn only(&self) -> Option<u32> {
        if self.untied.len() == 1 { self.untied.first().copied() } else { None }
    }

    /// There is something to read in `feeds`.
    pub(super) fn note(&mut self, feeds: BTreeSet<u32>) {
        for feed in feeds {
            let first = self.by_feed.partition_point(|&(other, _)| other < feed);
            self.ready
                .extend(self.by_feed[first..].iter().take_while(|&&(other, _)| other == feed).map(|&(_, sub)| sub));
        }
    }

    /// Those that are to be read in this turn, in order.
    pub(super) fn due(&mut self) -> Vec<u32> {
        // It may have been handed what is new, and not all of it.
        self.ready.extend(self.only());
        // Settled for all before any of them moves on: whoever reads first would always look farther than the rest.
        let ready: Vec<u32> = self.ready.iter().copied().collect();
        ready.into_iter().for_each(|sub| self.settle(sub));
        // Whoever got nothing the last time for want of room begins.
        self.ready.range(self.begins_at..).chain(self.ready.range(..self.begins_at)).copied().collect()
    }

    /// The turn ends before `sub` was read.
    pub(super) const fn begin_with(&mut self, sub: u32) {
        self.begins_at = sub;
    }

    /// There is nothing more to read in `sub` for now.
    pub(super) fn has_everything(&mut self, sub: u32) {
        self.ready.remove(&sub);
        self.settle(sub);
    }

    pub(super) fn is_any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How far a subscription has come, over itself or over the one that brings the same.
    pub(super) fn position(&self, sub: u32) -> u64 {
        let (mut position, mut at) = (0, Some(sub));
        // Each covers the one before, so this ends.
        while let Some(following) = at.and_then(|at| self.all.get(&at)) {
            position = position.max(following.subscription.position());
            at = following.tied_to;
        }
        position
    }

    /// Looks whether another subscription brings everything that this one would. It does from when it has come no farther than
    /// this one: before that there is a stretch that only this one still has to bring.
    fn settle(&mut self, sub: u32) {
        let Some(own) = self.all.get(&sub) else { return };
        if own.tied_to.is_none() {
            let position = own.subscription.position();
            let tied_to = own.wider.iter().copied().find(|&wider| self.position(wider) <= position);
            let Some(own) = self.all.get_mut(&sub).filter(|_| tied_to.is_some()) else { return };
            own.tied_to = tied_to;
        }
        self.untied.remove(&sub);
        self.ready.remove(&sub);
    }
}
