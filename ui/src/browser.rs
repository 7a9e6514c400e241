//! Browser APIs that the page needs: location, clock, document, clipboard.
//!
//! Each call can fail (an old browser has no clipboard). The callers have a default for that, so nothing here returns an
//! error.

use joey_shared::address;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, BlobPropertyBag, ClipboardItem, Document, Element, HtmlAnchorElement, HtmlCanvasElement, HtmlElement,
    Notification, NotificationOptions, NotificationPermission, Url,
};

use std::time::Duration;

use crate::settings::choices::{self, Density};
use crate::settings::{self, Theme};

/// A monotonic clock, in ns.
#[must_use]
pub fn now_ns() -> u64 {
    let ms = web_sys::window().and_then(|window| window.performance()).map_or(0.0, |performance| performance.now());
    (ms * 1e6) as u64
}

/// A uniformly distributed random number.
#[must_use]
pub fn random_u32() -> u32 {
    (js_sys::Math::random() * f64::from(u32::MAX)) as u32
}

/// The document.
#[must_use]
pub fn document() -> Option<Document> {
    web_sys::window()?.document()
}

/// Whether the page is hidden, for example behind another tab.
#[must_use]
pub fn is_hidden() -> bool {
    document().is_some_and(|document| document.hidden())
}

/// The fragment of the page's address, from `#` on.
#[must_use]
pub fn location_hash() -> String {
    web_sys::window().and_then(|window| window.location().hash().ok()).unwrap_or_default()
}

/// The page's address without query and fragment.
#[must_use]
pub fn page_address() -> String {
    let location = web_sys::window().map(|window| window.location());
    let part = |part: Option<Result<String, JsValue>>| part.and_then(Result::ok).unwrap_or_default();
    let (origin, path) = (location.as_ref().map(|it| it.origin()), location.as_ref().map(|it| it.pathname()));
    part(origin) + &part(path)
}

/// Navigates to `address`, which begins with `#`.
pub fn navigate(address: &str) {
    if let Some(window) = web_sys::window() {
        let _ = window.location().set_hash(address);
    }
}

/// Replaces the address in the address bar without navigating.
pub fn replace_address(address: &str) {
    if let Some(history) = web_sys::window().and_then(|window| window.history().ok()) {
        let _ = history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(address));
    }
}

/// Loads the page again.
pub fn reload() {
    if let Some(window) = web_sys::window() {
        let _ = window.location().reload();
    }
}

/// Scrolls to the top of the page.
pub fn scroll_to_top() {
    if let Some(window) = web_sys::window() {
        window.scroll_to_with_x_and_y(0.0, 0.0);
    }
}

/// Scrolls by `distance` CSS pixels and returns whether the page moved.
pub fn scroll_by(distance: f64) -> bool {
    let Some(window) = web_sys::window() else { return false };
    let before = window.scroll_y();
    window.scroll_by_with_x_and_y(0.0, distance);
    (window.scroll_y().unwrap_or(0.0) - before.unwrap_or(0.0)).abs() >= 1.0
}

/// Sets the document's title.
pub fn set_title(title: &str) {
    if let Some(document) = document() {
        document.set_title(title);
    }
}

/// Applies `theme` to the document.
pub fn apply_theme(theme: Theme) {
    if let Some(root) = document().and_then(|document| document.document_element()) {
        let _ = root.set_attribute("data-theme", theme.name());
    }
}

/// Applies `density` to the document.
pub fn apply_density(density: Density) {
    if let Some(root) = document().and_then(|document| document.document_element()) {
        let _ = root.set_attribute("data-density", choices::word_of(&Density::CHOICES, density));
    }
}

/// Host and port of the server that served the page.
#[must_use]
pub fn host() -> String {
    web_sys::window().and_then(|window| window.location().host().ok()).unwrap_or_default()
}

/// Host and directory of the page: where its relay is, behind any proxy.
fn page_directory() -> String {
    let path = web_sys::window().and_then(|window| window.location().pathname().ok()).unwrap_or_default();
    format!("{}{}/", host(), address::directory(&path))
}

