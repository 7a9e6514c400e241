//! The choice of percentiles beside those that are always shown: a text box, and a button for each that removes it
//! again.

use leptos::ev::SubmitEvent;
use leptos::html::Input;
use leptos::prelude::*;

use super::use_ui;
use crate::route::Page;
use crate::statistics::{PERCENTILES, TABLE_PERCENTILES};
use crate::typed_percentile::{TYPED_MAX, TypedPercentile};

/// Whether `percentile` is a figure of every detail page.
pub(super) fn is_figure(percentile: TypedPercentile) -> bool {
    PERCENTILES.iter().any(|shown| shown.quantile == percentile.quantile())
}

/// Whether `percentile` is a column of every table.
fn is_column(percentile: TypedPercentile) -> bool {
    PERCENTILES.iter().take(TABLE_PERCENTILES).any(|shown| shown.quantile == percentile.quantile())
}

/// The text box with the buttons.
#[component]
pub(super) fn PercentileChoice() -> impl IntoView {
    let ui = use_ui();
    let problem = RwSignal::new("");
    let input = NodeRef::<Input>::new();
    let is_shown = move |percentile| match *ui.page.read_untracked() {
        Page::Detail(..) => is_figure(percentile),
        _ => is_column(percentile),
    };
    let on_submit = move |event: SubmitEvent| {
        event.prevent_default();
        let Some(input) = input.get_untracked() else { return };
        match TypedPercentile::parse(&input.value()) {
            None => problem.set("A percentile is between 0 and 100, with up to 4 decimals"),
            Some(percentile) if is_shown(percentile) => problem.set("Already shown"),
            Some(percentile) if !ui.add_percentile(percentile) => problem.set(TOO_MANY),
            Some(_) => {
                problem.set("");
                input.set_value("");
            }
        }
    };
    let remove = move |percentile: TypedPercentile| {
        ui.remove_percentile(percentile);
        problem.set("");
        // The button is gone, so the focus would be lost.
        if let Some(input) = input.get_untracked() {
            let _ = input.focus();
        }
    };
    let chip = move |percentile: TypedPercentile| {
        let (label, name) = (percentile.label(), format!("Remove {}", percentile.label()));
        view! {
            <button class="chip" type="button" title=name.clone() aria-label=name on:click=move |_| remove(percentile)>
                {label} <span aria-hidden="true">"×"</span>
            </button>
        }
    };
    view! {
        <form class="percentiles" data-testid="percentiles" novalidate on:submit=on_submit>
            <For each=move || ui.percentiles.get() key=Clone::clone children=chip/>
            <label for="percentile">"Percentile"</label>
            <input
                id="percentile"
                type="text"
                inputmode="decimal"
                placeholder="99.95"
                autocomplete="off"
                spellcheck="false"
                size="7"
                maxlength="12"
                aria-describedby="percentile-problem"
                aria-invalid=move || (!problem.get().is_empty()).to_string()
                node_ref=input
                on:input=move |_| problem.set("")
            />
            <button type="submit" title="Show this percentile in every table and among the figures">"Add"</button>
            <span id="percentile-problem" class="problem" role="alert">{move || problem.get()}</span>
        </form>
    }
}

/// Shown when another column would be too many.
const TOO_MANY: &str = "Four at most; remove one first";

const _: () = assert!(TYPED_MAX == 4, "the text names the number");
