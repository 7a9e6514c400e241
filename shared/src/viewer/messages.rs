//! Handles each message of a relay.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::{ClusterInfo, Incoming, Live, Progress, RelayInfo, Subscriber, Subscription};
use crate::store::{AppStores, Applied};
use crate::window::{SECONDS_MAX, SLOT_NS};
use crate::wire::{
    AppEntry, BatchHead, Blob, RELAYS_MAX, SeriesEntry, ServerMessage, Start, SubscribeError, Subscribed, WireError,
};

/// How far back the longest window reaches, in ns. Until then, a total may still count updates of an unused series.
const WINDOWS_NS: u64 = SECONDS_MAX * SLOT_NS;

/// How much longer than the relay a viewer retains an unused series, in ns: 1 min.
const SERIES_SLACK_NS: u64 = 60_000_000_000;

impl Subscriber {
    pub(super) fn handle(
        &mut self,
        stores: &mut AppStores,
        message: ServerMessage<'_>,
        now_ns: u64,
        incoming: &mut impl FnMut(&Incoming<'_>),
    ) -> Result<(), WireError> {
        match message {
            ServerMessage::Hello(hello) => {
                self.clock = Some((hello.now_ns, now_ns));
                self.wall_clock = None;
                self.relay = Some(RelayInfo {
                    version: hello.version,
                    release: hello.release.to_string(),
                    epoch: hello.epoch,
                    ring_ns: hello.ring_ns,
                    series_retention_ns: hello.series_retention_ns,
                    demo: hello.demo,
                    ingest_port: hello.ingest_port,
                });
            }
            ServerMessage::Catalogue { full, apps, last } => self.update_catalogue(full, apps, last),
            ServerMessage::Subscribed(subscribed) => {
                self.answers += 1;
                self.subscribed(stores, subscribed);
            }
            ServerMessage::Batch { head, updates } => return self.batch(stores, &head, updates, false, incoming),
            ServerMessage::Rollup { head, updates } => return self.batch(stores, &head, updates, true, incoming),
            ServerMessage::Gap { feed, from, to } => {
                if let Some((sub, live)) = self.subscription_of_feed(feed) {
                    self.record_missing_range(stores, sub, live.epoch, from, to);
                    self.advance_positions(sub, from, to, None);
                }
            }
            ServerMessage::Heartbeat { now_ns: relay_ns, sent } => {
                self.clock = Some((relay_ns, now_ns));
                for (feed, last) in sent {
                    if let Some((sub, live)) = self.subscription_of_feed(feed)
                        && last >= live.next
                        && !self.retry_from(sub, live.next)
                    {
                        self.record_missing_range(stores, sub, live.epoch, live.next, last);
                        self.advance_positions(sub, live.next, last, None);
                    }
                }
            }
            ServerMessage::SubscribeFailed { sub, reason } => {
                self.answers += 1;
                if let Some(subscription) = self.subscriptions.get_mut(&sub) {
                    subscription.waiting = reason == SubscribeError::NoSuchApp;
                    // A new token with fewer permissions can end an existing subscription.
                    subscription.live = None;
                    if reason == SubscribeError::SeveralLogs {
                        subscription.has_several_logs = true;
                        let app = subscription.topic.app.clone();
                        self.subscribe_to_logs(stores, &app);
                    } else if subscription.waiting && subscription.log.is_some() {
                        self.record_missing(stores, sub, None);
                    }
                }
            }
            ServerMessage::Cluster { connected, relays, watching } => {
                self.cluster = Some(ClusterInfo { connected, relays, watching });
            }
            ServerMessage::Objectives { app, objectives } => {
                // Without a bound, a relay could name any number of applications.
                if objectives.is_empty() || !self.needs(&app) {
                    self.objectives.remove(&app);
                } else {
                    self.objectives.insert(app, objectives);
                }
            }
            ServerMessage::Logs { app, epochs } => {
                self.logs.insert(app.clone(), epochs);
                self.subscribe_to_logs(stores, &app);
            }
            ServerMessage::Series { app, epoch, series, last: _ } => self.announce(stores, &app, epoch, series),
            ServerMessage::Expires { at_ns } => self.expires_ns = Some(at_ns),
            ServerMessage::WallClock { step_ns, at_ns } => self.wall_clock = Some((step_ns, at_ns)),
            ServerMessage::Relays { mut addresses } => {
                addresses.truncate(RELAYS_MAX);
                self.relays = addresses;
            }
        }
        Ok(())
    }

    fn update_catalogue(&mut self, full: bool, apps: Vec<AppEntry>, last: bool) {
        self.catalogue_revision += 1;
        if full {
            self.catalogue.clear();
            self.has_catalogue = false;
        }
        self.catalogue.extend(apps.into_iter().map(|entry| (entry.app.clone(), entry)));
        if last && !self.has_catalogue {
            self.has_catalogue = true;
            self.remove_unknown_apps();
            self.effects.catalogue = true;
        }
        let ready = |(&sub, subscription): (&u32, &Subscription)| {
            (subscription.waiting && self.catalogue.contains_key(&subscription.topic.app)).then_some(sub)
        };
        let subs: Vec<u32> = self.subscriptions.iter().filter_map(ready).collect();
        subs.into_iter().for_each(|sub| self.send_subscribe(sub));
    }

    /// Removes the positions in the logs of applications that the relay has removed and that are not subscribed.
    fn remove_unknown_apps(&mut self) {
        let (mut names, mut progress) = (core::mem::take(&mut self.names), core::mem::take(&mut self.progress));
        let mut objectives = core::mem::take(&mut self.objectives);
        objectives.retain(|app, _| self.needs(app));
        self.objectives = objectives;
        names.retain(|(_, app), _| self.needs(app));
        progress.retain(|(topic, _), _| self.needs(&topic.app));
        (self.names, self.progress) = (names, progress);
    }

    /// Whether the store of `app` is needed: the relay has the application, or it is subscribed.
    pub(super) fn needs(&self, app: &str) -> bool {
        self.catalogue.contains_key(app) || self.subscriptions.values().any(|own| own.topic.app == app)
    }

    fn subscribed(&mut self, stores: &mut AppStores, Subscribed { sub, feed, epoch, next, head, missing }: Subscribed) {
        let Some(subscription) = self.subscriptions.get_mut(&sub) else { return };
        subscription.live = Some(Live { feed, epoch, next, head });
        let key = (subscription.topic.clone(), subscription.log);
        let topic = &key.0;
        stores.get_or_create(&topic.app);
        let before = self.progress.get(&key).or_else(|| self.progress.get(&(topic.clone(), None))).copied();
        let before = before.filter(|progress| key.1.is_none() || progress.epoch == epoch);
        let has_restarted = before.is_some_and(|progress| progress.epoch != epoch);
        if has_restarted && self.relay.as_ref().is_some_and(|relay| relay.demo) {
            // Simulated producers send their history again, which would be counted twice.
            self.effects.replaced.push((topic.app.clone(), epoch));
        } else if has_restarted {
            self.record_missing(stores, sub, None);
        } else if missing > 0
            && !before.is_some_and(|before| self.has_range(stores, sub, epoch, before.next, next.saturating_sub(1)))
        {
            self.record_missing(stores, sub, Some(missing));
        }
        let first = if self.subscriptions.get(&sub).is_some_and(|own| own.start == Start::Live) { next } else { 0 };
        let from = before.filter(|_| !has_restarted).map_or(first, |progress| progress.from);
        let cut_ns = before.map_or(0, |progress| progress.cut_ns);
        self.progress.insert(key, Progress { epoch, from, next, cut_ns });
    }

    /// Adds the known series of `app` to its new store. The relay announces each series only once on a connection.
    pub(super) fn announce_known_series(&mut self, stores: &mut AppStores, app: &str, epoch: u64) {
        let named = self.names.iter().find(|((known, name), _)| *known == epoch && name == app);
        let named: Vec<SeriesEntry> = named.map_or_else(Vec::new, |(_, series)| series.values().cloned().collect());
        self.announce(stores, app, epoch, named);
    }

    fn announce(&mut self, stores: &mut AppStores, app: &str, epoch: u64, series: Vec<SeriesEntry>) {
        stores.get_or_create(app).announce(epoch, &series);
        let logs = self.logs.get(app).map_or(&[][..], Vec::as_slice);
        self.names.retain(|(known, name), _| *known == epoch || name != app || logs.contains(known));
        let names = self.names.entry((epoch, app.to_string())).or_default();
        names.extend(series.into_iter().map(|entry| (entry.number, entry)));
    }

    fn subscription_of_feed(&self, feed: u32) -> Option<(u32, Live)> {
        self.subscriptions
            .iter()
            .find_map(|(&sub, subscription)| subscription.live.filter(|live| live.feed == feed).map(|live| (sub, live)))
    }

    fn batch(
        &mut self,
        stores: &mut AppStores,
        head: &BatchHead,
        updates: Blob<'_>,
        is_rollup: bool,
        incoming: &mut impl FnMut(&Incoming<'_>),
    ) -> Result<(), WireError> {
        // Ignore a batch of a subscription that has ended.
        let Some((sub, live)) = self.subscription_of_feed(head.feed) else { return Ok(()) };
        let Some(topic) = self.subscriptions.get(&sub).map(|subscription| subscription.topic.clone()) else {
            return Ok(());
        };
        if head.from > live.next {
            if self.retry_from(sub, live.next) {
                // The relay sends this batch again after the missing ones.
                return Ok(());
            }
            self.record_missing_range(stores, sub, live.epoch, live.next, head.from - 1);
        }
        let app = topic.app.as_str();
        self.announce(stores, app, live.epoch, head.series.clone());
        let names = self.names.get(&(live.epoch, topic.app.clone()));
        let Some(store) = stores.get_mut(app) else { return Ok(()) };
        store.close_gaps(self.id, head.cut_ns);
        let received = if is_rollup {
            store.ranges(live.epoch).already_received(&topic.filter, head.from, head.to)
        } else {
            Vec::new()
        };
        // If a series was received for a part of the range, it is unknown how much of the rollup is new.
        let is_ambiguous = received.iter().any(|received| !received.is_whole);
        let (mut outcome, mut unknown) = (Ok(()), 0);
        for update in head.read(updates) {
            match update {
                Ok(mut update) => {
                    let series = names.and_then(|names| names.get(&update.series));
                    let applied = match series {
                        None => Applied::UnknownSeries,
                        Some(series) if is_rollup => {
                            update.seq = head.from;
                            let is_duplicate = received.iter().any(|received| received.filter.matches(&series.key));
                            if is_duplicate { Applied::Duplicate } else { store.add(live.epoch, &update, head.cut_ns) }
                        }
                        Some(series) if store.ranges(live.epoch).is_in_rollup(update.seq, &series.key) => {
                            Applied::Duplicate
                        }
                        Some(_) => store.apply(live.epoch, &update, head.cut_ns),
                    };
                    if let (Applied::Counted | Applied::Late, Some(series)) = (applied, series) {
                        let rollup_to = is_rollup.then_some(head.to);
                        incoming(&Incoming { app, epoch: live.epoch, series, update: &update, rollup_to });
                    }
                    unknown += u64::from(applied == Applied::UnknownSeries);
                }
                Err(error) => outcome = Err(error),
            }
        }
        store.ranges(live.epoch).record(&topic.filter, head.from, head.to, is_rollup);
        if let Some(relay) = &self.relay {
            store.expire_series(relay.series_retention_ns.max(WINDOWS_NS).saturating_add(SERIES_SLACK_NS));
        }
        // Another relay may have removed series of this log from the store.
        if self
            .names
            .get(&(live.epoch, topic.app.clone()))
            .is_some_and(|names| names.len() > store.series_count(live.epoch))
        {
            for ((epoch, _), series) in self.names.iter_mut().filter(|((_, name), _)| name == app) {
                series.retain(|&number, _| store.has_series(*epoch, number));
            }
        }
        if unknown > 0 {
            // Updates of unknown series are not counted, so they are missing.
            self.record_missing(stores, sub, Some(unknown));
        }
        if is_ambiguous {
            self.record_missing(stores, sub, Some(head.to.saturating_sub(head.from).saturating_add(1)));
        }
        self.advance_positions(sub, head.from, head.to, Some(head.cut_ns));
        outcome
    }
}