/// The WebSocket addresses of the relay that the page uses without settings: from the address bar, the meta tag, or the page's
/// own server.
#[must_use]
pub fn own_relay_addresses() -> Vec<String> {
    let meta = document().and_then(|document| document.query_selector("meta[name=joey-relay]").ok().flatten());
    let meta = meta.and_then(|meta| meta.get_attribute("content")).unwrap_or_default();
    let sources = [configured_relays(), meta, page_directory()];
    settings::relay_addresses(sources.iter().map(String::as_str), is_encrypted())
}

/// The relay addresses in the address bar, as the user wrote them.
#[must_use]
pub fn configured_relays() -> String {
    let query = web_sys::window().and_then(|window| window.location().search().ok()).unwrap_or_default();
    settings::relays_in_query(&query)
}

/// Whether the page was loaded over HTTPS.
#[must_use]
pub fn is_encrypted() -> bool {
    web_sys::window().and_then(|window| window.location().protocol().ok()).is_some_and(|protocol| protocol == "https:")
}

/// Copies `text` to the clipboard.
pub fn copy_to_clipboard(text: &str) {
    if let Some(window) = web_sys::window()
        && window.is_secure_context()
    {
        // A failure needs no message: the text on the page can still be selected.
        drop(window.navigator().clipboard().write_text(text));
    }
}

/// Whether the browser lets this page write to the clipboard.
#[must_use]
pub fn has_clipboard() -> bool {
    web_sys::window().is_some_and(|window| window.is_secure_context())
}

/// Copies `text` to the clipboard, and returns whether that worked.
pub async fn try_copy_text(text: &str) -> bool {
    let Some(window) = web_sys::window().filter(|_| has_clipboard()) else { return false };
    JsFuture::from(window.navigator().clipboard().write_text(text)).await.is_ok()
}

/// Asks the user to allow notifications, unless that is decided, and calls `done` with whether they are allowed. It
/// must be called by a press.
pub fn ask_to_notify(done: impl FnOnce(bool) + 'static) {
    if !has_notifications() {
        return done(false);
    }
    wasm_bindgen_futures::spawn_local(async move {
        if let Ok(promise) = Notification::request_permission() {
            let _ = JsFuture::from(promise).await;
        }
        done(Notification::permission() == NotificationPermission::Granted);
    });
}

/// Shows a notification of the system, if the user allowed that. A later one with the same title replaces it.
pub fn notify(title: &str, text: &str) {
    if has_notifications() && Notification::permission() == NotificationPermission::Granted {
        let options = NotificationOptions::new();
        options.set_body(text);
        options.set_tag(title);
        // Some phones allow them only to installed pages.
        let _ = Notification::new_with_options(title, &options);
    }
}

/// Whether the browser has notifications at all.
fn has_notifications() -> bool {
    web_sys::window().is_some_and(|window| js_sys::Reflect::has(&window, &"Notification".into()).unwrap_or(false))
}

/// Copies an image to the clipboard, and returns whether that worked.
pub async fn try_copy_image(canvas: &HtmlCanvasElement) -> bool {
    let Some(window) = web_sys::window().filter(|_| has_clipboard()) else { return false };
    let types = js_sys::Object::new();
    // The item takes the promise, so that the browser still knows that the user pressed something.
    let _ = js_sys::Reflect::set(&types, &"image/png".into(), &png_promise(canvas));
    let Ok(item) = ClipboardItem::new_with_record_from_str_to_blob_promise(&types) else { return false };
    JsFuture::from(window.navigator().clipboard().write(&js_sys::Array::of1(&item))).await.is_ok()
}

/// The image of `canvas` as PNG.
pub async fn png_of(canvas: &HtmlCanvasElement) -> Option<Blob> {
    JsFuture::from(png_promise(canvas)).await.ok()?.dyn_into().ok()
}

fn png_promise(canvas: &HtmlCanvasElement) -> js_sys::Promise {
    js_sys::Promise::new(&mut |resolve, reject| {
        if let Err(error) = canvas.to_blob(&resolve) {
            let _ = reject.call1(&JsValue::NULL, &error);
        }
    })
}

