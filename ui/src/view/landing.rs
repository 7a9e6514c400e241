//! The landing page: every application with its key figures, or how to add the first one.

use std::collections::BTreeMap;

use joey_shared::format;
use joey_shared::histogram::QuantileRange;
use joey_shared::store::AppStore;
use joey_shared::viewer::Subscriber;
use joey_shared::wire::{AppEntry, WorkerEntry};
use leptos::prelude::*;

use super::caveats::Caveats;
use super::cells::{InOutRate, LatencyRange};
use super::chart::Chart;
use super::download::DownloadMenu;
use super::export_tables::apps_table;
use super::format::{exact_range, exact_rates, range_text};
use super::live_text::{LiveText, text_content};
use super::name::{NameLink, display_name};
use super::notices::Notices;
use super::overview::{OverviewPanels, common_axis, slow_tick};
use super::rate_chart::AppRateChart;
use super::recording_bar::OpenButton;
use super::relay_objectives::RelayObjectivesPanel;
use super::table_row::{MarkView, open_row};
use super::{UiState, page_address, use_ui};
use crate::band_data::Band;
use crate::browser;
use crate::chart::latency_axis::LatencyRange as LatencyAxis;
use crate::chart::latency_band::latency_band;
use crate::connection::ConnectionState;
use crate::connections::PageRelay;
use crate::natural_order;
use crate::route::Page;
use crate::row_marks::app_marks;
use crate::settings::host_name;
use crate::statistics::{AppStatistics, WorstView};
use crate::vocabulary::{Words, caveats, source_names};

/// What the landing page shows.
#[derive(Clone, Copy, PartialEq)]
enum Content {
    /// The relay has not answered yet.
    Searching,
    /// The relay has no application.
    Welcome,
    Applications,
}

/// The landing page.
#[component]
pub(super) fn LandingPage() -> impl IntoView {
    let ui = use_ui();
    let content = Memo::new(move |_| {
        let model = ui.read_model();
        if !model.catalogue().is_empty() {
            Content::Applications
        } else if model.relays().any(|relay| relay.relay().is_some()) {
            Content::Welcome
        } else {
            Content::Searching
        }
    });
    view! {
        <h1 class="visually-hidden">"Applications"</h1>
        <Notices/>
        {move || match content.get() {
            Content::Searching => view! { <Searching/> }.into_any(),
            Content::Welcome => view! { <Welcome/> }.into_any(),
            Content::Applications => view! { <Applications/> }.into_any(),
        }}
    }
}

#[component]
fn Searching() -> impl IntoView {
    let relays = use_ui().connections.relays;
    let text = move || {
        let addresses = |PageRelay { addresses, connection }: &PageRelay| match addresses.as_slice() {
            [] => vec![connection.address.get()],
            // As the user knows them: the address of the attempt may be that of a stream.
            known => known.to_vec(),
        };
        let addresses: Vec<String> = relays.read().iter().flat_map(addresses).collect();
        if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") }
    };
    let is_waiting = Memo::new(move |_| {
        let is_waiting = |relay: &PageRelay| matches!(relay.connection.state.get(), ConnectionState::Reconnecting(_));
        relays.read().iter().any(is_waiting)
    });
    let start = Signal::derive(move || {
        if is_waiting.get() { "No relay answers at ".to_owned() } else { "Looking for the relay at ".to_owned() }
    });
    let end = Signal::derive(move || {
        let rest = ". The page connects by itself as soon as one does.";
        if is_waiting.get() { rest.to_owned() } else { ".".to_owned() }
    });
    view! {
        <div class="notice">
            <p><LiveText text=start/><code prop:textContent=text></code><LiveText text=end/></p>
            <p><OpenButton/></p>
        </div>
    }
}

/// What a user sees who has just started a relay.
#[component]
fn Welcome() -> impl IntoView {
    let ui = use_ui();
    let option = Memo::new(move |_| producer_option(ui));
    view! {
        <section class="welcome" data-testid="empty">
            <h2>"Ready. Nothing is sending yet."</h2>
            <p>
                "Joey shows, live, how long every step of a running service takes and how much goes through it. \
                 Point a Wallaroo application at this relay; it shows up here within seconds, and needs no other change:"
            </p>
            <div class="copy">
                <code data-testid="producer-line" prop:textContent=move || option.get()></code>
                <button type="button" on:click=move |_| browser::copy_to_clipboard(&option.read_untracked())>"Copy"</button>
            </div>
            <p>
                "OpenTelemetry, StatsD and Joey's own clients can send too; see " <code>"docs/producers.md"</code> "."
            </p>
            <p>
                "Just looking? " <code>"joey demo"</code>
                " starts a relay that makes up its own pipelines, workers and stalls."
            </p>
        </section>
    }
}

