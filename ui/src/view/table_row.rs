//! A row of a table of views: name, small charts, percentiles and throughput.

use std::sync::Arc;

use joey_shared::format;
use joey_shared::series::Provenance;
use joey_shared::view::{Kind, ViewKey};
use joey_shared::window::{SLOT_NS, Throughput};
use leptos::ev::MouseEvent;
use leptos::prelude::*;
use wasm_bindgen::JsCast;

use super::caveats::Caveats;
use super::cells::{percentile_cells, throughput_cells};
use super::change_cells::change_cells;
use super::chart::Chart;
use super::favourite::FavouriteStar;
use super::format::{mean, view_summary};
use super::live_text::text_content;
use super::name::{Name, NameLink, display_name};
use super::objective_text::objective_mark;
use super::table::extra_column;
use super::{AppName, UiState, page_address, use_ui, use_words};
use crate::browser;
use crate::chart::latency_axis::LatencyRange;
use crate::chart::sparkline;
use crate::chart_data;
use crate::recent_change::RecentChange;
use crate::route::Page;
use crate::row_change::RowChange;
use crate::row_marks::{Mark, RowState, stale_since_ns};
use crate::statistics::{self, TABLE_PERCENTILES, ViewStatistics};
use crate::table_rows::{Column, TableRow};
use crate::vocabulary::{Words, view_caveats};

/// What a row shows.
#[derive(Clone, PartialEq)]
pub(super) struct RowStatistics {
    pub(super) view: ViewStatistics,
    ingestion: Option<Throughput>,
    pub(super) state: RowState,
    pub(super) provenance: Provenance,
    /// What changed lately, if the table is sorted by that.
    recent_change: Option<RecentChange>,
    /// What its objectives say, if that is not good.
    pub(super) objectives: Option<Mark>,
    /// By how much it differs from what the table is compared with, and what that is, in words.
    change: Option<(RowChange, String)>,
}

/// The row of one view. `row_number` counts the rows of the table, rendered or not, from 1, which is the heads. `axis` is that of
/// the small histogram. `shows_latency` is whether the table has columns for latencies.
#[component]
pub(super) fn ViewRow(
    app: AppName,
    row: Arc<TableRow>,
    row_number: Memo<Option<usize>>,
    axis: Memo<LatencyRange>,
    shows_latency: bool,
) -> impl IntoView {
    let (ui, words) = (use_ui(), use_words());
    let TableRow { view_index, key, label, qualifier, .. } = Arc::unwrap_or_clone(row);
    let turn = ui.frame_loop.turn();
    let address = page_address(Page::Detail(app.get_value(), key.clone()));
    let href = address.clone();
    let has_latency = key.kind.has_latency();
    let kind = key.kind.as_str().to_owned();
    let ViewKey { pipeline, worker, name, .. } = key.clone();
    let favourite_key = key.clone();
    let row = Memo::new(move |_| {
        turn.track();
        row_statistics(ui, &app.read_value(), view_index, &key)
    });
    let label_text = Memo::new(move |_| row.read().as_ref().map(|row| view_summary(&row.view)).unwrap_or_default());
    let caveats =
        Signal::derive(move || row.read().as_ref().map(|row| view_caveats(row.provenance)).unwrap_or_default());
    let mean_title = Memo::new(move |_| {
        let mean_ns = row.read().as_ref()?.view.histogram.mean_ns().filter(|_| has_latency)?;
        Some(format!("mean {}", mean(mean_ns)))
    });
    let draw_rate = move |size| {
        let mut model = ui.model.write_value();
        let store = model.app_mut(&app.read_value())?;
        let (from, to) = chart_data::window_range(store);
        Some(sparkline::rate(&statistics::rates(store, &[view_index]), from, to, size))
    };
    let draw_histogram = move |size| {
        let axis = axis.get_untracked();
        let statistics = ui.model.write_value().view_statistics(&app.read_value(), view_index)?;
        Some(sparkline::histogram(&statistics.histogram, axis, size))
    };
    view! {
        <tr
            data-testid="row"
            aria-rowindex=move || row_number.get().map(|number| number.to_string())
            data-kind=kind
            data-pipeline=pipeline
            data-worker=worker
            data-name=name
            class:stalled=move || row.read().as_ref().is_some_and(|row| row.state.is_quiet())
            class:missed=move || row.read().as_ref().is_some_and(RowStatistics::misses_objective)
            on:click=move |event| open_row(&event, &address)
        >
            <th class="name" scope="row">
                <div class="label">
                    <FavouriteStar key=favourite_key name=label.clone()/>
                    <NameLink class="row-link ellipsis" name=display_name(&label) href/>
                    {qualifier.map(|name| view! { <Name class="aside ellipsis" name/> })}
                    <Caveats caveats/>
                    {move || row.read().as_ref().map(|row| row_marks(ui, words, row))}
                </div>
            </th>
            <td class="spark"><Chart class="spark" label=label_text draw=draw_rate turn/></td>
            {shows_latency.then(|| view! {
                <td class="mini" title=move || mean_title.get()>
                    {has_latency.then(|| view! { <Chart class="mini" label=label_text draw=draw_histogram turn/> })}
                </td>
            })}
            {move || row.read().as_ref().map(|row| (
                shows_latency.then(|| percentile_cells(Some(&row.view), TABLE_PERCENTILES, &ui.percentiles.read())),
                extra_column(ui.sort.get(), shows_latency).map(|column| extra_cell(column, row)),
                row.change.as_ref().map(|(change, other)| change_cells(change, &ui.percentiles.read(), shows_latency, other)),
                throughput_cells(row.view.throughput, row.ingestion),
            ))}
        </tr>
    }
}

