//! A table of views that can be sorted, filtered and walked through with the keyboard.
//!
//! A row exists as long as its view; only its cells change. Of a long table, only the rows near the viewport exist.

use core::ops::Range;
use std::sync::Arc;

use joey_shared::store::AppStore;
use leptos::ev::FocusEvent;
use leptos::html::Tbody;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use super::change_cells::{ChangeHeads, is_compared, sort_by_change_while};
use super::download::DownloadMenu;
use super::export_tables::views_table;
use super::live_text::LiveText;
use super::measured::measured;
use super::multiples::Multiples;
use super::table_row::ViewRow;
use super::{AppName, UiState, use_ui, use_words};
use crate::browser;
use crate::chart::latency_axis::LatencyRange;
use crate::percentile_list::{ShownPercentile, shown_percentiles};
use crate::rendered_rows::{self, Part};
use crate::route::Page;
use crate::row_change::{ChangeColumn, sort_by_change};
use crate::statistics::TABLE_PERCENTILES;
use crate::table_choice::Layout as TableLayout;
use crate::table_rows::{AXIS_ROWS_MAX, Column, Listing, RowCache, Sort, TableRow, sort_by_recent_change};
use crate::units;

/// The rows that are rendered before the table has been measured, and their height in CSS pixels.
const UNMEASURED: Layout = Layout { visible: 0..32, row_height: 34.0, head_height: 0.0 };

/// What a table shows.
#[derive(Clone, PartialEq)]
pub(super) struct TableContent {
    /// The number of rows without the filter.
    total: usize,
    /// The rows that match the filter, sorted, favourites first.
    pub(super) rows: Arc<Vec<Arc<TableRow>>>,
    /// The axis of the small histograms.
    pub(super) axis: LatencyRange,
}

impl TableContent {
    /// The position of a view's row.
    fn position(&self, view_index: usize) -> Option<usize> {
        self.rows.iter().position(|row| row.view_index == view_index)
    }
}

/// Where the rows of a table are on the screen.
#[derive(Clone, PartialEq)]
struct Layout {
    /// The rows in the viewport.
    visible: Range<usize>,
    /// Their height in CSS pixels.
    row_height: f64,
    /// The height of the heads in CSS pixels.
    head_height: f64,
}

/// A part of the table's body.
#[derive(Clone, PartialEq)]
struct RenderedPart {
    part: Part,
    /// The row, unless it is a gap.
    row: Option<Arc<TableRow>>,
}

/// What identifies a part of the table's body.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum PartKey {
    View(usize),
    Gap(Part),
}

impl RenderedPart {
    fn key(&self) -> PartKey {
        self.row.as_ref().map_or(PartKey::Gap(self.part), |row| PartKey::View(row.view_index))
    }
}

/// The table of the views in `listing`. A table without rows is hidden if not every application has it.
#[component]
pub fn ViewTable(app: AppName, listing: Listing) -> impl IntoView {
    let (ui, words) = (use_ui(), use_words());
    let hide_if_empty = words.is_service || listing.is_optional();
    let shows_latency = listing.has_latency();
    let sort = ui.sort;
    let title = StoredValue::new(listing.title(words));
    let subject = listing.subject(words);
    let class = if listing.shows_ingestion() && !words.is_service { "views forked" } else { "views" };
    let cache = StoredValue::new_local(RowCache::default());
    let is_compared = is_compared(ui, app);
    sort_by_change_while(sort, is_compared, shows_latency);
    let content = Memo::new(move |_| {
        // The column of the order may have been removed.
        let is_shown = |sort: &Sort| match sort.column {
            Column::Change(_) if !is_compared.get() => false,
            Column::Typed(percentile) | Column::Change(ChangeColumn::Typed(percentile)) => {
                ui.percentiles.read().contains(&percentile)
            }
            _ => true,
        };
        table_content(ui, &app.read_value(), &listing, sort.get().filter(is_shown), &mut cache.write_value())
    });
    // The tables of a detail page belong to its own charts.
    let is_dashboard = matches!(*ui.page.read_untracked(), Page::Dashboard(_));
    let is_charts = Memo::new(move |_| is_dashboard && ui.layout.get() == TableLayout::Charts);
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
                {move || if is_charts.get() {
                    view! { <Multiples app content shows_latency/> <WhyEmpty content/> }.into_any()
                } else {
                    view! { <Rows app content sort subject class shows_latency is_compared/> }.into_any()
                }}
            </section>
        </Show>
    }
}

