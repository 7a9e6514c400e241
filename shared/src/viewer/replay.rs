//! Recording and replaying viewers: their state as the first records of a file, and the effect of each record.
//!
//! The relays of a recording have numbers from 0 on. A file with one relay does not name it. The times of all records are those
//! of one clock, and each relay's hello and heartbeats tell how its own differs.

use alloc::string::String;
use alloc::vec::Vec;
use core::slice;

use super::{Incoming, Subscriber, Subscription, Viewer, Viewers};
use crate::recording::{Entry, RECORDED_RELAYS_MAX, Record};
use crate::series::Topic;
use crate::store::state::{AppState, ViewState};
use crate::store::{AppStore, AppStores};
use crate::window::second_of;
use crate::wire::{
    AppEntry, BatchHead, Blob, ClientMessage, Hello, SeriesEntry, ServerMessage, Start, SubscribeError, Subscribed,
    WireError, decode, encode,
};

/// Number of series in one message.
const SERIES_MAX: usize = 500;

/// Appends to `out` the records that give a replaying viewer the state of `relays` at local time `now_ns`, with the
/// last `seconds` of each view. In the file, the relays have the numbers of their positions.
fn write_state(stores: &AppStores, relays: &[&Subscriber], now_ns: u64, seconds: u64, out: &mut Vec<u8>) {
    let time_ns = relays.first().and_then(|relay| relay.relay_ns(now_ns)).unwrap_or(0);
    let mut write = |entry: Entry<'_>| {
        Record { time_ns, entry }.write(out);
    };
    let has_several = relays.len() > 1;
    for (number, relay) in (0..).zip(relays) {
        if has_several {
            write(Entry::Relay(number));
        }
        relay.relay_messages(now_ns).iter().for_each(|message| write(Entry::Message(message)));
        for (&sub, subscription) in &relay.subscriptions {
            write(Entry::Command(&subscription.command(sub).encode()));
            for message in relay.position_messages(sub, subscription) {
                write(Entry::Message(&message));
            }
        }
    }
    for (app, store) in stores.iter() {
        if has_several {
            // A gap ends with the next batch of its relay. One that has ended may be anyone's.
            let open = store.gaps().iter().rev().find(|gap| gap.to_ns == 0);
            let of_gap = open.and_then(|gap| (0..).zip(relays).find(|(_, relay)| relay.id == gap.relay));
            write(Entry::Relay(of_gap.map_or(0, |(number, _)| number)));
        }
        write(Entry::App(&encode(&store.state(app, true))));
        let from = (second_of(store.clock_ns()) + 1).saturating_sub(seconds);
        for view in 0..store.views().len() {
            write(Entry::View(&encode(&store.view_state(app, view, from))));
        }
    }
    for (number, relay) in (0..).zip(relays) {
        if has_several {
            write(Entry::Relay(number));
        }
        for ((epoch, app), series) in &relay.names {
            let series: Vec<SeriesEntry> = series.values().cloned().collect();
            for some in series.chunks(SERIES_MAX) {
                let (app, series) = (app.clone(), some.to_vec());
                let message = ServerMessage::Series { app, epoch: *epoch, series, last: true };
                write(Entry::Message(&message.encode()));
            }
        }
    }
}

impl Subscriber {
    /// What the relay has announced about itself and its applications.
    fn relay_messages(&self, now_ns: u64) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        if let Some(relay) = &self.relay {
            let hello = Hello {
                version: relay.version,
                release: &relay.release,
                epoch: relay.epoch,
                now_ns: self.relay_ns(now_ns).unwrap_or(0),
                ring_ns: relay.ring_ns,
                series_retention_ns: relay.series_retention_ns,
                demo: relay.demo,
                ingest_port: relay.ingest_port,
            };
            messages.push(ServerMessage::Hello(hello).encode());
        }
        if let Some((step_ns, at_ns)) = self.wall_clock {
            messages.push(ServerMessage::WallClock { step_ns, at_ns }.encode());
        }
        messages.extend(catalogue_messages(self.catalogue.values()));
        for (app, epochs) in &self.logs {
            messages.push(ServerMessage::Logs { app: app.clone(), epochs: epochs.clone() }.encode());
        }
        for (app, objectives) in &self.objectives {
            let (app, objectives) = (app.clone(), objectives.clone());
            messages.push(ServerMessage::Objectives { app, objectives }.encode());
        }
        messages
    }

    /// The relay's answer to a subscription, as if this viewer had subscribed now, and its last batch, without updates.
    fn position_messages(&self, sub: u32, subscription: &Subscription) -> Vec<Vec<u8>> {
        if subscription.has_several_logs {
            let reason = SubscribeError::SeveralLogs;
            return Vec::from([ServerMessage::SubscribeFailed { sub, reason }.encode()]);
        }
        let Some(live) = subscription.live else { return Vec::new() };
        let progress = self.progress.get(&(subscription.topic.clone(), subscription.log));
        let cut_ns = progress.map_or(0, |progress| progress.cut_ns);
        // The batch tells when the last one was cut. Without any, there is none to repeat.
        let last = live.next.checked_sub(1).filter(|&last| last > 0 && cut_ns > 0);
        let (feed, epoch, next) = (live.feed, live.epoch, last.unwrap_or(live.next));
        let answer = Subscribed { sub, feed, epoch, next, head: live.head, missing: 0 };
        let mut messages = Vec::from([ServerMessage::Subscribed(answer).encode()]);
        if let Some(last) = last {
            let head =
                BatchHead { feed, from: last, to: last, cut_ns, end_ns: cut_ns, period_ns: 0, series: Vec::new() };
            messages.push(ServerMessage::Batch { head, updates: Blob(&[]) }.encode());
        }
        messages
    }

    fn replay_command(&mut self, command: ClientMessage) {
        let (sub, topic, start, log) = match command {
            ClientMessage::Subscribe { sub, topic, start } => (sub, topic, start, None),
            ClientMessage::SubscribeLog { sub, epoch, topic, start } => (sub, topic, start, Some(epoch)),
            ClientMessage::Unsubscribe { sub } => {
                // A viewer that requests missing updates again ends the subscription and makes it again.
                if let Some(subscription) = self.subscriptions.get_mut(&sub) {
                    subscription.live = None;
                }
                return;
            }
            ClientMessage::Describe { .. } | ClientMessage::Token { .. } => return,
        };
        let known = self.subscriptions.get(&sub).filter(|known| known.topic == topic && known.log == log);
        let retried_from = known.and_then(|known| known.retried_from);
        let (live, waiting, has_several_logs) = (None, false, false);
        self.subscriptions
            .insert(sub, Subscription { topic, log, start, live, waiting, has_several_logs, retried_from });
    }
}

