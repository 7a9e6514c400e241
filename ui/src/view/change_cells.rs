//! The columns of changes in a table: shown while there is something to compare its rows with.

use joey_shared::compare::{Evidence, QuantileChange};
use leptos::prelude::*;

use super::live_text::text_content;
use super::table::SortableHead;
use super::{AppName, UiState, use_ui};
use crate::change_text::{self, ChangeText, bins_note};
use crate::row_change::{CHANGE_PERCENTILES, ChangeColumn, LatencyChange, RowChange};
use crate::statistics::PERCENTILES;
use crate::table_rows::{Column, Sort};
use crate::typed_percentile::TypedPercentile;

/// What a sorted table without an order of its own shows first.
pub(super) const MOST_CHANGED: Sort = Sort { column: Column::Change(ChangeColumn::Distance), descending: true };

/// Minimum distance that is emphasized. Smaller ones may be beyond chance too, but everything changes a little.
const EMPHASIZED: f64 = 0.05;

/// Whether the rows of the tables of `app` are compared with something.
pub(super) fn is_compared(ui: UiState, app: AppName) -> Memo<bool> {
    Memo::new(move |_| ui.read_model().row_reference(&app.read_value()).is_some())
}

/// Sorts by change when a comparison begins, unless the user has chosen an order, and ends that order with it.
pub(super) fn sort_by_change_while(sort: RwSignal<Option<Sort>>, is_compared: Memo<bool>, shows_latency: bool) {
    Effect::new(move |before: Option<bool>| {
        let is_compared = is_compared.get();
        match (is_compared, sort.get_untracked()) {
            (true, None) if shows_latency => sort.set(Some(MOST_CHANGED)),
            // What an address compares with may not have arrived yet.
            (false, Some(Sort { column: Column::Change(_), .. })) if before == Some(true) => sort.set(None),
            _ => {}
        }
        is_compared
    });
}

/// The heads of the columns.
#[component]
pub(super) fn ChangeHeads(sort: RwSignal<Option<Sort>>, is_compared: Memo<bool>, shows_latency: bool) -> impl IntoView {
    let ui = use_ui();
    let head = move |column, label: String, class, tooltip| {
        view! { <SortableHead sort column=Column::Change(column) label class tooltip/> }
    };
    let percentiles = move || {
        let fixed = CHANGE_PERCENTILES.map(|index| (ChangeColumn::Percentile(index), PERCENTILES[index].label.into()));
        let typed = ui.percentiles.get().into_iter();
        let typed = typed.map(|percentile| (ChangeColumn::Typed(percentile), percentile.label()));
        let all = fixed.into_iter().chain(typed);
        all.map(|(column, label)| {
            head(column, format!("Δ{label}"), "number delta", "By how many bins this percentile moved")
        })
        .collect_view()
    };
    let heads = move || {
        view! {
            {shows_latency.then(|| view! {
                {head(
                    ChangeColumn::Distance,
                    "change".to_owned(),
                    "number delta distance",
                    "The largest difference of the cumulative shares; what changed most beyond chance is first",
                )}
                {percentiles}
            })}
            {head(ChangeColumn::Rate, "Δrate".to_owned(), "number delta", "The change of the median rate")}
        }
    };
    move || is_compared.get().then(heads)
}

/// The cells of a row. `other` is what it is compared with, in words.
pub(super) fn change_cells(
    change: &RowChange,
    typed: &[TypedPercentile],
    shows_latency: bool,
    other: &str,
) -> impl IntoView + use<> {
    let latency = shows_latency.then(|| {
        let latency = change.latency.as_ref();
        let fixed = CHANGE_PERCENTILES.map(|index| {
            let percentile = PERCENTILES[index];
            let change = latency.and_then(|latency| latency.quantiles[index]);
            quantile_cell(latency, change, percentile.label, percentile.events_min, other)
        });
        let typed = typed.iter().map(|percentile| {
            let change = latency.and_then(|latency| latency.typed_change(*percentile));
            quantile_cell(latency, change, &percentile.label(), percentile.events_min(), other)
        });
        view! {
            {distance_cell(latency, change.is_new, other)}
            {fixed.into_iter().chain(typed).collect_view()}
        }
    });
    let rate = change.rate.as_ref().map(|rate| change_text::rate(rate, other));
    let ratio = change.rate.as_ref().and_then(|rate| rate.ratio()).map(|ratio| ratio.to_string());
    let tooltip = rate.as_ref().map_or_else(|| missing_reason(change.is_new, other), |text| text.tooltip.clone());
    view! {
        {latency}
        <td
            class="number delta"
            data-col="change-rate"
            data-head="Δrate"
            data-value=ratio
            title=tooltip
        >
            <ChangeView text=rate/>
        </td>
    }
}

fn distance_cell(latency: Option<&LatencyChange>, is_new: bool, other: &str) -> impl IntoView + use<> {
    let text = latency.map(|latency| change_text::distance(&latency.change, other));
    let evidence = latency.map(|latency| latency.change.evidence);
    let share = latency.and_then(|latency| latency.change.distance).map(|distance| distance.share.to_string());
    let large = latency.and_then(|latency| latency.change.distance).filter(|distance| distance.share >= EMPHASIZED);
    let direction = large.map(|distance| distance.is_slower);
    let tooltip = text.as_ref().map_or_else(|| missing_reason(is_new, other), |text| text.tooltip.clone());
    let is_sound = evidence == Some(Evidence::Changed);
    view! {
        <td
            class="number delta distance"
            class:faint=!is_sound
            class:slower=is_sound && direction == Some(true)
            class:faster=is_sound && direction == Some(false)
            data-col="change"
            data-head="change"
            data-value=share
            data-evidence=evidence.map(Evidence::name)
            title=with_note(tooltip, latency)
        >
            <ChangeView text/>
        </td>
    }
}

fn quantile_cell(
    latency: Option<&LatencyChange>,
    change: Option<QuantileChange>,
    label: &str,
    events_min: u128,
    other: &str,
) -> impl IntoView + use<> {
    let is_supported = latency.is_some_and(|latency| latency.supports(events_min));
    let text = change.map(|change| change_text::quantile(&change, label, other));
    let tooltip = text.as_ref().map(|text| text.tooltip.clone()).unwrap_or_default();
    view! {
        <td
            class="number delta"
            class:faint=!is_supported
            data-col=format!("change-{label}")
            data-head=format!("Δ{label}")
            data-value=change.map(|change| change.bins.to_string())
            data-low=change.map(|change| change.ratio.0.to_string())
            data-high=change.map(|change| change.ratio.1.to_string())
            title=with_note(tooltip, latency)
        >
            <ChangeView text/>
        </td>
    }
}

/// Why there is no change.
fn missing_reason(is_new: bool, other: &str) -> String {
    if is_new { format!("not measured in {other}") } else { "one of the sides has no events".to_owned() }
}

fn with_note(tooltip: String, latency: Option<&LatencyChange>) -> String {
    let note = latency.map_or("", |latency| bins_note(latency.is_folded, latency.is_exact));
    if note.is_empty() { tooltip } else { format!("{tooltip}; {note}") }
}

/// A change; a dash if it is missing.
#[component]
pub(super) fn ChangeView(text: Option<ChangeText>) -> impl IntoView {
    match text {
        None => view! { <span class="none">"–"</span> }.into_any(),
        Some(ChangeText { main, aside, .. }) => view! {
            <span class="n" use:text_content=main></span>
            {(!aside.is_empty()).then(|| view! { <span class="u" use:text_content=aside></span> })}
        }
        .into_any(),
    }
}
