//! The facts about each relay, behind the connection status.

use joey_shared::format;
use joey_shared::wire::VERSION;
use leptos::prelude::*;

use super::live_text::{LiveText, text_content};
use super::status::{clock_text, connection_status, host, missed_updates};
use super::{UiState, use_ui};
use crate::browser;
use crate::connection::ConnectionState;
use crate::connections::PageRelay;
use crate::units;

/// What is behind the connection status.
#[component]
pub(super) fn RelayFacts() -> impl IntoView {
    let ui = use_ui();
    let relays = ui.connections.relays;
    view! {
        <div class="sheet facts">
            <For each=move || relays.get() key=|relay| relay.connection.relay let(relay)>
                <OneRelay relay/>
            </For>
            <p><button type="button" on:click=move |_| ui.settings_open.set(true)>"Relays and settings…"</button></p>
        </div>
    }
}

#[component]
fn OneRelay(relay: PageRelay) -> impl IntoView {
    let ui = use_ui();
    let connection = relay.connection;
    let relay = StoredValue::new_local(relay);
    let name = Signal::derive(move || host(&relay.read_value()));
    let facts = Memo::new(move |_| facts(ui, &relay.read_value()));
    let fact = |(name, value): (&'static str, String)| {
        view! {
            <dt use:text_content=name.to_owned()></dt>
            <dd use:text_content=value></dd>
        }
    };
    view! {
        <section data-testid="relay" data-relay=move || name.get()>
            <h3><LiveText class="ellipsis" text=name/></h3>
            <dl>{move || facts.get().into_iter().map(fact).collect_view()}</dl>
            <Show when=move || *connection.state.read() != ConnectionState::Connected>
                <button
                    type="button"
                    aria-label=move || format!("Retry {}", name.get())
                    on:click=move |_| connection.retry()
                >
                    "Retry"
                </button>
            </Show>
        </section>
    }
}

/// Names and values.
fn facts(ui: UiState, relay: &PageRelay) -> Vec<(&'static str, String)> {
    let connection = relay.connection;
    let missed_in_window = missed_updates(&ui.read_model(), Some(connection.relay));
    let status = connection_status(ui, connection, missed_in_window);
    let model = ui.read_model();
    let mut facts = vec![("State", status.text), ("Address", connection.address.get())];
    let Some(viewer) = model.relay(connection.relay) else { return facts };
    if let Some(relay) = viewer.relay() {
        facts.push(("Release", relay.release.clone()));
        facts.push(("Protocol", format!("{} (this page: {VERSION})", relay.version)));
        facts.push(("Remembers", format::age(relay.ring_ns / 1_000_000_000)));
        if relay.demo {
            facts.push(("Producers", "made up (joey demo)".to_owned()));
        }
    }
    if let Some(cluster) = viewer.cluster() {
        let state = if cluster.connected { "" } else { ", not in touch" };
        facts.push(("Cluster", format!("{} relays{state}", cluster.relays)));
    }
    if model.clock_ahead_ns(connection.relay, browser::now_ns()).is_some() {
        let clock = clock_text(&model, relay).unwrap_or_else(|| "as the first relay's".to_owned());
        facts.push(("Clock", clock));
    }
    if let Some(round_trip_ns) = connection.round_trip_ns.get() {
        facts.push(("Round trip", units::duration(round_trip_ns.into()).to_string()));
    }
    let missed = format::count(viewer.missing().into());
    facts.push(("Missed", format!("{missed} updates since this page was opened")));
    facts.push(("Unreadable", format!("{} messages", format::count(viewer.malformed().into()))));
    facts.push(("Lost", format!("{} connections", connection.losses.get())));
    facts
}
