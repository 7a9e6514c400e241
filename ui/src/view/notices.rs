//! Notices above the measurements: what is stale, missing, late or skewed, in words.

use joey_shared::format;
use joey_shared::store::AppStore;
use joey_shared::viewer::Subscriber;
use leptos::prelude::*;

use super::compare_bar::CompareBar;
use super::live_text::text_content;
use super::name::display_name;
use super::{AppName, UiState, page_address, status, use_ui};
use crate::browser;
use crate::connection::ConnectionState;
use crate::connections::PageRelay;
use crate::route::Page;
use crate::settings::invalid_addresses;

/// One notice.
#[derive(Clone, PartialEq)]
struct Notice {
    /// The classes, which decide how it looks.
    class: &'static str,
    text: String,
}

impl Notice {
    const fn new(class: &'static str, text: String) -> Self {
        Self { class, text }
    }
}

/// Whether the measurements of `app` are older than they should be.
pub(super) fn is_stale(ui: UiState, app: AppName) -> Memo<bool> {
    Memo::new(move |_| {
        let model = ui.read_model();
        let app = app.read_value();
        let now_ns = model.app_relay_ns(&app, browser::now_ns()).unwrap_or(0);
        model.app(&app).and_then(|store| store.silent_for(now_ns)).is_some()
    })
}

/// The notices of any page, or of a page about `app`.
#[component]
pub(super) fn Notices(#[prop(optional)] app: Option<AppName>) -> impl IntoView {
    let ui = use_ui();
    let notices = Memo::new(move |_| {
        let mut notices = page_notices(ui);
        if let Some(app) = app {
            notices.extend(app_notices(ui, &app.read_value()));
        }
        notices
    });
    let notice = |Notice { class, text }| view! { <p class=class dir="auto" use:text_content=text></p> };
    view! {
        <div class="notes">
            {move || notices.get().into_iter().map(notice).collect_view()}
        </div>
    }
}

/// The notices of any page.
fn page_notices(ui: UiState) -> Vec<Notice> {
    let mut notices = Vec::new();
    notices.extend(status::obstacles(ui).into_iter().map(|text| Notice::new("note stopped", text)));
    for relay in invalid_addresses(&browser::configured_relays()) {
        notices.push(Notice::new("note odd", format!("“{relay}” is not the address of a relay.")));
    }
    for relay in ui.connections.relays.read().iter() {
        let (name, model) = (status::relay_name(ui, relay, "the relay"), ui.read_model());
        let wall_clock = model.relay(relay.connection.relay).and_then(Subscriber::wall_clock);
        if let Some((step_ns, at_ns)) = wall_clock.filter(|(step_ns, _)| *step_ns != 0) {
            let (offset, at) = (format::clock_offset(step_ns), ui.utc_offset(at_ns).time(at_ns));
            let text = format!(
                "The clock of the machine of {name} was set at {at}; times shown here are {offset}. No count is affected."
            );
            notices.push(Notice::new("note odd", text));
        }
        if let Some(offset) = status::clock_text(&model, relay) {
            let text = format!(
                "The clock of {name} is {offset} of the first relay's. Its data is placed by its own clock, \
                 and windows end with the latest."
            );
            notices.push(Notice::new("note odd", text));
        }
    }
    notices
}

/// The notices about an application.
fn app_notices(ui: UiState, app: &str) -> Vec<Notice> {
    let mut notices = Vec::new();
    let model = ui.read_model();
    let time = |ns: u64| ui.utc_offset(ns).time(ns);
    let (Some(now_ns), Some(store)) = (model.app_relay_ns(app, browser::now_ns()), model.app(app)) else {
        return notices;
    };
    if let Some(silent_ns) = store.silent_for(now_ns).filter(|_| !model.is_paused()) {
        let silence = format::age(silent_ns / 1_000_000_000);
        let text = format!("No data for {silence}. What is shown ends at {}.", time(store.clock_ns()));
        notices.push(Notice::new("note stale", text));
    }
    notices.extend(gap_texts(ui, store).into_iter().map(|text| Notice::new("note lost", text)));
    let mut odd = |text| notices.push(Notice::new("note odd", text));
    if store.late() > 0 {
        odd(format!("{} updates came too late for any window.", format::count(store.late().into())));
    }
    let Some(entry) = model.catalogue().get(app) else { return notices };
    if entry.late > 0 {
        let (late, ring) = (format::count(entry.late.into()), format::age(model.ring_ns() / 1_000_000_000));
        odd(format!("{late} updates came more than {ring} late: windows up to {ring} do not count them."));
    }
    for worker in entry.workers.iter().filter(|worker| worker.offset_ns != 0) {
        let (name, offset) = (&worker.worker, format::clock_offset(worker.offset_ns));
        let since = time(worker.offset_since_ns);
        odd(format!("The clock of {name} is {offset} since {since}; its periods are moved by that."));
    }
    if entry.over_limit > 0 {
        let limited = format::count(entry.over_limit.into());
        odd(format!("{limited} frames were refused because of a limit of the relay."));
    }
    if entry.rejected_for_name > 0 {
        odd(format::rejected_names(entry.rejected_for_name, &entry.rejected_names));
    }
    notices
}

