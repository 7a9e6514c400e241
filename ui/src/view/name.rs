//! Names from producers: applications, pipelines, workers, computations.
//!
//! A name has its own writing direction, is not translated, and is shown in full as a tooltip.

use leptos::prelude::*;

/// A name as plain text.
#[component]
pub(super) fn Name(class: &'static str, name: String) -> impl IntoView {
    view! { <span class=class dir="auto" translate="no" title=name>{name.clone()}</span> }
}

/// A name that links to `href`.
#[component]
pub(super) fn NameLink(class: &'static str, name: String, href: String) -> impl IntoView {
    view! { <a class=class dir="auto" translate="no" title=name href=href>{name.clone()}</a> }
}

/// `name`, or a placeholder for an empty one, which would be invisible.
pub(super) fn display_name(name: &str) -> String {
    if name.is_empty() { "(no name)".to_owned() } else { name.to_owned() }
}
