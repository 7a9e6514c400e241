//! How the tables of a dashboard are shown: table or small charts, their order, and whether only favourites are shown.

use leptos::ev::Event;
use leptos::prelude::*;

use super::use_ui;
use crate::percentile_list::{ShownPercentile, shown_percentiles};
use crate::statistics::TABLE_PERCENTILES;
use crate::table_choice::{Layout, parse_sort, sort_text};
use crate::table_rows::{Column, Sort};

/// The choices.
#[component]
pub(super) fn TableControls() -> impl IntoView {
    view! {
        <LayoutChoice/>
        <SortChoice/>
        <OnlyFavourites/>
    }
}

#[component]
fn LayoutChoice() -> impl IntoView {
    let layout = use_ui().layout;
    let choice = move |(wanted, label, tooltip): (Layout, &'static str, &'static str)| {
        view! {
            <button
                type="button"
                title=tooltip
                aria-pressed=move || (layout.get() == wanted).to_string()
                on:click=move |_| layout.set(wanted)
            >
                {label}
            </button>
        }
    };
    view! {
        <div class="segments layout" role="group" aria-label="Rows as">
            {choice((Layout::Table, "Table", "One line for each row, with its numbers"))}
            {choice((Layout::Charts, "Charts", "One small chart for each row, all on the same axis"))}
        </div>
    }
}

/// The orders that the list offers: value in an address, and text.
fn orders(percentiles: &[ShownPercentile]) -> Vec<(String, String)> {
    let order = |column, descending, text: String| sort_text(Sort { column, descending }).map(|value| (value, text));
    let percentile = |percentile: &ShownPercentile| {
        let column = match *percentile {
            ShownPercentile::Fixed(index) => Column::Percentile(index),
            ShownPercentile::Typed(percentile) => Column::Typed(percentile),
        };
        order(column, true, format!("Highest {}", percentile.label()))
    };
    let mut orders: Vec<(String, String)> = order(Column::Name, false, "Name".to_owned()).into_iter().collect();
    orders.extend(percentiles.iter().filter_map(percentile));
    let others = [
        (Column::Median, "Most events per second"),
        (Column::Events, "Most events in the window"),
        (Column::LastMinute, "Changed most lately"),
    ];
    orders.extend(others.into_iter().filter_map(|(column, text)| order(column, true, text.to_owned())));
    orders
}

#[component]
fn SortChoice() -> impl IntoView {
    let ui = use_ui();
    let chosen = move || ui.sort.get().and_then(sort_text).unwrap_or_default();
    let on_change = move |event: Event| ui.sort.set(parse_sort(&event_target_value(&event)));
    let options = move || {
        let mut orders = orders(&shown_percentiles(TABLE_PERCENTILES, &ui.percentiles.read()));
        // The head of a column can choose another one.
        let chosen = chosen();
        if !chosen.is_empty() && orders.iter().all(|(value, _)| *value != chosen) {
            let (text, direction) = match chosen.strip_prefix('-') {
                Some(text) => (text, "descending"),
                None => (chosen.as_str(), "ascending"),
            };
            orders.push((chosen.clone(), format!("{text}, {direction}")));
        }
        let option = |(value, text): (String, String)| {
            let is_chosen = value == chosen;
            view! { <option value=value selected=is_chosen>{text}</option> }
        };
        let own = view! { <option value="" selected=chosen.is_empty()>"Own order"</option> };
        (own, orders.into_iter().map(option).collect_view())
    };
    view! {
        <label class="order">
            <span class="visually-hidden">"Order of rows"</span>
            <select id="order" title="The order of the rows of every table" on:change=on_change>{options}</select>
        </label>
    }
}

#[component]
fn OnlyFavourites() -> impl IntoView {
    let only = use_ui().only_favourites;
    view! {
        <button
            class="only"
            type="button"
            data-testid="only-favourites"
            title="Show only the rows with a star; the key f gives the focused row one"
            aria-pressed=move || only.get().to_string()
            on:click=move |_| only.update(|only| *only = !*only)
        >
            "Favourites"
        </button>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typed_percentile::TypedPercentile;

    #[test]
    fn every_shown_percentile_is_an_order() {
        let typed = TypedPercentile::parse_list("75,99.9");
        let values: Vec<String> = orders(&shown_percentiles(3, &typed)).into_iter().map(|(value, _)| value).collect();
        let expected = ["name", "-p50", "-p75", "-p95", "-p99", "-p99.9", "-median", "-events", "-last-minute"];
        assert_eq!(values, expected);
        assert!(values.iter().all(|value| parse_sort(value).and_then(sort_text).as_ref() == Some(value)));
    }
}
