//! The connection status in the toolbar, with the facts about the relays behind it.
//!
//! With one relay it is the state of its connection. With several it says how many are connected, and the worst state wins.

use joey_shared::wire::VERSION;
use joey_shared::{close, format};
use leptos::prelude::*;

use super::disclosure::Disclosure;
use super::relay_facts::RelayFacts;
use super::{UiState, use_ui};
use crate::browser;
use crate::connection::{Connection, ConnectionState};
use crate::connections::PageRelay;
use crate::model::Model;

/// Smallest difference between the clocks of two relays that is shown, in ns. How long messages travel varies less.
const CLOCK_DIFFERENCE_NS: u64 = 1_500_000_000;

/// The status of one connection or of all.
#[derive(Clone, PartialEq)]
pub(super) struct Status {
    /// The state as the style sheet and the tests know it.
    pub(super) name: &'static str,
    pub(super) text: String,
}

fn status(ui: UiState) -> Status {
    if ui.recordings.opened.read().is_some() {
        return Status { name: "replay", text: "recording".to_owned() };
    }
    let relays = ui.connections.relays.read();
    let missed = missed_updates(&ui.read_model(), None);
    match &relays[..] {
        [] => Status { name: "stopped", text: "no relay".to_owned() },
        [relay] => connection_status(ui, relay.connection, missed),
        relays => {
            let connected = |relay: &&PageRelay| *relay.connection.state.read() == ConnectionState::Connected;
            let mut text = format!("{} of {} relays", relays.iter().filter(connected).count(), relays.len());
            let states = relays.iter().map(|relay| connection_status(ui, relay.connection, 0));
            let worst = states.max_by_key(|status| severity(status.name));
            let name = worst.as_ref().map_or("stopped", |worst| worst.name);
            if let Some(worst) = worst.filter(|worst| worst.name == "stopped") {
                text = format!("{text}; {}", worst.text);
            }
            if missed > 0 {
                text = format!("{text}; missed {} updates", format::count(missed.into()));
            }
            Status { name, text }
        }
    }
}

fn severity(name: &str) -> usize {
    ["connected", "connecting", "reconnecting", "stopped"].iter().position(|known| *known == name).unwrap_or(0)
}

/// The status of one connection that has missed this many updates.
pub(super) fn connection_status(ui: UiState, connection: Connection, missed: u64) -> Status {
    let (name, text) = match connection.state.get() {
        ConnectionState::NoAddress => ("stopped", "no relay".to_owned()),
        ConnectionState::Connecting => ("connecting", "connecting".to_owned()),
        ConnectionState::Reconnecting(at_ns) => {
            let seconds = at_ns.saturating_sub(browser::now_ns()).div_ceil(1_000_000_000);
            let is_rejected = !connection.rejection.read().is_empty();
            let text = if is_rejected { "refused; trying again" } else { "reconnecting" };
            ("reconnecting", if seconds == 0 { text.to_owned() } else { format!("{text} in {seconds} s") })
        }
        ConnectionState::VersionMismatch(..) => ("stopped", "other version".to_owned()),
        ConnectionState::Rejected(close::NO_TOKEN, _) => ("stopped", "no token".to_owned()),
        ConnectionState::Rejected(close::INVALID_TOKEN, _) => ("stopped", "token refused".to_owned()),
        ConnectionState::Rejected(..) => ("stopped", "refused".to_owned()),
        ConnectionState::Connected if missed > 0 => {
            ("connected", format!("missed {} updates", format::count(missed.into())))
        }
        ConnectionState::Connected if connection.address.read().starts_with("http") => {
            ("connected", "connected over HTTP".to_owned())
        }
        ConnectionState::Connected if is_alone(&ui.read_model(), connection) => ("connected", "single node".to_owned()),
        ConnectionState::Connected => ("connected", "connected".to_owned()),
    };
    Status { name, text }
}

/// Whether the relay has lost its cluster.
fn is_alone(model: &Model, connection: Connection) -> bool {
    let relay = model.relay(connection.relay);
    relay.and_then(|relay| relay.cluster()).is_some_and(|cluster| !cluster.connected)
}