fn table_content(ui: UiState, app: &str, listing: &Listing, sort: Option<Sort>, cache: &mut RowCache) -> TableContent {
    let filter = ui.filter.read();
    let mut model = ui.read_model();
    cache.use_for(model.generation());
    let Some(store) = model.app_mut(app) else {
        return TableContent { total: 0, rows: Arc::default(), axis: LatencyRange::EMPTY };
    };
    let (total, rows) = cache.rows(listing, store, sort, &filter);
    // All small histograms use the same axis, so that they can be compared.
    let axis = latencies(store, cache.axis_views().iter().copied()).reduce(LatencyRange::union);
    let rows = match sort.map(|sort| (sort, sort.column)) {
        Some((sort, Column::Change(column))) => {
            let typed = ui.percentiles.get_untracked();
            Arc::new(sort_by_change(rows.to_vec(), sort, column, |row| model.row_change(app, row.view_index, &typed)))
        }
        Some((sort, Column::LastMinute)) => {
            Arc::new(sort_by_recent_change(&rows, sort.descending, |view_index| model.recent_change(app, view_index)))
        }
        _ => rows,
    };
    let rows = ui.favourites.read().first(rows, ui.only_favourites.get());
    TableContent { total, rows, axis: axis.unwrap_or(LatencyRange::EMPTY) }
}

/// The latencies of these views.
fn latencies(store: &mut AppStore, views: impl Iterator<Item = usize>) -> impl Iterator<Item = LatencyRange> {
    views.filter_map(|view_index| LatencyRange::around(&store.histogram(view_index)))
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
    is_compared: Memo<bool>,
) -> impl IntoView {
    let ui = use_ui();
    let body = NodeRef::<Tbody>::new();
    let count = Memo::new(move |_| content.read().rows.len());
    let layout = layout(ui, body, count);
    let focused_view = RwSignal::new(None);
    let focused_link = StoredValue::new_local(None);
    let parts = Memo::new(move |_| {
        focused_link.set_value(focused_element(body));
        let visible = if ui.is_printing.get() { 0..rendered_rows::PRINTED_MAX } else { layout.read().visible.clone() };
        rendered_parts(&content.read(), &visible, focused_view.get())
    });
    // A row that moves within the document loses the focus.
    Effect::new(move || {
        parts.track();
        if let Some(link) = focused_link.get_value() {
            request_animation_frame(move || browser::restore_focus(&link));
        }
    });
    let axis = Memo::new(move |_| rendered_axis(ui, &app.read_value(), &content.read(), &parts.read()));
    let row_height = Memo::new(move |_| layout.read().row_height);
    let on_focus = move |event: FocusEvent| {
        if let Some(position) = focused_position(&event) {
            focused_view.set(content.read_untracked().rows.get(position).map(|row| row.view_index));
        }
    };
    let is_partial = move || count.get() > rendered_rows::ALL_MAX;
    // While rows are exchanged, the table is short for a moment. If the focused row is among those that move, the browser lays
    // the page out right then, and would scroll to where the short page ends.
    let min_height = move || {
        let Layout { row_height, head_height, .. } = layout.get();
        let height = if is_partial() { head_height + count.get() as f64 * row_height } else { 0.0 };
        format!("{height}px")
    };
    // The heads are the first row.
    let row_count = move || (count.get() + 1).to_string();
    view! {
        <div class="across" style:min-height=min_height>
        <table class=class class:partial=is_partial aria-rowcount=row_count>
            <TableHead sort axis subject shows_latency is_compared/>
            <tbody node_ref=body on:focusin=on_focus>
                <For each=move || parts.get() key=RenderedPart::key let(part)>
                    {match (part.row, part.part) {
                        (Some(row), _) => {
                            let view_index = row.view_index;
                            let row_number = Memo::new(move |_| row_number(&parts.read(), view_index));
                            view! { <ViewRow app row row_number axis shows_latency/> }.into_any()
                        }
                        (None, Part::Gap { rows, .. }) => view! { <Gap rows row_height/> }.into_any(),
                        (None, Part::Row(_)) => ().into_any(),
                    }}
                </For>
            </tbody>
        </table>
        </div>
        <WhyEmpty content/>
    }
}

/// The number of a view's row, from 1, which is the heads.
fn row_number(parts: &[RenderedPart], view_index: usize) -> Option<usize> {
    parts.iter().find_map(|part| match part.part {
        Part::Row(at) if part.row.as_ref()?.view_index == view_index => Some(at + 2),
        _ => None,
    })
}

/// Takes the place of `rows` rows that are not rendered.
#[component]
fn Gap(rows: usize, row_height: Memo<f64>) -> impl IntoView {
    let height = move || format!("{}px", rows as f64 * row_height.get());
    view! { <tr class="gap" aria-hidden="true"><td style:height=height></td></tr> }
}

/// Where the rows of the table with this body are.
fn layout(ui: UiState, body: NodeRef<Tbody>, count: Memo<usize>) -> RwSignal<Layout> {
    let changes = move || {
        count.track();
        body.track();
    };
    measured(ui, UNMEASURED, changes, move |last| {
        let count = count.get_untracked();
        let body = body.get_untracked().filter(|_| count > rendered_rows::ALL_MAX)?;
        let (top, viewport_height) = browser::vertical_position(&body)?;
        let row_height = browser::mean_height(&body, "tr:not(.gap)").unwrap_or(last.row_height);
        let visible = rendered_rows::visible_rows(count, top, viewport_height, row_height);
        Some(Layout { visible, row_height, head_height: f64::from(body.offset_top()) })
    })
}