impl Viewer {
    /// Appends to `out` the records that give a replaying viewer the state of this one at local time `now_ns`, with the last
    /// `seconds` of each view. The messages that this viewer receives next continue it.
    pub fn write_state(&self, now_ns: u64, seconds: u64, out: &mut Vec<u8>) {
        write_state(&self.stores, slice::from_ref(&&self.relay), now_ns, seconds, out);
    }
}

impl Viewers {
    /// Appends to `out` the records that give replaying viewers the state of these at local time `now_ns`, with the last
    /// `seconds` of each view. In the file, the relays have the numbers of their positions in `ids`, which should be all of
    /// them; the times are those of the first one. What they receive next continues it, after an [`Entry::Relay`].
    pub fn write_state(&self, ids: &[u32], now_ns: u64, seconds: u64, out: &mut Vec<u8>) {
        let relays: Vec<&Subscriber> = ids.iter().filter_map(|id| self.relay(*id)).collect();
        write_state(self.stores(), &relays, now_ns, seconds, out);
    }

    /// Processes one record of a recording. Its time is the local time. The ids of the relays are their numbers in the file. The
    /// viewers must have been made for this recording, without relays.
    ///
    /// # Errors
    /// Fails if the entry or a part of it is malformed. This is counted in [`Viewers::malformed`], and the viewers remain usable.
    pub fn replay(&mut self, record: &Record<'_>) -> Result<(), WireError> {
        self.replay_with(record, |_| {})
    }

    /// The same, and calls `incoming` for each update that was not received before.
    ///
    /// # Errors
    /// See [`Viewers::replay`].
    pub fn replay_with(&mut self, record: &Record<'_>, incoming: impl FnMut(&Incoming<'_>)) -> Result<(), WireError> {
        let outcome = match record.entry {
            Entry::Relay(number) if number < RECORDED_RELAYS_MAX => {
                self.replayed = number;
                Ok(())
            }
            Entry::Relay(_) => Err(WireError::Malformed),
            Entry::Message(bytes) => {
                let (id, relay) = self.replayed_relay();
                // Only a new connection begins with a hello.
                if matches!(ServerMessage::decode(bytes), Ok(ServerMessage::Hello(_))) {
                    relay.disconnected();
                    relay.subscriptions.retain(|_, subscription| subscription.log.is_none());
                }
                return self.receive(id, bytes, record.time_ns, incoming);
            }
            Entry::Command(bytes) => {
                ClientMessage::decode(bytes).map(|command| self.replayed_relay().1.replay_command(command))
            }
            Entry::App(bytes) => decode(bytes).and_then(|state| self.replay_app(state)),
            Entry::View(bytes) => decode(bytes).and_then(|state: ViewState<'_>| {
                self.stores_mut().get_mut(&state.app).ok_or(WireError::Malformed)?.add_view(state)
            }),
            Entry::Forget(app) => {
                self.forget(app);
                Ok(())
            }
            Entry::Removed(number) => {
                self.remove(number);
                Ok(())
            }
            Entry::End | Entry::Unknown(_) => Ok(()),
        };
        let (_, relay) = self.replayed_relay();
        relay.revision += 1;
        relay.malformed += u64::from(outcome.is_err());
        outcome
    }

    /// The relay of the records that follow, and its id.
    fn replayed_relay(&mut self) -> (u32, &mut Subscriber) {
        let id = self.replayed;
        let relay = self.add(id);
        relay.replaying = true;
        (id, relay)
    }

    fn replay_app(&mut self, state: AppState) -> Result<(), WireError> {
        let app: String = state.app.clone();
        let store = AppStore::from_state(state, self.seconds(), self.replayed)?;
        self.stores_mut().insert(app, store);
        Ok(())
    }
}

impl Subscription {
    fn command(&self, sub: u32) -> ClientMessage {
        let (topic, start): (Topic, Start) = (self.topic.clone(), self.start);
        match self.log {
            None => ClientMessage::Subscribe { sub, topic, start },
            Some(epoch) => ClientMessage::SubscribeLog { sub, epoch, topic, start },
        }
    }
}

/// The messages of a full catalogue.
pub(crate) fn catalogue_messages<'a>(apps: impl Iterator<Item = &'a AppEntry>) -> Vec<Vec<u8>> {
    let message = |full, apps, last| ServerMessage::Catalogue { full, apps, last }.encode();
    let mut messages = Vec::from([message(true, Vec::new(), false)]);
    messages.extend(apps.map(|app| message(false, Vec::from([app.clone()]), false)));
    messages.push(message(false, Vec::new(), true));
    messages
}
