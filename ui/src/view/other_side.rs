//! The other side of a detail page: read by its charts and figures.

use joey_shared::compare::Comparison;
use joey_shared::histogram::Histogram;
use joey_shared::view::ViewKey;
use leptos::prelude::*;

use super::{AppName, UiState};
use crate::chart::difference::Difference;
use crate::chart_data;
use crate::difference_data::{self, OtherSide};
use crate::reference::Reference;
use crate::statistics::ViewStatistics;
use crate::time_format::UtcOffsets;

/// The view of a detail page, to find its other side.
#[derive(Clone, Copy)]
pub(super) struct Viewed {
    pub(super) ui: UiState,
    pub(super) app: AppName,
    pub(super) key: StoredValue<ViewKey>,
}

impl Viewed {
    pub(super) fn new(ui: UiState, app: AppName, key: ViewKey) -> Self {
        Self { ui, app, key: StoredValue::new(key) }
    }

    /// What it is compared with, if anything. The caller reads it again at the next tick.
    pub(super) fn reference(self) -> Option<Reference> {
        self.ui.read_model().reference(&self.app.read_value())
    }

    /// The same in words, for a sentence.
    pub(super) fn reference_name(self) -> Option<String> {
        self.ui.frame_loop.tick.track();
        self.reference_name_untracked()
    }

    /// The same, for charts, which are repainted at every tick.
    pub(super) fn reference_name_untracked(self) -> Option<String> {
        let (model, app) = (self.ui.model.read_value(), self.app.read_value());
        model.reference(&app).map(|reference| model.reference_name(&app, &reference))
    }

    /// The statistics of this side and of the other side; `None` for one that has no such view.
    pub(super) fn statistics(self) -> [Option<ViewStatistics>; 2] {
        let (mut model, app, key) = (self.ui.model.write_value(), self.app.read_value(), self.key.read_value());
        let at = model.app(&app).and_then(|store| store.find(&key));
        let current = at.and_then(|at| model.view_statistics(&app, at));
        [current, model.reference_statistics(&app, &key)]
    }

    /// The latencies of both sides in the same bins; only those of this side if there is nothing to compare with.
    pub(super) fn histograms(self) -> (Histogram, Option<Histogram>) {
        let [current, reference] = self.statistics().map(|side| side.map(|side| side.histogram));
        let current = current.unwrap_or_default();
        match reference.filter(|reference| !reference.is_empty()) {
            None => (current, None),
            Some(reference) => {
                let comparison = Comparison::new(&current, &reference);
                (comparison.current().clone(), Some(comparison.reference().clone()))
            }
        }
    }

    /// The difference over time; `None` without a reference or without the view.
    pub(super) fn difference(self, hover: Option<u64>) -> Option<Difference> {
        let (mut model, app, key) = (self.ui.model.write_value(), self.app.read_value(), self.key.read_value());
        let reference = model.reference(&app)?;
        let store = model.app_mut(&app)?;
        let at = store.find(&key)?;
        let current = difference_data::side(store, at, None)?;
        let (from, to) = chart_data::window_range(store);
        let (store, at) = model.reference_store(&app, &key)?;
        let other = match reference {
            Reference::Baseline => OtherSide::Whole(Box::new(store.histogram(at))),
            Reference::App(_) | Reference::View(..) => {
                OtherSide::SameSeconds(difference_data::side(store, at, Some((from, to)))?)
            }
        };
        let offset_at = |second: u64| self.ui.utc_offset_untracked(second.saturating_mul(1_000_000_000));
        Some(difference_data::difference(&current, &other, UtcOffsets::between(from, to, offset_at), hover))
    }
}
