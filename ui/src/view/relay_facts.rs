//! The facts about the relay, and a form to choose another one.

use joey_shared::format;
use joey_shared::wire::VERSION;
use leptos::ev::SubmitEvent;
use leptos::html::Input;
use leptos::prelude::*;

use super::live_text::text_content;
use super::{UiState, use_ui};
use crate::{browser, local_storage};

/// What is behind the connection status.
#[component]
pub(super) fn RelayFacts() -> impl IntoView {
    let ui = use_ui();
    let facts = Memo::new(move |_| facts(ui));
    let fact = |(name, value): (&'static str, String)| {
        view! {
            <dt use:text_content=name.to_owned()></dt>
            <dd use:text_content=value></dd>
        }
    };
    view! {
        <div class="sheet facts">
            <dl>{move || facts.get().into_iter().map(fact).collect_view()}</dl>
            <RelayForm/>
            <p class="hint">"Leave it empty for the server that this page came from."</p>
        </div>
    }
}

/// Names and values.
fn facts(ui: UiState) -> Vec<(&'static str, String)> {
    let model = ui.read_model();
    let viewer = model.seen();
    let mut facts = vec![("Address", ui.connection.address.get())];
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
        facts.push(("Relays", format!("{}{state}", cluster.relays)));
    }
    let missed = format::count(viewer.missing().into());
    facts.push(("Missed", format!("{missed} updates since this page was opened")));
    facts.push(("Unreadable", format!("{} messages", format::count(viewer.malformed().into()))));
    facts
}

/// Stores the address of another relay and reloads the page.
#[component]
fn RelayForm() -> impl IntoView {
    let input = NodeRef::<Input>::new();
    let on_submit = move |event: SubmitEvent| {
        event.prevent_default();
        if let Some(input) = input.get() {
            local_storage::store_relay(input.value().trim());
            browser::reload();
        }
    };
    view! {
        <form on:submit=on_submit>
            <label for="relay">"Talk to another relay"</label>
            <input
                id="relay"
                placeholder="wss://relay.example/ws"
                spellcheck="false"
                value=local_storage::relay()
                node_ref=input
            />
            <button type="submit">"Use"</button>
        </form>
    }
}
