//! Reads the updates of every log of this relay, in order: for exports, and for the relay's watcher.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use joey_shared::series::{Filter, Topic};
use joey_shared::wire::{SeriesEntry, ServerMessage, Start, Update};
use tokio::sync::Notify;

use crate::hub::{App, Hub, Subscription, Viewer};

/// Messages read from a log at once.
const MESSAGES_PER_READ: usize = 64;
/// Time without data after which a log is not followed until it has data again, in ns: 1 min. The hub does not forget
/// an application that somebody follows.
const SILENCE_NS: u64 = 60_000_000_000;

/// An update of a log.
pub(crate) struct Followed<'a> {
    /// The application.
    pub(crate) app: &'a str,
    /// The epoch of the log.
    pub(crate) epoch: u64,
    /// When its batch was cut, in ns since the Unix epoch by the relay's clock.
    pub(crate) cut_ns: u64,
    /// Whether it is the sum of several, from a rollup.
    pub(crate) is_rollup: bool,
    pub(crate) update: &'a Update,
}

/// Follows all logs. `T` is what the owner knows about a series.
#[derive(Debug)]
pub(crate) struct Follower<T> {
    hub: Arc<Hub>,
    viewer: Viewer,
    /// Where it starts in a log that it has not followed before.
    start: Start,
    catalogue_version: u64,
    logs: BTreeMap<String, Log<T>>,
}

/// The position in the log of one application.
#[derive(Debug)]
struct Log<T> {
    epoch: u64,
    next: u64,
    subscription: Option<Subscription>,
    series: HashMap<u32, T>,
    /// Number of series that had been added to the log when `series` was updated.
    added: u64,
    last_data_ns: u64,
}

impl<T> Follower<T> {
    /// Starts following, with all single updates that are retained; `None` if the maximum number of viewers is connected.
    pub(super) fn new(hub: &Arc<Hub>) -> Option<Self> {
        Self::starting_at(hub, Start::History)
    }

    /// The same, beginning at `start` in each log.
    pub(crate) fn starting_at(hub: &Arc<Hub>, start: Start) -> Option<Self> {
        // It is polled, so it need not be woken.
        let viewer = hub.register_viewer(Arc::<Notify>::default())?;
        Some(Self { hub: hub.clone(), viewer, start, catalogue_version: 0, logs: BTreeMap::new() })
    }

    /// Reads all updates since the last call. `resolve` is called once for each series, `visit` for each update.
    pub(crate) fn read(
        &mut self,
        now_ns: u64,
        mut resolve: impl FnMut(&str, u64, &SeriesEntry) -> T,
        mut visit: impl FnMut(&T, &Followed<'_>),
    ) {
        self.follow_new_logs(now_ns);
        for (name, log) in &mut self.logs {
            let epoch = log.epoch;
            log.read(name, now_ns, |series| resolve(name, epoch, series), &mut visit);
            if now_ns.saturating_sub(log.last_data_ns) > SILENCE_NS {
                log.subscription = None;
            }
        }
    }

    fn follow_new_logs(&mut self, now_ns: u64) {
        if self.hub.catalogue_version() == self.catalogue_version {
            return;
        }
        let (is_full, entries, version) = self.hub.catalogue_since(self.catalogue_version);
        self.catalogue_version = version;
        if is_full {
            self.logs.retain(|app, _| self.hub.own_app(app).is_some());
        }
        for entry in entries {
            if let Some(app) = self.hub.own_app(&entry.app) {
                self.follow(&app, now_ns);
            }
        }
    }

    fn follow(&mut self, app: &App, now_ns: u64) {
        let known = self.logs.get_mut(app.name()).filter(|log| log.epoch == app.epoch());
        let start = match &known {
            Some(log) if log.subscription.is_some() => return,
            Some(log) => Start::After { epoch: log.epoch, seq: log.next.saturating_sub(1) },
            // A new log began after its owner.
            None => self.start,
        };
        let topic = Topic { app: app.name().to_owned(), filter: Filter::All };
        let Ok((subscription, subscribed)) = self.viewer.subscribe(0, &topic, Some(app.epoch()), start, now_ns) else {
            return;
        };
        if let Some(log) = known {
            (log.subscription, log.last_data_ns) = (Some(subscription), now_ns);
        } else {
            let log = Log {
                epoch: app.epoch(),
                next: subscribed.next,
                subscription: Some(subscription),
                series: HashMap::new(),
                added: 0,
                last_data_ns: now_ns,
            };
            self.logs.insert(topic.app, log);
        }
    }
}

impl<T> Log<T> {
    fn read(
        &mut self,
        app: &str,
        now_ns: u64,
        mut resolve: impl FnMut(&SeriesEntry) -> T,
        visit: &mut impl FnMut(&T, &Followed<'_>),
    ) {
        let Self { epoch, next, subscription, series, added, last_data_ns } = self;
        let epoch = *epoch;
        let Some(subscription) = subscription else { return };
        loop {
            // At time 0 no rollups are sent in place of batches.
            let read = subscription.read(MESSAGES_PER_READ, 0);
            *next = subscription.position();
            if !read.batches.is_empty() {
                *last_data_ns = now_ns;
                // The series of these batches have been added before them.
                let (names, known) = subscription.app().series_messages_since(*added, |_| true);
                *added = known;
                for message in &names {
                    if let Ok(ServerMessage::Series { series: some, .. }) = ServerMessage::decode(message) {
                        series.extend(some.iter().map(|entry| (entry.number, resolve(entry))));
                    }
                }
            }
            for message in &read.batches {
                let (head, updates, is_rollup) = match ServerMessage::decode(message) {
                    Ok(ServerMessage::Batch { head, updates }) => (head, updates, false),
                    Ok(ServerMessage::Rollup { head, updates }) => (head, updates, true),
                    _ => continue,
                };
                for update in head.read(updates).flatten() {
                    if let Some(known) = series.get(&update.series) {
                        visit(known, &Followed { app, epoch, cut_ns: head.cut_ns, is_rollup, update: &update });
                    }
                }
            }
            if !read.has_more {
                break;
            }
        }
        // Series expire in the log, and their numbers are not used again.
        let limit = subscription.app().series_count().saturating_mul(2).max(1_000);
        if series.len() > limit {
            series.clear();
            *added = 0;
        }
    }
}
