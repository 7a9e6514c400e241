//! The toolbar: where the user is, how the page is shown, and the connection to the relay.

use joey_shared::view::{Kind, ViewKey};
use leptos::ev::MouseEvent;
use leptos::prelude::*;

use super::compare_bar::PinButton;
use super::live_text::LiveText;
use super::name::{NameLink, display_name};
use super::palette::PaletteButton;
use super::record_button::RecordButton;
use super::share_menu::ShareMenu;
use super::status::ConnectionStatus;
use super::switcher::Switcher;
use super::time_range_bar::earlier;
use super::{page_address, use_ui};
use crate::browser;
use crate::route::Page;
use crate::settings::WINDOWS;
use crate::settings::choices::Zone;
use crate::vocabulary::Words;

/// The toolbar, and before it a link that skips it.
#[component]
pub(super) fn Toolbar() -> impl IntoView {
    // The fragment of the address names a page, so the browser cannot follow a link within the page.
    let skip = |event: MouseEvent| {
        event.prevent_default();
        if let Some(main) = browser::query_all("#main").first() {
            let _ = main.focus();
        }
    };
    view! {
        <a class="skip" href="#main" on:click=skip>"Skip to content"</a>
        <header class="bar">
            <a class="brand" href=page_address(Page::Landing) title="All applications">
                <Logo/>
                <span>"Joey"</span>
            </a>
            <Switcher/>
            <PaletteButton/>
            <Breadcrumbs/>
            <span class="push"></span>
            <EarlierButton/>
            <WindowChoice/>
            <PauseButton/>
            <RecordButton/>
            <ShareMenu/>
            <PinButton/>
            <ConnectionStatus/>
            <ClockButton/>
            <ThemeButton/>
            <SettingsButton/>
        </header>
    }
}

/// Bars that look out of a pouch.
#[component]
fn Logo() -> impl IntoView {
    view! {
        <svg class="mark" viewBox="0 0 24 24" aria-hidden="true">
            <path class="mark-bars" d="M7 12V8M11 12V3M15 12V6M19 12v-2"></path>
            <path class="mark-pouch" d="M2 11h20c0 6-4 10-10 10S2 17 2 11z"></path>
        </svg>
    }
}

/// A step of the breadcrumbs: its name, and its address unless it is the current page.
type Step = (String, Option<String>);

/// The path from the application to the current page.
#[component]
fn Breadcrumbs() -> impl IntoView {
    let ui = use_ui();
    let step = |(name, address): Step| match address {
        Some(href) => view! { <li><NameLink class="ellipsis" name href/></li> }.into_any(),
        None => view! {
            <li>
                <span class="ellipsis" dir="auto" translate="no" title=name aria-current="page">{name.clone()}</span>
            </li>
        }
        .into_any(),
    };
    let words = Memo::new(move |_| ui.words(ui.page.read().app().unwrap_or_default()));
    view! {
        <nav class="crumbs" aria-label="Where you are">
            <ol>
                // A list of one: the names are set anew on each page, even if an extension has replaced their text.
                <For
                    each=move || [(ui.page.get(), words.get())]
                    key=|(page, words)| (page_address(page.clone()), words.is_service)
                    let((page, words))
                >
                    {breadcrumbs(&page, words).into_iter().map(step).collect_view()}
                </For>
            </ol>
        </nav>
    }
}

fn breadcrumbs(page: &Page, words: &Words) -> Vec<Step> {
    let dashboard = |app: &str| ("Dashboard".to_owned(), Some(page_address(Page::Dashboard(app.to_owned()))));
    match page {
        Page::Landing | Page::Unknown(_) => Vec::new(),
        Page::Dashboard(_) => vec![("Dashboard".to_owned(), None)],
        Page::Workers(app) => vec![dashboard(app), (words.workers.to_owned(), None)],
        Page::Detail(app, key) => {
            let total = |name: &Option<String>, total_key: fn(&str) -> ViewKey| {
                let name = name.as_deref().unwrap_or_default();
                (display_name(name), Some(page_address(Page::Detail(app.clone(), total_key(name)))))
            };
            let mut steps = vec![dashboard(app)];
            match key.kind {
                Kind::StartToEndByWorker => steps.push(total(&key.pipeline, ViewKey::pipeline)),
                Kind::NodeIngressEgressByPipeline => steps.push(total(&key.worker, ViewKey::worker)),
                Kind::ComputationByWorker => steps.push(total(&key.name, ViewKey::computation)),
                _ => {}
            }
            steps
        }
    }
}

/// The choice of the window.
#[component]
fn WindowChoice() -> impl IntoView {
    let ui = use_ui();
    let choice = |(seconds, label): (u64, &'static str)| {
        view! {
            <button
                type="button"
                title=format!("Show the last {label}")
                aria-pressed=move || (ui.window_seconds.get() == seconds).to_string()
                on:click=move |_| ui.set_window(seconds)
            >
                {label}
            </button>
        }
    };
    view! {
        <div class="segments" role="group" aria-label="Window">
            {WINDOWS.map(choice).into_iter().collect_view()}
        </div>
    }
}

