//! A table of views that can be sorted, filtered and walked through with the keyboard.
//!
//! A row exists as long as its view; only its cells change. Of a long table, only the rows near the viewport exist.

use core::ops::Range;
use std::sync::Arc;

use joey_shared::store::AppStore;
use leptos::ev::{self, FocusEvent};
use leptos::html::Tbody;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use super::change_cells::{ChangeHeads, is_compared, sort_by_change_while};
use super::download::DownloadMenu;
use super::export_tables::views_table;
use super::live_text::LiveText;
use super::table_row::{PERCENTILE_COLUMNS, ViewRow};
use super::{AppName, UiState, use_ui, use_words};
use crate::browser;
use crate::chart::latency_axis::LatencyRange;
use crate::rendered_rows::{self, Part};
use crate::row_change::{ChangeColumn, sort_by_change};
use crate::statistics::PERCENTILES;
use crate::table_rows::{AXIS_ROWS_MAX, Column, Listing, RowCache, Sort, TableRow};
use crate::typed_percentile::TypedPercentile;
use crate::units;

/// The rows that are rendered before the table has been measured, and their height in CSS pixels.
const UNMEASURED: Layout = Layout { visible: 0..32, row_height: 34.0 };

/// What a table shows.
#[derive(Clone, PartialEq)]
struct TableContent {
    /// The number of rows without the filter.
    total: usize,
    /// The rows that match the filter, sorted.
    rows: Arc<Vec<Arc<TableRow>>>,
    /// The axis of the small histograms.
    axis: LatencyRange,
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
    let sort = RwSignal::new(None);
    let title = StoredValue::new(listing.title(words));
    let subject = listing.subject(words);
    let class = if listing.shows_ingestion() && !words.is_service { "views forked" } else { "views" };
    let cache = StoredValue::new_local(RowCache::default());
    let is_compared = is_compared(ui, app);
    sort_by_change_while(sort, is_compared, shows_latency);
    let content = Memo::new(move |_| {
        // The column of the order may have been removed.
        let is_shown = |sort: &Sort| match sort.column {
            Column::Typed(percentile) | Column::Change(ChangeColumn::Typed(percentile)) => {
                ui.percentiles.read().contains(&percentile)
            }
            _ => true,
        };
        table_content(ui, &app.read_value(), &listing, sort.get().filter(is_shown), &mut cache.write_value())
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
                <Rows app content sort subject class shows_latency is_compared/>
            </section>
        </Show>
    }
}

fn table_content(ui: UiState, app: &str, listing: &Listing, sort: Option<Sort>, cache: &mut RowCache) -> TableContent {
    let filter = ui.filter.read();
    let mut model = ui.read_model();
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
        _ => rows,
    };
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
        rendered_parts(&content.read(), &layout.read().visible, focused_view.get())
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
    // The heads are the first row.
    let row_count = move || (count.get() + 1).to_string();
    view! {
        <div class="across">
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

/// Where the rows of the table with this body are: measured at each tick and whenever the page is scrolled or resized.
fn layout(ui: UiState, body: NodeRef<Tbody>, count: Memo<usize>) -> RwSignal<Layout> {
    let layout = RwSignal::new(UNMEASURED);
    let measure = move || {
        let count = count.get_untracked();
        let Some(body) = body.get_untracked().filter(|_| count > rendered_rows::ALL_MAX) else { return };
        let Some((top, viewport_height)) = browser::vertical_position(&body) else { return };
        let measured = browser::mean_height(&body, "tr:not(.gap)");
        let row_height = measured.unwrap_or_else(|| layout.read_untracked().row_height);
        let visible = rendered_rows::visible_rows(count, top, viewport_height, row_height);
        let measured = Layout { visible, row_height };
        if *layout.read_untracked() != measured {
            layout.set(measured);
        }
    };
    Effect::new(move || {
        ui.frame_loop.tick.track();
        count.track();
        body.track();
        measure();
    });
    let on_scroll = window_event_listener(ev::scroll, move |_| measure());
    let on_resize = window_event_listener(ev::resize, move |_| measure());
    on_cleanup(move || {
        on_scroll.remove();
        on_resize.remove();
    });
    layout
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
    let reason = Memo::new(move |_| {
        let content = content.read();
        match (content.total, content.rows.len()) {
            (0, _) => Some("None yet."),
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
                {shows_latency.then(|| percentile_heads.collect_view())}
                {move || shows_latency.then(|| ui.percentiles.get().into_iter().map(typed_head).collect_view())}
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
