//! The page keeps itself up to date: it installs the service worker that lets it start without its server
//! (`ui/app/sw.js`), and it says when the server has another version.
//!
//! Whether it has one does not depend on the service worker, which exists only with HTTPS or on this machine: the page
//! reads its own address again and looks for the names of its own files, which contain a hash of their content.

use core::time::Duration;

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{RequestCache, RequestInit, Response};

use super::shortcuts::listen_to;
use super::{UiState, use_ui};
use crate::browser;

/// How often the page looks for another version while it is open, in ms. It also looks when it has connected again, and when it
/// becomes visible, but not more often than every [`PAUSE_NS`].
const PERIOD: Duration = Duration::from_mins(10);

/// The least time between two looks, in ns.
const PAUSE_NS: u64 = 2_000_000_000;

/// When the service worker is installed: after the page has started, so that it does not take bandwidth from it.
const INSTALL_AFTER: Duration = Duration::from_secs(2);

/// The service worker, next to the page.
const SERVICE_WORKER: &str = "./sw.js";

/// The notice of a new version. It is empty until there is one.
#[component]
pub(super) fn UpdateNotice() -> impl IntoView {
    let ui = use_ui();
    watch(ui);
    view! {
        <Show when=move || ui.is_outdated.get()>
            <section class="update" aria-label="New version" data-testid="update">
                <span>"Joey was updated. It reloads by itself when you look away."</span>
                <button type="button" on:click=|_| browser::reload()>"Reload now"</button>
            </section>
        </Show>
    }
}

/// Whether a reload would lose nothing: what is shown is live, nothing is recorded, and nobody is typing. The rest is in the
/// address.
pub(super) fn is_calm(ui: UiState) -> bool {
    ui.recordings.opened.read_untracked().is_none()
        && ui.model.read_value().recording_progress().is_none()
        && ui.paused_at_ns.read_untracked().is_none()
        && ui.filter.read_untracked().is_empty()
        && browser::query_all("dialog[open]").is_empty()
}

/// Looks for another version from time to time, until the current reactive owner is disposed.
fn watch(ui: UiState) {
    let last_ns = StoredValue::new(browser::now_ns());
    let look = move || {
        let now_ns = browser::now_ns();
        if !ui.is_outdated.get_untracked() && now_ns.saturating_sub(last_ns.get_value()) >= PAUSE_NS {
            last_ns.set_value(now_ns);
            spawn_local(async move {
                if is_outdated().await {
                    ui.is_outdated.set(true);
                    ui.say("Joey was updated. Reload the page to get the new version.".to_owned());
                    reload_if_unseen(ui);
                }
            });
        }
    };
    if let Some(window) = web_sys::window() {
        listen_to(
            &window,
            "visibilitychange",
            move |_| {
                if browser::is_hidden() { reload_if_unseen(ui) } else { look() }
            },
        );
    }
    // A relay that returns may be another release.
    Effect::new(move |before: Option<bool>| {
        let is_connected = ui.connections.is_any_connected();
        if is_connected && before == Some(false) {
            look();
        }
        is_connected
    });
    if let Ok(interval) = set_interval_with_handle(look, PERIOD) {
        on_cleanup(move || interval.clear());
    }
    set_timeout(install, INSTALL_AFTER);
}

/// Reloads a page that nobody looks at, unless that would lose something.
fn reload_if_unseen(ui: UiState) {
    if ui.is_outdated.get_untracked() && browser::is_hidden() && is_calm(ui) {
        browser::reload();
    }
}

/// Whether the server has another version of this page.
async fn is_outdated() -> bool {
    let Some(index) = fetch_index().await else { return false };
    // Something else may answer at this address, such as the login page of a proxy.
    let is_joey = index.contains("name=\"joey-relay\"") || index.contains("name=joey-relay");
    is_joey && own_files().iter().any(|name| !index.contains(name.as_str()))
}

/// The page as its server has it now; `None` if it does not answer.
async fn fetch_index() -> Option<String> {
    let options = RequestInit::new();
    options.set_cache(RequestCache::NoCache);
    let window = web_sys::window()?;
    let address = window.location().pathname().ok()?;
    let response = JsFuture::from(window.fetch_with_str_and_init(&address, &options)).await.ok()?;
    let response = response.dyn_into::<Response>().ok().filter(|response| response.ok() && !response.redirected())?;
    JsFuture::from(response.text().ok()?).await.ok()?.as_string()
}

/// The names of the files that this page was made of.
fn own_files() -> Vec<String> {
    let links = browser::query_all("link[rel=stylesheet], link[rel=modulepreload], link[rel=preload]");
    let names = links.iter().filter_map(|link| link.get_attribute("href"));
    names.filter_map(|address| address.rsplit('/').next().map(str::to_owned)).collect()
}

/// Installs the service worker. Without HTTPS and not on this machine, browsers have none.
fn install() {
    let Some(navigator) = web_sys::window().map(|window| window.navigator()) else { return };
    if js_sys::Reflect::has(&navigator, &"serviceWorker".into()).unwrap_or(false) {
        let promise = navigator.service_worker().register(SERVICE_WORKER);
        // Without it, the page only needs its server to start.
        spawn_local(async move { drop(JsFuture::from(promise).await) });
    }
}