/// The button that shows the time before, up to the last hour.
#[component]
fn EarlierButton() -> impl IntoView {
    let ui = use_ui();
    view! {
        <button
            class="earlier"
            type="button"
            title="Show the time before ([)"
            aria-label="Earlier"
            on:click=move |_| ui.change_range(earlier)
        >
            <svg viewBox="0 0 16 16" aria-hidden="true"><path d="M10 3 5 8l5 5"></path></svg>
        </button>
    }
}

/// The button that freezes what is shown.
#[component]
fn PauseButton() -> impl IntoView {
    let ui = use_ui();
    let paused = Memo::new(move |_| ui.paused_at_ns.get().is_some());
    let icon = move || if paused.get() { "M5 3v10l8-5z" } else { "M4 3h3v10H4zM9 3h3v10H9z" };
    let tooltip = move || if paused.get() { "Go on from now" } else { "Hold the picture; data keeps coming in" };
    let label = Signal::derive(move || if paused.get() { "Go live" } else { "Pause" }.to_owned());
    // A recording has controls of its own.
    let is_live = Memo::new(move |_| ui.recordings.opened.read().is_none());
    view! {
        <Show when=move || is_live.get() || paused.get()>
        <button
            class="pause"
            type="button"
            data-testid="pause"
            aria-pressed=move || paused.get().to_string()
            title=tooltip
            on:click=move |_| if paused.get_untracked() { ui.resume() } else { ui.pause() }
        >
            <svg viewBox="0 0 16 16" aria-hidden="true"><path d=icon></path></svg>
            <LiveText text=label/>
        </button>
        </Show>
    }
}

/// The relay's time. Pressing it changes between UTC and the other zone.
#[component]
fn ClockButton() -> impl IntoView {
    let ui = use_ui();
    let relay_ns = Memo::new(move |_| ui.read_model().relay_ns(browser::now_ns()));
    // The zone to go back to from UTC.
    let other_zone = RwSignal::new(Zone::Local);
    let time =
        Signal::derive(move || relay_ns.get().map_or_else(|| "--:--:--".to_owned(), |ns| ui.utc_offset(ns).time(ns)));
    let tooltip = move || {
        let time = relay_ns.get().map(|ns| ui.utc_offset(ns).full(ns)).unwrap_or_default();
        let other = if ui.settings.read().zone == Zone::Utc { other_zone.get() } else { Zone::Utc };
        format!("{time} by the relay's clock; press for {}", zone_name(&other))
    };
    let suffix = Signal::derive(move || match &ui.settings.read().zone {
        Zone::Local => String::new(),
        other => zone_name(other),
    });
    let press = move |_| {
        let zone = ui.settings.read_untracked().zone.clone();
        let next = if zone == Zone::Utc { other_zone.get_untracked() } else { Zone::Utc };
        if zone != Zone::Utc {
            other_zone.set(zone);
        }
        ui.set_zone(next);
    };
    view! {
        <button class="time" type="button" title=tooltip on:click=press>
            <LiveText text=time/>
            <LiveText class="u" text=suffix/>
        </button>
    }
}

/// The name of a zone on screen.
pub(super) fn zone_name(zone: &Zone) -> String {
    match zone {
        Zone::Local => "local time".to_owned(),
        Zone::Utc => "UTC".to_owned(),
        Zone::Named(name) => name.clone(),
    }
}

/// The button that opens the settings.
#[component]
fn SettingsButton() -> impl IntoView {
    let ui = use_ui();
    view! {
        <button
            class="settings-button"
            type="button"
            data-testid="settings"
            title="Settings (,)"
            aria-label="Settings"
            aria-haspopup="dialog"
            on:click=move |_| ui.settings_open.set(true)
        >
            <svg viewBox="0 0 16 16" aria-hidden="true">
                <path d="M2 4h6M12 4h2M2 8h1M7 8h7M2 12h7M13 12h1"></path>
                <circle cx="10" cy="4" r="1.75"></circle>
                <circle cx="5" cy="8" r="1.75"></circle>
                <circle cx="11" cy="12" r="1.75"></circle>
            </svg>
        </button>
    }
}

/// The button that changes the theme.
#[component]
fn ThemeButton() -> impl IntoView {
    let ui = use_ui();
    let theme = Memo::new(move |_| ui.settings.read().theme);
    let label = move || format!("Colours: {}", theme.get().name());
    let name = Signal::derive(move || theme.get().name().to_owned());
    view! {
        <button
            class="theme"
            type="button"
            title=label
            aria-label=label
            on:click=move |_| ui.set_theme(theme.get_untracked().next())
        >
            <svg viewBox="0 0 16 16" aria-hidden="true">
                <circle cx="8" cy="8" r="5.25"></circle>
                <path d="M8 2.75a5.25 5.25 0 0 1 0 10.5z"></path>
            </svg>
            <LiveText text=name/>
        </button>
    }
}
