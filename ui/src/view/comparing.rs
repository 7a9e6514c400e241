//! What the user does to compare: pin a baseline, choose the other side, end the comparison.

use leptos::prelude::{GetUntracked, ReadUntracked, ReadValue, Set, WriteValue};

use super::{UiState, menus};
use crate::browser;
use crate::reference::{BaselineRange, Reference};
use crate::route::{Page, Route};

impl UiState {
    /// Keeps the window that is shown as the baseline of the application of this page.
    pub fn pin_baseline(self) {
        let page = self.page.get_untracked();
        let Some(app) = page.app() else { return };
        // A name that the user gave stays. A baseline of a recording has the name of its file.
        let file = self.recordings.opened.get_untracked().map(|opened| opened.name);
        let named = || self.model.read_value().baseline(app).map(|range| range.name.clone());
        let name = file.or_else(named).unwrap_or_default();
        if self.model.write_value().pin_window(app, &name) {
            self.compare_with(None);
        }
    }

    /// Keeps what the open recording shows as baselines, and goes back to live data.
    pub fn compare_with_recording(self) {
        let name = self.recordings.opened.get_untracked().map(|opened| opened.name).unwrap_or_default();
        self.model.write_value().pin_recording(&name);
        self.close_recording();
        self.compare_with(None);
    }

    /// The key pins a baseline if there is none. Another one would be lost by accident, so it only leads to the bar
    /// that shows it.
    pub(super) fn on_baseline_key(self) {
        let is_pinned =
            self.page.read_untracked().app().is_some_and(|app| self.model.read_value().baseline(app).is_some());
        if !is_pinned {
            self.pin_baseline();
        } else if let Some(button) = browser::query_all(".compare-bar button").first() {
            let _ = button.focus();
        }
    }

    /// Removes the baseline of the application of this page.
    pub fn unpin_baseline(self) {
        if let Some(app) = self.page.read_untracked().app() {
            self.model.write_value().unpin(app);
        }
        self.write_address();
        self.frame_loop.tick_now();
    }

    /// Names the baseline of the application of this page.
    pub fn name_baseline(self, name: &str) {
        if let Some(app) = self.page.read_untracked().app() {
            self.model.write_value().name_baseline(app, name);
        }
        self.write_address();
        self.frame_loop.tick_now();
    }

    /// Chooses what is compared with: `None` for the baseline, if there is one.
    pub fn compare_with(self, reference: Option<Reference>) {
        self.set_reference(reference);
        self.write_address();
        self.frame_loop.tick_now();
    }

    fn set_reference(self, reference: Option<Reference>) {
        if self.reference.get_untracked() != reference {
            self.reference.set(reference.clone());
        }
        self.model.write_value().compare_with(reference, None, browser::now_ns());
        self.connections.send();
    }

    /// Subscribes to `app`, so that the user can choose one of its views.
    pub fn offer_views_of(self, app: Option<String>) {
        let reference = self.reference.get_untracked();
        self.model.write_value().compare_with(reference, app, browser::now_ns());
        self.connections.send();
        self.frame_loop.tick_now();
    }

    /// Follows the address: what it compares with, or what stays of the comparison on another page.
    pub(super) fn follow_reference(self, route: &Route) {
        if let (Some(app), Some(range)) = (route.page.app(), &route.baseline) {
            let mut model = self.model.write_value();
            if model.baseline(app) != Some(range) && model.awaited_baseline(app) != Some(range) {
                model.await_baseline(app, range.clone());
            }
        }
        let reference = match &route.reference {
            Some(reference) => Some(reference.clone()),
            // The address of the same page without it: the user went back.
            None if route.page == *self.page.read_untracked() => None,
            None => {
                let before = self.page.read_untracked();
                self.reference.get_untracked().filter(|reference| reference.stays(&before, &route.page))
            }
        };
        let is_chosen = reference.is_some() && reference != self.reference.get_untracked();
        self.set_reference(reference);
        if is_chosen {
            // The menu in which it was chosen.
            menus::close();
            if let Some(summary) = browser::query_all(".picker > summary").first() {
                let _ = summary.focus();
            }
        }
    }

    /// Pins the baseline of the address when its data has arrived. Runs at each tick.
    pub(super) fn pin_awaited(self) {
        if self.model.write_value().pin_awaited(browser::now_ns()) {
            self.connections.send();
        }
    }

    /// The baseline for the address of `page`.
    pub(super) fn baseline_in_address(self, page: &Page) -> Option<BaselineRange> {
        let (model, app) = (self.model.read_value(), page.app()?);
        model.baseline_in_address(app).cloned()
    }
}
