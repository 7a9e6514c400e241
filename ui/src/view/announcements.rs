//! What screen readers say by themselves: one calm region for the whole page.
//!
//! It says what happened, once: the connection was lost or is back, the page was paused, an application is new, an
//! application has gone silent. It never says measurements, countdowns or ages, which change every second; they can be
//! read where they are.

use core::time::Duration;
use std::collections::BTreeSet;

use leptos::prelude::*;

use super::name::display_name;
use super::time_range_bar;
use super::{UiState, use_ui};
use crate::connection::ConnectionState;

impl UiState {
    /// Lets screen readers say `text`.
    pub fn say(self, text: String) {
        self.announcement.set(text);
    }

    /// Says `text`, and shows it for a few seconds: for what a key has done out of sight.
    pub fn confirm(self, text: String) {
        self.confirmation.set(text.clone());
        self.say(text.clone());
        let clear = move || {
            // Another one may have followed.
            if self.confirmation.try_with_untracked(|shown| *shown == text) == Some(true) {
                self.confirmation.set(String::new());
            }
        };
        set_timeout(clear, SHOWN_FOR);
    }
}

/// How long a confirmation is shown.
const SHOWN_FOR: Duration = Duration::from_secs(6);

/// The region. It is visible only to screen readers; what it says is also on the page.
#[component]
pub(super) fn Announcements() -> impl IntoView {
    let ui = use_ui();
    watch_connection(ui);
    watch_applications(ui);
    let time = Memo::new(move |_| time_range_bar::announcement(ui));
    Effect::new(move |before: Option<String>| {
        let time = time.get();
        if let Some(before) = before.filter(|before| *before != time) {
            match (before.is_empty(), time.is_empty()) {
                (_, false) => ui.say(time.clone()),
                (false, true) => ui.say("Live".to_owned()),
                (true, true) => {}
            }
        }
        time
    });
    view! {
        <p
            class="confirmation"
            aria-hidden="true"
            data-testid="confirmation"
            hidden=move || ui.confirmation.read().is_empty()
            prop:textContent=move || ui.confirmation.get()
        ></p>
        <div class="visually-hidden" role="status" data-testid="announcements" prop:textContent=move || ui.announcement.get()></div>
    }
}

/// Says when the connection is lost and when it is back. Attempts in between are not news.
fn watch_connection(ui: UiState) {
    let state = Memo::new(move |_| {
        let relays = ui.connections.relays.read();
        let all = |is: fn(&ConnectionState) -> bool| relays.iter().all(|relay| is(&relay.connection.state.read()));
        let is_trying =
            |state: &ConnectionState| matches!(state, ConnectionState::Connecting | ConnectionState::Reconnecting(_));
        if all(|state| *state == ConnectionState::Connected) {
            "Connected to the relay"
        } else if relays.iter().any(|relay| is_trying(&relay.connection.state.read())) {
            "Not connected to the relay; trying again"
        } else {
            "The relay cannot be used"
        }
    });
    Effect::new(move |before: Option<&'static str>| {
        let now = state.get();
        if before.is_some_and(|before| before != now) {
            ui.say(now.to_owned());
        }
        now
    });
}

/// Says which applications are new. Those that are there when the page opens are not.
fn watch_applications(ui: UiState) {
    let apps = Memo::new(move |_| ui.read_model().catalogue().keys().cloned().collect::<BTreeSet<String>>());
    Effect::new(move |before: Option<BTreeSet<String>>| {
        let now = apps.get();
        let new: Vec<String> = match &before {
            Some(before) if !before.is_empty() => now.difference(before).map(|app| display_name(app)).collect(),
            _ => Vec::new(),
        };
        match new.as_slice() {
            [] => {}
            [app] => ui.say(format!("New application: {app}")),
            apps => ui.say(format!("{} new applications", apps.len())),
        }
        now
    });
}
