//! The other side of a comparison, as part of the model: which one it is, and its statistics.

use joey_shared::store::AppStore;
use joey_shared::view::ViewKey;
use joey_shared::window::{SECONDS_MAX, second_of};

use super::recording::shown;
use super::{Cache, Model, cached_statistics};
use crate::reference::{Baseline, BaselineRange, Reference, clip_name};
use crate::row_change::RowChange;
use crate::statistics::ViewStatistics;
use crate::typed_percentile::TypedPercentile;

/// Maximum number of applications with a baseline. The oldest is removed first: each may have thousands of views.
const BASELINES_MAX: usize = 8;

/// What measurements are compared with.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// What the user chose; `None` for the baseline, if there is one.
    pub(super) chosen: Option<Reference>,
    /// An application whose views the user can choose from.
    pub(super) offered_app: Option<String>,
    /// By application, oldest first.
    baselines: Vec<(String, Baseline)>,
    /// A baseline of the address whose data has not been received completely, with its application.
    awaited: Option<(String, BaselineRange)>,
    /// The statistics of the other application.
    cache: Cache,
}

impl Model {
    /// Keeps the window of `app` that is shown as its baseline. Returns false if it has no data.
    pub fn pin_window(&mut self, app: &str, name: &str) -> bool {
        let baseline = self.app_mut(app).and_then(|store| Baseline::of_window(name, store));
        let Some(baseline) = baseline else { return false };
        self.pin(app, baseline.recorded(self.opened.is_some()));
        true
    }

    /// Keeps the windows that the open recording shows as the baselines of its applications.
    pub fn pin_recording(&mut self, name: &str) {
        let apps: Vec<String> = self.recording_apps().map(|(app, _)| app.to_owned()).collect();
        for app in apps {
            self.pin_window(&app, name);
        }
    }

    /// Makes `baseline` that of `app`. It can come from anywhere, such as a recording.
    pub fn pin(&mut self, app: &str, baseline: Baseline) {
        let baselines = &mut self.compared.baselines;
        baselines.retain(|(name, _)| name != app);
        if baselines.len() == BASELINES_MAX {
            baselines.remove(0);
        }
        baselines.push((app.to_owned(), baseline));
        self.compared.awaited = None;
    }

    /// Pins the baseline of an address when its data has arrived.
    pub fn await_baseline(&mut self, app: &str, range: BaselineRange) {
        self.compared.awaited = Some((app.to_owned(), range));
    }

    /// Pins the awaited baseline if its data has arrived at local time `now_ns`. Requests the history of the last hour if the
    /// baseline is older than what was requested from the relay, and returns whether it did.
    #[must_use]
    pub fn pin_awaited(&mut self, now_ns: u64) -> bool {
        if self.compared.awaited.is_none() || !self.has_history() {
            return false;
        }
        let Some((app, range)) = self.compared.awaited.take() else { return false };
        let oldest = self.live_relay_ns(now_ns).map_or(u64::MAX, second_of).saturating_sub(self.requested_seconds);
        if range.from < oldest && self.requested_seconds < SECONDS_MAX {
            self.request_history(SECONDS_MAX, now_ns);
            self.compared.awaited = Some((app, range));
            return true;
        }
        match self.viewers.stores_mut().get_mut(&app).and_then(|store| Baseline::of_range(&range, store)) {
            Some(baseline) => self.pin(&app, baseline),
            None => self.compared.awaited = Some((app, range)),
        }
        false
    }

    /// The baseline of `app` that is not there yet.
    #[must_use]
    pub fn awaited_baseline(&self, app: &str) -> Option<&BaselineRange> {
        self.compared.awaited.as_ref().filter(|(name, _)| name == app).map(|(_, range)| range)
    }

    /// Removes the baseline of `app`.
    pub fn unpin(&mut self, app: &str) {
        self.compared.baselines.retain(|(name, _)| name != app);
        self.compared.awaited = None;
    }

    /// Names the baseline of `app`.
    pub fn name_baseline(&mut self, app: &str, name: &str) {
        let name = clip_name(name);
        if let Some(baseline) = self.baseline_mut(app) {
            baseline.range.name = name;
        }
    }

