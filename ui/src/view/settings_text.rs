//! All settings as text: to save them, to load them on another computer, and to reset them.

use leptos::html::Textarea;
use leptos::prelude::*;

use super::use_ui;
use crate::browser;
use crate::settings::text::Settings;

/// The text and its buttons.
#[component]
pub(super) fn SettingsText() -> impl IntoView {
    let ui = use_ui();
    let area = NodeRef::<Textarea>::new();
    let message = RwSignal::new("");
    let text = move || ui.settings.read().text();
    let apply = move |_| {
        let written = area.get_untracked().map(|area| area.value()).unwrap_or_default();
        match Settings::parse(&written) {
            Some(settings) => {
                ui.replace_settings(settings);
                message.set("Applied.");
            }
            None => message.set("This is not the text of settings. Its first line is “Joey settings”."),
        }
    };
    let save = move |_| {
        browser::save_text("joey-settings.txt", "text/plain", &text());
        message.set("Saved as joey-settings.txt.");
    };
    let reset = move |_| {
        ui.replace_settings(Settings::default());
        message.set("All settings are as on the first day. Tokens stay until the tab is closed.");
    };
    view! {
        <section>
            <h3>"All settings as text"</h3>
            <p class="hint">"Copy it, or paste another one and apply it. It contains no token."</p>
            <textarea
                aria-label="All settings as text"
                data-testid="settings-text"
                rows="8"
                spellcheck="false"
                prop:value=text
                node_ref=area
            ></textarea>
            <p class="buttons">
                <button type="button" data-testid="apply-settings" on:click=apply>"Apply"</button>
                <button type="button" on:click=save>"Save as a file"</button>
                <button type="button" data-testid="reset-settings" on:click=reset>"Reset all"</button>
                <span role="status">{move || message.get()}</span>
            </p>
        </section>
    }
}
