//! The settings: a modal dialog. Each change is stored and applied at once.
//!
//! The browser keeps the focus inside and closes it with Escape.

use leptos::html::Dialog;
use leptos::prelude::*;

use super::relay_settings::RelaySettings;
use super::settings_text::SettingsText;
use super::use_ui;
use crate::browser;
use crate::settings::choices::{BinLabels, Choices, Density, Units, Zone, value_of, word_of};
use crate::settings::text::Settings;
use crate::settings::{Theme, WINDOW_DEFAULT, WINDOWS};
use crate::zone;

/// The word of the choice of a zone by name.
const NAMED_ZONE: &str = "named";

/// The dialog.
#[component]
pub(super) fn SettingsDialog() -> impl IntoView {
    let ui = use_ui();
    let dialog = NodeRef::<Dialog>::new();
    let open = move || {
        if let Some(dialog) = dialog.get() {
            let _ = dialog.show_modal();
        }
    };
    Effect::new(open);
    let close = move |_| {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    view! {
        <dialog
            class="settings"
            data-testid="settings-dialog"
            aria-labelledby="settings-title"
            node_ref=dialog
            on:close=move |_| ui.settings_open.set(false)
        >
            <header>
                <h2 id="settings-title">"Settings"</h2>
                <button type="button" data-testid="close-settings" autofocus on:click=close>"Close"</button>
            </header>
            <RelaySettings/>
            <section>
                <h3>"Display"</h3>
                <div class="fields">
                    <ZoneSetting/>
                    {choices().into_iter().map(|choice| view! { <ChoiceSetting choice/> }).collect_view()}
                </div>
            </section>
            <SettingsText/>
        </dialog>
    }
}

/// A setting with a few choices.
struct Choice {
    id: &'static str,
    label: &'static str,
    /// Words and labels.
    options: Vec<(&'static str, &'static str)>,
    word: fn(&Settings) -> &'static str,
    set: fn(&mut Settings, &str),
}

/// All settings with a few choices except the zone.
fn choices() -> [Choice; 5] {
    fn options<T, const N: usize>(choices: Choices<T, N>) -> Vec<(&'static str, &'static str)> {
        choices.into_iter().map(|(_, word, label)| (word, label)).collect()
    }
    [
        Choice {
            id: "setting-theme",
            label: "Theme",
            options: options(Theme::CHOICES),
            word: |settings| word_of(&Theme::CHOICES, settings.theme),
            set: |settings, word| settings.theme = value_of(&Theme::CHOICES, word).unwrap_or_default(),
        },
        Choice {
            id: "setting-units",
            label: "Units of durations",
            options: options(Units::CHOICES),
            word: |settings| word_of(&Units::CHOICES, settings.units),
            set: |settings, word| settings.units = value_of(&Units::CHOICES, word).unwrap_or_default(),
        },
        Choice {
            id: "setting-bins",
            label: "Labels of bins",
            options: options(BinLabels::CHOICES),
            word: |settings| word_of(&BinLabels::CHOICES, settings.bins),
            set: |settings, word| settings.bins = value_of(&BinLabels::CHOICES, word).unwrap_or_default(),
        },
        Choice {
            id: "setting-density",
            label: "Density",
            options: options(Density::CHOICES),
            word: |settings| word_of(&Density::CHOICES, settings.density),
            set: |settings, word| settings.density = value_of(&Density::CHOICES, word).unwrap_or_default(),
        },
        Choice {
            id: "setting-window",
            label: "Default window",
            options: options(WINDOW_CHOICES),
            word: |settings| word_of(&WINDOW_CHOICES, settings.window_seconds),
            set: |settings, word| settings.window_seconds = value_of(&WINDOW_CHOICES, word).unwrap_or(WINDOW_DEFAULT),
        },
    ]
}

/// The windows with their labels as words.
const WINDOW_CHOICES: Choices<u64, 5> = {
    let mut choices = [(0, "", ""); 5];
    let mut index = 0;
    while index < WINDOWS.len() {
        let (seconds, label) = WINDOWS[index];
        choices[index] = (seconds, label, label);
        index += 1;
    }
    choices
};

#[component]
fn ChoiceSetting(choice: Choice) -> impl IntoView {
    let ui = use_ui();
    let Choice { id, label, options, word, set } = choice;
    let word = Memo::new(move |_| word(&ui.settings.read()));
    let on_change = move |event| ui.change_settings(|settings| set(settings, &event_target_value(&event)));
    let option = move |(value, label)| {
        view! { <option value=value selected=move || word.get() == value>{label}</option> }
    };
    view! {
        <label for=id>{label}</label>
        <select id=id prop:value=move || word.get() on:change=on_change>
            {options.into_iter().map(option).collect_view()}
        </select>
    }
}

/// The time zone: one of two words, or a name.
#[component]
fn ZoneSetting() -> impl IntoView {
    let ui = use_ui();
    let is_named = RwSignal::new(matches!(ui.settings.read_untracked().zone, Zone::Named(_)));
    let error = RwSignal::new("");
    let word = move || match &ui.settings.read().zone {
        _ if is_named.get() => NAMED_ZONE,
        Zone::Local => "local",
        Zone::Utc => "utc",
        Zone::Named(_) => NAMED_ZONE,
    };
    let choose = move |event| {
        let word = event_target_value(&event);
        is_named.set(word == NAMED_ZONE);
        error.set("");
        if let Some(zone) = Zone::parse(&word).filter(|_| word != NAMED_ZONE) {
            ui.set_zone(zone);
        }
    };
    let name = move |event| match Zone::parse(event_target_value(&event).trim()).filter(zone::is_known) {
        Some(zone) => {
            error.set("");
            ui.set_zone(zone);
        }
        None => error.set("This browser does not know this zone."),
    };
    let named = move || match &ui.settings.read_untracked().zone {
        Zone::Named(name) => name.clone(),
        Zone::Local | Zone::Utc => String::new(),
    };
    let option = |(value, label): (&'static str, &'static str)| {
        view! { <option value=value selected=move || word() == value>{label}</option> }
    };
    let options = [("local", "Local time"), ("utc", "UTC"), (NAMED_ZONE, "Another zone")].map(option);
    view! {
        <label for="setting-zone">"Time zone"</label>
        <select id="setting-zone" prop:value=word on:change=choose>{options.into_iter().collect_view()}</select>
        <Show when=move || is_named.get()>
            <label for="setting-zone-name">"Name of the zone"</label>
            <span>
                <input
                    id="setting-zone-name"
                    list="zones"
                    placeholder="Europe/Berlin"
                    spellcheck="false"
                    autocomplete="off"
                    value=named
                    aria-describedby="zone-error"
                    on:change=name
                />
                <datalist id="zones">
                    {zone::names().into_iter().map(|name| view! { <option value=name></option> }).collect_view()}
                </datalist>
                <span id="zone-error" class="problem" role="status">{move || error.get()}</span>
            </span>
        </Show>
    }
}

/// The address of the page without its path, as a relay has to allow it.
pub(super) fn origin() -> String {
    format!("{}://{}", if browser::is_encrypted() { "https" } else { "http" }, browser::host())
}