    /// The seconds and the name of the baseline of `app`, if it has one.
    #[must_use]
    pub fn baseline(&self, app: &str) -> Option<&BaselineRange> {
        self.compared.baselines.iter().find(|(name, _)| name == app).map(|(_, baseline)| &baseline.range)
    }

    /// The baseline of `app` that its address has.
    #[must_use]
    pub fn baseline_in_address(&self, app: &str) -> Option<&BaselineRange> {
        let pinned = self.compared.baselines.iter().find(|(name, _)| name == app);
        match pinned {
            Some((_, baseline)) => (!baseline.is_recorded).then_some(&baseline.range),
            None => self.awaited_baseline(app),
        }
    }

    fn baseline_mut(&mut self, app: &str) -> Option<&mut Baseline> {
        self.compared.baselines.iter_mut().find(|(name, _)| name == app).map(|(_, baseline)| baseline)
    }

    /// Chooses what measurements are compared with, `None` for the baseline, and an application whose views are offered to
    /// choose from. At local time `now_ns`, subscribes to what this needs.
    pub fn compare_with(&mut self, chosen: Option<Reference>, offered_app: Option<String>, now_ns: u64) {
        self.compared.chosen = chosen;
        self.compared.offered_app = offered_app;
        self.update_subscriptions(now_ns);
    }

    /// What the pages of `app` are compared with.
    #[must_use]
    pub fn reference(&self, app: &str) -> Option<Reference> {
        self.compared.chosen.clone().or_else(|| self.baseline(app).map(|_| Reference::Baseline))
    }

    /// What the rows of the tables of `app` are compared with: a single view is compared on its own page only.
    #[must_use]
    pub fn row_reference(&self, app: &str) -> Option<Reference> {
        self.reference(app).filter(|reference| !matches!(reference, Reference::View(..)))
    }

    /// What `reference` of `app` is called within a sentence.
    #[must_use]
    pub fn reference_name(&self, app: &str, reference: &Reference) -> String {
        match reference {
            Reference::Baseline => match self.baseline(app) {
                Some(range) if !range.name.is_empty() => format!("“{}”", range.name),
                _ => "the baseline".to_owned(),
            },
            Reference::App(other) => other.clone(),
            Reference::View(other, key) => {
                let names = [&key.name, &key.pipeline, &key.worker].into_iter().filter_map(|name| name.as_deref());
                let names = names.collect::<Vec<&str>>().join(" on ");
                if other == app { names } else { format!("{names} of {other}") }
            }
        }
    }

    /// The applications that a comparison needs, besides the one that is shown.
    pub(super) fn compared_apps(&self) -> impl Iterator<Item = &String> {
        let Compared { chosen, offered_app, .. } = &self.compared;
        let chosen = chosen.iter().filter_map(|reference| match reference {
            Reference::App(app) | Reference::View(app, _) => Some(app),
            Reference::Baseline => None,
        });
        chosen.chain(offered_app)
    }

    /// The store of another application. It need not be part of the snapshot: it may be chosen while the page is paused.
    #[must_use]
    pub fn other_app(&self, app: &str) -> Option<&AppStore> {
        let paused = self.snapshot.as_ref().and_then(|snapshot| snapshot.app(app));
        paused.or_else(|| self.shown_stores().get(app))
    }

    /// The store of the other side of the view `key` of `app`, and the view's position there.
    pub fn reference_store(&mut self, app: &str, key: &ViewKey) -> Option<(&mut AppStore, usize)> {
        let (store, key) = match self.reference(app)? {
            Reference::Baseline => (self.baseline_mut(app)?.store(), key.clone()),
            Reference::App(other) => (self.other_app_mut(&other)?, key.clone()),
            Reference::View(other, key) => (self.other_app_mut(&other)?, key),
        };
        let at = store.find(&key)?;
        Some((store, at))
    }

    fn other_app_mut(&mut self, app: &str) -> Option<&mut AppStore> {
        let Self { snapshot, opened, viewers, .. } = self;
        let paused = snapshot.as_mut().and_then(|snapshot| snapshot.app_mut(app));
        paused.or_else(|| shown(opened, viewers).get_mut(app))
    }

    /// The statistics of the other side of the view `key` of `app`, on the page of that view.
    pub fn reference_statistics(&mut self, app: &str, key: &ViewKey) -> Option<ViewStatistics> {
        match self.reference(app)? {
            Reference::Baseline => self.baseline_mut(app)?.statistics(key),
            Reference::App(other) => self.other_statistics(&other, key),
            Reference::View(other, key) => self.other_statistics(&other, &key),
        }
    }