/// Reads what a row shows, without subscribing to the tick: the caller decides when it reads it again.
pub(super) fn row_statistics(ui: UiState, app: &str, view_index: usize, key: &ViewKey) -> Option<RowStatistics> {
    let mut model = ui.model.write_value();
    let view = model.view_statistics(app, view_index)?;
    let store = model.app(app)?;
    let shown = store.views().get(view_index)?;
    let (provenance, window_start_ns) = (shown.provenance, store.clock_ns().saturating_sub(store.seconds() * SLOT_NS));
    let stale_since_ns = stale_since_ns(shown.last_received_ns, store.last_received_ns(), shown.period_ns);
    let ingestion = if key.kind == Kind::StartToEnd {
        statistics::ingestion(model.app_mut(app)?, key.pipeline.as_deref())
    } else {
        None
    };
    let workers = model.catalogue().get(app).map_or(&[][..], |entry| &entry.workers);
    let worker = workers.iter().find(|worker| Some(&worker.worker) == key.worker.as_ref());
    let state = RowState { stale_since_ns, stalled_since_ns: view.stalled_since_ns, ..RowState::default() };
    let state = state.with_worker(worker, window_start_ns);
    let is_sorted_by_change = ui.sort.get().is_some_and(|sort| sort.column == Column::LastMinute);
    let recent_change = if is_sorted_by_change { model.recent_change(app, view_index) } else { None };
    let change = model.row_change(app, view_index, &ui.percentiles.read());
    let other = model.row_reference(app).map(|reference| model.reference_name(app, &reference));
    let objectives = objective_mark(&model.outcomes(app, view_index));
    Some(RowStatistics { view, ingestion, state, provenance, recent_change, objectives, change: change.zip(other) })
}

impl RowStatistics {
    /// Whether it certainly misses an objective.
    pub(super) fn misses_objective(&self) -> bool {
        self.objectives.as_ref().is_some_and(|mark| mark.kind == "missed")
    }
}

/// The marks of a row: of its objectives, and of what is unusual about its data.
pub(super) fn row_marks(ui: UiState, words: &Words, row: &RowStatistics) -> impl IntoView + use<> {
    let objectives = row.objectives.clone().map(|mark| view! { <MarkView mark/> });
    (objectives, row_mark(ui, words, row.state))
}

/// What is unusual about a row, in words.
pub(super) fn row_mark(ui: UiState, words: &Words, state: RowState) -> Option<impl IntoView + use<>> {
    let mark = state.mark(words, |ns| ui.utc_offset(ns).time(ns))?;
    Some(view! { <MarkView mark/> })
}

/// A mark with its explanation, which is also read to those who cannot see the tooltip.
#[component]
pub(super) fn MarkView(mark: Mark) -> impl IntoView {
    let Mark { kind, text, tooltip } = mark;
    let explanation = format!(": {tooltip}");
    view! {
        <span class="flag" data-mark=kind title=tooltip>
            <span use:text_content=text></span>
            <span class="visually-hidden" use:text_content=explanation></span>
        </span>
    }
}

/// The cell of the column that a table has only while it is sorted by it.
fn extra_cell(column: Column, row: &RowStatistics) -> impl IntoView + use<> {
    if column == Column::Events {
        let count = format::count(row.view.count);
        return view! {
            <td class="number extra" data-col="count" data-head="events" data-value=row.view.count.to_string() use:text_content=count></td>
        }
        .into_any();
    }
    let change = row.recent_change.as_ref();
    let (word, share) = change.map_or(("–", String::new()), RecentChange::text);
    let tooltip = change.map(|change| change.tooltip(row.view.window_seconds)).unwrap_or_default();
    let rank = change.and_then(RecentChange::rank).map(|rank| rank.to_string());
    view! {
        <td
            class="number extra"
            class:faint=rank.is_none()
            data-col="last-minute"
            data-head="last minute"
            data-value=rank
            title=tooltip
        >
            <span class="n" use:text_content=word.to_owned()></span>
            {(!share.is_empty()).then(|| view! { <span class="u" use:text_content=share></span> })}
        </td>
    }
    .into_any()
}

/// Navigates to `address` after a click on its row, unless the click was on the row's link, a button or selected text.
pub(super) fn open_row(event: &MouseEvent, address: &str) {
    let target = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
    let is_link = target.and_then(|element| element.closest("a, button").ok().flatten()).is_some();
    let selection = web_sys::window().and_then(|window| window.get_selection().ok().flatten());
    if !is_link && selection.is_none_or(|selection| selection.is_collapsed()) {
        browser::navigate(address);
    }
}
