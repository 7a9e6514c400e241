//! The hub's side of the journal: stages batches until they are written, and restores logs after a restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use joey_shared::emit::Session;

use super::log::{Log, Mark, Safe};
use super::{App, Hub, RETENTION_SLACK};
use crate::journal::{Appended, BatchRecord, Journal, OpenedJournal, Record, Sink};
use crate::runtime::clock::nanos;

/// Bytes of history that are restored before old batches are merged into rollups: 16 MiB.
const ROLL_UP_EVERY_BYTES: u64 = 16 << 20;

/// What was restored from the journal, beside the logs.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Sessions of Joey's own protocol, and up to which sequence number their data is in the logs.
    pub sessions: Vec<(Session, u64)>,
}

impl Hub {
    /// The journal, if there is one.
    #[must_use]
    pub const fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// Stages the pending updates of `app` until the journal has written them.
    pub(super) fn stage(&self, journal: &Journal, app: &App, log: &mut Log, now_ns: u64) {
        let appended = journal.append(|generation| log.stage(&app.name, app.epoch, generation, now_ns));
        if appended == Appended::NotAwaited {
            self.publish_staged(app, log, u64::MAX);
        }
    }

    /// Marks the present end of an application's log, except for what is held until the clock of its worker is known. The
    /// result becomes 1 when the journal has everything before, or it is not waited for. `None` if nothing is to be awaited.
    #[must_use]
    pub fn mark_end(&self, app: &str) -> Option<Arc<Safe>> {
        self.journal.as_ref()?;
        let app = self.own_app(app)?;
        let safe = Arc::new(Safe::new(0));
        app.log.lock().mark_end(Mark { session: None, seq: 1, safe: safe.clone() });
        Some(safe)
    }

    /// Shows the staged batches up to number `to` to viewers.
    fn publish_staged(&self, app: &App, log: &mut Log, to: u64) {
        while let Some((cut, staged_ns)) = log.publish_staged(to) {
            self.timings.journal_wait.record_ns(self.config.now_ns().saturating_sub(staged_ns));
            self.counters.batches.inc_by(cut.batches);
            self.ring_bytes.fetch_add(cut.bytes, Relaxed);
            self.send_to_peers(app, log, self.config.now_ns());
        }
    }

    /// Shows all staged batches if the disk does not respond. Call it several times per second.
    pub fn check_journal(&self, now_ns: u64) {
        if self.journal.as_ref().is_some_and(|journal| journal.is_stalled(now_ns)) {
            let apps: Vec<Arc<App>> = self.apps.read().values().cloned().collect();
            for app in apps {
                self.publish_staged(&app, &mut app.log.lock(), u64::MAX);
            }
            self.evict_bytes();
        }
    }

    /// Restores the logs of `opened`, and starts to write it. Reads files, and may take seconds. Returns the hub and its
    /// journal, and what else was restored.
    ///
    /// # Errors
    /// Fails if a file cannot be read, or the journal cannot be written.
    pub fn with_journal(mut self, mut opened: OpenedJournal) -> anyhow::Result<(Arc<Self>, Recovered)> {
        let now_ns = self.config.now_ns();
        let retention_ns = nanos(self.config.ring.max(self.config.rollups) + RETENTION_SLACK);
        let mut sessions: HashMap<Session, u64> = HashMap::new();
        let mut remember = |known: &[(Session, u64)]| {
            for (session, seq) in known {
                let known = sessions.entry(*session).or_default();
                *known = (*known).max(*seq);
            }
        };
        let mut restored_bytes = 0;
        let replayed = opened.replay(|record| match record {
            Record::Batch(batch) => {
                remember(&batch.sessions);
                restored_bytes += self.recover(batch, now_ns.saturating_sub(retention_ns));
                if restored_bytes >= ROLL_UP_EVERY_BYTES {
                    restored_bytes = 0;
                    self.roll_up_recovered(now_ns);
                }
            }
            Record::Sessions(known) => remember(known),
            Record::NewEpoch { app, old, new } => self.change_epoch(app, *old, *new),
        })?;
        for app in self.apps.get_mut().values() {
            app.log.lock().finish_recovery(now_ns);
        }
        self.roll_up_recovered(now_ns);
        let mut changed = Vec::new();
        if !opened.is_complete() {
            changed = self.renew_epochs();
        }
        let first: Vec<Record<'_>> =
            changed.iter().map(|(app, old, new)| Record::NewEpoch { app, old: *old, new: *new }).collect();
        let sessions: Vec<(Session, u64)> = sessions.into_iter().collect();
        let is_complete = opened.is_complete();
        let (journal, not_running) =
            opened.start(&first, &sessions, self.counters.clone(), self.config.clock, retention_ns)?;
        let apps = self.apps.get_mut().len();
        tracing::info!(records = replayed.records, apps, is_complete, "the journal was read");
        if replayed.torn_bytes > 0 {
            tracing::info!(bytes = replayed.torn_bytes, "the journal's incomplete last record was cut off");
        }
        if replayed.damaged_bytes > 0 {
            tracing::error!(
                bytes = replayed.damaged_bytes,
                "a part of the journal is damaged: its updates are missing"
            );
        }
        if !is_complete {
            tracing::warn!("the journal lacks the newest updates: viewers are told that the relay was restarted");
        }
        self.journal = Some(journal);
        let hub = Arc::new(self);
        if let Some(journal) = &hub.journal {
            journal.run(not_running, hub.clone())?;
        }
        Ok((hub, Recovered { sessions }))
    }

