//! Text that changes while the page is open.
//!
//! A translation or a browser extension may replace the page's text nodes with elements of its own. Leptos would then
//! update a text node that is no longer in the document. Text that changes is therefore set as the `textContent` of its
//! element, which also removes what was put there.

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Element, Text};

/// A `<span>` whose text follows `text`.
#[component]
pub(super) fn LiveText(
    #[prop(into)] text: Signal<String>,
    #[prop(optional)] class: Option<&'static str>,
) -> impl IntoView {
    // Without the memo, each tick would replace the text, and with it the user's selection.
    let text = Memo::new(move |_| text.get());
    view! { <span class=class prop:textContent=move || text.get()></span> }
}

/// Directive for elements that are rendered again when their data changes: `<span use:text_content=text></span>`.
pub(super) fn text_content(element: Element, text: String) {
    match element.first_child().and_then(|child| child.dyn_into::<Text>().ok()) {
        Some(node) if node.next_sibling().is_none() => {
            // To change a text node costs the browser less than to replace it.
            if node.data() != text {
                node.set_data(&text);
            }
        }
        _ => element.set_text_content(Some(&text)),
    }
}
