//! Small words beside a name: its measurements are approximate or sampled.

use leptos::prelude::*;

use crate::vocabulary::Caveat;

/// The words. Their explanations are tooltips, and text for screen readers.
#[component]
pub(super) fn Caveats(#[prop(into)] caveats: Signal<Vec<Caveat>>) -> impl IntoView {
    let caveat = |Caveat { word, text }| {
        view! {
            <span class="caveat" data-testid="caveat" title=text>
                {word}
                <span class="visually-hidden">{format!(": {text}")}</span>
            </span>
        }
    };
    view! { <For each=move || caveats.get() key=|caveat| *caveat let(shown)>{caveat(shown)}</For> }
}