/// Saves `text` as a file.
pub fn save_text(file_name: &str, mime_type: &str, text: &str) {
    let options = BlobPropertyBag::new();
    options.set_type(&format!("{mime_type};charset=utf-8"));
    if let Ok(blob) = Blob::new_with_str_sequence_and_options(&js_sys::Array::of1(&text.into()), &options) {
        save(file_name, &blob);
    }
}

/// Saves `parts` as one file.
pub fn save_bytes(file_name: &str, parts: &[Vec<u8>]) {
    let parts: js_sys::Array = parts.iter().map(|part| JsValue::from(js_sys::Uint8Array::from(&**part))).collect();
    let options = BlobPropertyBag::new();
    options.set_type("application/octet-stream");
    if let Ok(blob) = Blob::new_with_u8_array_sequence_and_options(&parts, &options) {
        save(file_name, &blob);
    }
}

/// Saves `blob` as a file, as if the user had followed a link to it.
pub fn save(file_name: &str, blob: &Blob) {
    let link = document().and_then(|document| document.create_element("a").ok()?.dyn_into::<HtmlAnchorElement>().ok());
    let (Some(link), Ok(address)) = (link, Url::create_object_url_with_blob(blob)) else { return };
    link.set_href(&address);
    link.set_download(file_name);
    link.click();
    // Some browsers read the file only after a while.
    leptos::prelude::set_timeout(move || drop(Url::revoke_object_url(&address)), Duration::from_secs(60));
}

/// Moves the focus to the `<summary>` of `menu`.
pub fn focus_summary(menu: &Element) {
    let summary =
        menu.query_selector("summary").ok().flatten().and_then(|summary| summary.dyn_into::<HtmlElement>().ok());
    if let Some(summary) = summary {
        let _ = summary.focus();
    }
}

/// The elements that match `selector`, in document order.
#[must_use]
pub fn query_all(selector: &str) -> Vec<HtmlElement> {
    let Some(list) = document().and_then(|document| document.query_selector_all(selector).ok()) else {
        return Vec::new();
    };
    (0..list.length()).filter_map(|index| list.get(index)).filter_map(|node| node.dyn_into().ok()).collect()
}

/// The element that has the keyboard focus.
#[must_use]
pub fn active_element() -> Option<Element> {
    document()?.active_element()
}

/// Gives the focus to `element`, if it is still in the document and nothing else has the focus. Does not scroll.
pub fn restore_focus(element: &HtmlElement) {
    let is_free = active_element().is_none_or(|focused| focused.tag_name() == "BODY");
    if is_free && element.is_connected() {
        let options = web_sys::FocusOptions::new();
        options.set_prevent_scroll(true);
        let _ = element.focus_with_options(&options);
    }
}

/// The vertical position of `element` in the viewport, and the height of the viewport.
#[must_use]
pub fn vertical_position(element: &Element) -> Option<(f64, f64)> {
    let height = web_sys::window()?.inner_height().ok()?.as_f64()?;
    Some((element.get_bounding_client_rect().top(), height))
}

/// The mean height of the elements below `element` that match `selector`; `None` without any.
#[must_use]
pub fn mean_height(element: &Element, selector: &str) -> Option<f64> {
    let list = element.query_selector_all(selector).ok()?;
    let elements = (0..list.length()).filter_map(|index| list.get(index)?.dyn_into::<Element>().ok());
    let heights: f64 = elements.map(|element| element.get_bounding_client_rect().height()).sum();
    (heights > 0.0).then(|| heights / f64::from(list.length()))
}

/// Whether `element` is at least partly in the viewport, vertically.
#[must_use]
pub fn is_in_viewport(element: &Element) -> bool {
    let Some(height) =
        web_sys::window().and_then(|window| window.inner_height().ok()).and_then(|height| height.as_f64())
    else {
        return true;
    };
    let rect = element.get_bounding_client_rect();
    rect.width() > 0.0 && rect.bottom() > 0.0 && rect.top() < height
}
