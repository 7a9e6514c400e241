//! A table of views that can be sorted, filtered and walked through with the keyboard.
//!
//! A row exists as long as its view; only its cells change.

use joey_shared::format;
use leptos::prelude::*;

use super::download::DownloadMenu;
use super::export_tables::views_table;
use super::live_text::LiveText;
use super::table_row::{PERCENTILE_COLUMNS, ViewRow};
use super::{AppName, UiState, use_ui, use_words};
use crate::chart::latency_axis::LatencyRange;
use crate::chart::sparkline;
use crate::statistics::{PERCENTILES, ViewStatistics};
use crate::table_rows::{Column, Listing, ROWS_MAX, Sort, TableRow, filter_and_sort};
use crate::typed_percentile::TypedPercentile;

/// What a table shows.
#[derive(Clone, PartialEq)]
struct TableContent {
    /// The number of rows without the filter.
    total: usize,
    /// The rows that match the filter, sorted.
    rows: Vec<TableRow>,
    /// The axis of all small histograms.
    axis: LatencyRange,
}

/// The table of the views in `listing`. A table without rows is hidden if not every application has it.
#[component]
pub fn ViewTable(app: AppName, listing: Listing) -> impl IntoView {
    let (ui, words) = (use_ui(), use_words());
    let hide_if_empty = words.is_service || listing.is_optional();
    let shows_latency = listing.has_latency();
    let sort = RwSignal::new(None);
    let title = StoredValue::new(listing.title(words));
    let subject = listing.subject(words);
    let class = if listing.shows_ingestion() && !words.is_service { "views forked" } else { "views" };
    let content = Memo::new(move |_| {
        // The column of the order may have been removed.
        let is_shown = |sort: &Sort| match sort.column {
            Column::Typed(percentile) => ui.percentiles.read().contains(&percentile),
            _ => true,
        };
        table_content(ui, &app.read_value(), &listing, sort.get().filter(is_shown))
    });
    view! {
        <Show when=move || !hide_if_empty || content.read().total != 0>
            <section class="panel" data-testid="table" data-subject=subject>
                <header>
                    <h2 class="ellipsis" dir="auto" translate="no" title=title.get_value()>{title.get_value()}</h2>
                    <LiveText class="tally" text=Signal::derive(move || tally(&content.read()))/>
                    <DownloadMenu
                        app
                        view=title.get_value()
                        table=move || Some(views_table(ui, &app.read_value(), &content.read_untracked().rows))
                    />
                </header>
                <Rows app content sort subject class shows_latency/>
            </section>
        </Show>
    }
}

fn table_content(ui: UiState, app: &str, listing: &Listing, sort: Option<Sort>) -> TableContent {
    let filter = ui.filter.read();
    let mut model = ui.read_model();
    let rows = model.app(app).map(|store| listing.rows(store)).unwrap_or_default();
    let total = rows.len();
    // All small histograms use the same axis, so that they can be compared.
    let with_latency = rows.iter().filter(|row| row.key.kind.has_latency()).take(ROWS_MAX);
    let statistics: Vec<ViewStatistics> =
        with_latency.filter_map(|row| model.view_statistics(app, row.view_index)).collect();
    let axis = sparkline::common_axis(statistics.iter().map(|statistics| &statistics.histogram));
    let rows = filter_and_sort(rows, sort, &filter, |view_index| model.view_statistics(app, view_index));
    TableContent { total, rows, axis }
}

/// The number of rows: `12`, or `3 of 12` with a filter.
fn tally(TableContent { total, rows, .. }: &TableContent) -> String {
    if rows.len() == *total { total.to_string() } else { format!("{} of {total}", rows.len()) }
}

#[component]
fn Rows(
    app: AppName,
    content: Memo<TableContent>,
    sort: RwSignal<Option<Sort>>,
    subject: &'static str,
    class: &'static str,
    shows_latency: bool,
) -> impl IntoView {
    let show_all = RwSignal::new(false);
    let axis = Memo::new(move |_| content.read().axis);
    let visible_rows = move || {
        let rows_max = if show_all.get() { usize::MAX } else { ROWS_MAX };
        content.read().rows.iter().take(rows_max).cloned().collect::<Vec<_>>()
    };
    view! {
        <div class="across">
        <table class=class>
            <TableHead sort axis subject shows_latency/>
            <tbody>
                <For each=visible_rows key=|row| row.view_index let(row)>
                    <ViewRow app row axis shows_latency/>
                </For>
            </tbody>
        </table>
        </div>
        <TableFooter content show_all/>
    }
}

