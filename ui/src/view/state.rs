//! The state that every component can use, provided as a Leptos context.
//!
//! Signals hold what the user chose: the page, the window, the theme. Measurements stay in the model; components read them
//! with [`UiState::read_model`], which subscribes to the frame loop's tick.

use std::ops::DerefMut;

use joey_shared::view::ViewKey;
use joey_shared::window::second_of;
use leptos::prelude::{
    Effect, Get, GetUntracked, Read, ReadUntracked, ReadValue, RwSignal, Set, StoredValue, Track, Update, WriteValue,
    expect_context, untrack,
};

use super::menus;
use super::recordings::Recordings;
use crate::browser;
use crate::connections::Connections;
use crate::favourites::Favourites;
use crate::frame_loop::{FrameLoop, ModelHandle};
use crate::local_storage;
use crate::model::Model;
use crate::reference::Reference;
use crate::route::{Page, Route, data_in, token_in, with_data};
use crate::settings::text::Settings;
use crate::settings::{self, WINDOW_DEFAULT};
use crate::table_choice::{Layout, TableChoice};
use crate::table_rows::Sort;
use crate::time_format::UtcOffset;
use crate::time_range::TimeRange;
use crate::typed_percentile::{TYPED_MAX, TypedPercentile};
use crate::vocabulary::Words;
use crate::wall::Wall;
use crate::{units, zone};

/// The name of an application, owned by a page component. Copies share the name.
pub type AppName = StoredValue<String>;

/// The state of the page. Copies share the state.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "the frame loop holds closures")]
pub struct UiState {
    /// The measurements.
    pub model: ModelHandle,
    /// Ticks and charts.
    pub frame_loop: FrameLoop,
    /// The connections to the relays.
    pub connections: Connections,
    /// The page that is shown.
    pub page: RwSignal<Page>,
    /// The length of the window in seconds.
    pub window_seconds: RwSignal<u64>,
    /// The settings, which are stored.
    pub settings: RwSignal<Settings>,
    /// The addresses of the relays that a link names and that this browser does not know. The user is asked about them.
    pub unknown_relays: RwSignal<Vec<Vec<String>>>,
    /// Whether the settings are open.
    pub settings_open: RwSignal<bool>,
    /// When the page was paused, by the relay's clock in ns since the Unix epoch; `None` while it is live.
    pub paused_at_ns: RwSignal<Option<u64>>,
    /// The selected range of time.
    pub range: RwSignal<Option<TimeRange>>,
    /// The range that will be selected when the history has arrived.
    pub pending_range: RwSignal<Option<TimeRange>>,
    /// The filter of the tables.
    pub filter: RwSignal<String>,
    /// The percentiles that the user typed, ascending.
    pub percentiles: RwSignal<Vec<TypedPercentile>>,
    /// The order of the tables; `None` is each table's own.
    pub sort: RwSignal<Option<Sort>>,
    /// How the rows of the tables are shown.
    pub layout: RwSignal<Layout>,
    /// Whether the tables show only favourites.
    pub only_favourites: RwSignal<bool>,
    /// The favourites of the application of this page.
    pub favourites: RwSignal<Favourites>,
    /// Whether the page is being printed: then tables have all their rows.
    pub is_printing: RwSignal<bool>,
    /// Wall mode, if it is on.
    pub wall: RwSignal<Option<Wall>>,
    /// The pages that were chosen for wall mode.
    pub wall_pages: RwSignal<Vec<Page>>,
    /// What screen readers say next.
    pub announcement: RwSignal<String>,
    /// What the page shows for a few seconds.
    pub confirmation: RwSignal<String>,
    /// Whether the search is open.
    pub palette_open: RwSignal<bool>,
    /// Whether the sheet of keyboard shortcuts is open.
    pub sheet_open: RwSignal<bool>,
    /// Whether the server has a newer version of the page.
    pub is_outdated: RwSignal<bool>,
    /// What the user compares with; `None` for the baseline, if there is one.
    pub reference: RwSignal<Option<Reference>>,
    /// The recording that is shown instead of live data.
    pub recordings: Recordings,
    /// The threshold in ns that was dragged on the charts of this page.
    pub threshold_ns: RwSignal<Option<u64>>,
    /// Whether missed objectives are notified about.
    pub notifies: RwSignal<bool>,
    /// How many times faster than live a recording plays.
    pub recording_speed: RwSignal<f64>,
}

/// The state of the page, from the context.
///
/// # Panics
/// Outside a component of the page.
#[must_use]
pub fn use_ui() -> UiState {
    expect_context()
}

