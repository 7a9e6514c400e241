//! The state that every component can use, provided as a Leptos context.
//!
//! Signals hold what the user chose: the page, the window, the theme. Measurements stay in the model; components read them
//! with [`UiState::read_model`], which subscribes to the frame loop's tick.

use std::ops::DerefMut;

use leptos::prelude::{
    GetUntracked, Read, ReadUntracked, RwSignal, Set, StoredValue, Track, WriteValue, expect_context,
};

use super::shortcuts;
use crate::browser;
use crate::connections::Connections;
use crate::frame_loop::{FrameLoop, ModelHandle};
use crate::local_storage;
use crate::model::Model;
use crate::route::{Page, Route, token_in};
use crate::settings::text::Settings;
use crate::settings::{self, WINDOW_DEFAULT};
use crate::time_format::UtcOffset;
use crate::typed_percentile::{TYPED_MAX, TypedPercentile};
use crate::vocabulary::Words;
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
    /// The filter of the tables.
    pub filter: RwSignal<String>,
    /// The percentiles that the user typed, ascending.
    pub percentiles: RwSignal<Vec<TypedPercentile>>,
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
        if token_in(&hash).is_some() {
            browser::replace_address(&route.address());
        }
        let settings = local_storage::settings();
        units::set(settings.units, settings.bins);
        let window_seconds = route.window_seconds.and_then(settings::offered_window).unwrap_or(settings.window_seconds);
        let mut model = Model::new(window_seconds);
        model.show(&route.page, browser::now_ns());
        let model = StoredValue::new_local(model);
        let frame_loop = FrameLoop::start(model);
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
            filter: RwSignal::new(String::new()),
            percentiles: RwSignal::new(route.percentiles),
        };
        ui.start_relays(&route.relays, token_in(&hash));
        ui.write_address();
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
        if let Some(seconds) = route.window_seconds.and_then(settings::offered_window) {
            self.set_window(seconds);
        }
        if !route.percentiles.is_empty() {
            self.percentiles.set(route.percentiles);
        }
        if route.page != *self.page.read_untracked() {
            self.show_page(route.page);
        }
        self.write_address();
    }

    fn show_page(self, page: Page) {
        if page.app() != self.page.read_untracked().app() {
            self.resume();
        }
        self.filter.set(String::new());
        self.model.write_value().show(&page, browser::now_ns());
        self.connections.send();
        shortcuts::close_menus();
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

    fn set_percentiles(self, percentiles: Vec<TypedPercentile>) {
        self.percentiles.set(percentiles);
        self.write_address();
        self.frame_loop.tick_now();
    }

    /// Writes the window, the typed percentiles and the relays into the address bar, so that a copied address shows the same.
    pub(super) fn write_address(self) {
        let seconds = self.window_seconds.get_untracked();
        let route = Route::parse(&browser::location_hash());
        let shown = Route {
            page: route.page.clone(),
            // Another browser may have another default.
            window_seconds: (seconds != WINDOW_DEFAULT || seconds != self.settings.read_untracked().window_seconds)
                .then_some(seconds),
            percentiles: self.percentiles.get_untracked(),
            relays: self.relays_in_address(),
        };
        if route != shown {
            browser::replace_address(&shown.address());
        }
    }

    /// Freezes what is shown. Data is still received.
    pub fn pause(self) {
        let relay_ns = {
            let mut model = self.model.write_value();
            model.pause(browser::now_ns());
            model.relay_ns(browser::now_ns())
        };
        self.paused_at_ns.set(Some(relay_ns.unwrap_or(0)));
        self.frame_loop.tick_now();
    }

    /// Shows live data again.
    pub fn resume(self) {
        if self.paused_at_ns.get_untracked().is_some() {
            self.model.write_value().resume();
            self.paused_at_ns.set(None);
            self.frame_loop.tick_now();
        }
    }
}