/// Below the rows: why there are none, or a button for the rest.
#[component]
fn TableFooter(content: Memo<TableContent>, show_all: RwSignal<bool>) -> impl IntoView {
    let counts = Memo::new(move |_| {
        let content = content.read();
        (content.total, content.rows.len())
    });
    move || match counts.get() {
        (0, _) => view! { <p class="nothing">"None yet."</p> }.into_any(),
        (_, 0) => view! { <p class="nothing">"Nothing matches the filter."</p> }.into_any(),
        (_, matching) if matching > ROWS_MAX && !show_all.get() => view! {
            <button class="more" type="button" on:click=move |_| show_all.set(true)>
                {format!("Show {} more", matching - ROWS_MAX)}
            </button>
        }
        .into_any(),
        _ => ().into_any(),
    }
}

#[component]
fn TableHead(
    sort: RwSignal<Option<Sort>>,
    axis: Memo<LatencyRange>,
    subject: &'static str,
    shows_latency: bool,
) -> impl IntoView {
    let percentile_heads = PERCENTILES.iter().take(PERCENTILE_COLUMNS).enumerate().map(|(index, percentile)| {
        view! {
            <SortableHead
                sort
                column=Column::Percentile(index)
                label=percentile.label.to_owned()
                class="number wide"
                tooltip="The range that holds this percentile"
            />
        }
    });
    let ui = use_ui();
    let typed_head = move |percentile: TypedPercentile| {
        view! {
            <SortableHead
                sort
                column=Column::Typed(percentile)
                label=percentile.label()
                class="number wide typed"
                tooltip="The range that holds this percentile"
            />
        }
    };
    let low_text = Signal::derive(move || format::duration(axis.get().durations().0).to_string());
    let high_text = Signal::derive(move || format::duration(axis.get().durations().1).to_string());
    view! {
        <thead>
            <tr>
                <SortableHead sort column=Column::Name label=subject.to_owned() class="name" tooltip="Sort by name"/>
                <th
                    class="spark"
                    scope="col"
                    title="Events per second over the window, each row from zero to its own maximum"
                >
                    "Rate"
                </th>
                {shows_latency.then(|| view! { <th
                    class="mini"
                    scope="col"
                    title="Latencies in the window, all rows on one axis; heights are square roots of shares, the line is p99"
                >
                    <span class="edges">
                        <LiveText text=low_text/>
                        <LiveText text=high_text/>
                    </span>
                </th> })}
                {shows_latency.then(|| percentile_heads.collect_view())}
                {move || shows_latency.then(|| ui.percentiles.get().into_iter().map(typed_head).collect_view())}
                <SortableHead
                    sort
                    column=Column::Min
                    label="min/s".to_owned()
                    class="number"
                    tooltip="The least busy complete second"
                />
                <SortableHead
                    sort
                    column=Column::Median
                    label="median/s".to_owned()
                    class="number"
                    tooltip="Half of the complete seconds were at most this busy"
                />
                <SortableHead
                    sort
                    column=Column::Max
                    label="max/s".to_owned()
                    class="number"
                    tooltip="The busiest complete second"
                />
            </tr>
        </thead>
    }
}

/// The head of a column; pressing it sorts the table.
#[component]
fn SortableHead(
    sort: RwSignal<Option<Sort>>,
    column: Column,
    label: String,
    class: &'static str,
    tooltip: &'static str,
) -> impl IntoView {
    let aria_sort = move || match sort.get() {
        Some(sort) if sort.column == column && sort.descending => "descending",
        Some(sort) if sort.column == column => "ascending",
        _ => "none",
    };
    view! {
        <th class=class scope="col" aria-sort=aria_sort>
            <button type="button" title=tooltip on:click=move |_| sort.update(|sort| *sort = Sort::after_press(*sort, column))>
                {label}
            </button>
        </th>
    }
}
