//! The menu that chooses what a page is compared with: on a detail page another view of the same kind or the same view of another
//! application, elsewhere another application.

use joey_shared::view::ViewKey;
use leptos::ev::{Event, KeyboardEvent};
use leptos::html::Input;
use leptos::prelude::*;
use web_sys::HtmlElement;

use super::disclosure::Disclosure;
use super::export_tables::view_name;
use super::name::{NameLink, display_name};
use super::{AppName, UiState, use_ui};
use crate::browser;
use crate::natural_order;
use crate::reference::Reference;
use crate::route::Route;
use crate::row_filter::RowFilter;

/// Maximum number of choices in the document. The text box finds the others.
const CHOICES_MAX: usize = 200;

/// A choice.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Choice {
    name: String,
    address: String,
}

/// The choices under one heading.
#[derive(Clone, PartialEq)]
struct Section {
    title: String,
    choices: Vec<Choice>,
}

/// The menu. `key` is the view of a detail page.
#[component]
pub(super) fn ComparePicker(app: AppName, #[prop(optional_no_strip)] key: Option<ViewKey>) -> impl IntoView {
    let key = StoredValue::new(key);
    let summary = view! { <summary title="Choose what to compare with (c)">"Compare with…"</summary> };
    view! {
        <Disclosure class="menu picker" summary=summary.into_any()>
            <Choices app key/>
        </Disclosure>
    }
}

/// The text box and the choices. They exist while the menu is open.
#[component]
fn Choices(app: AppName, key: StoredValue<Option<ViewKey>>) -> impl IntoView {
    let ui = use_ui();
    let input = NodeRef::<Input>::new();
    let filter = RwSignal::new(String::new());
    // The application whose views are listed too.
    let offered = RwSignal::new(None::<String>);
    input.on_load(|input| {
        let _ = input.focus();
    });
    on_cleanup(move || {
        if offered.get_untracked().is_some() {
            ui.offer_views_of(None);
        }
    });
    let offer = move |name: String| {
        let name = Some(name).filter(|name| !name.is_empty());
        offered.set(name.clone());
        ui.offer_views_of(name);
    };
    let sections = Memo::new(move |_| {
        let (filter, offered) = (filter.read(), offered.get());
        key.with_value(|key| sections(ui, &app.read_value(), key.as_ref(), offered.as_deref(), &filter))
    });
    let apps = Memo::new(move |_| other_apps(ui, &app.read_value()));
    let option = |name: String| view! { <option value=name.clone()>{display_name(&name)}</option> };
    let has_views = key.with_value(Option::is_some);
    view! {
        <div class="sheet" role="group" aria-label="Compare with" on:keydown=on_keydown>
            <input
                id="compare-filter"
                type="search"
                placeholder="Find"
                aria-label="Find what to compare with"
                autocomplete="off"
                spellcheck="false"
                node_ref=input
                on:input=move |event: Event| filter.set(event_target_value(&event))
            />
            {has_views.then(|| view! {
                <Show when=move || !apps.read().is_empty()>
                    <label class="of-app">
                        "of "
                        <select
                            data-testid="of-app"
                            on:change=move |event: Event| offer(event_target_value(&event))
                        >
                            <option value="">"this application"</option>
                            {move || apps.get().into_iter().map(option).collect_view()}
                        </select>
                    </label>
                </Show>
            })}
            <For each=move || sections.get() key=|section| (section.title.clone(), section.choices.clone()) let(section)>
                <section>
                    <h2 class="ellipsis" dir="auto">{section.title}</h2>
                    <ul>
                        {section.choices.into_iter().map(|Choice { name, address }| view! {
                            <li><NameLink class="choice ellipsis" name href=address/></li>
                        }).collect_view()}
                    </ul>
                </section>
            </For>
            <Show when=move || sections.read().is_empty()>
                <p class="hint">"Nothing of this kind to compare with."</p>
            </Show>
        </div>
    }
}

fn other_apps(ui: UiState, app: &str) -> Vec<String> {
    let model = ui.read_model();
    natural_order::sorted(model.catalogue().keys()).into_iter().filter(|other| *other != app).cloned().collect()
}

/// What can be chosen, without what the filter hides.
fn sections(ui: UiState, app: &str, key: Option<&ViewKey>, offered: Option<&str>, filter: &str) -> Vec<Section> {
    let filter = RowFilter::parse(filter);
    let page = ui.page.get();
    let choice = |name: String, reference: Reference| {
        let address = Route { reference: Some(reference), ..Route::to(page.clone()) }.address();
        Choice { name, address }
    };
    let mut sections = Vec::new();
    if let Some(key) = key {
        let of = offered.unwrap_or(app);
        let model = ui.read_model();
        let views = model.other_app(of).into_iter().flat_map(|store| store.views_by_key());
        let same_kind = views.filter(|(_, view)| view.key.kind == key.kind && (of != app || view.key != *key));
        let mut named: Vec<(String, ViewKey)> =
            same_kind.map(|(_, view)| (display_name(&view_name(&view.key)), view.key.clone())).collect();
        named.retain(|(name, _)| filter.matches(&[name.as_str()]));
        named.sort_by(|(a, _), (b, _)| natural_order::compare(a, b));
        let choices = named.into_iter().take(CHOICES_MAX);
        let choices = choices.map(|(name, key)| choice(name, Reference::View(of.to_owned(), key))).collect();
        let title = offered.map_or_else(|| "Of the same kind".to_owned(), |of| format!("Of the same kind in {of}"));
        sections.push(Section { title, choices });
    }
    let apps = other_apps(ui, app).into_iter().filter(|other| filter.matches(&[other.as_str()]));
    let apps = apps.take(CHOICES_MAX).map(|other| choice(display_name(&other), Reference::App(other)));
    let title = if key.is_some() { "The same view of another application" } else { "Another application" };
    sections.push(Section { title: title.to_owned(), choices: apps.collect() });
    sections.retain(|section| !section.choices.is_empty());
    sections
}

/// The arrow keys walk through the choices, and Enter in the text box takes the first one. Escape closes the menu.
fn on_keydown(event: KeyboardEvent) {
    let choices = browser::query_all(".picker .choice");
    let is_focused = |element: &HtmlElement| browser::active_element().is_some_and(|active| **element == active);
    let index = choices.iter().position(is_focused);
    let is_in_list = browser::active_element().is_some_and(|active| active.tag_name() == "SELECT");
    let next = match event.key().as_str() {
        "ArrowDown" if !is_in_list => index.map_or(0, |index| index + 1),
        "ArrowUp" if index == Some(0) => {
            event.prevent_default();
            focus("#compare-filter");
            return;
        }
        "ArrowUp" if !is_in_list => index.map_or(usize::MAX, |index| index.wrapping_sub(1)),
        "Enter" if index.is_none() && !is_in_list => {
            event.prevent_default();
            if let Some(first) = choices.first() {
                first.click();
            }
            return;
        }
        "Escape" => {
            focus(".picker > summary");
            return;
        }
        _ => return,
    };
    event.prevent_default();
    if let Some(choice) = choices.get(next) {
        let _ = choice.focus();
    }
}

fn focus(selector: &str) {
    if let Some(element) = browser::query_all(selector).first() {
        let _ = element.focus();
    }
}

/// Opens the menu; its text box takes the focus.
pub(super) fn open() {
    if let Some(menu) = browser::query_all("details.picker").first() {
        let _ = menu.set_attribute("open", "");
    }
}
