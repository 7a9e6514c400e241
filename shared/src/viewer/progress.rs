//! How far each topic has come in each log: what need not be asked for again, what is asked for once more, and what is missing.

use alloc::vec::Vec;

use super::{Progress, Subscription, Viewer};
use crate::series::Topic;
use crate::store::Gap;
use crate::wire::{ClientMessage, Start};

impl Viewer {
    /// What a wider topic brought, a narrower one need not ask for: without this, going from a whole application back to
    /// one of its categories would report everything in between as missing.
    ///
    /// It did bring it only if it goes on from where the narrower one was, or began with everything.
    pub(super) fn catch_up_with_wider(&mut self, key: &(Topic, Option<u64>), start: Start) {
        let (topic, log) = key;
        let mine = self.progress.get(key).copied();
        let is_wider = |(known, of): &(Topic, Option<u64>)| {
            of == log && known.app == topic.app && known != topic && known.filter.covers(&topic.filter)
        };
        let goes_on = |wider: &Progress| match mine {
            Some(mine) => wider.epoch == mine.epoch && wider.from <= mine.next && wider.next > mine.next,
            None => wider.from == 0 || start == Start::Live,
        };
        let wider = self.progress.iter().filter(|(known, _)| is_wider(known)).map(|(_, progress)| *progress);
        if let Some(best) = wider.filter(goes_on).max_by_key(|progress| progress.next) {
            let from = mine.map_or(best.from, |mine| mine.from);
            self.progress.insert(key.clone(), Progress { from, ..best });
        }
    }

    /// Follows each log that the relay has named of what is followed of `app`, and leaves those that have ended.
    pub(super) fn follow_logs(&mut self, app: &str) {
        let epochs = self.logs.get(app).cloned().unwrap_or_default();
        self.leave(|own| own.topic.app == app && own.log.is_some_and(|log| !epochs.contains(&log)));
        let templates = self.subscriptions.iter().filter(|(_, own)| own.topic.app == app && own.sees_logs);
        let templates: Vec<(u32, Topic, Start)> =
            templates.map(|(&sub, own)| (sub, own.topic.clone(), own.start)).collect();
        for (sub, topic, start) in templates {
            self.miss_ended_logs(sub, &topic, &epochs);
            for &epoch in &epochs {
                let is_followed = |own: &Subscription| own.topic == topic && own.log == Some(epoch);
                if !self.subscriptions.values().any(is_followed) {
                    self.follow_log(topic.clone(), start, Some(epoch));
                }
            }
        }
    }

    /// What was still to come of logs that nobody has any more is missing, however much it was.
    pub(super) fn miss_ended_logs(&mut self, sub: u32, topic: &Topic, epochs: &[u64]) {
        let ended =
            self.progress.iter().filter(|((known, _), progress)| known == topic && !epochs.contains(&progress.epoch));
        let ended: Vec<(Topic, Option<u64>)> = ended.map(|(key, _)| key.clone()).collect();
        if !ended.is_empty() {
            self.missed(sub, None);
        }
        self.progress.retain(|key, _| !ended.contains(key));
    }

    /// The feed of `sub` has delivered `from..=to`. So it has for every topic that its own covers: the relay sends what two
    /// subscriptions share over one of them only.
    pub(super) fn progressed(&mut self, sub: u32, from: u64, to: u64, cut_ns: Option<u64>) {
        let Some((topic, epoch)) =
            self.subscriptions.get(&sub).and_then(|own| Some((own.topic.clone(), own.live?.epoch)))
        else {
            return;
        };
        for (&other, subscription) in self.subscriptions.iter_mut() {
            let Some(live) = subscription.live.as_mut() else { continue };
            let shares = subscription.topic.app == topic.app
                && live.epoch == epoch
                && topic.filter.covers(&subscription.topic.filter)
                && from <= live.next;
            if other == sub || shares {
                live.next = live.next.max(to.saturating_add(1));
                let next = live.next;
                let key = (subscription.topic.clone(), subscription.log);
                let progress = self.progress.get_or_insert_with(key, || Progress { epoch, from: 0, next, cut_ns: 0 });
                *progress = Progress { epoch, next, cut_ns: cut_ns.unwrap_or(progress.cut_ns), ..*progress };
            }
        }
    }

    /// Subscribes anew from number `next` on, which did not come, unless that was tried before; says whether it did.
    pub(super) fn ask_again(&mut self, sub: u32, next: u64) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(&sub) else { return false };
        if subscription.asked.replace(next) == Some(next) {
            return false;
        }
        self.send(&ClientMessage::Unsubscribe { sub });
        self.subscribe(sub);
        true
    }

    pub(super) fn missed(&mut self, sub: u32, updates: Option<u64>) {
        let Some(own) = self.subscriptions.get(&sub) else { return };
        self.missing = self.missing.saturating_add(updates.unwrap_or(0));
        let of_topic = self.progress.iter().filter(|((topic, log), _)| *topic == own.topic && *log == own.log);
        // Of logs that have ended there is no saying which; the last that came of any was before.
        let of_any = self.progress.iter().filter(|((topic, _), _)| *topic == own.topic);
        let last = of_topic.map(|(_, progress)| progress.cut_ns).max();
        let from_ns = last.or_else(|| of_any.map(|(_, progress)| progress.cut_ns).max()).unwrap_or(0);
        if let Some(store) = self.apps.get_mut(&own.topic.app) {
            store.record_gap(Gap { from_ns, to_ns: 0, updates });
        }
    }
}
