//! A row of the table of workers.

use joey_shared::format;
use joey_shared::view::ViewKey;
use joey_shared::wire::WorkerEntry;
use leptos::prelude::*;

use super::cells::{Rate, percentile_cells, throughput_cells};
use super::format::exact_rate;
use super::live_text::text_content;
use super::name::{NameLink, display_name};
use super::table_row::open_row;
use super::{AppName, UiState, page_address, use_ui, use_words};
use crate::browser;
use crate::route::Page;
use crate::statistics::{TABLE_PERCENTILES, ViewStatistics};
use crate::time_format::UtcOffset;

/// What the row shows.
#[derive(Clone, PartialEq)]
struct WorkerSummary {
    entry: WorkerEntry,
    statistics: Option<ViewStatistics>,
    /// For how long the worker has been connected or disconnected, in seconds.
    state_age: u64,
}

/// The row of `worker`.
#[component]
pub(super) fn WorkerRow(app: AppName, worker: String) -> impl IntoView {
    let ui = use_ui();
    let address = page_address(Page::Detail(app.get_value(), ViewKey::worker(&worker)));
    let href = address.clone();
    let (name, data_worker) = (display_name(&worker), worker.clone());
    let summary = Memo::new(move |_| worker_summary(ui, &app.read_value(), &worker));
    view! {
        <tr
            data-testid="worker"
            data-kind="node-ingress-egress"
            data-worker=data_worker
            class:stalled=move || summary.read().as_ref().is_some_and(|summary| !summary.entry.connected)
            on:click=move |event| open_row(&event, &address)
        >
            <th class="name" scope="row">
                <div class="label"><NameLink class="row-link ellipsis" name href/></div>
            </th>
            {move || summary.get().map(|summary| {
                let utc_offset = ui.utc_offset(summary.entry.since_ns);
                view! { <WorkerCells summary utc_offset/> }
            })}
        </tr>
    }
}

fn worker_summary(ui: UiState, app: &str, worker: &str) -> Option<WorkerSummary> {
    let mut model = ui.read_model();
    let now_ns = model.app_relay_ns(app, browser::now_ns()).unwrap_or(0);
    let entry = model.catalogue().get(app)?.workers.iter().find(|entry| entry.worker == worker)?.clone();
    let view_index = model.app(app).and_then(|store| store.find(&ViewKey::worker(worker)));
    let statistics = view_index.and_then(|view_index| model.view_statistics(app, view_index));
    let state_age = now_ns.saturating_sub(entry.since_ns) / 1_000_000_000;
    Some(WorkerSummary { entry, statistics, state_age })
}

#[component]
fn WorkerCells(summary: WorkerSummary, utc_offset: UtcOffset) -> impl IntoView {
    let WorkerSummary { entry: WorkerEntry { connected, since_ns, reconnects, .. }, statistics, state_age } = summary;
    let (class, state) = if connected { ("state up", use_words().connected) } else { ("state gone", "gone") };
    let since = format!(" since {} ({})", utc_offset.time(since_ns), format::age(state_age));
    let statistics = statistics.as_ref();
    let recent_rate = statistics.and_then(|statistics| statistics.recent_rate);
    let throughput = statistics.and_then(|statistics| statistics.throughput);
    view! {
        <td class=class data-connected=connected.to_string() title=format!("since {}", utc_offset.full(since_ns))>
            <span class="dot" aria-hidden="true"></span>
            <span use:text_content=state.to_owned()></span>
            <span class="sub" use:text_content=since></span>
        </td>
        <td class="number" data-head="returns" use:text_content=reconnects.to_string()></td>
        <td class="number" data-head="events/s" title=exact_rate(recent_rate)><Rate per_second=recent_rate/></td>
        {percentile_cells(statistics, TABLE_PERCENTILES, &use_ui().percentiles.read())}
        {throughput_cells(throughput, None)}
    }
}