/// The gaps in the window, one sentence for each.
fn gap_texts(ui: UiState, store: &AppStore) -> Vec<String> {
    let start_ns = store.clock_ns().saturating_sub(store.seconds() * 1_000_000_000);
    let time = |ns: u64| ui.utc_offset(ns).time(ns);
    // With one relay, its name says nothing. The relays of a recording have no names.
    let relays = ui.connections.relays.read();
    let needs_name = relays.len() > 1 && ui.recordings.opened.read().is_none();
    let named = |relay: &PageRelay| (relay.connection.relay, status::host(relay));
    let names: Vec<(u32, String)> = relays.iter().filter(|_| needs_name).map(named).collect();
    let gaps = store.gaps().iter().filter(|gap| gap.from_ns > 0 && (gap.to_ns == 0 || gap.to_ns > start_ns));
    let mut texts: Vec<String> = gaps
        .map(|gap| {
            let between = match gap.to_ns {
                0 => format!("after {}", time(gap.from_ns)),
                to_ns => format!("between {} and {}", time(gap.from_ns), time(to_ns)),
            };
            let name = names.iter().find(|(id, _)| *id == gap.relay).map(|(_, name)| name);
            let of = name.map_or_else(String::new, |name| format!(" of {name}"));
            let restarted = name.map_or("The relay", String::as_str);
            match gap.updates {
                Some(1) => format!("Missed 1 update{of} {between}."),
                Some(updates) => format!("Missed {} updates{of} {between}.", format::count(updates.into())),
                None => format!("{restarted} restarted; what it alone held {between} is lost."),
            }
        })
        .collect();
    texts.dedup();
    texts
}

/// Why there is nothing to show of an application, or `None` if there is something.
fn reason_for_absence(ui: UiState, app: &str) -> Option<&'static str> {
    let relays = ui.connections.relays.read();
    let is_connected = |relay: &&PageRelay| *relay.connection.state.read() == ConnectionState::Connected;
    let mut connected = relays.iter().filter(is_connected).peekable();
    let model = ui.read_model();
    let has_views = model.app(app).is_some_and(|store| !store.views().is_empty());
    if has_views || model.catalogue().contains_key(app) {
        return None;
    }
    if model.recording().is_some() {
        let is_reading = model.is_reading_recording();
        return Some(if is_reading {
            "Reading the recording."
        } else {
            "The recording does not have this application at this time."
        });
    }
    if connected.peek().is_none() {
        return Some("Waiting for the relay.");
    }
    let is_waiting = |relay: &PageRelay| model.relay(relay.connection.relay).is_some_and(Subscriber::is_waiting);
    Some(if connected.all(is_waiting) {
        "The relay does not know this application. It appears here when its first data arrives."
    } else {
        "Connected; no measurements yet."
    })
}

/// A page about `app`: its notices, and the children once the application is known. They are created anew if its words change.
#[component]
pub(super) fn AppPage(app: AppName, children: ChildrenFn) -> impl IntoView {
    let ui = use_ui();
    let reason = Memo::new(move |_| reason_for_absence(ui, &app.read_value()));
    let words = Memo::new(move |_| ui.words(&app.read_value()));
    view! {
        <Notices app/>
        <CompareBar app/>
        {move || match reason.get() {
            None => {
                provide_context(words.get());
                children()
            }
            Some(reason) => view! {
                <div class="notice" data-testid="empty">
                    <h1 class="ellipsis" dir="auto" translate="no">{display_name(&app.read_value())}</h1>
                    <p use:text_content=reason.to_owned()></p>
                    <p><a href=page_address(Page::Landing)>"All applications"</a></p>
                </div>
            }
            .into_any(),
        }}
    }
}
