//! Sends a viewer what the relay's watcher has found in the applications that it is subscribed to.
//!
//! Objectives may be for any view of an application. Only a viewer whose token allows everything of the application gets them.

use std::collections::{BTreeMap, BTreeSet};

use joey_shared::series::Filter;
use joey_shared::wire::ServerMessage;

use super::Session;

/// What was sent to a viewer.
#[derive(Debug, Default)]
pub(super) struct SentObjectives {
    /// The hub's version when all subscriptions were last checked. `None` if that has to be done again.
    version: Option<u64>,
    /// For each subscribed application: the version that was sent.
    sent: BTreeMap<String, u64>,
}

impl SentObjectives {
    /// Checks all subscriptions again: there is a new one, or one has ended.
    pub(super) const fn check_again(&mut self) {
        self.version = None;
    }
}

impl Session {
    /// Sends changed objectives.
    pub(super) fn send_objectives(&mut self) {
        let version = self.hub.objectives_version();
        // Without a watcher, the version stays 0.
        if self.objectives.version == Some(version) || (version == 0 && self.objectives.sent.is_empty()) {
            return;
        }
        self.objectives.version = Some(version);
        let claims = &self.permissions.claims;
        let names = self.subscriptions.iter().map(|(_, subscription)| subscription.app_name());
        let apps: BTreeSet<String> =
            names.filter(|app| claims.allow_topic(app, &Filter::All)).map(str::to_owned).collect();
        let is_ended = |app: &&String| !apps.contains(*app) || self.hub.objectives_of(app).is_none();
        let ended: Vec<String> = self.objectives.sent.keys().filter(is_ended).cloned().collect();
        for app in ended {
            // There are none any more, or the viewer gets no changes, and would show the last state as the current one.
            self.objectives.sent.remove(&app);
            self.send(&ServerMessage::Objectives { app, objectives: Vec::new() });
        }
        for app in apps {
            let Some(announced) = self.hub.objectives_of(&app) else { continue };
            if self.objectives.sent.get(&app) != Some(&announced.version) {
                self.objectives.sent.insert(app, announced.version);
                self.push(&announced.frame);
            }
        }
    }
}