/// The words for the parts of the application of this page, from the context of [`AppPage`](super::notices::AppPage).
///
/// # Panics
/// Outside the page of an application.
#[must_use]
pub fn use_words() -> &'static Words {
    expect_context()
}

impl UiState {
    /// Creates the state for the current address and connects to its relays.
    #[must_use]
    pub fn start() -> Self {
        let hash = browser::location_hash();
        let route = Route::parse(&hash);
        let data = data_in(&hash);
        if token_in(&hash).is_some() {
            browser::replace_address(&route.address());
        }
        let settings = local_storage::settings();
        units::set(settings.units, settings.bins);
        let window_seconds = route.window_seconds.and_then(settings::offered_window).unwrap_or(settings.window_seconds);
        let mut model = Model::new(window_seconds);
        if let (Some(app), Some(range)) = (route.page.app(), route.baseline) {
            model.await_baseline(app, range);
        }
        model.compare_with(route.reference.clone(), None, browser::now_ns());
        for (app, list) in local_storage::all_objectives() {
            model.set_objectives(&app, list);
        }
        if let Some(app) = route.page.app().filter(|_| !route.objectives.is_empty()) {
            model.set_objectives(app, route.objectives);
        }
        model.show(&route.page, browser::now_ns());
        let model = StoredValue::new_local(model);
        let frame_loop = FrameLoop::start(model);
        let favourites = RwSignal::new(local_storage::favourites(route.page.app().unwrap_or_default()));
        let ui = Self {
            model,
            frame_loop,
            connections: Connections::new(model, frame_loop),
            page: RwSignal::new(route.page),
            window_seconds: RwSignal::new(window_seconds),
            settings: RwSignal::new(settings),
            unknown_relays: RwSignal::new(Vec::new()),
            settings_open: RwSignal::new(false),
            paused_at_ns: RwSignal::new(None),
            range: RwSignal::new(None),
            // The data arrives later.
            pending_range: RwSignal::new(route.range),
            filter: RwSignal::new(route.tables.filter),
            sort: RwSignal::new(route.tables.sort),
            layout: RwSignal::new(route.tables.layout),
            only_favourites: RwSignal::new(route.tables.only_favourites),
            favourites,
            is_printing: RwSignal::new(false),
            percentiles: RwSignal::new(route.percentiles),
            wall_pages: RwSignal::new(route.wall.as_ref().map(|wall| wall.pages.clone()).unwrap_or_default()),
            wall: RwSignal::new(route.wall),
            announcement: RwSignal::new(String::new()),
            confirmation: RwSignal::new(String::new()),
            palette_open: RwSignal::new(false),
            sheet_open: RwSignal::new(false),
            is_outdated: RwSignal::new(false),
            reference: RwSignal::new(route.reference),
            recordings: Recordings::default(),
            threshold_ns: RwSignal::new(route.threshold_ns),
            notifies: RwSignal::new(local_storage::notifies()),
            recording_speed: RwSignal::new(1.0),
        };
        ui.start_relays(&route.relays, token_in(&hash));
        if let Some(data) = data {
            ui.open_link(data);
        }
        Effect::new(move || ui.select_pending_range());
        Effect::new(move |before: Option<()>| {
            ui.table_choice();
            // At the start, the address may already be another one, whose event has not arrived.
            if before.is_some() {
                ui.write_address();
            }
        });
        ui.write_address();
        Effect::new(move || {
            ui.frame_loop.tick.track();
            ui.pin_awaited();
        });
        ui
    }

    /// The model. The caller reads it again at the next tick. It must not be held while another function reads it.
    #[must_use]
    pub fn read_model(self) -> impl DerefMut<Target = Model> {
        self.frame_loop.tick.track();
        self.model.write_value()
    }

