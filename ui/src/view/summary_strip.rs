//! The key figures of an application: its rate, its slowest pipeline and computation, and its workers.

use joey_shared::histogram::QuantileRange;
use leptos::prelude::*;

use super::cells::{InOutRate, LatencyRange};
use super::chart::Chart;
use super::format::{exact_range, exact_rates, rate_summary};
use super::live_text::text_content;
use super::name::display_name;
use super::{AppName, UiState, page_address, use_ui};
use crate::chart::sparkline;
use crate::chart_data;
use crate::route::Page;
use crate::statistics::{AppStatistics, WorstView};

/// What the strip shows.
#[derive(Clone, PartialEq)]
struct Summary {
    statistics: AppStatistics,
    workers_connected: usize,
    /// The workers that are disconnected.
    workers_gone: Vec<String>,
}

/// The strip of `app`.
#[component]
pub(super) fn SummaryStrip(app: AppName) -> impl IntoView {
    let ui = use_ui();
    let summary = Memo::new(move |_| summary(ui, &app.read_value()));
    let rate_label = move || rate_summary(summary.read().as_ref().and_then(|summary| summary.statistics.rate_out));
    let draw_rate = move |size| {
        let mut model = ui.model.write_value();
        let app = app.read_value();
        let (from, to) = chart_data::window_range(model.app(&app)?);
        Some(sparkline::rate(&model.app_statistics(&app)?.rates, from, to, size))
    };
    view! {
        <dl class="strip">
            <div class="with-spark">
                <dt>"Events per second" <span class="note-word">"in -|< out"</span></dt>
                {move || summary.read().as_ref().map(|summary| rate_value(&summary.statistics))}
                <Chart class="spark" label=Signal::derive(rate_label) draw=draw_rate/>
            </div>
            {move || summary.read().as_ref().map(|summary| {
                let app = app.read_value();
                let AppStatistics { worst_pipeline, slowest_computation, .. } = &summary.statistics;
                (
                    worst_view(&app, "End to end, worst pipeline", worst_pipeline.as_ref(), true),
                    worst_view(&app, "Slowest computation", slowest_computation.as_ref(), false),
                    workers_figure(&app, summary),
                )
            })}
        </dl>
    }
}

fn summary(ui: UiState, app: &str) -> Option<Summary> {
    let mut model = ui.read_model();
    let statistics = model.app_statistics(app)?;
    let workers = model.catalogue().get(app).map_or(&[][..], |entry| &entry.workers);
    let workers_gone: Vec<String> =
        workers.iter().filter(|worker| !worker.connected).map(|worker| worker.worker.clone()).collect();
    Some(Summary { statistics, workers_connected: workers.len() - workers_gone.len(), workers_gone })
}

fn rate_value(statistics: &AppStatistics) -> impl IntoView + use<> {
    let AppStatistics { rate_in, rate_out, .. } = *statistics;
    let tooltip = format!("{}, mean of the last 10 complete seconds", exact_rates(rate_in, rate_out));
    view! { <dd title=tooltip><InOutRate rate_in rate_out/></dd> }
}

/// The percentiles of a view that stands out, with a link to it.
fn worst_view(app: &str, title: &'static str, worst: Option<&WorstView>, with_median: bool) -> impl IntoView + use<> {
    let figure = |label: &'static str, range: Option<QuantileRange>| {
        view! {
            <span title=range.map(exact_range).unwrap_or_default()>
                <span class="tag">{label}</span>
                <LatencyRange range/>
            </span>
        }
    };
    let median = with_median.then(|| figure("p50", worst.map(|worst| worst.p50)));
    let link = worst.map(|worst| {
        let name = worst.key.pipeline.as_deref().or(worst.key.name.as_deref());
        let href = page_address(Page::Detail(app.to_owned(), worst.key.clone()));
        summary_link(display_name(name.unwrap_or_default()), href)
    });
    view! {
        <div>
            <dt>{title}</dt>
            <dd class="two">{median} {figure("p99", worst.map(|worst| worst.p99))}</dd>
            <dd class="sub">{link}</dd>
        </div>
    }
}

fn workers_figure(app: &str, summary: &Summary) -> impl IntoView + use<> {
    let Summary { workers_connected, workers_gone, .. } = summary;
    let total = workers_connected + workers_gone.len();
    let (class, text) = if workers_gone.is_empty() {
        ("sub", "all connected".to_owned())
    } else {
        ("sub warn", format!("gone: {}", workers_gone.join(", ")))
    };
    view! {
        <div>
            <dt>"Workers up"</dt>
            <dd>
                <span class="n" use:text_content=workers_connected.to_string()></span>
                <span class="of" use:text_content=format!(" of {total}")></span>
            </dd>
            <dd class=class>{summary_link(text, page_address(Page::Workers(app.to_owned())))}</dd>
        </div>
    }
}

/// A link whose text changes with the measurements.
fn summary_link(text: String, href: String) -> impl IntoView {
    view! {
        <a class="ellipsis" dir="auto" translate="no" title=text.clone() href=href use:text_content=text></a>
    }
}
