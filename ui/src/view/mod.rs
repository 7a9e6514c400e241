//! The page: components that lay out what the model knows.
//!
//! A component reads the model inside a closure that depends on the clock's tick, so it is run again a few times a second
//! at most and touches only what changed. Components are plain functions; names from outside are always text nodes.

mod toolbar;
mod chart;
mod dashboard;
mod detail;
mod shortcuts;
mod landing;
pub mod node;
mod notices;
mod format;
mod detail_charts;
mod status;
mod table;
mod workers;

use std::cell::RefMut;

use leptos::prelude::{GetUntracked, RwSignal, Set, Track};

use crate::browser;
use crate::connection::Connection;
use crate::frame_loop::{FrameLoop, Handle};
use crate::kept::{Kept, Told};
use crate::model::Model;
use crate::route::{Page, Route, token_in};
use crate::settings::{self, Theme, WINDOW_DEFAULT};
use crate::time_format::Zone;

pub use self::table::table;

use self::node::{Node, el, live, with_class};

/// What every component may use.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "the clock holds closures")]
pub struct Ctx {
    /// What the page knows.
    pub model: Handle,
    /// When to look again.
    pub clock: FrameLoop,
    /// The connection.
    pub connection: Connection,
    /// What is shown.
    pub page: Told<Page>,
    /// Length of the window in seconds.
    pub window: RwSignal<u64>,
    /// Which colours.
    pub theme: Told<Theme>,
    /// Whether times are shown in UTC.
    pub utc: Told<bool>,
    /// Since when the picture is held, by the relay's clock in ns since the Unix epoch.
    pub paused: Told<Option<u64>>,
    /// What the tables are filtered by.
    pub filter: Told<String>,
}

impl Ctx {
    /// Everything that a page needs, connected to one of the relays at `addresses`.
    #[must_use]
    pub fn start(addresses: Vec<String>) -> Self {
        let hash = browser::hash();
        let route = Route::parse(&hash);
        if let Some(token) = token_in(&hash) {
            browser::keep_token(token);
            browser::rewrite(&route.address());
        }
        let window =
            route.window.and_then(settings::window_on_offer).or_else(browser::kept_window).unwrap_or(WINDOW_DEFAULT);
        let model = Kept::new(Model::new(window));
        model.get().show(&route.page, browser::now_ns());
        let clock = FrameLoop::start(model);
        let ctx = Self {
            model,
            clock,
            connection: Connection::start(model, clock, addresses),
            page: Told::new(route.page),
            window: RwSignal::new(window),
            theme: Told::new(browser::kept_theme()),
            utc: Told::new(browser::kept_utc()),
            paused: Told::new(None),
            filter: Told::new(String::new()),
        };
        ctx.say_window();
        ctx
    }

