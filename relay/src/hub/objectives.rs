//! What the relay's watcher has found, for viewers. The hub only keeps and counts what it is given.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use joey_shared::wire::{ObjectiveEntry, ServerMessage};

use super::Hub;
use crate::net::ws_frame::WsFrame;
use crate::runtime::sync::{AtomicU64, RwLock};

/// The objectives of all applications that have any.
#[derive(Debug, Default)]
pub(super) struct Objectives {
    /// Increases with every change.
    version: AtomicU64,
    apps: RwLock<BTreeMap<String, AnnouncedObjectives>>,
}

/// The objectives of one application as they are sent.
#[derive(Clone, Debug)]
pub struct AnnouncedObjectives {
    /// The version at which they last changed.
    pub version: u64,
    /// The message, which is the same for all viewers.
    pub frame: WsFrame,
}

impl Hub {
    /// Announces `apps` in place of everything that was announced before, and wakes the viewers if anything differs.
    pub fn announce_objectives(&self, apps: BTreeMap<String, Vec<ObjectiveEntry>>) {
        let version = self.objectives.version.load(Relaxed) + 1;
        let announced = |(app, objectives): (String, Vec<ObjectiveEntry>)| {
            let frame = WsFrame::new(&ServerMessage::Objectives { app: app.clone(), objectives }.encode());
            let before = self.objectives_of(&app).filter(|before| before.frame.bytes() == frame.bytes());
            (app, before.unwrap_or(AnnouncedObjectives { version, frame }))
        };
        let now: BTreeMap<String, AnnouncedObjectives> = apps.into_iter().map(announced).collect();
        let mut known = self.objectives.apps.write();
        let is_same = known.len() == now.len() && now.values().all(|app| app.version < version);
        *known = now;
        drop(known);
        if !is_same {
            self.objectives.version.store(version, Relaxed);
            self.wake_all();
        }
    }

    /// Increases whenever the objectives of an application have changed.
    #[must_use]
    pub fn objectives_version(&self) -> u64 {
        self.objectives.version.load(Relaxed)
    }

    /// The objectives that the relay watches in `app`, if there are any.
    #[must_use]
    pub fn objectives_of(&self, app: &str) -> Option<AnnouncedObjectives> {
        self.objectives.apps.read().get(app).cloned()
    }
}
