//! The page: Leptos components that show the model.
//!
//! A component reads the model in a [`Memo`] that depends on the frame loop's tick, so it runs a few times a second at most
//! and changes the document only when its value changes. Names from producers are always set as text, never as markup.

#![allow(unreachable_pub, reason = "`#[component]` makes the props of every component public")]

mod actions;
mod announcements;
mod caveats;
mod cells;
mod change_cells;
mod chart;
mod chart_table;
mod compare_bar;
mod compare_panels;
mod compare_picker;
mod comparing;
mod compression;
mod dashboard;
mod detail;
mod detail_charts;
mod disclosure;
mod download;
mod export_tables;
mod favourite;
mod format;
mod hour_strip;
mod landing;
mod live_text;
mod measured;
mod menus;
mod modal;
mod multiples;
mod name;
mod notices;
mod objective_panel;
mod objective_text;
mod objectives;
mod other_side;
mod overview;
mod palette;
mod percentile_choice;
mod percentile_handles;
mod rate_chart;
mod readout;
mod record_button;
mod recording_bar;
mod recordings;
mod relay_facts;
mod relay_objectives;
mod relay_question;
mod relay_settings;
mod relays;
mod row_focus;
mod settings_dialog;
mod settings_text;
mod share_menu;
mod shortcut_sheet;
mod shortcuts;
mod state;
mod status;
mod summary_strip;
mod switcher;
mod table;
mod table_controls;
mod table_row;
mod threshold;
mod time_range_bar;
mod time_selection;
mod toolbar;
mod update;
mod wall_mode;
mod worker_row;
mod workers;

use leptos::prelude::*;

pub use self::state::{AppName, UiState, use_ui, use_words};
pub use self::table::ViewTable;

use self::announcements::Announcements;
use self::dashboard::DashboardPage;
use self::detail::DetailPage;
use self::landing::LandingPage;
use self::palette::Palette;
use self::recording_bar::RecordingBar;
use self::relay_question::RelayQuestion;
use self::settings_dialog::SettingsDialog;
use self::shortcut_sheet::ShortcutSheet;
use self::time_range_bar::TimeRangeBar;
use self::toolbar::Toolbar;
use self::update::UpdateNotice;
use self::wall_mode::WallMode;
use self::workers::WorkersPage;
use crate::browser;
use crate::route::{Page, Route};
use crate::vocabulary::Words;

/// The whole page.
#[component]
pub fn App() -> impl IntoView {
    let ui = UiState::start();
    provide_context(ui);
    browser::apply_theme(ui.settings.read_untracked().theme);
    browser::apply_density(ui.settings.read_untracked().density);
    let labels = Memo::new(move |_| (ui.settings.read().units, ui.settings.read().bins));
    let removals = Memo::new(move |_| ui.read_model().removals());
    let title = Memo::new(move |_| {
        let page = ui.page.read();
        let words = ui.words(page.app().unwrap_or_default());
        document_title(&page, words)
    });
    let missed = objectives::watch(ui);
    Effect::new(move || {
        let missed = missed.get();
        let badge = if missed > 0 { format!("({missed}) ") } else { String::new() };
        browser::set_title(&format!("{badge}{}", title.read()));
    });
    shortcuts::listen(ui);
    recordings::listen(ui);
    view! {
        <Toolbar/>
        <UpdateNotice/>
        <TimeRangeBar/>
        <RecordingBar/>
        <main id="main" tabindex="-1">
            // A list of one: another page gets new components, even if it is of the same kind. So does a recording, another unit,
            // and a new store, because rows remember positions of views.
            <For
                each=move || [(ui.page.get(), (labels.get(), removals.get(), ui.recordings.generation.get()))]
                key=|(page, rest)| (page_address(page.clone()), format!("{rest:?}"))
                let((page, _rest))
            >
                <PageContent page/>
            </For>
        </main>
        <WallMode/>
        <Announcements/>
        <Palette/>
        <ShortcutSheet/>
        <Show when=move || ui.settings_open.get()><SettingsDialog/></Show>
        <Show when=move || !ui.unknown_relays.read().is_empty()><RelayQuestion/></Show>
    }
}

#[component]
fn PageContent(page: Page) -> impl IntoView {
    match page {
        Page::Landing => view! { <LandingPage/> }.into_any(),
        Page::Dashboard(app) => view! { <DashboardPage app/> }.into_any(),
        Page::Workers(app) => view! { <WorkersPage app/> }.into_any(),
        Page::Detail(app, key) => view! { <DetailPage app key/> }.into_any(),
        Page::Unknown(address) => view! { <UnknownPage address/> }.into_any(),
    }
}

#[component]
fn UnknownPage(address: String) -> impl IntoView {
    view! {
        <div class="notice">
            <h1>"There is no such page"</h1>
            <p>"Nothing is shown at " <code dir="auto">{address}</code> "."</p>
            <p><a href=page_address(Page::Landing)>"All applications"</a></p>
        </div>
    }
}

/// The address of `page`, from `#` on.
fn page_address(page: Page) -> String {
    Route::to(page).address()
}

/// The document's title while `page` is shown.
fn document_title(page: &Page, words: &Words) -> String {
    match page {
        Page::Landing => "Joey".to_owned(),
        Page::Dashboard(app) => format!("{app} · Joey"),
        Page::Workers(app) => format!("{app}: {} · Joey", words.workers_in_text),
        Page::Detail(app, key) => {
            let names: Vec<&str> =
                [&key.name, &key.pipeline, &key.worker].into_iter().filter_map(|name| name.as_deref()).collect();
            format!("{} · {app} · Joey", names.join(" on "))
        }
        Page::Unknown(_) => "No such page · Joey".to_owned(),
    }
}