    /// The model, with the clock's next tick as a reason to read again. Nobody may hold it while asking for it again.
    #[must_use]
    #[inline(never)]
    pub fn read(self) -> RefMut<'static, Model> {
        self.clock.tick.track();
        self.model.get()
    }

    /// The zone in which the instant `ns` is shown.
    #[must_use]
    #[inline(never)]
    pub fn zone(self, ns: u64) -> Zone {
        if self.utc.get() { Zone(0) } else { browser::zone_at(ns) }
    }

    /// The zone, without being told when it changes; for charts, which are painted again anyway.
    #[must_use]
    pub fn zone_now(self, ns: u64) -> Zone {
        if self.utc.peek() { Zone(0) } else { browser::zone_at(ns) }
    }

    /// Follows the address bar.
    fn moved(self) {
        let hash = browser::hash();
        let mut route = Route::parse(&hash);
        if let Some(token) = token_in(&hash) {
            // A token alone leads nowhere else.
            if hash.starts_with("#token=") {
                route.page = self.page.peek();
            }
            browser::rewrite(&route.address());
            self.connection.show_token(token);
        }
        if let Some(seconds) = route.window.and_then(settings::window_on_offer) {
            self.set_window(seconds);
        }
        let before = self.page.peek();
        if route.page != before {
            if route.page.app() != before.app() {
                self.resume();
            }
            self.filter.set(String::new());
            self.model.get().show(&route.page, browser::now_ns());
            self.connection.send();
            browser::set_title(&title(&route.page));
            shortcuts::close_menus();
            self.page.set(route.page);
            if let Some(window) = web_sys::window() {
                window.scroll_to_with_x_and_y(0.0, 0.0);
            }
            self.clock.now();
        }
        self.say_window();
    }

    /// Changes the window, here and in the address bar.
    pub fn set_window(self, seconds: u64) {
        if seconds != self.window.get_untracked() {
            self.window.set(seconds);
            self.model.get().set_seconds(seconds, browser::now_ns());
            self.connection.send();
            browser::keep_window(seconds);
            self.say_window();
            self.clock.now();
        }
    }

    /// Keeps the window in the address bar, so that a copied address shows the same.
    fn say_window(self) {
        let seconds = self.window.get_untracked();
        let window = (seconds != WINDOW_DEFAULT).then_some(seconds);
        let mut route = Route::parse(&browser::hash());
        if route.window != window {
            route.window = window;
            browser::rewrite(&route.address());
        }
    }

    /// Holds the picture. Data keeps coming in.
    pub fn pause(self) {
        let now_ns = browser::now_ns();
        self.model.get().pause(now_ns);
        let relay_ns = self.model.get().relay_ns(now_ns);
        self.paused.set(Some(relay_ns.unwrap_or(0)));
        self.clock.now();
    }

    /// Goes on from now.
    pub fn resume(self) {
        if self.paused.peek().is_some() {
            self.model.get().resume();
            self.paused.set(None);
            self.clock.now();
        }
    }

    /// Changes the colours.
    pub fn set_theme(self, theme: Theme) {
        self.theme.set(theme);
        browser::keep_theme(theme);
        browser::apply_theme(theme);
        self.clock.repaint();
    }

    /// Changes between local time and UTC.
    pub fn set_utc(self, utc: bool) {
        self.utc.set(utc);
        browser::keep_utc(utc);
        self.clock.now();
    }
}

/// The address of a page.
#[must_use]
pub fn address(page: Page) -> String {
    Route { page, window: None }.address()
}

/// The whole page.
#[must_use]
pub fn app() -> Node {
    let ctx = Ctx::start(browser::relay_addresses());
    browser::apply_theme(ctx.theme.peek());
    browser::set_title(&title(&ctx.page.peek()));
    shortcuts::listen(ctx);
    let main = el("main").attr("id", "main").attr("tabindex", "-1").child(live(move || page(ctx, ctx.page.get())));
    Node::Many(vec![toolbar::toolbar(ctx), main.into()])
}

fn page(ctx: Ctx, page: Page) -> Node {
    match page {
        Page::Landing => landing::page(ctx),
        Page::Dashboard(app) => dashboard::page(ctx, app),
        Page::Workers(app) => workers::page(ctx, app),
        Page::Detail(app, key) => detail::page(ctx, app, key),
        Page::Unknown(typed) => with_class("div", "notice")
            .child(el("h1").child("There is no such page"))
            .child(el("p").child("Nothing is shown at ").child(el("code").attr("dir", "auto").child(typed)).child("."))
            .child(el("p").child(el("a").attr("href", address(Page::Landing)).child("All applications")))
            .into(),
    }
}

/// What the browser's tab says.
fn title(page: &Page) -> String {
    match page {
        Page::Landing => "Joey".to_owned(),
        Page::Dashboard(app) => format!("{app} · Joey"),
        Page::Workers(app) => format!("{app}: workers · Joey"),
        Page::Detail(app, key) => {
            let names = [&key.name, &key.pipeline, &key.worker].into_iter().flatten().cloned();
            format!("{} · {app} · Joey", format::joined(names, " on "))
        }
        Page::Unknown(_) => "No such page · Joey".to_owned(),
    }
}
