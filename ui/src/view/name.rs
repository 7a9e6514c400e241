//! Names from producers: applications, pipelines, workers, computations.
//!
//! A name has its own writing direction, is not translated, and is shown in full as a tooltip.

use joey_shared::view::ViewKey;
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

/// The names that identify a view, the most specific one first. Services have no pipeline, which is not mentioned.
pub(super) fn view_names(key: &ViewKey) -> Vec<String> {
    let pipeline = key.pipeline.as_ref().filter(|pipeline| !pipeline.is_empty() || key.name.is_none());
    [key.name.as_ref(), pipeline, key.worker.as_ref()].into_iter().flatten().map(|name| display_name(name)).collect()
}