    fn other_statistics(&mut self, app: &str, key: &ViewKey) -> Option<ViewStatistics> {
        let Self { snapshot, opened, viewers, compared, .. } = self;
        let paused = snapshot.as_mut().and_then(|snapshot| snapshot.app_mut(app));
        let store = paused.or_else(|| shown(opened, viewers).get_mut(app))?;
        let at = store.find(key)?;
        cached_statistics(&mut compared.cache, app, store, at)
    }

    /// By how much the view of `app` at `view_index` differs from its reference; `None` without one.
    pub fn row_change(&mut self, app: &str, view_index: usize, typed: &[TypedPercentile]) -> Option<RowChange> {
        self.row_reference(app)?;
        let key = self.app(app)?.views().get(view_index)?.key.clone();
        let current = self.view_statistics(app, view_index)?;
        let reference = self.reference_statistics(app, &key);
        Some(RowChange::between(&current, reference.as_ref(), typed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{model, subscribed};
    use crate::route::Page;
    use crate::testing::{store_of, update};

    #[test]
    fn another_application_is_subscribed_to_while_it_is_compared_with_or_offered() {
        let mut model = model();
        model.show(&Page::Dashboard("a".to_owned()), 0);
        model.compare_with(Some(Reference::App("b".to_owned())), None, 0);
        assert_eq!(subscribed(&model), ["a All", "b All"]);
        model.compare_with(Some(Reference::View("a".to_owned(), ViewKey::computation("n"))), None, 0);
        assert_eq!(subscribed(&model), ["a All"]);
        model.compare_with(None, Some("b".to_owned()), 0);
        assert_eq!(subscribed(&model), ["a All", "b All"]);
        model.compare_with(Some(Reference::App("b".to_owned())), Some("b".to_owned()), 0);
        assert_eq!(subscribed(&model), ["a All", "b All"]);
        model.compare_with(None, None, 0);
        assert_eq!(subscribed(&model), ["a All"]);
    }

    /// A store that was opened from a file, for example.
    fn recording() -> AppStore {
        store_of(&[update(1, 0, 100, &[5; 200]), update(2, 0, 102, &[900; 200])])
    }

    #[test]
    fn any_store_can_be_the_other_side() {
        let mut model = model();
        assert!(!model.pin_window("a", "no data"));
        assert_eq!(model.reference("a"), None);
        model.pin("a", Baseline::new("recording", recording()).recorded(true));
        assert_eq!(model.reference("a"), Some(Reference::Baseline));
        assert_eq!(model.baseline_in_address("a"), None);
        assert_eq!(model.reference_name("a", &Reference::Baseline), "“recording”");
        let key = ViewKey::computation("n");
        assert_eq!(model.reference_statistics("a", &key).map(|statistics| statistics.count), Some(400));
        assert!(model.reference_store("a", &key).is_some());
        assert!(model.reference_statistics("a", &ViewKey::computation("other")).is_none());
        // Another application has its own, or none.
        assert_eq!(model.reference("b"), None);
        model.name_baseline("a", " renamed\n");
        assert_eq!(model.baseline("a").map(|range| range.name.as_str()), Some("renamed"));
        model.unpin("a");
        assert_eq!(model.reference("a"), None);
    }

    #[test]
    fn a_chosen_view_comes_before_the_baseline_and_is_not_for_rows() {
        let mut model = model();
        model.pin("a", Baseline::new("", recording()));
        let view = Reference::View("b".to_owned(), ViewKey::computation("n"));
        model.compare_with(Some(view.clone()), None, 0);
        assert_eq!((model.reference("a"), model.row_reference("a")), (Some(view), None));
        model.compare_with(None, None, 0);
        assert_eq!(model.row_reference("a"), Some(Reference::Baseline));
    }

    #[test]
    fn the_number_of_baselines_is_bounded() {
        let mut model = model();
        for app in 0..=BASELINES_MAX {
            model.pin(&app.to_string(), Baseline::new("", recording()));
        }
        assert!(model.baseline("0").is_none() && model.baseline("1").is_some());
        assert!(model.baseline(&BASELINES_MAX.to_string()).is_some());
    }
}
