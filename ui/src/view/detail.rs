//! The page of one view: its measurements, its charts, and tables that lead to related views.

use std::iter::once;

use joey_shared::format;
use joey_shared::view::{Kind, ViewKey};
use joey_shared::window::Throughput;
use leptos::prelude::*;

use super::caveats::Caveats;
use super::cells::{InOutRate, LatencyRange, NumberWithUnit, PercentileValue, ThroughputColumn, throughput_columns};
use super::compare_panels::ComparePanels;
use super::compare_picker::ComparePicker;
use super::detail_charts::{DistributionCharts, TimelineChart};
use super::format::{mean, mean_digits, view_summary};
use super::hour_strip::HourStrip;
use super::live_text::text_content;
use super::name::display_name;
use super::notices::{AppPage, is_stale};
use super::objective_panel::ObjectivePanel;
use super::other_side::Viewed;
use super::percentile_choice::PercentileChoice;
use super::threshold::Threshold;
use super::{AppName, ViewTable, page_address, use_ui, use_words};
use crate::percentile_list::shown_percentiles;
use crate::route::Page;
use crate::statistics::{self, PERCENTILES, ViewStatistics};
use crate::table_rows::Listing;
use crate::typed_percentile::TypedPercentile;
use crate::vocabulary::{Words, view_caveats};

/// The page of view `key` of `app`.
#[component]
pub(super) fn DetailPage(app: String, key: ViewKey) -> impl IntoView {
    let app = StoredValue::new(app);
    let is_stale = is_stale(use_ui(), app);
    view! {
        <AppPage app>
            <div
                class="page detail"
                class:stale=move || is_stale.get()
                data-testid="detail"
                data-kind=key.kind.as_str().to_owned()
            >
                <Heading app key=key.clone()/>
                <Measurements app key=key.clone()/>
                <RelatedTables app key=key.clone()/>
            </div>
        </AppPage>
    }
}

#[component]
fn RelatedTables(app: AppName, key: ViewKey) -> impl IntoView {
    let listings = related_listings(&key, use_words());
    listings.into_iter().map(|listing| view! { <ViewTable app listing/> }).collect_view()
}

