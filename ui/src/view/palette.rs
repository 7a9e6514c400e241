//! The search: everything that can be opened or done, by typing a part of its name.
//!
//! A combobox with a list, as the ARIA practices describe it: the text box keeps the focus, the arrow keys move through the list.

use leptos::ev::{Event, KeyboardEvent};
use leptos::prelude::*;
use web_sys::HtmlElement;

use super::actions::ACTIONS;
use super::modal::{self, Modal};
use super::name::{display_name, view_names};
use super::shortcut_sheet::Keys;
use super::{UiState, page_address, use_ui};
use crate::browser;
use crate::natural_order;
use crate::palette_items::{Item, Target, results};
use crate::route::Page;

/// The search, and the button that opens it.
#[component]
pub(super) fn PaletteButton() -> impl IntoView {
    let ui = use_ui();
    view! {
        <button
            class="search"
            type="button"
            title="Search everything (Ctrl K)"
            aria-label="Search everything"
            on:click=move |_| ui.palette_open.set(true)
        >
            <svg viewBox="0 0 16 16" aria-hidden="true"><path d="M10.5 10.5 14 14M11.5 7a4.5 4.5 0 1 1-9 0 4.5 4.5 0 0 1 9 0z"></path></svg>
        </button>
    }
}

/// The dialog.
#[component]
pub(super) fn Palette() -> impl IntoView {
    let ui = use_ui();
    view! {
        <Modal open=ui.palette_open class="dialog palette" label="Search everything">
            <Search/>
        </Modal>
    }
}

#[component]
fn Search() -> impl IntoView {
    let ui = use_ui();
    // As it is when the search opens: a list that changes while somebody chooses from it is no use.
    let items = StoredValue::new(all_items(ui));
    let query = RwSignal::new(String::new());
    let chosen = RwSignal::new(0_usize);
    let found = Memo::new(move |_| items.with_value(|items| results(&query.read(), items)));
    let move_to = move |at: usize| {
        chosen.set(at);
        request_animation_frame(|| {
            if let Some(option) = browser::query_all(".palette [aria-selected=true]").first() {
                scroll_into_view(option);
            }
        });
    };
    let on_keydown = move |event: KeyboardEvent| {
        let (count, at) = (found.read_untracked().len(), chosen.get_untracked());
        let next = match event.key().as_str() {
            "ArrowDown" => (at + 1) % count.max(1),
            "ArrowUp" => (at + count.max(1) - 1) % count.max(1),
            "PageDown" => (at + 8).min(count.saturating_sub(1)),
            "PageUp" => at.saturating_sub(8),
            "Enter" => {
                event.prevent_default();
                let item = found.read_untracked().get(at).cloned();
                if let Some(item) = item {
                    choose(ui, &item.target);
                }
                return;
            }
            _ => return,
        };
        event.prevent_default();
        move_to(next);
    };
    let on_input = move |event: Event| {
        query.set(event_target_value(&event));
        move_to(0);
    };
    let active = move || (!found.read().is_empty()).then(|| option_id(chosen.get()));
    let count = move || match found.read().len() {
        0 => "Nothing matches.".to_owned(),
        1 => "1 result".to_owned(),
        count => format!("{count} results"),
    };
    view! {
        <div class="dialog-body">
            <input
                type="text"
                role="combobox"
                aria-label="Search everything"
                aria-autocomplete="list"
                aria-expanded="true"
                aria-controls="palette-list"
                aria-activedescendant=active
                placeholder="Applications, views, actions, or a percentile"
                autocomplete="off"
                spellcheck="false"
                enterkeyhint="go"
                dir="auto"
                autofocus
                on:input=on_input
                on:keydown=on_keydown
            />
            <ul id="palette-list" role="listbox" aria-label="Results">
                {move || found.get().into_iter().enumerate().map(|(at, item)| view! {
                    <PaletteOption at item chosen/>
                }).collect_view()}
            </ul>
            <p class="palette-foot">
                <span role="status">{count}</span>
                <button type="button" on:click=move |_| {
                    modal::close_open();
                    ui.sheet_open.set(true);
                }>"Keyboard shortcuts"</button>
            </p>
        </div>
    }
}

#[component]
fn PaletteOption(at: usize, item: Item, chosen: RwSignal<usize>) -> impl IntoView {
    let ui = use_ui();
    let Item { names, kind, target } = item;
    let keys = if let Target::Action(action) = target { ACTIONS.get(action).map(|action| action.keys) } else { None };
    let name = |(at, name): (usize, String)| {
        let on = (at > 0).then(|| view! { <span class="on">" on "</span> });
        view! { {on}<bdi translate="no">{name}</bdi> }
    };
    view! {
        <li
            id=option_id(at)
            role="option"
            aria-selected=move || (chosen.get() == at).to_string()
            on:mousedown=|event| event.prevent_default()
            on:click=move |_| choose(ui, &target)
        >
            <span class="ellipsis">{names.into_iter().enumerate().map(name).collect_view()}</span>
            <span class="aside">{kind}</span>
            {keys.map(|keys| view! { <span class="keys"><Keys keys=keys.get(..1).unwrap_or(keys)/></span> })}
        </li>
    }
}

fn option_id(at: usize) -> String {
    format!("palette-{at}")
}

fn scroll_into_view(option: &HtmlElement) {
    let options = web_sys::ScrollIntoViewOptions::new();
    options.set_block(web_sys::ScrollLogicalPosition::Nearest);
    option.scroll_into_view_with_scroll_into_view_options(&options);
}

/// Closes the search and does what was chosen.
fn choose(ui: UiState, target: &Target) {
    // Before: what is done may move the focus, which the dialog gives back.
    modal::close_open();
    match target {
        Target::Action(at) => {
            if let Some(action) = ACTIONS.get(*at).filter(|action| (action.is_available)(ui)) {
                (action.run)(ui);
            }
        }
        Target::Address(address) => browser::navigate(address),
        Target::Percentile(percentile) => {
            ui.add_percentile(*percentile);
        }
    }
}

/// Everything that can be found now: the parts of the open application, applications, then actions.
fn all_items(ui: UiState) -> Vec<Item> {
    let page = |names: Vec<String>, kind: &str, page: Page| Item {
        names,
        kind: kind.to_owned(),
        target: Target::Address(page_address(page)),
    };
    let mut items = Vec::new();
    let shown_app = ui.page.with_untracked(|page| page.app().map(str::to_owned));
    let model = ui.model.read_value();
    for app in natural_order::sorted(model.catalogue().keys()) {
        items.push(page(vec![display_name(app)], "application", Page::Dashboard(app.clone())));
    }
    if let Some(app) = shown_app {
        let words = model.words(&app);
        items.push(page(vec![words.workers.to_owned()], "page", Page::Workers(app.clone())));
        let views = model.app(&app).into_iter().flat_map(|store| store.views_by_key());
        items.extend(views.map(|(_, view)| {
            page(view_names(&view.key), &words.view_kind(&view.key.kind), Page::Detail(app.clone(), view.key.clone()))
        }));
    }
    drop(model);
    let is_available = |action: &&super::actions::Action| (action.is_available)(ui);
    let actions = ACTIONS.iter().enumerate().filter(|(_, action)| is_available(action));
    items.extend(actions.map(|(at, action)| Item {
        names: vec![action.name.to_owned()],
        kind: "action".to_owned(),
        target: Target::Action(at),
    }));
    items
}