#[component]
fn Applications() -> impl IntoView {
    let ui = use_ui();
    let apps = Memo::new(move |_| {
        natural_order::sorted(ui.read_model().catalogue().keys()).into_iter().cloned().collect::<Vec<String>>()
    });
    let tally = Signal::derive(move || apps.read().len().to_string());
    let option = Memo::new(move |_| producer_option(ui));
    let heads = Memo::new(move |_| landing_heads(ui));
    let head = |of: fn(LandingHeads) -> &'static str| Signal::derive(move || of(heads.get()).to_owned());
    let hint = head(|heads| {
        if heads.words.is_service {
            "To add an application of Wallaroo, start it with"
        } else {
            "To add an application, start it with"
        }
    });
    let all = StoredValue::new("all".to_owned());
    let bands: Bands = StoredValue::new_local(BTreeMap::new());
    let tick = slow_tick(ui);
    let axis = Memo::new(move |_| {
        let _ = tick.get();
        read_bands(ui, &apps.read(), bands)
    });
    view! {
        <div class="page">
            <section class="panel" data-testid="applications">
                <header>
                    <h2>"Applications"</h2>
                    <LiveText class="tally" text=tally/>
                    <DownloadMenu app=all view="Applications".to_owned() table=move || Some(apps_table(ui))/>
                </header>
                <table class="apps landing">
                    <thead>
                        <tr>
                            <th class="name" scope="col">"Application"</th>
                            <th class="number" scope="col"><LiveText text=head(|heads| heads.words.workers_up)/></th>
                            <th class="number" scope="col"><LiveText text=head(|heads| heads.rate)/></th>
                            <th
                                class="spark latency"
                                scope="col"
                                title="Of the worst pipeline or operation, from the median (blue) to p99 (orange); all rows on one axis"
                            >
                                "Latency, p50 to p99"
                            </th>
                            <th class="spark" scope="col">"Rate"</th>
                            <th class="number wide" scope="col"><LiveText text=head(|heads| heads.words.median_column)/></th>
                            <th class="number wide" scope="col">"p99"</th>
                            <th class="number" scope="col">"Series"</th>
                            <th class="number" scope="col">"Last update"</th>
                        </tr>
                    </thead>
                    <tbody>
                        <For each=move || apps.get() key=Clone::clone let(app)>
                            <ApplicationRow app heads bands axis/>
                        </For>
                    </tbody>
                </table>
            </section>
            <RelayObjectivesPanel/>
            <OverviewPanels/>
            <p class="below">
                <LiveText text=hint/>" "
                <code prop:textContent=move || option.get()></code>
            </p>
        </div>
    }
}

/// The heads of the columns, which depend on the kinds of applications.
#[derive(Clone, Copy, PartialEq)]
struct LandingHeads {
    words: &'static Words,
    rate: &'static str,
}

fn landing_heads(ui: UiState) -> LandingHeads {
    let model = ui.read_model();
    let sources = || model.catalogue().values().map(|entry| entry.sources.as_slice());
    let has_wallaroo = sources().any(|sources| !Words::of(sources).is_service);
    let rate = if has_wallaroo { "Events/s, in -|< out" } else { "Events/s" };
    LandingHeads { words: Words::of_all(sources()), rate }
}

/// What the row of an application shows.
#[derive(Clone, PartialEq)]
struct ApplicationSummary {
    entry: AppEntry,
    statistics: AppStatistics,
    /// How long ago its last update arrived, in seconds.
    last_update_age: Option<u64>,
    is_stale: bool,
    /// When the relay last restarted within the window, in ns since the Unix epoch.
    restarted_ns: Option<u64>,
    /// How many viewers it has, if several relays count them.
    viewers: Option<u32>,
}

