//! The connection status in the toolbar, with the facts about the relay behind it.

use joey_shared::wire::VERSION;
use joey_shared::{close, format};
use leptos::prelude::*;

use super::disclosure::Disclosure;
use super::relay_facts::RelayFacts;
use super::{UiState, use_ui};
use crate::browser;
use crate::connection::ConnectionState;
use crate::model::Model;

/// The connection status.
#[derive(Clone, PartialEq)]
struct Status {
    /// The state as the style sheet and the tests know it.
    name: &'static str,
    text: String,
}

fn status(ui: UiState) -> Status {
    if ui.recordings.opened.read().is_some() {
        return Status { name: "replay", text: "recording".to_owned() };
    }
    let missed = missed_updates(&ui.read_model());
    let (name, text) = match ui.connection.state.get() {
        ConnectionState::NoAddress => ("stopped", "no relay".to_owned()),
        ConnectionState::Connecting => ("connecting", "connecting".to_owned()),
        ConnectionState::Reconnecting(at_ns) => {
            let seconds = at_ns.saturating_sub(browser::now_ns()).div_ceil(1_000_000_000);
            let is_rejected = !ui.connection.rejection.read().is_empty();
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
        ConnectionState::Connected if ui.connection.address.read().starts_with("http") => {
            ("connected", "connected over HTTP".to_owned())
        }
        ConnectionState::Connected if ui.read_model().seen().cluster().is_some_and(|cluster| !cluster.connected) => {
            ("connected", "single node".to_owned())
        }
        ConnectionState::Connected => ("connected", "connected".to_owned()),
    };
    Status { name, text }
}

/// How many updates are missing in the windows that are shown.
fn missed_updates(model: &Model) -> u64 {
    let apps = model.catalogue().keys().filter_map(|app| model.app(app));
    apps.flat_map(|store| {
        let start_ns = store.clock_ns().saturating_sub(store.seconds() * 1_000_000_000);
        store.gaps().iter().filter(move |gap| gap.from_ns > 0 && (gap.to_ns == 0 || gap.to_ns > start_ns))
    })
    .filter_map(|gap| gap.updates)
    .sum()
}

/// The status, and a button to retry while the page is not connected.
#[component]
pub(super) fn ConnectionStatus() -> impl IntoView {
    let ui = use_ui();
    let status = Memo::new(move |_| status(ui));
    let summary = view! {
        <summary class="pill" data-testid="status" title="The relay" data-state=move || status.read().name>
            <span class="dot" aria-hidden="true"></span>
            <span prop:textContent=move || status.get().text></span>
        </summary>
    };
    view! {
        <Disclosure class="menu right" summary=summary.into_any()>
            <RelayFacts/>
        </Disclosure>
        <Show when=move || matches!(status.read().name, "reconnecting" | "stopped")>
            <button class="retry" type="button" on:click=move |_| ui.connection.retry()>"Retry now"</button>
        </Show>
    }
}

/// What keeps the page from working, as a notice.
pub(super) fn obstacle(ui: UiState) -> Option<String> {
    if ui.recordings.opened.read().is_some() {
        return None;
    }
    match ui.connection.state.get() {
        ConnectionState::NoAddress => Some(
            "This page does not know its relay. Add ?relay=host:port to the address, or set it behind the status at the top."
                .to_owned(),
        ),
        ConnectionState::VersionMismatch(version, release) => {
            let advice = if version > VERSION {
                "Reload the page to get the newer one."
            } else {
                "The relay is older than this page."
            };
            Some(format!("This page speaks protocol {VERSION}, the relay {version} (release {release}). {advice}"))
        }
        ConnectionState::Rejected(code, _) if close::requires_token(code) => {
            let reason = if code == close::NO_TOKEN {
                "The relay asks for a token, and this page has none."
            } else {
                "The token of this page has expired, or this relay does not accept it."
            };
            Some(format!("{reason} Open the page with a new one: #token=… at the end of its address."))
        }
        ConnectionState::Rejected(code, reason) => {
            Some(format!("The relay refused this page (code {code}): {reason}. It will not try again by itself."))
        }
        ConnectionState::Connected => None,
        ConnectionState::Connecting | ConnectionState::Reconnecting(_) => {
            Some(ui.connection.rejection.get()).filter(|rejection| !rejection.is_empty())
        }
    }
}
