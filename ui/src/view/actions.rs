//! Everything that can be done from anywhere on the page: one table, used by the keyboard, the sheet of shortcuts and the search.
//!
//! To add an action, add a line to [`ACTIONS`]. It then has its key, is listed in the sheet, and can be found in the search.

use leptos::prelude::*;

use super::row_focus::{self, Step};
use super::time_range_bar::{earlier, later};
use super::{UiState, compare_picker, favourite, menus};
use crate::browser;
use crate::route::Page;
use crate::settings::WINDOWS;
use crate::settings::choices::Zone;
use crate::time_range::TimeRange;

/// A section of the sheet of shortcuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Which page is shown.
    Go,
    /// Which time is shown.
    Time,
    /// What is in the tables.
    Tables,
    /// How the page is shown, and help.
    Page,
}

impl Group {
    pub(super) const ALL: [Self; 4] = [Self::Go, Self::Time, Self::Tables, Self::Page];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Go => "Go to",
            Self::Time => "Time",
            Self::Tables => "Tables",
            Self::Page => "Page",
        }
    }
}

/// Something that can be done.
pub(super) struct Action {
    pub(super) group: Group,
    /// What it does, as a command: "Pause".
    pub(super) name: &'static str,
    /// The keys that do it, as in [`key_sequence`](crate::key_sequence). Several actions can have the same key if only
    /// one of them is available at a time; the first available one is done. An action without keys is only in the
    /// search.
    pub(super) keys: &'static [&'static str],
    /// Whether it would do anything now.
    pub(super) is_available: fn(UiState) -> bool,
    pub(super) run: fn(UiState),
}

/// A line of [`ACTIONS`].
const fn action(
    group: Group,
    name: &'static str,
    keys: &'static [&'static str],
    is_available: fn(UiState) -> bool,
    run: fn(UiState),
) -> Action {
    Action { group, name, keys, is_available, run }
}

/// All actions, in the order of the sheet.
pub(super) const ACTIONS: &[Action] = &[
    action(Group::Go, "Search everything", &["Ctrl+k", "k"], always, |ui| ui.palette_open.set(true)),
    action(Group::Go, "All applications", &["g a"], always, |_| go(Page::Landing)),
    action(Group::Go, "Dashboard of this application", &["g d"], has_app, |ui| go_in_app(ui, Page::Dashboard)),
    action(Group::Go, "Workers of this application", &["g w"], has_app, |ui| go_in_app(ui, Page::Workers)),
    action(Group::Go, "One level up", &["u"], has_app, go_up),
    action(Group::Time, "Pause", &["p"], is_live, UiState::pause),
    action(Group::Time, "Back to live", &["l", "p"], is_held, UiState::resume),
    action(Group::Time, "Earlier", &["["], has_data, |ui| ui.change_range(earlier)),
    action(Group::Time, "Later", &["]"], has_data, |ui| ui.change_range(later)),
    action(Group::Time, "Zoom in", &["+", "="], has_data, |ui| ui.change_range(TimeRange::zoomed_in)),
    action(Group::Time, "Zoom out", &["-"], has_data, |ui| ui.change_range(TimeRange::zoomed_out)),
    action(Group::Time, "Load the last hour", &["h"], can_load_hour, UiState::load_hour),
    action(Group::Time, "Window of 10 seconds", &["1"], always, |ui| ui.set_window(WINDOWS[0].0)),
    action(Group::Time, "Window of 1 minute", &["2"], always, |ui| ui.set_window(WINDOWS[1].0)),
    action(Group::Time, "Window of 5 minutes", &["3"], always, |ui| ui.set_window(WINDOWS[2].0)),
    action(Group::Time, "Window of 15 minutes", &["4"], always, |ui| ui.set_window(WINDOWS[3].0)),
    action(Group::Time, "Window of 1 hour", &["5"], always, |ui| ui.set_window(WINDOWS[4].0)),
    action(Group::Tables, "Filter rows", &["/"], has_filter, |_| focus("#filter")),
    action(Group::Tables, "Add a percentile", &["%"], has_percentiles, |_| focus(PERCENTILE)),
    action(Group::Tables, "Next row", &["ArrowDown"], row_focus::is_free, |_| row_focus::move_focus(Step::Next)),
    action(Group::Tables, "Previous row", &["ArrowUp"], row_focus::is_row, |_| row_focus::move_focus(Step::Previous)),
    action(Group::Tables, "First row of the table", &["Home"], row_focus::is_row, |_| {
        row_focus::move_focus(Step::First)
    }),
    action(Group::Tables, "Last row of the table", &["End"], row_focus::is_row, |_| row_focus::move_focus(Step::Last)),
    action(Group::Tables, "A screen of rows up", &["PageUp"], row_focus::is_row, |_| {
        row_focus::move_focus(Step::PageUp)
    }),
    action(Group::Tables, "A screen of rows down", &["PageDown"], row_focus::is_row, |_| {
        row_focus::move_focus(Step::PageDown)
    }),
    action(Group::Tables, "Favourite, or no longer", &["f"], favourite::has_focused_star, |_| {
        favourite::press_focused_star()
    }),
    action(Group::Tables, "Only favourites, or all rows", &["F"], has_filter, |ui| {
        ui.only_favourites.update(|only| *only = !*only);
    }),
    action(Group::Tables, "Table or small charts", &["v"], has_filter, |ui| {
        ui.layout.update(|layout| *layout = layout.other())
    }),
    action(Group::Page, "Pin a baseline, or go to its bar", &["b"], has_app, UiState::on_baseline_key),
    action(Group::Page, "Compare with something", &["c"], has_picker, |_| compare_picker::open()),
    action(Group::Page, "Threshold, or a new objective", &["o"], has_threshold, |_| focus(THRESHOLD)),
    action(Group::Page, "Record", &["R"], can_record, UiState::start_recording),
    action(Group::Page, "Stop recording and save the file", &["R"], is_recording, UiState::save_recording),
    action(Group::Page, "Change the colours", &["t"], always, change_theme),
    action(Group::Page, "Local time or UTC", &["z"], always, change_zone),
    action(Group::Page, "Connect again now", &["r"], is_disconnected, |ui| ui.connections.retry()),
    action(Group::Page, "Wall mode", &["w"], has_no_wall, UiState::start_wall),
    action(Group::Page, "Leave wall mode", &["Escape", "w"], has_wall, UiState::stop_wall),
    action(Group::Page, "Show this page in wall mode, or no longer", &["W"], always, UiState::toggle_wall_page),
    action(Group::Page, "Close menus", &["Escape"], menus::is_any_open, |_| menus::close()),
    action(Group::Page, "Settings", &[","], always, |ui| ui.settings_open.set(true)),
    action(Group::Page, "Keyboard shortcuts", &["?"], always, |ui| ui.sheet_open.set(true)),
];

