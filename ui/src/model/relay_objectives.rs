//! The objectives that the relays watch themselves, of which the page only shows the state.

use std::collections::BTreeMap;

use joey_shared::recording::Playback;
use joey_shared::view::ViewKey;
use joey_shared::viewer::Subscriber;
use joey_shared::wire::{ObjectiveCounts, ObjectiveEntry, ObjectiveState, ObjectiveView};

use super::Model;

impl Model {
    /// The relays that are shown: those of the open recording, or else the live ones.
    fn shown_relays(&self) -> impl Iterator<Item = &Subscriber> {
        self.recording().map_or(&self.viewers, Playback::viewers).relays()
    }

    /// The objectives that the relays watch in `app`. What several relays watch is one entry.
    #[must_use]
    pub fn relay_objectives(&self, app: &str) -> Vec<ObjectiveEntry> {
        let mut merged: Vec<ObjectiveEntry> = Vec::new();
        for entry in self.shown_relays().filter_map(|relay| relay.objectives().get(app)).flatten() {
            match merged.iter_mut().find(|known| known.objective == entry.objective) {
                Some(known) => merge(known, entry),
                None => merged.push(entry.clone()),
            }
        }
        merged
    }

    /// The same for all applications in the catalogue that have any.
    #[must_use]
    pub fn all_relay_objectives(&self) -> BTreeMap<String, Vec<ObjectiveEntry>> {
        let apps = self.catalogue().keys();
        let all = apps.map(|app| (app.clone(), self.relay_objectives(app)));
        all.filter(|(_, objectives)| !objectives.is_empty()).collect()
    }

    /// The state of the objectives that the relays watch in the view `key` of `app`, with their text.
    #[must_use]
    pub fn relay_objectives_of_view(&self, app: &str, key: &ViewKey) -> Vec<(String, ObjectiveView)> {
        let of_view = |entry: ObjectiveEntry| {
            let views = entry.views.into_iter().filter(|view| view.view == *key);
            views.map(move |view| (entry.objective.clone(), view)).collect::<Vec<_>>()
        };
        self.relay_objectives(app).into_iter().flat_map(of_view).collect()
    }

    /// How many views miss an objective that the relays watch, over all applications.
    #[must_use]
    pub fn missed_relay_objectives(&self) -> usize {
        let all = self.all_relay_objectives();
        all.values().flatten().fold(0, |sum, entry| sum.saturating_add(entry.counts.missed as usize))
    }
}

/// Adds what another relay knows of the same objective. A view of both counts once, with its worst state: each relay
/// evaluates its own workers. Only the views that the relays list are known by name, so others may count twice.
fn merge(known: &mut ObjectiveEntry, other: &ObjectiveEntry) {
    let mut counts =
        ObjectiveState::ALL.map(|state| (state, known.counts.of(state).saturating_add(other.counts.of(state))));
    for view in &other.views {
        match known.views.iter_mut().find(|own| own.view == view.view) {
            Some(own) => {
                let better = own.state.max(view.state);
                if let Some((_, count)) = counts.iter_mut().find(|(state, _)| *state == better) {
                    *count = count.saturating_sub(1);
                }
                if view.state < own.state {
                    own.clone_from(view);
                }
            }
            None => known.views.push(view.clone()),
        }
    }
    let [missed, pending, undecided, met, no_data] = counts.map(|(_, count)| count);
    known.counts = ObjectiveCounts { missed, pending, undecided, met, no_data };
    known.views.sort_by_key(|view| view.state);
}

#[cfg(test)]
mod tests {
    use super::super::tests::model;
    use super::*;
    use joey_shared::wire::ServerMessage;

    fn entry(state: ObjectiveState, name: &str) -> ObjectiveEntry {
        let mut counts = ObjectiveCounts::default();
        counts.add(state);
        let view = ObjectiveView { view: ViewKey::computation(name), state, since_ns: 5, value: String::new() };
        ObjectiveEntry { objective: "*: p99 < 1ms over 1m".to_owned(), counts, views: vec![view] }
    }

    fn send(model: &mut Model, relay: u32, app: &str, objectives: Vec<ObjectiveEntry>) {
        let message = ServerMessage::Objectives { app: app.to_owned(), objectives };
        model.receive(relay, &message.encode(), 0).unwrap();
    }

    #[test]
    fn what_several_relays_watch_is_added_and_the_worst_view_comes_first() {
        let mut model = model();
        assert_eq!((model.relay_objectives("a"), model.missed_relay_objectives()), (Vec::new(), 0));
        send(&mut model, 1, "a", vec![entry(ObjectiveState::Met, "x")]);
        send(&mut model, 1, "b", vec![entry(ObjectiveState::Missed, "y")]);
        model.add_relay(2, 0);
        let apps = model.catalogue().values().cloned().collect();
        model.receive(2, &ServerMessage::Catalogue { full: true, apps, last: true }.encode(), 0).unwrap();
        send(&mut model, 2, "a", vec![entry(ObjectiveState::Missed, "z")]);
        let [found] = &model.relay_objectives("a")[..] else { panic!("they have the same text") };
        assert_eq!((found.counts.met, found.counts.missed), (1, 1));
        let names: Vec<_> = found.views.iter().filter_map(|view| view.view.name.as_deref()).collect();
        assert_eq!((names, model.missed_relay_objectives()), (vec!["z", "x"], 2));
        let of_view = model.relay_objectives_of_view("a", &ViewKey::computation("z"));
        assert_eq!(of_view.len(), 1);
        assert_eq!(of_view[0].1.state, ObjectiveState::Missed);
        assert!(model.relay_objectives_of_view("a", &ViewKey::computation("y")).is_empty());

        // Both relays have workers of a view. It counts once, with its worst state.
        send(&mut model, 2, "a", vec![entry(ObjectiveState::Missed, "x")]);
        let [found] = &model.relay_objectives("a")[..] else { panic!("they have the same text") };
        assert_eq!((found.counts.met, found.counts.missed, found.views.len()), (0, 1, 1));
        let of_view = model.relay_objectives_of_view("a", &ViewKey::computation("x"));
        assert_eq!(of_view.iter().map(|(_, view)| view.state).collect::<Vec<_>>(), [ObjectiveState::Missed]);
    }
}
