//! The position of each topic in each log, and what is missing or must be requested again.

use alloc::vec::Vec;

use super::{Progress, Subscriber, Subscription};
use crate::series::Topic;
use crate::store::{AppStores, Gap};
use crate::wire::{ClientMessage, Start};

impl Subscriber {
    /// Moves the position of a topic forward to that of a wider topic which has received the same updates. Otherwise, a viewer
    /// that returns from a whole application to one of its categories would report everything in between as missing.
    ///
    /// This requires that the wider topic continues from the position of the narrower one, or started with all history.
    pub(super) fn resume_from_wider_topic(&mut self, key: &(Topic, Option<u64>), start: Start) {
        let (topic, log) = key;
        let mine = self.progress.get(key).copied();
        let is_wider = |(known, of): &(Topic, Option<u64>)| {
            of == log && known.app == topic.app && known != topic && known.filter.covers(&topic.filter)
        };
        let continues = |wider: &Progress| match mine {
            Some(mine) => wider.epoch == mine.epoch && wider.from <= mine.next && wider.next > mine.next,
            None => wider.from == 0 || start == Start::Live,
        };
        let wider = self.progress.iter().filter(|(known, _)| is_wider(known)).map(|(_, progress)| *progress);
        if let Some(best) = wider.filter(continues).max_by_key(|progress| progress.next) {
            let from = mine.map_or(best.from, |mine| mine.from);
            self.progress.insert(key.clone(), Progress { from, ..best });
        }
    }

    /// Subscribes to each log of `app` that the relay has announced, and ends the subscriptions to logs that no longer exist.
    pub(super) fn subscribe_to_logs(&mut self, stores: &mut AppStores, app: &str) {
        let epochs = self.logs.get(app).cloned().unwrap_or_default();
        if !self.replaying {
            self.end_subscriptions(|own| own.topic.app == app && own.log.is_some_and(|log| !epochs.contains(&log)));
        }
        let templates = self.subscriptions.iter().filter(|(_, own)| own.topic.app == app && own.has_several_logs);
        let templates: Vec<(u32, Topic, Start)> =
            templates.map(|(&sub, own)| (sub, own.topic.clone(), own.start)).collect();
        for (sub, topic, start) in templates {
            self.record_ended_logs(stores, sub, &topic, &epochs);
            // A recording contains the subscriptions that its viewer made.
            let own = if self.replaying { &[][..] } else { &epochs };
            for &epoch in own {
                let is_subscribed = |own: &Subscription| own.topic == topic && own.log == Some(epoch);
                if !self.subscriptions.values().any(is_subscribed) {
                    self.subscribe_log(topic.clone(), start, Some(epoch));
                }
            }
        }
    }

    /// Records the rest of each log that no relay holds any more as missing. Its length is unknown.
    pub(super) fn record_ended_logs(&mut self, stores: &mut AppStores, sub: u32, topic: &Topic, epochs: &[u64]) {
        let ended =
            self.progress.iter().filter(|((known, _), progress)| known == topic && !epochs.contains(&progress.epoch));
        let ended: Vec<(Topic, Option<u64>)> = ended.map(|(key, _)| key.clone()).collect();
        if !ended.is_empty() {
            self.record_missing(stores, sub, None);
        }
        self.progress.retain(|key, _| !ended.contains(key));
    }

    /// Records that the feed of `sub` has delivered `from..=to`. This also counts for each topic that its own topic
    /// contains, because the relay sends shared updates over one of the subscriptions only.
    pub(super) fn advance_positions(&mut self, sub: u32, from: u64, to: u64, cut_ns: Option<u64>) {
        let Some((topic, epoch)) =
            self.subscriptions.get(&sub).and_then(|own| Some((own.topic.clone(), own.live?.epoch)))
        else {
            return;
        };
        for (&other, subscription) in self.subscriptions.iter_mut() {
            let Some(live) = subscription.live.as_mut() else { continue };
            let is_contained = subscription.topic.app == topic.app
                && live.epoch == epoch
                && topic.filter.covers(&subscription.topic.filter)
                && from <= live.next;
            if other == sub || is_contained {
                live.next = live.next.max(to.saturating_add(1));
                let next = live.next;
                let key = (subscription.topic.clone(), subscription.log);
                let progress = self.progress.entry(key).or_insert(Progress { epoch, from: 0, next, cut_ns: 0 });
                *progress = Progress { epoch, next, cut_ns: cut_ns.unwrap_or(progress.cut_ns), ..*progress };
            }
        }
    }

    /// Subscribes again from the missing sequence number `next` on, unless this was tried before. Returns whether it did.
    pub(super) fn retry_from(&mut self, sub: u32, next: u64) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(&sub) else { return false };
        if subscription.retried_from.replace(next) == Some(next) {
            return false;
        }
        self.send(&ClientMessage::Unsubscribe { sub });
        self.send_subscribe(sub);
        true
    }

    /// Records a gap in the topic of `sub`, unless another relay has sent this range of the log.
    pub(super) fn record_missing_range(&mut self, stores: &mut AppStores, sub: u32, epoch: u64, from: u64, to: u64) {
        if !self.has_range(stores, sub, epoch, from, to) {
            self.record_missing(stores, sub, Some(to.saturating_sub(from).saturating_add(1)));
        }
    }

    /// Whether the range `from..=to` of a log was received for the topic of `sub`, from any relay.
    pub(super) fn has_range(&self, stores: &mut AppStores, sub: u32, epoch: u64, from: u64, to: u64) -> bool {
        let Some(own) = self.subscriptions.get(&sub) else { return false };
        let Some(store) = stores.get_mut(&own.topic.app) else { return false };
        let received = store.ranges(epoch).already_received(&own.topic.filter, from, to);
        received.iter().any(|received| received.is_whole && received.filter.covers(&own.topic.filter))
    }

    /// Records a gap in the topic of `sub`: this many updates, or an unknown number.
    pub(super) fn record_missing(&mut self, stores: &mut AppStores, sub: u32, updates: Option<u64>) {
        let Some(own) = self.subscriptions.get(&sub) else { return };
        self.missing = self.missing.saturating_add(updates.unwrap_or(0));
        let of_topic = self.progress.iter().filter(|((topic, log), _)| *topic == own.topic && *log == own.log);
        // If the log has ended, the gap begins after the newest batch of any log of the topic.
        let of_any = self.progress.iter().filter(|((topic, _), _)| *topic == own.topic);
        let last = of_topic.map(|(_, progress)| progress.cut_ns).max();
        let from_ns = last.or_else(|| of_any.map(|(_, progress)| progress.cut_ns).max()).unwrap_or(0);
        if let Some(store) = stores.get_mut(&own.topic.app) {
            store.record_gap(Gap { from_ns, to_ns: 0, updates, relay: self.id });
        }
    }
}
