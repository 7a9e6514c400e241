//! The objectives of all applications, and how far each window of a view is under a threshold.

use joey_shared::objective::{Objective, Under};
use joey_shared::view::ViewKey;

use super::Model;
use crate::objectives::{AppObjectives, Outcome, Tally, badness};
use crate::settings::WINDOWS;
use crate::statistics::known_seconds;

/// The share of a window that is under a threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowShare {
    /// The length of the window in seconds; `None` for the selected range.
    pub seconds: Option<u64>,
    /// How many of them have data.
    pub known_seconds: u64,
    /// The events under the threshold.
    pub under: Under,
}

/// A view that misses an objective.
#[derive(Clone, Debug, PartialEq)]
pub struct MissedObjective {
    /// Its application.
    pub app: String,
    /// The view.
    pub key: ViewKey,
    /// What it misses.
    pub objective: Objective,
    /// By how much.
    pub under: Under,
}

impl Model {
    /// Sets the objectives of `app`.
    pub fn set_objectives(&mut self, app: &str, list: Vec<Objective>) {
        if list.is_empty() {
            self.objectives.remove(app);
        } else {
            self.objectives.insert(app.to_owned(), AppObjectives::new(list));
        }
    }

    /// The objectives of `app`.
    #[must_use]
    pub fn objectives(&self, app: &str) -> &[Objective] {
        self.objectives.get(app).map_or(&[], AppObjectives::list)
    }

    /// Whether any application has objectives.
    #[must_use]
    pub fn has_objectives(&self) -> bool {
        !self.objectives.is_empty()
    }

    /// Calls `read` with the objectives and the store of `app`, and whether a range is selected; `None` without objectives or
    /// without data.
    fn with_objectives<T>(
        &mut self,
        app: &str,
        read: impl FnOnce(&mut AppObjectives, &mut joey_shared::store::AppStore, bool) -> T,
    ) -> Option<T> {
        let is_range = self.range().is_some();
        let mut objectives = self.objectives.remove(app)?;
        let result = self.app_mut(app).map(|store| read(&mut objectives, store, is_range));
        self.objectives.insert(app.to_owned(), objectives);
        result
    }

    /// The outcomes of the objectives of `app` for the view at `view_index`, with the objectives.
    pub fn outcomes(&mut self, app: &str, view_index: usize) -> Vec<(Objective, Outcome)> {
        let outcomes = self.with_objectives(app, |objectives, store, is_range| {
            let outcomes = objectives.outcomes(store, view_index, is_range).to_vec();
            outcomes.into_iter().map(|outcome| (objectives.list()[outcome.objective].clone(), outcome)).collect()
        });
        outcomes.unwrap_or_default()
    }

    /// Evaluates some views of `app`, and returns the number of views with each verdict, for each objective.
    pub fn advance_objectives(&mut self, app: &str) -> Vec<Tally> {
        let tallies = self.with_objectives(app, |objectives, store, is_range| {
            objectives.advance(store, is_range);
            objectives.tallies()
        });
        tallies.unwrap_or_default()
    }

    /// The number of views with each verdict, for each objective of `app`, as far as they were evaluated.
    #[must_use]
    pub fn objective_tallies(&self, app: &str) -> Vec<Tally> {
        self.objectives.get(app).map(AppObjectives::tallies).unwrap_or_default()
    }

    /// Evaluates some views of each application, and returns how many miss an objective.
    pub fn advance_all_objectives(&mut self) -> usize {
        let apps: Vec<String> = self.objectives.keys().cloned().collect();
        apps.iter().flat_map(|app| self.advance_objectives(app)).map(|tally| tally.missed).sum()
    }

    /// The missed objectives of all applications, worst first, as far as views were evaluated.
    pub fn missed_objectives(&mut self) -> Vec<MissedObjective> {
        let apps: Vec<String> = self.objectives.keys().cloned().collect();
        let mut missed = Vec::new();
        for app in apps {
            let of_app = self.with_objectives(&app, |objectives, store, _| {
                let known = objectives.known().filter_map(|(view_index, outcome)| {
                    let objective = &objectives.list()[outcome.objective];
                    let key = store.views().get(view_index)?.key.clone();
                    let found =
                        MissedObjective { app: app.clone(), key, objective: objective.clone(), under: outcome.under };
                    Some((badness(objective, outcome)?, found))
                });
                known.collect::<Vec<_>>()
            });
            missed.extend(of_app.unwrap_or_default());
        }
        missed.sort_by(|a, b| b.0.total_cmp(&a.0));
        missed.into_iter().map(|(_, found)| found).collect()
    }

    /// The share under `threshold_ns` in each window of the view of `app` at `view_index`, or in the selected range.
    pub fn window_shares(&mut self, app: &str, view_index: usize, threshold_ns: u64) -> Vec<WindowShare> {
        let is_range = self.range().is_some();
        let Some(store) = self.app_mut(app).filter(|store| view_index < store.views().len()) else {
            return Vec::new();
        };
        let window_seconds = store.seconds();
        let mut share = |label: Option<u64>, seconds: u64| {
            let under = Under::of(&store.recent_histogram(view_index, seconds), threshold_ns);
            WindowShare { seconds: label, known_seconds: known_seconds(store, view_index, seconds), under }
        };
        if is_range {
            return vec![share(None, window_seconds)];
        }
        WINDOWS.iter().map(|&(seconds, _)| share(Some(seconds), seconds)).collect()
    }
}