    /// The words for the parts of `app`. The caller reads them again at the next tick.
    #[must_use]
    pub fn words(self, app: &str) -> &'static Words {
        self.read_model().words(app)
    }

    /// The UTC offset for displaying the instant `ns`.
    #[must_use]
    pub fn utc_offset(self, ns: u64) -> UtcOffset {
        zone::utc_offset(&self.settings.read().zone, ns)
    }

    /// The same without subscribing to the setting; for charts, which are repainted at every tick.
    #[must_use]
    pub fn utc_offset_untracked(self, ns: u64) -> UtcOffset {
        zone::utc_offset(&self.settings.read_untracked().zone, ns)
    }

    /// Follows the address bar after it has changed.
    pub fn on_hash_change(self) {
        let hash = browser::location_hash();
        let mut route = Route::parse(&hash);
        if let Some(token) = token_in(&hash) {
            // An address with a token alone stays on the same page.
            if hash.starts_with("#token=") {
                route.page = self.page.get_untracked();
            }
            browser::replace_address(&route.address());
            self.follow_token(&route.relays, token);
        }
        self.follow_relays(&route.relays);
        if let Some(data) = data_in(&hash) {
            self.open_link(data);
        }
        if let Some(seconds) = route.window_seconds.and_then(settings::offered_window) {
            self.set_window(seconds);
        }
        self.follow_reference(&route);
        if !route.percentiles.is_empty() {
            self.percentiles.set(route.percentiles);
        }
        if route.wall.is_some() && route.wall != self.wall.get_untracked() {
            self.wall.set(route.wall);
        }
        if let Some(app) = route.page.app().filter(|app| self.page.read_untracked().app() != Some(app))
            && !route.objectives.is_empty()
        {
            self.model.write_value().set_objectives(app, route.objectives);
        }
        if route.page != *self.page.read_untracked() {
            self.threshold_ns.set(route.threshold_ns);
            self.show_page(route.page, route.tables);
        } else if route.tables != TableChoice::DEFAULT {
            self.set_table_choice(route.tables);
        }
        if route.range.is_some() && route.range != self.range.get_untracked() {
            self.select_range(route.range);
        }
        self.write_address();
    }

    fn show_page(self, page: Page, tables: TableChoice) {
        if page.app() != self.page.read_untracked().app() {
            self.resume();
        }
        self.set_table_choice(tables);
        self.favourites.set(local_storage::favourites(page.app().unwrap_or_default()));
        self.model.write_value().show(&page, browser::now_ns());
        self.connections.send();
        menus::close();
        self.page.set(page);
        browser::scroll_to_top();
        self.frame_loop.tick_now();
    }

    /// Changes the window, here and in the address bar.
    pub fn set_window(self, seconds: u64) {
        if seconds == self.window_seconds.get_untracked() {
            return;
        }
        self.window_seconds.set(seconds);
        self.model.write_value().set_seconds(seconds, browser::now_ns());
        self.connections.send();
        self.write_address();
        self.frame_loop.tick_now();
    }

    /// Adds a column for `percentile`, here and in the address bar. Returns false if there are too many already.
    pub fn add_percentile(self, percentile: TypedPercentile) -> bool {
        let mut percentiles = self.percentiles.get_untracked();
        if let Err(index) = percentiles.binary_search(&percentile) {
            if percentiles.len() >= TYPED_MAX {
                return false;
            }
            percentiles.insert(index, percentile);
            self.set_percentiles(percentiles);
        }
        true
    }

    /// Removes the column for `percentile`.
    pub fn remove_percentile(self, percentile: TypedPercentile) {
        let mut percentiles = self.percentiles.get_untracked();
        percentiles.retain(|other| *other != percentile);
        self.set_percentiles(percentiles);
    }

    /// Shows `new` instead of `old`, here and in the address bar.
    pub fn replace_percentile(self, old: TypedPercentile, new: TypedPercentile) {
        let mut percentiles = self.percentiles.get_untracked();
        percentiles.retain(|other| *other != old);
        if let Err(index) = percentiles.binary_search(&new) {
            percentiles.insert(index, new);
        }
        self.set_percentiles(percentiles);
    }

    fn set_percentiles(self, percentiles: Vec<TypedPercentile>) {
        self.percentiles.set(percentiles);
        self.write_address();
        self.frame_loop.tick_now();
    }

    /// How the user wants the tables. The caller runs again when that changes.
    fn table_choice(self) -> TableChoice {
        TableChoice {
            filter: self.filter.get(),
            sort: self.sort.get(),
            layout: self.layout.get(),
            only_favourites: self.only_favourites.get(),
        }
    }

    fn set_table_choice(self, TableChoice { filter, sort, layout, only_favourites }: TableChoice) {
        self.filter.set(filter);
        self.sort.set(sort);
        self.layout.set(layout);
        self.only_favourites.set(only_favourites);
    }

    /// Adds the view to the favourites of the application of this page, or removes it.
    pub fn toggle_favourite(self, key: &ViewKey) {
        self.favourites.update(|favourites| favourites.toggle(key));
        if let Some(app) = self.page.read_untracked().app() {
            local_storage::store_favourites(app, &self.favourites.read_untracked());
        }
        self.frame_loop.tick_now();
    }

    /// Writes the window, the typed percentiles, the range, the comparison, the tables and the relays into the address
    /// bar, so that a copied address shows the same.
    pub(super) fn write_address(self) {
        let address = with_data(&self.shown_route().address(), self.link_data().as_deref());
        // The page in the address is as it was typed. Invalid parameters are removed.
        let parameters = |hash: &str| hash.split_once('?').map(|(_, parameters)| parameters.to_owned());
        if parameters(&browser::location_hash()) != parameters(&address) {
            browser::replace_address(&address);
        }
    }

    /// The route to what is shown.
    fn shown_route(self) -> Route {
        let seconds = self.window_seconds.get_untracked();
        let page = Route::parse(&browser::location_hash()).page;
        let baseline = self.baseline_in_address(&page);
        let objectives = page.app().map(|app| self.model.read_value().objectives(app).to_vec()).unwrap_or_default();
        Route {
            page,
            // Another browser may have another default.
            window_seconds: (seconds != WINDOW_DEFAULT || seconds != self.settings.read_untracked().window_seconds)
                .then_some(seconds),
            percentiles: self.percentiles.get_untracked(),
            relays: self.relays_in_address(),
            tables: untrack(|| self.table_choice()),
            range: self.range.get_untracked().or_else(|| self.pending_range.get_untracked()),
            reference: self.reference.get_untracked(),
            baseline,
            wall: self.wall.get_untracked(),
            objectives,
            threshold_ns: self.threshold_ns.get_untracked(),
        }
    }

    /// The address of the page for a link with data: with the window, because another reader may prefer another one, and
    /// without a range of time and a comparison, which need more data.
    pub(super) fn address(self) -> String {
        let window_seconds = Some(self.window_seconds.get_untracked());
        let Route { page, percentiles, objectives, threshold_ns, .. } = self.shown_route();
        Route { window_seconds, percentiles, objectives, threshold_ns, ..Route::to(page) }.address()
    }

    /// Freezes what is shown. Data is still received.
    pub fn pause(self) {
        self.model.write_value().pause(browser::now_ns());
        self.note_pause();
        self.frame_loop.tick_now();
    }

    fn note_pause(self) {
        let relay_ns = self.model.read_value().relay_ns(browser::now_ns());
        self.paused_at_ns.set(Some(relay_ns.unwrap_or(0)));
    }

    /// Shows live data again.
    pub fn resume(self) {
        self.pending_range.set(None);
        if self.paused_at_ns.get_untracked().is_some() {
            self.model.write_value().resume();
            self.paused_at_ns.set(None);
            self.range.set(None);
            self.write_address();
            self.frame_loop.tick_now();
        }
    }

    /// Shows only `range`, of the data that has arrived until now or until the pause. `None` shows the whole window that was
    /// paused. A range that is older than the requested history is selected when it has arrived.
    pub fn select_range(self, range: Option<TimeRange>) {
        let is_selected = self.model.write_value().select(range, browser::now_ns());
        if is_selected {
            self.range.set(range);
            self.pending_range.set(None);
            self.note_pause();
        } else {
            // The copy does not have the range. A new one is taken when it has arrived.
            self.model.write_value().resume();
            self.paused_at_ns.set(None);
            self.range.set(None);
            self.pending_range.set(range);
            self.connections.send();
        }
        self.write_address();
        self.frame_loop.tick_now();
    }

    /// Requests the history of the last hour.
    pub fn load_hour(self) {
        self.model.write_value().load_hour(browser::now_ns());
        self.connections.send();
        self.frame_loop.tick_now();
    }

    /// Selects the pending range once its history has arrived. Runs at each tick.
    fn select_pending_range(self) {
        self.frame_loop.tick.track();
        let pending = self.pending_range.get();
        if pending.is_some() && self.model.read_value().has_history() {
            self.select_range(pending);
        }
    }

    /// The seconds that the page shows now, of the application of the page or of any other. `None` without data.
    #[must_use]
    pub fn shown_range(self) -> Option<TimeRange> {
        let model = self.model.read_value();
        match self.page.read_untracked().app() {
            Some(app) => model.shown_range(app),
            None => model.range().or_else(|| model.catalogue().keys().find_map(|app| model.shown_range(app))),
        }
    }

    /// Selects the range that `change` makes of the one that is shown, moved into the hour before now or before the pause.
    pub fn change_range(self, change: impl FnOnce(TimeRange) -> TimeRange) {
        let newest = self.model.read_value().relay_ns(browser::now_ns()).map(second_of);
        if let Some((shown, newest)) = self.range.get_untracked().or_else(|| self.shown_range()).zip(newest) {
            self.select_range(Some(change(shown).within_hour_before(newest)));
        }
    }
}
