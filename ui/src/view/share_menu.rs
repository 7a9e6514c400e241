//! The menu with which the page is shared: a link that carries the data, and recordings as files.

use joey_shared::format;
use joey_shared::recording::Detail;
use joey_shared::view::ViewKey;
use leptos::prelude::*;
use leptos::task::spawn_local;

use super::compression::compress;
use super::disclosure::Disclosure;
use super::live_text::LiveText;
use super::recording_bar::OpenButton;
use super::recordings::recording_name;
use super::{UiState, use_ui};
use crate::browser;
use crate::route::{Page, with_data};
use crate::share_link::{self, LINK_MAX, is_related};

/// The menu.
#[component]
pub(super) fn ShareMenu() -> impl IntoView {
    let summary = view! { <summary data-testid="share" title="Links with data, and recordings">"Share"</summary> };
    view! { <Disclosure class="menu right share" summary=summary.into_any()><ShareSheet/></Disclosure> }
}

#[component]
fn ShareSheet() -> impl IntoView {
    let ui = use_ui();
    let outcome = RwSignal::new(String::new());
    let link = RwSignal::new(String::new());
    let has_data = Memo::new(move |_| {
        let page = ui.page.read();
        page.app().is_some_and(|app| ui.read_model().app(app).is_some_and(|store| !store.views().is_empty()))
    });
    let copy = move |_| {
        outcome.set("Working.".to_owned());
        spawn_local(async move {
            let (text, made) = copy_link(ui).await;
            let _ = outcome.try_set(text);
            let _ = link.try_set(made.unwrap_or_default());
        });
    };
    let save = move |_| outcome.set(save_shown(ui));
    view! {
        <div class="sheet">
            <Show when=move || has_data.get()>
                <button type="button" data-testid="copy-link" on:click=copy>"Copy link with data"</button>
                <p>"The link carries the distributions of the window that is shown. It opens without a relay."</p>
                <button type="button" data-testid="save-shown" on:click=save>"Save what is shown as a recording"</button>
            </Show>
            <p role="status" data-testid="share-outcome"><LiveText text=outcome/></p>
            <Show when=move || !link.read().is_empty()>
                <input readonly aria-label="The link" data-testid="link" prop:value=move || link.get()/>
            </Show>
            <OpenButton/>
            <p>"Or drop a file that ends with .joey anywhere on the page."</p>
        </div>
    }
}

/// A part of what is shown of the page's application, as a recording.
fn excerpt(ui: UiState, detail: Detail, keep: impl Fn(&ViewKey) -> bool) -> Option<Vec<u8>> {
    let page = ui.page.get_untracked();
    ui.model.read_value().excerpt(page.app()?, browser::now_ns(), detail, keep)
}

/// Copies a link with as much as fits. Returns what came of it, and the link.
async fn copy_link(ui: UiState) -> (String, Option<String>) {
    let page = ui.page.get_untracked();
    let keep = |key: &ViewKey| match &page {
        Page::Detail(_, shown) => is_related(shown, key),
        _ => true,
    };
    let mut length = 0;
    for detail in [Detail::Seconds, Detail::Sum] {
        let Some(bytes) = excerpt(ui, detail, keep) else { return ("There is nothing to share yet.".to_owned(), None) };
        let Some(compressed) = compress(&bytes).await else {
            return ("This browser cannot compress. Save what is shown as a recording instead.".to_owned(), None);
        };
        let data = share_link::encode(detail, &compressed);
        length = data.len();
        if length > LINK_MAX {
            continue;
        }
        let link = format!("{}{}", browser::page_address(), with_data(&ui.address(), Some(&data)));
        let copied = browser::has_clipboard() && browser::try_copy_text(&link).await;
        let verb = if copied { "Copied a link" } else { "Here is a link" };
        let limits = match detail {
            Detail::Seconds => "",
            Detail::Sum => " It has the rates of each second and the sum of the latencies, but not how they changed.",
        };
        return (format!("{verb} of {} characters.{limits}", format::count(link.len() as u128)), Some(link));
    }
    let text = format!(
        "This is too much for a link: {} characters, and {} is the limit. Open the page of one view, or save what is shown as a recording.",
        format::count(length as u128),
        format::count(LINK_MAX as u128)
    );
    (text, None)
}

/// Saves the window of every view. Returns what came of it.
fn save_shown(ui: UiState) -> String {
    let Some(bytes) = excerpt(ui, Detail::Seconds, |_| true) else { return "There is nothing to save yet.".to_owned() };
    let apps: Vec<String> = ui.page.read_untracked().app().map(str::to_owned).into_iter().collect();
    let ns = ui.model.read_value().relay_ns(browser::now_ns()).unwrap_or(0);
    browser::save_bytes(&recording_name(&apps, ns), &[bytes]);
    "Saved.".to_owned()
}