/// How many updates are missing in the windows that are shown: those of one relay, or of all. The gaps of a recording are of no
/// relay of this page.
pub(super) fn missed_updates(model: &Model, relay: Option<u32>) -> u64 {
    let apps = model.catalogue().keys().filter_map(|app| model.app(app));
    apps.flat_map(|store| {
        let start_ns = store.clock_ns().saturating_sub(store.seconds() * 1_000_000_000);
        store.gaps().iter().filter(move |gap| gap.from_ns > 0 && (gap.to_ns == 0 || gap.to_ns > start_ns))
    })
    .filter(|gap| relay.is_none_or(|relay| gap.relay == relay && model.recording().is_none()))
    .filter_map(|gap| gap.updates)
    .sum()
}

/// How far the clock of a relay is ahead of or behind the first relay's: `30 s ahead`. `None` if they agree.
pub(super) fn clock_text(model: &Model, relay: &PageRelay) -> Option<String> {
    let ahead_ns = model.clock_ahead_ns(relay.connection.relay, browser::now_ns())?;
    // The offset of a clock is what has to be added to it.
    (ahead_ns.unsigned_abs() >= CLOCK_DIFFERENCE_NS).then(|| format::clock_offset(ahead_ns.saturating_neg()))
}

/// The host of the address that the page uses for a relay.
pub(super) fn host(relay: &PageRelay) -> String {
    let address = relay.connection.address.get();
    let rest = address.split_once("://").map_or(&*address, |(_, rest)| rest);
    rest.trim_end_matches("/ws").trim_end_matches("/stream").to_owned()
}

/// How the page speaks of a relay: `only` if there is one.
pub(super) fn relay_name(ui: UiState, relay: &PageRelay, only: &str) -> String {
    if ui.connections.relays.read().len() > 1 { host(relay) } else { only.to_owned() }
}

/// The status, and a button to retry while the page is not connected.
#[component]
pub(super) fn ConnectionStatus() -> impl IntoView {
    let ui = use_ui();
    let status = Memo::new(move |_| status(ui));
    let summary = view! {
        <summary class="pill" data-testid="status" title="The relays" data-state=move || status.read().name>
            <span class="dot" aria-hidden="true"></span>
            <span prop:textContent=move || status.get().text></span>
        </summary>
    };
    view! {
        <Disclosure class="menu right" summary=summary.into_any()>
            <RelayFacts/>
        </Disclosure>
        <Show when=move || matches!(status.read().name, "reconnecting" | "stopped")>
            <button class="retry" type="button" on:click=move |_| ui.connections.retry()>"Retry now"</button>
        </Show>
    }
}

/// What keeps the page from working, as notices.
pub(super) fn obstacles(ui: UiState) -> Vec<String> {
    if ui.recordings.opened.read().is_some() {
        return Vec::new();
    }
    let relays = ui.connections.relays.read();
    if relays.is_empty() {
        return vec![obstacle(&ConnectionState::NoAddress, String::new()).unwrap_or_default()];
    }
    let named = |relay: &PageRelay| {
        let text = obstacle(&relay.connection.state.read(), relay.connection.rejection.get())?;
        Some(if relays.len() > 1 { format!("{}: {text}", host(relay)) } else { text })
    };
    relays.iter().filter_map(named).collect()
}

fn obstacle(state: &ConnectionState, rejection: String) -> Option<String> {
    match state {
        ConnectionState::NoAddress => Some(
            "This page has no relay. Add one in the settings (,), or add ?relay=host:port to the address.".to_owned(),
        ),
        ConnectionState::VersionMismatch(version, release) => {
            let advice = if *version > VERSION {
                "Reload the page to get the newer one."
            } else {
                "The relay is older than this page."
            };
            Some(format!("This page speaks protocol {VERSION}, the relay {version} (release {release}). {advice}"))
        }
        ConnectionState::Rejected(code, _) if close::requires_token(*code) => {
            let reason = if *code == close::NO_TOKEN {
                "The relay asks for a token, and this page has none."
            } else {
                "The token of this page has expired, or this relay does not accept it."
            };
            Some(format!(
                "{reason} Open the page with a new one: #token=… at the end of its address. Or enter it in the settings (,)."
            ))
        }
        ConnectionState::Rejected(code, reason) => {
            Some(format!("The relay refused this page (code {code}): {reason}. It will not try again by itself."))
        }
        ConnectionState::Connected => None,
        ConnectionState::Connecting | ConnectionState::Reconnecting(_) => {
            Some(rejection).filter(|text| !text.is_empty())
        }
    }
}