#[component]
fn ApplicationRow(app: String, heads: Memo<LandingHeads>, bands: Bands, axis: Memo<LatencyAxis>) -> impl IntoView {
    let ui = use_ui();
    let address = page_address(Page::Dashboard(app.clone()));
    let href = address.clone();
    let name = display_name(&app);
    let data_app = app.clone();
    let app = StoredValue::new(app);
    let summary = Memo::new(move |_| application_summary(ui, &app.read_value()));
    let rate_out = move || summary.read().as_ref().and_then(|summary| summary.statistics.rate_out);
    let caveats = Signal::derive(move || {
        let summary = summary.read();
        summary
            .as_ref()
            .map(|ApplicationSummary { entry, .. }| caveats(entry.is_approximate, entry.is_sampled))
            .unwrap_or_default()
    });
    let band_label = Signal::derive(move || {
        let summary = summary.read();
        let worst = summary.as_ref().and_then(|summary| worst(&summary.statistics));
        worst.map_or_else(
            || "no latency yet".to_owned(),
            |worst| format!("p50 {}, p99 {}", range_text(Some(worst.p50)), range_text(Some(worst.p99))),
        )
    });
    let draw_band = move |size| {
        // The axis is computed together with the bands.
        let axis = axis.get_untracked();
        bands.with_value(|bands| Some(latency_band(bands.get(&*app.read_value())?, axis, size)))
    };
    view! {
        <tr
            data-testid="application"
            data-app=data_app
            class:stalled=move || summary.read().as_ref().is_some_and(|summary| summary.is_stale)
            on:click=move |event| open_row(&event, &address)
        >
            <th class="name" scope="row">
                <div class="label">
                    <NameLink class="row-link ellipsis" name href/>
                    <Caveats caveats/>
                    {move || summary.read().as_ref().map(|summary| {
                        let marks = app_marks(&summary.entry, summary.restarted_ns, |ns| ui.utc_offset(ns).time(ns));
                        marks.into_iter().map(|mark| view! { <MarkView mark/> }).collect_view()
                    })}
                    {move || summary.read().as_ref().and_then(|summary| summary.viewers).map(|viewers| view! {
                        <span class="of" use:text_content=format!("{viewers} watching")></span>
                    })}
                </div>
                // If all applications are Wallaroo's, their origin says nothing.
                <Show when=move || heads.read().words.is_service><Origin summary/></Show>
            </th>
            {move || summary.get().map(|ApplicationSummary { entry, statistics, .. }| view! {
                <WorkersCell words=Words::of(&entry.sources) workers=entry.workers/>
                <RateCell rate_in=statistics.rate_in rate_out=statistics.rate_out/>
            })}
            <td class="spark latency"><Chart class="spark" label=band_label draw=draw_band/></td>
            <td class="spark"><AppRateChart app rate_out=Signal::derive(rate_out)/></td>
            {move || summary.get().map(|ApplicationSummary { entry, statistics, last_update_age, .. }| view! {
                <LatencyCells words=Words::of(&entry.sources) statistics/>
                <td class="number" data-head="series" use:text_content=entry.series.to_string()></td>
                <td class="number" data-head="last update" use:text_content=age_text(last_update_age)></td>
            })}
        </tr>
    }
}

fn application_summary(ui: UiState, app: &str) -> Option<ApplicationSummary> {
    let mut model = ui.read_model();
    let now_ns = model.app_relay_ns(app, browser::now_ns()).unwrap_or(0);
    let entry = model.catalogue().get(app)?.clone();
    let statistics = model.app_statistics(app).unwrap_or_default();
    let store = model.app(app);
    let last_update_ns = store.map_or(0, AppStore::last_received_ns).max(entry.last_received_ns);
    let last_update_age = (last_update_ns > 0).then(|| now_ns.saturating_sub(last_update_ns) / 1_000_000_000);
    let is_stale = store.is_some_and(|store| store.silent_for(now_ns).is_some())
        && last_update_age.is_none_or(|seconds| seconds > 5);
    // Relays of one cluster count the same viewers.
    let watching = model.relays().filter_map(Subscriber::cluster).flat_map(|cluster| &cluster.watching);
    let viewers = watching.filter(|(name, _)| name == app).map(|(_, viewers)| *viewers).max();
    let restarted_ns = store.and_then(|store| {
        let start_ns = store.clock_ns().saturating_sub(store.seconds() * 1_000_000_000);
        let unknown = store.gaps().iter().filter(|gap| gap.updates.is_none() && gap.from_ns > 0);
        unknown.map(|gap| gap.to_ns.max(gap.from_ns)).filter(|at_ns| *at_ns >= start_ns).max()
    });
    Some(ApplicationSummary { entry, statistics, last_update_age, is_stale, restarted_ns, viewers })
}

