//! Notes above the numbers: what is stale, missing, late or skewed, in words.

use joey_shared::format;
use joey_shared::store::AppStore;
use leptos::prelude::Get;

use super::node::{El, Node, derived, el, live, with_class};
use super::{Ctx, address, status};
use crate::browser;
use crate::connection::ConnectionState;
use crate::route::Page;
use crate::settings::not_addresses;

/// One note.
struct Note {
    /// How it looks.
    class: &'static str,
    text: String,
}

/// Whether what is shown of `app` is older than it should be.
fn is_stale(ctx: Ctx, app: &str) -> bool {
    let model = ctx.read();
    let now_ns = model.relay_ns(browser::now_ns()).unwrap_or(0);
    model.app(app).and_then(|store| store.silent_for(now_ns)).is_some()
}

/// The element that holds what is shown of `app`: it fades while that is stale.
pub(super) fn fading(ctx: Ctx, app: &str, class: &'static str) -> El {
    let app = app.to_owned();
    el("div").live("class", move || if is_stale(ctx, &app) { format!("{class} stale") } else { class.to_owned() })
}

/// The notes on any page.
fn general(ctx: Ctx) -> Vec<Note> {
    let mut notes = Vec::new();
    if let Some(text) = status::obstacle(ctx) {
        notes.push(Note { class: "note stopped", text });
    }
    for relay in not_addresses(&browser::chosen_relays()) {
        notes.push(Note { class: "note odd", text: format!("“{relay}” is not the address of a relay.") });
    }
    if let Some((step_ns, at_ns)) = ctx.read().wall_clock().filter(|(step_ns, _)| *step_ns != 0) {
        let (off, at) = (format::clock_offset(step_ns), ctx.zone(at_ns).time(at_ns));
        let text = format!(
            "The clock of the relay's machine was set at {at}; times shown here are {off}. No count is affected."
        );
        notes.push(Note { class: "note odd", text });
    }
    if let Some(since_ns) = ctx.paused.get() {
        let text = format!("Paused at {}. Data keeps coming in.", ctx.zone(since_ns).time(since_ns));
        notes.push(Note { class: "note paused", text });
    }
    notes
}

/// The notes on an application.
fn notes(ctx: Ctx, app: &str) -> Vec<Note> {
    let mut notes = general(ctx);
    let mut note = |class, text: String| notes.push(Note { class, text });
    let model = ctx.read();
    let (Some(now_ns), Some(store)) = (model.relay_ns(browser::now_ns()), model.app(app)) else { return notes };
    if let Some(silent_ns) = store.silent_for(now_ns).filter(|_| !model.is_paused()) {
        let (silent, end) = (format::age(silent_ns / 1_000_000_000), ctx.zone(store.clock_ns()).time(store.clock_ns()));
        note("note stale", format!("No data for {silent}. What is shown ends at {end}."));
    }
    for text in lost(ctx, store) {
        note("note lost", text);
    }
    if store.late() > 0 {
        note("note odd", format!("{} updates came too late for any window.", format::count(store.late().into())));
    }
    let Some(entry) = model.catalogue().get(app) else { return notes };
    if entry.late > 0 {
        let (late, ring) = (format::count(entry.late.into()), format::age(model.ring_ns() / 1_000_000_000));
        note("note odd", format!("{late} updates came more than {ring} late: windows up to {ring} do not count them."));
    }
    for worker in entry.workers.iter().filter(|worker| worker.offset_ns != 0) {
        let since = ctx.zone(worker.offset_since_ns).time(worker.offset_since_ns);
        let off = format::clock_offset(worker.offset_ns);
        let name = &worker.worker;
        note("note odd", format!("The clock of {name} is {off} since {since}; its periods are moved by that."));
    }
    if entry.limited > 0 {
        let limited = format::count(entry.limited.into());
        note("note odd", format!("{limited} frames were refused because of a limit of the relay."));
    }
    if entry.refused_for_name > 0 {
        note("note odd", format::refused_names(entry.refused_for_name, &entry.refused_names));
    }
    notes
}

/// What is missing in the window, hole by hole.
fn lost(ctx: Ctx, store: &AppStore) -> Vec<String> {
    let start_ns = store.clock_ns().saturating_sub(store.seconds() * 1_000_000_000);
    let time = |ns: u64| ctx.zone(ns).time(ns);
    let holes = store.holes().iter().filter(|hole| hole.from_ns > 0 && (hole.to_ns == 0 || hole.to_ns > start_ns));
    let mut notes: Vec<String> = holes
        .map(|hole| {
            let between = match hole.to_ns {
                0 => format!("after {}", time(hole.from_ns)),
                to_ns => format!("between {} and {}", time(hole.from_ns), time(to_ns)),
            };
            match hole.updates {
                Some(1) => format!("Missed 1 update {between}."),
                Some(updates) => format!("Missed {} updates {between}.", format::count(updates.into())),
                None => format!("The relay restarted; what it alone held {between} is lost."),
            }
        })
        .collect();
    notes.dedup();
    notes
}

/// The notes on `app`, or only those on any page, as they are now.
pub(super) fn banner(ctx: Ctx, app: Option<String>) -> El {
    let notes = move || match &app {
        Some(app) => notes(ctx, app),
        None => general(ctx),
    };
    let shown = move || {
        let note = |note: Note| el("p").attr("class", note.class).attr("dir", "auto").child(note.text);
        notes().into_iter().map(note).collect::<Vec<El>>()
    };
    with_class("div", "notes").attr("role", "status").child(live(shown))
}

/// Why there may be nothing to show.
const ABSENCES: [&str; 4] = [
    "",
    "The relay does not know this application. It appears here as soon as it is heard from.",
    "Connected; no measurements yet.",
    "Waiting for the relay.",
];

/// Why there is nothing to show of `app`, as a position in [`ABSENCES`]; 0 if there is something.
fn absence(ctx: Ctx, app: &str) -> u64 {
    let state = ctx.connection.state.get();
    let model = ctx.read();
    let known = model.app(app).is_some_and(|store| !store.views().is_empty()) || model.catalogue().contains_key(app);
    match state {
        _ if known => 0,
        ConnectionState::Connected if model.seen().is_waiting() => 1,
        ConnectionState::Connected => 2,
        _ => 3,
    }
}

/// A page about `app`: the notes on it, and `content`, or in its place why there is nothing to show.
pub(super) fn about(ctx: Ctx, app: String, content: impl Fn(&str) -> El + 'static) -> Node {
    let of = app.clone();
    let notes = banner(ctx, Some(app.clone())).into();
    Node::Many(vec![notes, unless_absent(ctx, app, move || content(&of).into())])
}

fn unless_absent(ctx: Ctx, app: String, content: impl Fn() -> Node + 'static) -> Node {
    let absence = derived(move || absence(ctx, &app));
    live(move || match absence.get() {
        0 => content(),
        why => with_class("div", "notice")
            .attr("data-testid", "empty")
            .child(
                el("p").child(usize::try_from(why).ok().and_then(|why| ABSENCES.get(why)).copied().unwrap_or_default()),
            )
            .child(el("p").child(el("a").attr("href", address(Page::Landing)).child("All applications")))
            .into(),
    })
}
