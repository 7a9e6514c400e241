//! A `<details>` element with content that exists only while it is open.

use leptos::ev::Event;
use leptos::prelude::*;
use web_sys::HtmlDetailsElement;

/// A `<details>` element. `summary` is its `<summary>`; the children are created when it opens.
#[component]
pub(super) fn Disclosure(class: &'static str, summary: AnyView, children: ChildrenFn) -> impl IntoView {
    let open = RwSignal::new(false);
    let on_toggle = move |event: Event| open.set(event_target::<HtmlDetailsElement>(&event).open());
    view! {
        <details class=class on:toggle=on_toggle>
            {summary}
            <Show when=move || open.get()>{children()}</Show>
        </details>
    }
}