/// The latencies over time of the worst view of each application.
type Bands = StoredValue<BTreeMap<String, Band>, LocalStorage>;

/// Reads what the small charts show into `bands`, and returns their common axis.
fn read_bands(ui: UiState, apps: &[String], bands: Bands) -> LatencyAxis {
    let mut model = ui.model.write_value();
    let mut fresh = BTreeMap::new();
    for app in apps {
        let Some(worst) = model.app_statistics(app).as_ref().and_then(worst).map(|worst| worst.key.clone()) else {
            continue;
        };
        let Some(store) = model.app_mut(app) else { continue };
        let band = store.find(&worst).and_then(|view_index| Band::of(store, view_index));
        fresh.extend(band.map(|band| (app.clone(), band)));
    }
    let axis = common_axis(fresh.values());
    bands.set_value(fresh);
    axis
}

/// The view with the highest 99th percentile: a pipeline, or a computation if there is no pipeline.
fn worst(statistics: &AppStatistics) -> Option<&WorstView> {
    statistics.worst_pipeline.as_ref().or(statistics.slowest_computation.as_ref())
}

/// Where the data of an application comes from.
#[component]
fn Origin(summary: Memo<Option<ApplicationSummary>>) -> impl IntoView {
    let text = Signal::derive(move || {
        summary.read().as_ref().map(|summary| source_names(&summary.entry.sources)).unwrap_or_default()
    });
    view! {
        <div class="label origin" data-testid="origin">
            <LiveText class="ellipsis" text/>
        </div>
    }
}

#[component]
fn WorkersCell(words: &'static Words, workers: Vec<WorkerEntry>) -> impl IntoView {
    let (connected, total) = (workers.iter().filter(|worker| worker.connected).count(), workers.len());
    let (class, tooltip) = if connected < total {
        ("n warn", format!("{} of {total} {} gone", total - connected, words.workers_in_text))
    } else {
        ("n", format!("All {} are {}", words.workers_in_text, words.connected))
    };
    view! {
        <td class="number" data-head=words.workers_up_in_text title=tooltip>
            <span class=class use:text_content=connected.to_string()></span>
            <span class="of" use:text_content=format!(" of {total}")></span>
        </td>
    }
}

#[component]
fn RateCell(rate_in: Option<f64>, rate_out: Option<f64>) -> impl IntoView {
    let tooltip = format!("{}, mean of the last 10 complete seconds", exact_rates(rate_in, rate_out));
    view! { <td class="number" data-head="events/s" title=tooltip><InOutRate rate_in rate_out/></td> }
}

/// The median and the 99th percentile of the worst pipeline. A service without pipelines has those of its slowest computation.
#[component]
fn LatencyCells(words: &'static Words, statistics: AppStatistics) -> impl IntoView {
    let AppStatistics { worst_pipeline, slowest_computation, .. } = statistics;
    let (worst, what) = match worst_pipeline {
        None if words.is_service => (slowest_computation, words.slowest_computation_in_text),
        worst => (worst, words.worst_pipeline_in_text),
    };
    let worst = worst.as_ref();
    let name = worst.and_then(|worst| worst.key.pipeline.as_deref().or(worst.key.name.as_deref())).unwrap_or_default();
    let cell = |head: &'static str, range: Option<QuantileRange>| {
        let tooltip = range.map(|range| format!("{what}: {name}: {}", exact_range(range)));
        view! { <td class="number wide" data-head=head title=tooltip.unwrap_or_default()><LatencyRange range/></td> }
    };
    view! {
        {cell(words.median_in_text, worst.map(|worst| worst.p50))}
        {cell("p99", worst.map(|worst| worst.p99))}
    }
}

/// How long ago the last update arrived; `seconds` is `None` if there was none.
fn age_text(seconds: Option<u64>) -> String {
    match seconds {
        None => "never".to_owned(),
        Some(..3) => "now".to_owned(),
        Some(seconds) => format!("{} ago", format::age(seconds)),
    }
}

/// The option that starts a producer for this relay: `--metrics 10.0.0.1:5001`.
fn producer_option(ui: UiState) -> String {
    let host = browser::host();
    let host = match host_name(&host) {
        "" | "localhost" => "127.0.0.1",
        name => name,
    };
    let port = ui.read_model().relays().find_map(Subscriber::relay).map_or(5001, |relay| relay.ingest_port);
    format!("--metrics {host}:{port}")
}
