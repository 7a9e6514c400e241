//! The key figures of an application: its rate, its slowest pipeline and computation, and its workers.

use joey_shared::histogram::QuantileRange;
use leptos::prelude::*;

use super::cells::{InOutRate, LatencyRange};
use super::format::{exact_range, exact_rates};
use super::live_text::text_content;
use super::name::display_name;
use super::rate_chart::AppRateChart;
use super::{AppName, UiState, page_address, use_ui, use_words};
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
    let (ui, words) = (use_ui(), use_words());
    let summary = Memo::new(move |_| summary(ui, &app.read_value()));
    let rate_out = move || summary.read().as_ref().and_then(|summary| summary.statistics.rate_out);
    view! {
        <dl class=if words.is_service { "strip flexible" } else { "strip" }>
            <div class="with-spark">
                <dt>
                    "Events per second" {(!words.is_service).then(|| view! { <span class="note-word">"in -|< out"</span> })}
                </dt>
                {move || summary.get().map(|Summary { statistics, .. }| view! {
                    <RateFigure rate_in=statistics.rate_in rate_out=statistics.rate_out/>
                })}
                <dd class="chart"><AppRateChart app rate_out=Signal::derive(rate_out)/></dd>
            </div>
            {move || summary.get().map(|Summary { statistics, workers_connected, workers_gone }| view! {
                <WorstViewFigure
                    app
                    title=words.worst_pipeline
                    worst=statistics.worst_pipeline
                    with_median=true
                />
                <WorstViewFigure app title=words.slowest_computation worst=statistics.slowest_computation/>
                <WorkersFigure app workers_connected workers_gone/>
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

#[component]
fn RateFigure(rate_in: Option<f64>, rate_out: Option<f64>) -> impl IntoView {
    let tooltip = format!("{}, mean of the last 10 complete seconds", exact_rates(rate_in, rate_out));
    view! { <dd title=tooltip><InOutRate rate_in rate_out/></dd> }
}

/// The percentiles of a view that stands out, with a link to it.
#[component]
fn WorstViewFigure(
    app: AppName,
    title: &'static str,
    worst: Option<WorstView>,
    #[prop(optional)] with_median: bool,
) -> impl IntoView {
    let figure = |label: &'static str, range: Option<QuantileRange>| {
        view! {
            <span title=range.map(exact_range).unwrap_or_default()>
                <span class="tag">{label}</span>
                <LatencyRange range/>
            </span>
        }
    };
    let (p50, p99) = (worst.as_ref().map(|worst| worst.p50), worst.as_ref().map(|worst| worst.p99));
    let link = worst.map(|WorstView { key, .. }| {
        let text = display_name(key.pipeline.as_deref().or(key.name.as_deref()).unwrap_or_default());
        view! { <LiveLink text href=page_address(Page::Detail(app.get_value(), key))/> }
    });
    // A service need not have views of both kinds.
    let is_shown = !use_words().is_service || p99.is_some();
    is_shown.then(|| {
        view! {
            <div>
                <dt>{title}</dt>
                <dd class="two">{with_median.then(|| figure("p50", p50))} {figure("p99", p99)}</dd>
                <dd class="sub">{link}</dd>
            </div>
        }
    })
}

#[component]
fn WorkersFigure(app: AppName, workers_connected: usize, workers_gone: Vec<String>) -> impl IntoView {
    let words = use_words();
    let total = workers_connected + workers_gone.len();
    let (class, text) = if workers_gone.is_empty() {
        ("sub", format!("all {}", words.connected))
    } else {
        ("sub warn", format!("gone: {}", workers_gone.join(", ")))
    };
    view! {
        <div>
            <dt>{words.workers_up}</dt>
            <dd>
                <span class="n" use:text_content=workers_connected.to_string()></span>
                <span class="of" use:text_content=format!(" of {total}")></span>
            </dd>
            <dd class=class><LiveLink text href=page_address(Page::Workers(app.get_value()))/></dd>
        </div>
    }
}

/// A link whose text changes with the measurements.
#[component]
fn LiveLink(text: String, href: String) -> impl IntoView {
    view! {
        <a class="ellipsis" dir="auto" translate="no" title=text.clone() href=href use:text_content=text></a>
    }
}
