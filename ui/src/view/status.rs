//! The status pill: how the page stands with its relay, in words beside a shape, and behind it what there is to know.

use joey_shared::wire::VERSION;
use joey_shared::{close, format};
use leptos::prelude::Get;
use wasm_bindgen::JsCast;
use web_sys::{Event, HtmlInputElement};

use super::Ctx;
use super::node::{Node, derived, el, live, with_class};
use super::toolbar::folding;
use crate::browser;
use crate::connection::ConnectionState;

/// The state's name for the style sheet and for tests, and what it is called.
pub(super) fn words(ctx: Ctx) -> (&'static str, String) {
    let missing = missing_now(&ctx.read());
    match ctx.connection.state.get() {
        ConnectionState::NoAddress => ("stopped", "no relay".to_owned()),
        ConnectionState::Connecting => ("connecting", "connecting".to_owned()),
        ConnectionState::Waiting(until_ns) => {
            let left = until_ns.saturating_sub(browser::now_ns()).div_ceil(1_000_000_000);
            let what = if ctx.connection.refusal.get().is_empty() { "reconnecting" } else { "refused; trying again" };
            ("reconnecting", if left == 0 { what.to_owned() } else { format!("{what} in {left} s") })
        }
        ConnectionState::OtherVersion(..) => ("stopped", "other version".to_owned()),
        ConnectionState::Refused(close::NO_TOKEN, _) => ("stopped", "no token".to_owned()),
        ConnectionState::Refused(close::TOKEN, _) => ("stopped", "token refused".to_owned()),
        ConnectionState::Refused(..) => ("stopped", "refused".to_owned()),
        ConnectionState::Connected if missing > 0 => {
            ("connected", format!("missed {} updates", format::count(missing.into())))
        }
        ConnectionState::Connected if ctx.connection.address.get().starts_with("http") => {
            ("connected", "connected over HTTP".to_owned())
        }
        ConnectionState::Connected if ctx.read().seen().cluster().is_some_and(|cluster| !cluster.connected) => {
            ("connected", "single node".to_owned())
        }
        ConnectionState::Connected => ("connected", "connected".to_owned()),
    }
}

/// How many updates are missing in the windows that are shown.
fn missing_now(model: &crate::model::Model) -> u64 {
    let apps = model.catalogue().keys().filter_map(|app| model.app(app));
    apps.flat_map(|store| {
        let start_ns = store.clock_ns().saturating_sub(store.seconds() * 1_000_000_000);
        store.holes().iter().filter(move |hole| hole.from_ns > 0 && (hole.to_ns == 0 || hole.to_ns > start_ns))
    })
    .filter_map(|hole| hole.updates)
    .sum()
}

/// The pill.
pub(super) fn pill(ctx: Ctx) -> Node {
    let summary = with_class("summary", "pill")
        .attr("data-testid", "status")
        .attr("title", "The relay")
        .live("data-state", move || words(ctx).0.to_owned())
        .child(with_class("span", "dot").attr("aria-hidden", "true"))
        .child(el("span").attr("role", "status").child(live(move || words(ctx).1)));
    let waiting = derived(move || matches!(words(ctx).0, "reconnecting" | "stopped").into());
    let retry = move || {
        let button = || {
            with_class("button", "retry")
                .attr("type", "button")
                .on("click", move |_| ctx.connection.retry())
                .child("Retry now")
        };
        (waiting.get() == 1).then(button)
    };
    Node::Many(vec![
        folding("menu right", summary, with_class("div", "sheet facts"), move || facts(ctx)).into(),
        live(retry),
    ])
}

/// What there is to know about the relay, and which one it is.
fn facts(ctx: Ctx) -> Node {
    let numbers = live(move || {
        let model = ctx.read();
        let (relay, unreadable, missing) =
            (model.seen().relay().cloned(), model.seen().unreadable(), model.seen().missing());
        let mut facts = vec![("Address", ctx.connection.address.get())];
        if let Some(relay) = relay {
            facts.push(("Release", relay.release));
            facts.push(("Protocol", format!("{} (this page: {VERSION})", relay.version)));
            facts.push(("Remembers", format::age(relay.ring_ns / 1_000_000_000)));
            if relay.demo {
                facts.push(("Producers", "made up (joey demo)".to_owned()));
            }
        }
        if let Some(cluster) = model.seen().cluster() {
            let state = if cluster.connected { "" } else { ", not in touch" };
            facts.push(("Relays", format!("{}{state}", cluster.relays)));
        }
        facts.push(("Missed", format!("{} updates since this page was opened", format::count(missing.into()))));
        facts.push(("Unreadable", format!("{} messages", format::count(unreadable.into()))));
        let facts = facts.into_iter().flat_map(|(name, value)| [el("dt").child(name), el("dd").child(value)]);
        el("dl").children(facts)
    });
    let save = move |event: Event| {
        event.prevent_default();
        if let Some(relay) = browser::all("#relay").pop().map(|relay| relay.unchecked_into::<HtmlInputElement>()) {
            browser::keep_relay(relay.value().trim());
        }
    };
    let input =
        el("input").attr("id", "relay").attr("placeholder", "wss://relay.example/ws").attr("spellcheck", "false");
    let form = el("form")
        .on("submit", save)
        .child(el("label").attr("for", "relay").child("Talk to another relay"))
        .child(input.attr("value", browser::kept_relay()))
        .child(el("button").attr("type", "submit").child("Use"));
    let hint = with_class("p", "hint").child("Leave it empty for the server that this page came from.");
    Node::Many(vec![numbers, form.into(), hint.into()])
}

/// A whole sentence where the state keeps the page from working.
pub(super) fn obstacle(ctx: Ctx) -> Option<String> {
    match ctx.connection.state.get() {
        ConnectionState::NoAddress => Some("This page does not know its relay. Add ?relay=host:port to the address, or set it behind the status at the top.".to_owned()),
        ConnectionState::OtherVersion(theirs, release) => {
            let advice = if theirs > VERSION { "Reload the page to get the newer one." } else { "The relay is older than this page." };
            Some(format!("This page speaks protocol {VERSION}, the relay {theirs} (release {release}). {advice}"))
        }
        ConnectionState::Refused(code, _) if close::wants_token(code) => {
            let why = if code == close::NO_TOKEN {
                "The relay asks for a token, and this page has none."
            } else {
                "The token of this page has expired, or this relay does not accept it."
            };
            Some(format!("{why} Open the page with a new one: #token=… at the end of its address."))
        }
        ConnectionState::Refused(code, reason) => Some(format!("The relay refused this page (code {code}): {reason}. It will not try again by itself.")),
        ConnectionState::Connected => None,
        ConnectionState::Connecting | ConnectionState::Waiting(_) => {
            let refusal = ctx.connection.refusal.get();
            (!refusal.is_empty()).then_some(refusal)
        }
    }
}