    /// Restores one batch. Returns its size in bytes.
    pub(super) fn recover(&self, batch: &BatchRecord<'_>, oldest_ns: u64) -> u64 {
        let mut apps = self.apps.write();
        let app = match apps.get(batch.app) {
            Some(app) if app.epoch == batch.epoch => app.clone(),
            earlier => {
                if let Some(earlier) = earlier.cloned() {
                    // It was removed, and returned later.
                    self.release_app(&earlier);
                }
                let app = Arc::new(self.empty_app(batch.app, batch.epoch));
                app.log.lock().changed = self.catalogue_changed();
                apps.insert(batch.app.to_owned(), app.clone());
                app
            }
        };
        drop(apps);
        let (bytes, series) = app.log.lock().recover(batch, oldest_ns);
        self.series.fetch_add(series, Relaxed);
        self.ring_bytes.fetch_add(bytes, Relaxed);
        bytes
    }

    fn roll_up_recovered(&self, now_ns: u64) {
        let oldest_ns = now_ns.saturating_sub(nanos(self.config.ring + RETENTION_SLACK));
        let apps: Vec<Arc<App>> = self.apps.read().values().cloned().collect();
        for app in apps {
            if self.config.rollups.is_zero() {
                let freed = app.log.lock().evict_older(oldest_ns);
                self.ring_bytes.fetch_sub(freed, Relaxed);
            } else {
                self.roll_up(&app, oldest_ns);
            }
        }
        self.evict_bytes();
    }

    /// Gives a restored log another epoch if it has the epoch `old`.
    fn change_epoch(&self, name: &str, old: u64, new: u64) {
        let mut apps = self.apps.write();
        let Some(app) = apps.remove(name) else { return };
        let app = match Arc::try_unwrap(app) {
            Ok(app) if app.epoch == old => Arc::new(App { epoch: new, ..app }),
            Ok(app) => Arc::new(app),
            Err(app) => app,
        };
        apps.insert(name.to_owned(), app);
    }

    /// Gives all restored logs another epoch: viewers may have seen updates that are lost, and their numbers will be given
    /// to other updates. Returns the old and the new epochs. In a cluster, other relays may have the logs under the old
    /// epochs, so nothing can be kept.
    fn renew_epochs(&mut self) -> Vec<(String, u64, u64)> {
        let all: Vec<(String, u64)> = self.apps.get_mut().iter().map(|(name, app)| (name.clone(), app.epoch)).collect();
        if self.is_clustered() {
            for (_, app) in std::mem::take(self.apps.get_mut()) {
                self.release_app(&app);
            }
        }
        let new = self.epoch;
        for (name, old) in &all {
            self.change_epoch(name, *old, new);
        }
        all.into_iter().map(|(name, old)| (name, old, new)).collect()
    }
}

impl Sink for Hub {
    fn written(&self, app: &str, epoch: u64, to: u64) {
        if let Some(app) = self.own_app(app).filter(|app| app.epoch == epoch) {
            self.publish_staged(&app, &mut app.log.lock(), to);
        }
        self.evict_bytes();
    }
}