/// The text box for another percentile.
const PERCENTILE: &str = ".percentiles input";

/// The handle of the threshold, or the text box for an objective.
const THRESHOLD: &str = ".threshold-handle, #objective";

const fn always(_: UiState) -> bool {
    true
}

fn has_app(ui: UiState) -> bool {
    ui.page.read_untracked().app().is_some()
}

fn is_live(ui: UiState) -> bool {
    ui.paused_at_ns.read_untracked().is_none() && ui.pending_range.read_untracked().is_none()
}

fn is_held(ui: UiState) -> bool {
    !is_live(ui)
}

fn has_data(ui: UiState) -> bool {
    ui.shown_range().is_some()
}

fn can_load_hour(ui: UiState) -> bool {
    ui.model.read_value().can_load_hour()
}

fn has_filter(_: UiState) -> bool {
    !browser::query_all("#filter").is_empty()
}

fn has_percentiles(_: UiState) -> bool {
    !browser::query_all(PERCENTILE).is_empty()
}

fn has_threshold(_: UiState) -> bool {
    !browser::query_all(THRESHOLD).is_empty()
}

fn has_picker(_: UiState) -> bool {
    !browser::query_all("details.picker").is_empty()
}

fn is_recording(ui: UiState) -> bool {
    ui.model.read_value().recording_progress().is_some()
}

fn can_record(ui: UiState) -> bool {
    let is_free = ui.recordings.opened.read_untracked().is_none() && !is_recording(ui);
    is_free && ui.model.read_value().can_record()
}

fn change_theme(ui: UiState) {
    let theme = ui.settings.read_untracked().theme;
    ui.set_theme(theme.next());
}

fn change_zone(ui: UiState) {
    let is_utc = ui.settings.read_untracked().zone == Zone::Utc;
    ui.set_zone(if is_utc { Zone::Local } else { Zone::Utc });
}

fn is_disconnected(ui: UiState) -> bool {
    ui.connections.is_any_disconnected()
}

fn has_wall(ui: UiState) -> bool {
    ui.wall.read_untracked().is_some()
}

fn has_no_wall(ui: UiState) -> bool {
    !has_wall(ui)
}

fn focus(selector: &str) {
    if let Some(element) = browser::query_all(selector).first() {
        let _ = element.focus();
    }
}

/// Goes to a page, which is then shown as this one: its address is completed by [`UiState::on_hash_change`].
pub(super) fn go(page: Page) {
    browser::navigate(&super::page_address(page));
}

fn go_in_app(ui: UiState, page: fn(String) -> Page) {
    let app = ui.page.read_untracked().app().map(str::to_owned);
    if let Some(app) = app {
        go(page(app));
    }
}

fn go_up(ui: UiState) {
    let page = ui.page.get_untracked();
    go(match page {
        Page::Detail(app, _) | Page::Workers(app) => Page::Dashboard(app),
        _ => Page::Landing,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_name_of_its_own() {
        for (at, action) in ACTIONS.iter().enumerate() {
            assert!(ACTIONS.iter().skip(at + 1).all(|other| other.name != action.name), "{} twice", action.name);
        }
    }

    #[test]
    fn no_key_is_also_the_beginning_of_a_sequence() {
        let keys = || ACTIONS.iter().flat_map(|action| action.keys);
        for prefix in keys().filter_map(|keys| keys.split_once(' ')).map(|(first, _)| first) {
            assert!(keys().all(|other| *other != prefix), "{prefix}");
        }
    }
}
