//! The relays in the settings: add, test, order, use, give a token, remove.

use leptos::ev::SubmitEvent;
use leptos::html::Input;
use leptos::prelude::*;
use leptos::task::spawn_local;

use super::live_text::LiveText;
use super::relays::addresses_of;
use super::settings_dialog::origin;
use super::status::connection_status;
use super::use_ui;
use crate::connection::probe::probe;
use crate::settings::relay_list::{RelayEntry, key, parse_addresses};
use crate::{browser, local_storage};

/// The list and the form.
#[component]
pub(super) fn RelaySettings() -> impl IntoView {
    let ui = use_ui();
    let entries = Memo::new(move |_| ui.settings.read().relays.clone());
    view! {
        <section data-testid="relay-settings">
            <h3>"Relays"</h3>
            <p class="hint">
                "Applications of the same name are added up. Several addresses of one relay or cluster belong in one entry."
            </p>
            <ol class="relays">
                <For each=move || entries.get() key=RelayEntry::key let(entry)>
                    <RelayItem entry/>
                </For>
            </ol>
            <AddRelay/>
        </section>
    }
}

/// One relay of the list.
#[component]
fn RelayItem(entry: RelayEntry) -> impl IntoView {
    let ui = use_ui();
    let addresses = addresses_of(&entry);
    let name = if entry.is_own() { "This page’s relay".to_owned() } else { entry.key() };
    let shown = if addresses.is_empty() { "no address".to_owned() } else { key(&addresses) };
    let is_own = entry.is_own();
    let row = entry.key();
    let entry = StoredValue::new(entry);
    let addresses = StoredValue::new(addresses);
    let message = RwSignal::new(String::new());
    let token = NodeRef::<Input>::new();
    let connection = move || {
        let relays = ui.connections.relays.read();
        let relay = relays.iter().find(|relay| relay.addresses == *addresses.read_value());
        relay.map(|relay| relay.connection)
    };
    let state = Signal::derive(move || {
        let _ = ui.read_model();
        connection().map_or_else(|| "not used".to_owned(), |connection| connection_status(ui, connection, 0).text)
    });
    let position = Memo::new(move |_| {
        let settings = ui.settings.read();
        let index = settings.relays.iter().position(|other| other.addresses == entry.read_value().addresses);
        (index == Some(0), index.is_some_and(|index| index + 1 == settings.relays.len()))
    });
    let test = move |_| {
        let addresses = addresses.get_value();
        let typed = token.get_untracked().map(|token| token.value()).unwrap_or_default();
        let token = if typed.is_empty() { local_storage::token(&key(&addresses)) } else { typed };
        message.set("Testing…".to_owned());
        spawn_local(async move {
            let answer = probe(&addresses, &token).await;
            let _ = message.try_set(answer);
        });
    };
    let set_token = move |event: SubmitEvent| {
        event.prevent_default();
        if let Some(token) = token.get_untracked() {
            ui.connections.set_token(&addresses.read_value(), token.value().trim());
            let stored = if token.value().is_empty() { "Token removed." } else { "Token set for this tab." };
            message.set(stored.to_owned());
            token.set_value("");
        }
    };
    let named = |what: &str| format!("{what} {name}");
    view! {
        <li data-testid="relay-entry" data-relay=row>
            <label class="use">
                <input
                    type="checkbox"
                    aria-label=named("Use")
                    prop:checked=move || connection().is_some()
                    on:change=move |event| ui.enable_relay(&entry.read_value(), event_target_checked(&event))
                />
                <span class="address"><strong>{is_own.then_some("This page’s relay ")}</strong><code>{shown}</code></span>
                <LiveText class="of" text=state/>
            </label>
            <span class="buttons">
                <button
                    type="button"
                    aria-label=named("Move up")
                    disabled=move || position.get().0
                    on:click=move |_| ui.move_relay(&entry.read_value(), true)
                >
                    "↑"
                </button>
                <button
                    type="button"
                    aria-label=named("Move down")
                    disabled=move || position.get().1
                    on:click=move |_| ui.move_relay(&entry.read_value(), false)
                >
                    "↓"
                </button>
                <button type="button" aria-label=named("Test") on:click=test>"Test"</button>
                {(!is_own).then(|| view! {
                    <button
                        type="button"
                        aria-label=named("Remove")
                        on:click=move |_| {
                            let entry = entry.get_value();
                            ui.remove_relay(&entry);
                        }
                    >
                        "Remove"
                    </button>
                })}
            </span>
            <form class="token" on:submit=set_token>
                <input
                    type="password"
                    autocomplete="off"
                    placeholder="Token, if it asks for one"
                    aria-label=named("Token of")
                    node_ref=token
                />
                <button type="submit" aria-label=named("Set the token of")>"Set"</button>
                <span class="result" role="status">{move || message.get()}</span>
            </form>
        </li>
    }
}

/// The form that adds a relay.
#[component]
fn AddRelay() -> impl IntoView {
    let ui = use_ui();
    let input = NodeRef::<Input>::new();
    let error = RwSignal::new(String::new());
    let add = move |event: SubmitEvent| {
        event.prevent_default();
        let Some(input) = input.get_untracked() else { return };
        match parse_addresses(&input.value(), browser::is_encrypted()) {
            Err(part) if part.is_empty() => error.set("Enter the address of a relay.".to_owned()),
            Err(part) => error.set(format!("“{part}” is not the address of a relay.")),
            Ok(addresses) if browser::is_encrypted() && addresses.iter().any(|address| address.starts_with("ws:")) => {
                error.set("This page came over HTTPS. From here, browsers only open wss:// addresses.".to_owned());
            }
            Ok(addresses) => match ui.add_relay(addresses) {
                Ok(()) => {
                    error.set(String::new());
                    input.set_value("");
                }
                Err(reason) => error.set(reason.to_owned()),
            },
        }
    };
    view! {
        <form class="add-relay" on:submit=add>
            <label for="new-relay">"Add a relay"</label>
            <input
                id="new-relay"
                placeholder="wss://relay.example"
                spellcheck="false"
                autocomplete="off"
                aria-describedby="new-relay-hint new-relay-error"
                node_ref=input
            />
            <button type="submit">"Add"</button>
            <span id="new-relay-error" class="problem" role="status">{move || error.get()}</span>
            <p id="new-relay-hint" class="hint">
                "A relay on another host accepts this page if it was started with "
                <code>{format!("--origin {}", origin())}</code> "."
            </p>
        </form>
    }
}
