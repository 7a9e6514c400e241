//! The menu of applications, and of everything in the one that is open.

use leptos::prelude::*;

use super::disclosure::Disclosure;
use super::name::{NameLink, display_name};
use super::{UiState, page_address, use_ui};
use crate::natural_order;
use crate::route::Page;
use crate::table_rows::Listing;

/// Maximum number of items in a section of the menu. The dashboard's filter is faster for more.
const MENU_ITEMS_MAX: usize = 300;

/// An item of the menu.
#[derive(Clone, PartialEq, Eq, Hash)]
struct MenuItem {
    name: String,
    address: String,
}

/// A section of the menu.
#[derive(Clone, PartialEq)]
struct MenuSection {
    title: &'static str,
    items: Vec<MenuItem>,
}

/// The menu.
#[component]
pub(super) fn Switcher() -> impl IntoView {
    let ui = use_ui();
    let app = Memo::new(move |_| ui.page.read().app().map_or_else(|| "Applications".to_owned(), display_name));
    let summary = view! {
        <summary title="Go to">
            <span class="ellipsis" dir="auto" prop:textContent=move || app.get()></span>
        </summary>
    };
    view! {
        <Disclosure class="menu switcher" summary=summary.into_any()>
            <Menu/>
        </Disclosure>
    }
}

#[component]
fn Menu() -> impl IntoView {
    let ui = use_ui();
    let sections = Memo::new(move |_| menu_sections(ui));
    view! {
        <nav class="sheet" aria-label="Applications and their parts">
            <div class="columns">
                <For each=move || sections.get() key=|section| (section.title, section.items.clone()) let(section)>
                    <MenuSectionView section/>
                </For>
            </div>
        </nav>
    }
}

#[component]
fn MenuSectionView(section: MenuSection) -> impl IntoView {
    let item = |MenuItem { name, address }| view! { <li><NameLink class="ellipsis" name href=address/></li> };
    view! {
        <section>
            <h2>{section.title}</h2>
            <ul>{section.items.into_iter().map(item).collect_view()}</ul>
        </section>
    }
}

fn menu_sections(ui: UiState) -> Vec<MenuSection> {
    let page = ui.page.read();
    let model = ui.read_model();
    let item = |name: &str, page: Page| MenuItem { name: display_name(name), address: page_address(page) };
    let apps = natural_order::sorted(model.catalogue().keys());
    let apps = apps.into_iter().map(|app| item(app, Page::Dashboard(app.clone()))).collect();
    let mut sections = vec![MenuSection { title: "Applications", items: apps }];
    if let Some(app) = page.app() {
        let words = model.words(app);
        let pages = vec![
            item("Dashboard", Page::Dashboard(app.to_owned())),
            item(words.workers, Page::Workers(app.to_owned())),
        ];
        sections.push(MenuSection { title: "This application", items: pages });
        for (title, listing) in [
            (words.pipelines, Listing::Pipelines),
            (words.workers, Listing::Workers),
            (words.computations, Listing::Computations),
        ] {
            let rows = model.app(app).map(|store| listing.rows(store)).unwrap_or_default();
            let rows = rows.into_iter().take(MENU_ITEMS_MAX);
            let items: Vec<MenuItem> =
                rows.map(|row| item(&row.label, Page::Detail(app.to_owned(), row.key))).collect();
            let section = MenuSection { title, items };
            if !words.is_service || !section.items.is_empty() {
                sections.push(section);
            }
        }
    }
    sections
}
