//! Asks before the page connects to a relay that only a link names.
//!
//! Such a relay learns the address of this computer, and what it sends is shown beside the data of others. It never receives
//! a token of another relay: tokens are stored for each list of addresses.

use leptos::html::Dialog;
use leptos::prelude::*;

use super::live_text::text_content;
use super::use_ui;
use crate::settings::relay_list::key;

/// The question. Closing it means no.
#[component]
pub(super) fn RelayQuestion() -> impl IntoView {
    let ui = use_ui();
    let dialog = NodeRef::<Dialog>::new();
    Effect::new(move || {
        if let Some(dialog) = dialog.get() {
            let _ = dialog.show_modal();
        }
    });
    let address = |addresses: Vec<String>| view! { <li><code use:text_content=key(&addresses)></code></li> };
    view! {
        <dialog
            class="ask"
            data-testid="relay-question"
            aria-labelledby="ask-title"
            node_ref=dialog
            on:close=move |_| ui.answer_relay_question(false)
        >
            <h2 id="ask-title">"Connect to relays of this link?"</h2>
            <p>"This browser does not know them:"</p>
            <ul>{move || ui.unknown_relays.get().into_iter().map(address).collect_view()}</ul>
            <p>
                "Connect only if you trust whoever sent the link. What these relays send is merged with other data. \
                 They get no token of another relay."
            </p>
            <p class="buttons">
                <button type="button" autofocus data-testid="refuse-relays" on:click=move |_| ui.answer_relay_question(false)>
                    "Do not connect"
                </button>
                <button type="button" data-testid="accept-relays" on:click=move |_| ui.answer_relay_question(true)>
                    "Connect and remember"
                </button>
            </p>
        </dialog>
    }
}
