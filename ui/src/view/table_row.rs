//! A row of a table of views: name, small charts, percentiles and throughput.

use std::sync::Arc;

use joey_shared::series::Provenance;
use joey_shared::view::{Kind, ViewKey};
use joey_shared::window::Throughput;
use leptos::ev::MouseEvent;
use leptos::prelude::*;
use wasm_bindgen::JsCast;

use super::caveats::Caveats;
use super::cells::{percentile_cells, throughput_cells};
use super::change_cells::change_cells;
use super::chart::Chart;
use super::format::{mean, view_summary};
use super::live_text::text_content;
use super::name::{Name, NameLink, display_name};
use super::{AppName, UiState, page_address, use_ui, use_words};
use crate::browser;
use crate::chart::latency_axis::LatencyRange;
use crate::chart::sparkline;
use crate::chart_data;
use crate::frame_loop::Turn;
use crate::route::Page;
use crate::row_change::RowChange;
use crate::statistics::{self, ViewStatistics};
use crate::table_rows::TableRow;
use crate::vocabulary::{Words, view_caveats};

/// The number of percentiles in a table: the first of [`statistics::PERCENTILES`].
pub(super) const PERCENTILE_COLUMNS: usize = 3;

/// What a row shows.
#[derive(Clone, PartialEq)]
struct RowStatistics {
    view: ViewStatistics,
    ingestion: Option<Throughput>,
    /// Since when the worker is disconnected, in ns since the Unix epoch.
    gone_since_ns: Option<u64>,
    /// How often the worker has reconnected.
    returns: u32,
    provenance: Provenance,
    /// By how much it differs from what the table is compared with, and what that is, in words.
    change: Option<(RowChange, String)>,
}

impl RowStatistics {
    /// Whether nothing arrives from this view at the moment.
    const fn is_stalled(&self) -> bool {
        self.view.stalled_since_ns.is_some() || self.gone_since_ns.is_some()
    }
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
    let row = Memo::new(move |_| row_statistics(ui, turn, &app.read_value(), view_index, &key));
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
            class:stalled=move || row.read().as_ref().is_some_and(RowStatistics::is_stalled)
            on:click=move |event| open_row(&event, &address)
        >
            <th class="name" scope="row">
                <div class="label">
                    <NameLink class="row-link ellipsis" name=display_name(&label) href/>
                    {qualifier.map(|name| view! { <Name class="aside ellipsis" name/> })}
                    <Caveats caveats/>
                    {move || row.read().as_ref().and_then(|row| row_flag(ui, words, row))}
                </div>
            </th>
            <td class="spark"><Chart class="spark" label=label_text draw=draw_rate turn/></td>
            {shows_latency.then(|| view! {
                <td class="mini" title=move || mean_title.get()>
                    {has_latency.then(|| view! { <Chart class="mini" label=label_text draw=draw_histogram turn/> })}
                </td>
            })}
            {move || row.read().as_ref().map(|row| (
                shows_latency.then(|| percentile_cells(Some(&row.view), PERCENTILE_COLUMNS, &ui.percentiles.read())),
                row.change.as_ref().map(|(change, other)| change_cells(change, &ui.percentiles.read(), shows_latency, other)),
                throughput_cells(row.view.throughput, row.ingestion),
            ))}
        </tr>
    }
}

/// Reads what a row shows. The row reads it again at its next `turn`.
fn row_statistics(ui: UiState, turn: Turn, app: &str, view_index: usize, key: &ViewKey) -> Option<RowStatistics> {
    turn.track();
    let mut model = ui.model.write_value();
    let view = model.view_statistics(app, view_index)?;
    let provenance = model.app(app)?.views().get(view_index)?.provenance;
    let ingestion = if key.kind == Kind::StartToEnd {
        statistics::ingestion(model.app_mut(app)?, key.pipeline.as_deref())
    } else {
        None
    };
    let workers = model.catalogue().get(app).map_or(&[][..], |entry| &entry.workers);
    let worker = workers.iter().find(|worker| Some(&worker.worker) == key.worker.as_ref());
    let gone_since_ns = worker.filter(|worker| !worker.connected).map(|worker| worker.since_ns);
    let returns = worker.map_or(0, |worker| worker.reconnects);
    let change = model.row_change(app, view_index, &ui.percentiles.read());
    let other = model.row_reference(app).map(|reference| model.reference_name(app, &reference));
    Some(RowStatistics { view, ingestion, gone_since_ns, returns, provenance, change: change.zip(other) })
}

/// What is unusual about a row, in words.
fn row_flag(ui: UiState, words: &Words, row: &RowStatistics) -> Option<impl IntoView + use<>> {
    let time = |ns: u64| ui.utc_offset(ns).time(ns);
    let (text, tooltip) = if let Some(since_ns) = row.gone_since_ns {
        (format!("gone since {}", time(since_ns)), words.worker_gone.to_owned())
    } else if let Some(since_ns) = row.view.stalled_since_ns {
        (format!("no events since {}", time(since_ns)), "Nothing was counted for more than three periods".to_owned())
    } else if row.returns > 0 {
        (
            format!("back ×{}", row.returns),
            format!("Times that this {} has come back: {}", words.worker_in_text, row.returns),
        )
    } else {
        return None;
    };
    Some(view! { <span class="flag" title=tooltip use:text_content=text></span> })
}

/// Navigates to `address` after a click on its row, unless the click was on the row's link or selected text.
pub(super) fn open_row(event: &MouseEvent, address: &str) {
    let target = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
    let is_link = target.and_then(|element| element.closest("a").ok().flatten()).is_some();
    let selection = web_sys::window().and_then(|window| window.get_selection().ok().flatten());
    if !is_link && selection.is_none_or(|selection| selection.is_collapsed()) {
        browser::navigate(address);
    }
}
