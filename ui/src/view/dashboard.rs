//! The dashboard of an application: its key figures, then its pipelines, workers, computations and counters.

use leptos::ev::{Event, KeyboardEvent};
use leptos::prelude::*;
use web_sys::HtmlInputElement;

use super::compare_picker::ComparePicker;
use super::hour_strip::HourStrip;
use super::name::display_name;
use super::notices::{AppPage, is_stale};
use super::objectives::ObjectivesPanel;
use super::percentile_choice::PercentileChoice;
use super::summary_strip::SummaryStrip;
use super::table_controls::TableControls;
use super::{ViewTable, use_ui};
use crate::table_rows::Listing;

/// The dashboard of `app`.
#[component]
pub(super) fn DashboardPage(app: String) -> impl IntoView {
    let heading = display_name(&app);
    let app = StoredValue::new(app);
    let is_stale = is_stale(use_ui(), app);
    view! {
        <AppPage app>
            <div class="page" class:stale=move || is_stale.get()>
                <header class="head">
                    <h1 class="ellipsis" dir="auto" translate="no" title=heading.clone()>{heading.clone()}</h1>
                    <TableControls/>
                    <PercentileChoice/>
                    <ComparePicker app key=None/>
                    <FilterBox/>
                </header>
                <SummaryStrip app/>
                <HourStrip app key=None/>
                <ViewTable app listing=Listing::Pipelines/>
                <ViewTable app listing=Listing::Workers/>
                <ViewTable app listing=Listing::Computations/>
                <ViewTable app listing=Listing::Counters/>
                <ViewTable app listing=Listing::Others/>
                <ObjectivesPanel app/>
            </div>
        </AppPage>
    }
}

/// How the filter works, as the tooltip of its text box.
const FILTER_HELP: &str = "\
    Shows the rows whose names contain every word.\n\
    * stands for any text and ? for one character: GET /users/*\n\
    - or ! before a word hides the rows that match it: -health\n\
    / comes here, Escape clears.";

/// The text box that filters every table of the page.
#[component]
fn FilterBox() -> impl IntoView {
    let filter = use_ui().filter;
    let on_input = move |event: Event| filter.set(event_target_value(&event));
    let on_keydown = move |event: KeyboardEvent| {
        if event.key() == "Escape" {
            event_target::<HtmlInputElement>(&event).set_value("");
            filter.set(String::new());
        }
    };
    view! {
        <label class="filter">
            <span class="visually-hidden">"Filter rows"</span>
            <input
                id="filter"
                type="search"
                placeholder="Filter rows"
                spellcheck="false"
                autocomplete="off"
                title=FILTER_HELP
                prop:value=move || filter.get()
                on:input=on_input
                on:keydown=on_keydown
            />
            <kbd aria-hidden="true">"/"</kbd>
        </label>
    }
}