/// A part of the heading.
enum HeadingPart<'a> {
    Name(&'a str),
    /// A name that links to a view.
    Link(&'a str, ViewKey),
    Word(&'static str),
    /// What distinguishes the view from others of the same name.
    Aside(&'a str),
}

/// `Decode on initializer`: each name links to its total.
#[component]
fn Heading(app: AppName, key: ViewKey) -> impl IntoView {
    let text = |field: &'_ Option<String>| field.clone().unwrap_or_default();
    let (pipeline, worker, name) = (text(&key.pipeline), text(&key.worker), text(&key.name));
    let (pipeline, worker, name) = (pipeline.as_str(), worker.as_str(), name.as_str());
    let words = use_words();
    let pipeline_link = || HeadingPart::Link(pipeline, ViewKey::pipeline(pipeline));
    let worker_link = || HeadingPart::Link(worker, ViewKey::worker(worker));
    let on = HeadingPart::Word("on");
    let Words { pipeline: pipeline_word, worker: worker_word, computation: computation_word, .. } = words;
    let Words { worker_in_text, pipeline_in_text, .. } = words;
    let (kind, parts) = match &key.kind {
        Kind::StartToEnd => ((*pipeline_word).to_owned(), vec![HeadingPart::Name(pipeline)]),
        Kind::NodeIngressEgress => {
            // The total of an instance over its spans has a name.
            let name = key.name.iter().map(|_| HeadingPart::Aside(name));
            ((*worker_word).to_owned(), once(HeadingPart::Name(worker)).chain(name).collect())
        }
        Kind::Computation => ((*computation_word).to_owned(), vec![HeadingPart::Name(name)]),
        Kind::StartToEndByWorker => {
            (format!("{pipeline_word} by {worker_in_text}"), vec![pipeline_link(), on, worker_link()])
        }
        Kind::NodeIngressEgressByPipeline => {
            (format!("{worker_word} by {pipeline_in_text}"), vec![pipeline_link(), on, worker_link()])
        }
        Kind::ComputationByWorker => {
            let mut parts = vec![HeadingPart::Link(name, ViewKey::computation(name)), on, worker_link()];
            if !words.is_service {
                parts.extend([HeadingPart::Word("in"), pipeline_link()]);
            } else if !pipeline.is_empty() {
                // The instrumentation scope, which has no view.
                parts.extend([HeadingPart::Word("in"), HeadingPart::Name(pipeline)]);
            }
            (format!("{computation_word} by {worker_in_text}"), parts)
        }
        Kind::PipelineIngestion => {
            let parts = vec![HeadingPart::Name(name), HeadingPart::Word("of"), pipeline_link()];
            ("Ingestion, counts only".to_owned(), parts)
        }
        Kind::Throughput => ("Counter".to_owned(), vec![HeadingPart::Name(name)]),
        Kind::Other(category) => (category.clone(), vec![HeadingPart::Name(name)]),
    };
    let ui = use_ui();
    let wanted = key.clone();
    let caveats = Memo::new(move |_| {
        let model = ui.read_model();
        let store = model.app(&app.read_value())?;
        Some(view_caveats(store.views()[store.find(&wanted)?].provenance))
    });
    let caveats = Signal::derive(move || caveats.get().unwrap_or_default());
    let part = |part| match part {
        HeadingPart::Name(name) => {
            let name = display_name(name);
            view! { <span class="part" dir="auto" translate="no" title=name>{name.clone()}</span> }.into_any()
        }
        HeadingPart::Link(name, key) => {
            let (name, href) = (display_name(name), page_address(Page::Detail(app.get_value(), key)));
            view! { <a class="part" dir="auto" translate="no" title=name href=href>{name.clone()}</a> }.into_any()
        }
        HeadingPart::Aside(name) => {
            view! { <span class="on" dir="auto" translate="no">{name.to_owned()}</span> }.into_any()
        }
        HeadingPart::Word(word) => view! { <span class="on">{word}</span> }.into_any(),
    };
    view! {
        <header class="head">
            <p class="kind" dir="auto">{kind} <Caveats caveats/></p>
            <h1>{parts.into_iter().map(part).collect_view()}</h1>
            <div class="tools">
                {key.kind.has_latency().then(|| view! { <PercentileChoice/> })}
                <ComparePicker app key=Some(key.clone())/>
            </div>
        </header>
    }
}

/// The tables of related views; for Wallaroo the same as in the original Metrics UI.
fn related_listings(key: &ViewKey, words: &Words) -> Vec<Listing> {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (pipeline, worker, name) = (text(&key.pipeline), text(&key.worker), text(&key.name));
    match key.kind {
        Kind::StartToEnd => vec![Listing::PipelineByWorker(pipeline.clone()), Listing::ComputationsFor(pipeline)],
        Kind::NodeIngressEgress if words.is_service => {
            vec![Listing::OperationsOn(worker.clone()), Listing::ComputationsOn(worker)]
        }
        Kind::NodeIngressEgress => vec![Listing::PipelinesOn(worker.clone()), Listing::ComputationsOn(worker)],
        Kind::Computation => vec![Listing::ComputationOnWorker(name)],
        Kind::StartToEndByWorker | Kind::NodeIngressEgressByPipeline => {
            vec![Listing::ComputationsForOn(pipeline, worker)]
        }
        Kind::ComputationByWorker | Kind::PipelineIngestion | Kind::Throughput | Kind::Other(_) => Vec::new(),
    }
}

/// The figures and charts of view `key`, once it exists.
#[component]
fn Measurements(app: AppName, key: ViewKey) -> impl IntoView {
    let ui = use_ui();
    let kind = key.kind.clone();
    let wanted = key.clone();
    let view_index = Memo::new(move |_| ui.read_model().app(&app.read_value()).and_then(|store| store.find(&wanted)));
    move || match view_index.get() {
        None => view! {
            <p class="nothing" data-testid="empty">"Nothing has been measured under this name yet."</p>
        }
        .into_any(),
        Some(view_index) => view! {
            <Figures app view_index key=key.clone()/>
            <HourStrip app key=Some(key.clone())/>
            <TimelineChart app view_index key=key.clone()/>
            <ComparePanels viewed=Viewed::new(ui, app, key.clone()) has_latency=kind.has_latency()/>
            {kind.has_latency().then(|| view! {
                <DistributionCharts app view_index key=key.clone()/>
                <ObjectivePanel threshold=Threshold { ui, app, view_index } key=key.clone()/>
            })}
        }
        .into_any(),
    }
}

/// What the figures show.
#[derive(Clone, PartialEq)]
struct DetailStatistics {
    view: ViewStatistics,
    ingestion: Option<Throughput>,
}

/// The strip of figures: percentiles, throughput, number of events.
#[component]
fn Figures(app: AppName, view_index: usize, key: ViewKey) -> impl IntoView {
    let ui = use_ui();
    let has_latency = key.kind.has_latency();
    let shows_ingestion = key.kind == Kind::StartToEnd && !use_words().is_service;
    let statistics = Memo::new(move |_| {
        let (mut model, app) = (ui.read_model(), app.read_value());
        let view = model.view_statistics(&app, view_index)?;
        let ingestion =
            if shows_ingestion { statistics::ingestion(model.app_mut(&app)?, key.pipeline.as_deref()) } else { None };
        Some(DetailStatistics { view, ingestion })
    });
    let label = move || statistics.read().as_ref().map(|statistics| view_summary(&statistics.view)).unwrap_or_default();
    view! {
        <dl class=if shows_ingestion { "strip figures both" } else { "strip figures" } aria-label=label>
            {move || statistics.get().map(|DetailStatistics { view, ingestion }| {
                let stalled_since = view.stalled_since_ns.map(|since_ns| ui.utc_offset(since_ns).time(since_ns));
                view! {
                    {has_latency.then(|| percentile_figures(&view, &ui.percentiles.read()))}
                    {view.histogram.mean_ns().filter(|_| has_latency).map(|mean_ns| view! { <MeanFigure mean_ns/> })}
                    <ThroughputFigures throughput_out=view.throughput throughput_in=ingestion shows_ingestion/>
                    <EventsFigure statistics=view stalled_since/>
                }
            })}
        </dl>
    }
}

fn percentile_figures(statistics: &ViewStatistics, typed: &[TypedPercentile]) -> impl IntoView + use<> {
    let count = statistics.count;
    let figures = shown_percentiles(PERCENTILES.len(), typed).into_iter().map(|percentile| {
        let (value, is_typed) = (PercentileValue::shown(Some(statistics), percentile), percentile.is_typed());
        let class = match (value.is_supported, count) {
            (true, _) => "figure",
            (false, 0) => "figure faint empty",
            (false, _) => "figure faint",
        };
        view! {
            <div class=class class:typed=is_typed>
                <dt>{value.label.clone()}</dt>
                <dd
                    data-col=value.column
                    data-head=value.label
                    data-low=value.low
                    data-high=value.high
                    title=value.tooltip
                >
                    <LatencyRange range=value.range/>
                </dd>
            </div>
        }
    });
    figures.collect_view()
}

/// The arithmetic mean. Only some sources report the sum that it needs.
#[component]
fn MeanFigure(mean_ns: f64) -> impl IntoView {
    let tooltip =
        format!("{} ns: the sum that the source reports, divided by the number of events", mean_digits(mean_ns));
    view! {
        <div class="figure mean">
            <dt>"mean"</dt>
            <dd data-col="mean" data-value=mean_ns.to_string() title=tooltip>
                <NumberWithUnit quantity=mean(mean_ns)/>
            </dd>
        </div>
    }
}

#[component]
fn ThroughputFigures(
    throughput_out: Option<Throughput>,
    throughput_in: Option<Throughput>,
    shows_ingestion: bool,
) -> impl IntoView {
    let class = if shows_ingestion { "figure rate forked" } else { "figure rate" };
    let figure = move |column: ThroughputColumn| {
        let unit = if column.rate_in.is_some() { "/s, in -|< out" } else { "/s" };
        view! {
            <div class=class>
                <dt>{column.name}<span class="note-word" use:text_content=unit.to_owned()></span></dt>
                <dd
                    data-col=column.name
                    data-value=column.rate_out.map(|rate| rate.to_string())
                    data-in=column.rate_in.map(|rate| rate.to_string())
                    title=column.tooltip()
                >
                    <InOutRate rate_in=column.rate_in rate_out=column.rate_out/>
                </dd>
            </div>
        }
    };
    throughput_columns(throughput_out, throughput_in).into_iter().map(figure).collect_view()
}

/// The number of events, and for how much of the window there is data.
#[component]
fn EventsFigure(statistics: ViewStatistics, stalled_since: Option<String>) -> impl IntoView {
    let ViewStatistics { count, covered_seconds, window_seconds, .. } = statistics;
    let stalled = stalled_since.map(|time| {
        let text = format!("no events since {time}");
        view! { <dd class="sub warn" use:text_content=text></dd> }
    });
    view! {
        <div class="figure events">
            <dt>"events in window"</dt>
            <dd data-col="count" data-value=count.to_string()>
                <span class="n" use:text_content=format::count(count)></span>
            </dd>
            <dd
                class=if covered_seconds < window_seconds { "sub warn" } else { "sub" }
                data-testid="coverage"
                title="Seconds of the window for which this page has the data"
                use:text_content=format!("{covered_seconds} of {window_seconds}\u{2009}s known")
            ></dd>
            {stalled}
        </div>
    }
}