/// The parts of the table's body. `focused_view` is the view whose row last had the focus.
fn rendered_parts(content: &TableContent, visible: &Range<usize>, focused_view: Option<usize>) -> Vec<RenderedPart> {
    let focused = focused_view.and_then(|view_index| content.position(view_index));
    let row = |part: Part| if let Part::Row(at) = part { content.rows.get(at).cloned() } else { None };
    let parts = rendered_rows::parts(content.rows.len(), visible, focused);
    parts.into_iter().map(|part| RenderedPart { part, row: row(part) }).collect()
}

/// The axis of the small histograms, extended to the latencies of all rendered rows.
fn rendered_axis(ui: UiState, app: &str, content: &TableContent, parts: &[RenderedPart]) -> LatencyRange {
    let axis = content.axis;
    if content.total <= AXIS_ROWS_MAX {
        return axis;
    }
    let mut model = ui.read_model();
    let Some(store) = model.app_mut(app) else { return axis };
    let rows = parts.iter().filter_map(|part| part.row.as_ref()).filter(|row| row.key.kind.has_latency());
    latencies(store, rows.map(|row| row.view_index)).fold(axis, LatencyRange::union)
}

/// The element of the table's body that has the focus.
fn focused_element(body: NodeRef<Tbody>) -> Option<HtmlElement> {
    let focused = browser::active_element()?;
    let is_inside = body.get_untracked()?.contains(Some(&focused));
    if is_inside { focused.dyn_into().ok() } else { None }
}

/// The position of the row that has received the focus.
fn focused_position(event: &FocusEvent) -> Option<usize> {
    let target = event.target()?.dyn_into::<web_sys::Element>().ok()?;
    let row_number = target.closest("tr").ok()??.get_attribute("aria-rowindex")?;
    row_number.parse::<usize>().ok()?.checked_sub(2)
}

/// Why there are no rows.
#[component]
fn WhyEmpty(content: Memo<TableContent>) -> impl IntoView {
    let only_favourites = use_ui().only_favourites;
    let reason = Memo::new(move |_| {
        let content = content.read();
        match (content.total, content.rows.len()) {
            (0, _) => Some("None yet."),
            (_, 0) if only_favourites.get() => Some("No favourite matches: press the star of a row, or f."),
            (_, 0) => Some("Nothing matches the filter."),
            _ => None,
        }
    });
    move || reason.get().map(|reason| view! { <p class="nothing">{reason}</p> })
}

#[component]
fn TableHead(
    sort: RwSignal<Option<Sort>>,
    axis: Memo<LatencyRange>,
    subject: &'static str,
    shows_latency: bool,
    is_compared: Memo<bool>,
) -> impl IntoView {
    let ui = use_ui();
    let percentile_head = move |percentile: ShownPercentile| {
        let (column, class) = match percentile {
            ShownPercentile::Fixed(index) => (Column::Percentile(index), "number wide"),
            ShownPercentile::Typed(percentile) => (Column::Typed(percentile), "number wide typed"),
        };
        view! { <SortableHead sort column label=percentile.label() class tooltip="The range that holds this percentile"/> }
    };
    let percentile_heads = move || {
        let shown = shown_percentiles(TABLE_PERCENTILES, &ui.percentiles.read()).into_iter();
        shown.map(percentile_head).collect_view()
    };
    let low_text = Signal::derive(move || units::duration(axis.get().durations().0).to_string());
    let high_text = Signal::derive(move || units::duration(axis.get().durations().1).to_string());
    view! {
        <thead>
            <tr aria-rowindex="1">
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
                {shows_latency.then_some(percentile_heads)}
                <ExtraHead sort shows_latency/>
                <ChangeHeads sort is_compared shows_latency/>
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

/// The head of the column that exists only while the table is sorted by it.
#[component]
fn ExtraHead(sort: RwSignal<Option<Sort>>, shows_latency: bool) -> impl IntoView {
    let head = move |(column, label, tooltip): (Column, &str, &'static str)| {
        view! { <SortableHead sort column label=label.to_owned() class="number extra" tooltip/> }
    };
    move || match extra_column(sort.get(), shows_latency)? {
        Column::Events => Some(head((Column::Events, "events", "The number of events in the window"))),
        column => Some(head((column, "last minute", "How the end of the window differs from the rest of it"))),
    }
}

/// The column that a table has only while it is sorted by it.
pub(super) fn extra_column(sort: Option<Sort>, shows_latency: bool) -> Option<Column> {
    let column = sort?.column;
    let is_extra = column == Column::Events || (shows_latency && column == Column::LastMinute);
    is_extra.then_some(column)
}

/// The head of a column; pressing it sorts the table.
#[component]
pub(super) fn SortableHead(
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
