//! The panels below the applications of the landing page: what changed most, the slowest and the busiest operations of all
//! applications, and their latencies over time on one axis.

use std::collections::BTreeMap;

use joey_shared::compare::QuantileChange;
use joey_shared::format;
use joey_shared::histogram::QuantileRange;
use joey_shared::view::ViewKey;
use joey_shared::window::SLOT_NS;
use leptos::prelude::*;

use super::cells::{LatencyRange as LatencyRangeView, Rate};
use super::chart::Chart;
use super::chart_table::{ChartTable, PlainTable};
use super::download::DownloadMenu;
use super::export_tables::{bands_table, operations_table};
use super::format::{exact_range, exact_rate, range_text};
use super::live_text::{LiveText, text_content};
use super::name::{Name, NameLink, display_name};
use super::objective_text::{burn_text, share_text, target_text};
use super::{UiState, page_address, use_ui};
use crate::band_data::{Band, Slice};
use crate::chart::latency_axis::LatencyRange;
use crate::chart::latency_band::latency_band;
use crate::model::{MissedObjective, OBJECTIVE_SERIES_MAX};
use crate::overview_data::{LISTED, Operation, Overview, operations, overview};
use crate::recent_change::{RecentChange, recent_seconds};
use crate::route::{Page, key_path};

/// How many ticks the lists are shown before they are computed again: they change little from one tick to the next, and an order
/// that changes twice a second cannot be read.
const TICKS: u64 = 4;

/// For how many ticks after a page opens its lists are computed at each one.
const FIRST_TICKS: u64 = 8;

/// The latencies over time of all charts, so that they share an axis.
type Bands = StoredValue<BTreeMap<(String, usize), Band>, LocalStorage>;

/// A signal that changes every few ticks, and whenever the user changes what is shown.
pub(super) fn slow_tick(ui: UiState) -> Memo<(u64, u64, bool)> {
    let start = ui.frame_loop.tick.get_untracked();
    Memo::new(move |_| {
        let age = ui.frame_loop.tick.get() - start;
        // At first, each tick brings more history.
        let slow = if age < FIRST_TICKS { age } else { FIRST_TICKS + age / TICKS };
        (slow, ui.window_seconds.get(), ui.paused_at_ns.get().is_some())
    })
}

/// The panels.
#[component]
pub(super) fn OverviewPanels() -> impl IntoView {
    let ui = use_ui();
    let tick = slow_tick(ui);
    let lists = Memo::new(move |_| {
        let _ = tick.get();
        lists(ui)
    });
    let changed = Signal::derive(move || lists.read().changed.clone());
    let slowest = Signal::derive(move || lists.read().slowest.clone());
    let busiest = Signal::derive(move || lists.read().busiest.clone());
    let recent = Signal::derive(move || {
        let seconds = ui.window_seconds.get();
        let recent = recent_seconds(seconds);
        format!("last {recent}\u{2009}s against the {}\u{2009}s before", seconds.saturating_sub(recent))
    });
    let window = Signal::derive(move || format!("p99 of {}\u{2009}s", ui.window_seconds.get()));
    let rate = Signal::derive(|| "events per second".to_owned());
    view! {
        <div class="overview">
            <RankedPanel id="changed" title="What changed most" note=recent operations=changed value=change_value
                empty="No distribution moved by 5 % or more, beyond chance."/>
            <RankedPanel id="slowest" title="Slowest operations" note=window operations=slowest value=latency_value
                empty="No operation has the 100 events that its p99 needs."/>
            <MissedPanel tick/>
            <RankedPanel id="busiest" title="Busiest operations" note=rate operations=busiest value=rate_value
                empty="No events yet."/>
        </div>
        <ChartsPanel lists tick/>
    }
}

/// The objectives that are missed, worst first.
#[component]
fn MissedPanel(tick: Memo<(u64, u64, bool)>) -> impl IntoView {
    let ui = use_ui();
    let missed = Memo::new(move |_| {
        let _ = tick.get();
        ui.model.write_value().missed_objectives()
    });
    let is_shown = Memo::new(move |_| {
        let _ = tick.get();
        ui.model.read_value().has_objectives()
    });
    let too_large = Memo::new(move |_| {
        let _ = tick.get();
        let apps = ui.model.read_value().apps_without_outcomes();
        let names: Vec<String> = apps.iter().map(|app| display_name(app)).collect();
        if names.is_empty() { String::new() } else { not_evaluated(&names) }
    });
    let note = Signal::derive(move || match missed.read().len() {
        0 if too_large.read().is_empty() => "all are met".to_owned(),
        0 => "not all are evaluated".to_owned(),
        1 => "1 is missed".to_owned(),
        count => format!("{count} are missed"),
    });
    let row = |MissedObjective { app, key, objective, under }: MissedObjective| {
        let name = [&key.name, &key.pipeline, &key.worker].into_iter().flatten().next().cloned().unwrap_or_default();
        let href = page_address(Page::Detail(app.clone(), key));
        let tooltip = format!("{objective}: {} of the events are under the threshold", share_text(&under));
        let burn = burn_text(&objective, &under);
        view! {
            <li data-testid="missed" data-app=app.clone() data-name=name.clone()>
                <div class="label">
                    <NameLink class="row-link ellipsis" name=display_name(&name) href/>
                    <Name class="aside ellipsis" name=display_name(&app)/>
                </div>
                <span class="value" title=tooltip>
                    <span class="low" use:text_content=target_text(&objective)></span>
                    <span class="moved slower" aria-label=format!("burn rate {burn}") use:text_content=burn.clone()></span>
                </span>
            </li>
        }
    };
    view! {
        <section class="panel ranked" data-testid="missed-objectives" hidden=move || !is_shown.get()>
            <header><h2>"Worst objectives"</h2><LiveText class="tally" text=note/></header>
            <p class="nothing" hidden=move || !missed.read().is_empty() || !too_large.read().is_empty()>
                "No view misses an objective."
            </p>
            <p class="nothing" data-testid="not-evaluated" hidden=move || too_large.read().is_empty()>
                <LiveText text=too_large/>
            </p>
            <ol hidden=move || missed.read().is_empty()>
                {move || missed.get().into_iter().take(LISTED).map(row).collect_view()}
            </ol>
        </section>
    }
}

/// Why the objectives of these applications are not evaluated on the landing page.
fn not_evaluated(apps: &[String]) -> String {
    let shown = &apps[..apps.len().min(LISTED)];
    let more = if apps.len() > shown.len() { format!(" and {} more", apps.len() - shown.len()) } else { String::new() };
    format!(
        "Not evaluated here: {}{more}. This page receives at most {} series for objectives; open the application.",
        shown.join(", "),
        format::count(OBJECTIVE_SERIES_MAX.into()),
    )
}

/// The lists of all applications.
fn lists(ui: UiState) -> Overview {
    let mut model = ui.model.write_value();
    let apps: Vec<String> = model.catalogue().keys().cloned().collect();
    let mut all = Vec::new();
    for app in &apps {
        all.extend(model.app_mut(app).map(|store| operations(app, store)).unwrap_or_default());
    }
    overview(all, |operation| RecentChange::of(model.app_mut(&operation.app)?, operation.view_index))
}

/// A list of operations with one value each.
#[component]
fn RankedPanel(
    id: &'static str,
    title: &'static str,
    #[prop(into)] note: Signal<String>,
    #[prop(into)] operations: Signal<Vec<Operation>>,
    value: fn(&Operation) -> AnyView,
    empty: &'static str,
) -> impl IntoView {
    // Keyed rows, so that a click is not lost when the values change under the pointer.
    let keys = Memo::new(move |_| {
        operations.read().iter().map(|operation| (operation.app.clone(), operation.key.clone())).collect::<Vec<_>>()
    });
    let is_empty = Memo::new(move |_| keys.read().is_empty());
    let all = StoredValue::new("all".to_owned());
    let row = move |(app, key): (String, ViewKey)| {
        let href = page_address(Page::Detail(app.clone(), key.clone()));
        let is_this = {
            let (app, key) = (app.clone(), key.clone());
            move |operation: &&Operation| operation.app == app && operation.key == key
        };
        let found = Memo::new(move |_| operations.read().iter().find(|operation| is_this(operation)).cloned());
        let name = found.read_untracked().as_ref().map(|operation| operation.name().to_owned()).unwrap_or_default();
        view! {
            <li data-testid="ranked" data-app=app.clone() data-name=name.clone()>
                <div class="label">
                    <NameLink class="row-link ellipsis" name=display_name(&name) href/>
                    <Name class="aside ellipsis" name=display_name(&app)/>
                </div>
                {move || found.get().map(|operation| value(&operation))}
            </li>
        }
    };
    view! {
        <section class="panel ranked" data-testid=id>
            <header>
                <h2>{title}</h2>
                <LiveText class="tally" text=note/>
                <DownloadMenu
                    app=all
                    view=title.to_owned()
                    table=move || Some(operations_table(&operations.read_untracked()))
                />
            </header>
            <p class="nothing" hidden=move || !is_empty.get()>{empty}</p>
            <ol hidden=move || is_empty.get()>
                <For each=move || keys.get() key=|(app, key)| (app.clone(), key_path(key)) let(row_key)>
                    {row(row_key)}
                </For>
            </ol>
        </section>
    }
}

/// The 99th percentile before and lately, and by how much the distribution moved.
fn change_value(operation: &Operation) -> AnyView {
    let Some(change) = &operation.change else { return ().into_any() };
    let (word, share) = change.text();
    let seconds = change_seconds();
    // A percentile that stays in its bin says nothing.
    let has_moved = |quantile: &QuantileChange| quantile.bins != 0;
    let ranges = change.p99.filter(has_moved).map(|p99| ("p99", p99));
    let ranges = ranges.or_else(|| change.p50.filter(has_moved).map(|p50| ("p50", p50)));
    let ranges = ranges.map(|(label, quantile)| {
        let [before, now] = [quantile.reference, quantile.current].map(|range| range_text(Some(range)));
        view! {
            <span class="tag">{label}</span>
            <span class="low" use:text_content=before></span>
            <span class="arrow" aria-label=" then ">"→"</span>
            <span class="n" use:text_content=now></span>
        }
    });
    let rank = change.rank().map(|rank| rank.to_string());
    view! {
        <span class="value" data-value=rank title=change.tooltip(seconds)>
            {ranges}
            <span class=format!("moved {word}")>
                <span use:text_content=word.to_owned()></span>
                <span class="u" use:text_content=share></span>
            </span>
        </span>
    }
    .into_any()
}

/// The length of the window that the tooltips speak of.
fn change_seconds() -> u64 {
    use_context::<UiState>().map_or(300, |ui| ui.window_seconds.get_untracked())
}

fn latency_value(operation: &Operation) -> AnyView {
    let range = operation.p99;
    let (low, high) = (range.map(|range| range.low.to_string()), range.map(|range| range.high.to_string()));
    let tooltip = range.map(exact_range).unwrap_or_default();
    view! { <span class="value" data-low=low data-high=high title=tooltip><LatencyRangeView range/></span> }.into_any()
}

fn rate_value(operation: &Operation) -> AnyView {
    let per_second = operation.rate;
    let value = per_second.map(|rate| rate.to_string());
    view! { <span class="value" data-value=value title=exact_rate(per_second)><Rate per_second/></span> }.into_any()
}

/// The latencies of the operations over time, all on one axis.
#[component]
fn ChartsPanel(lists: Memo<Overview>, tick: Memo<(u64, u64, bool)>) -> impl IntoView {
    let ui = use_ui();
    let all = StoredValue::new("all".to_owned());
    let bands: Bands = StoredValue::new_local(BTreeMap::new());
    let charted = Memo::new(move |_| lists.read().charted.clone());
    let axis = Memo::new(move |_| {
        let _ = tick.get();
        // The list reads the model itself, so it is read before the model is locked.
        let charted = charted.read();
        let mut model = ui.model.write_value();
        let mut fresh = BTreeMap::new();
        for operation in charted.iter() {
            let band = model.app_mut(&operation.app).and_then(|store| Band::of(store, operation.view_index));
            fresh.extend(band.map(|band| ((operation.app.clone(), operation.view_index), band)));
        }
        let axis = common_axis(fresh.values());
        bands.set_value(fresh);
        axis
    });
    let keys = move || {
        charted
            .get()
            .into_iter()
            .map(|operation| (operation.app, operation.view_index, operation.key))
            .collect::<Vec<_>>()
    };
    let note = Signal::derive(|| "from the median (blue) to p99 (orange), all on one axis".to_owned());
    view! {
        <section class="panel" data-testid="operations" hidden=move || charted.read().is_empty()>
            <header>
                <h2>"Latency of operations"</h2>
                <LiveText class="tally" text=note/>
                <DownloadMenu
                    app=all
                    view="Latency of operations".to_owned()
                    table=move || bands.with_value(|bands| Some(bands_table(&charted.read_untracked(), bands)))
                />
            </header>
            <ul class="multiples fill">
                <For each=keys key=|(app, index, key)| (app.clone(), *index, key_path(key)) let((app, view_index, key))>
                    <OperationCell app view_index name=name_of(&charted.read_untracked(), view_index, &key) key charted bands axis/>
                </For>
            </ul>
            <ChartTable table=move || bands.with_value(|bands| Some(plain_table(ui, &charted.read_untracked(), bands)))/>
        </section>
    }
}

/// The slices of all charts, for reading.
fn plain_table(ui: UiState, charted: &[Operation], bands: &BTreeMap<(String, usize), Band>) -> PlainTable {
    let slices = |operation: &Operation| {
        let band = bands.get(&(operation.app.clone(), operation.view_index));
        let name = display_name(operation.name());
        let row = |slice: &Slice| {
            let ns = slice.to.saturating_mul(SLOT_NS);
            let time = ui.utc_offset(ns).time(ns);
            let [p50, p99] = [slice.p50, slice.p99].map(|range| range_text(Some(range)));
            vec![name.clone(), operation.app.clone(), time, p50, p99, format::count(slice.count)]
        };
        band.into_iter().flat_map(|band| band.slices.iter().rev()).map(row).collect::<Vec<_>>()
    };
    let heads = vec!["operation", "application", "until", "p50", "p99", "events"];
    PlainTable { heads, rows: charted.iter().flat_map(slices).collect() }
}

/// The axis on which all bands fit.
pub(super) fn common_axis<'a>(bands: impl Iterator<Item = &'a Band>) -> LatencyRange {
    let range = bands.filter_map(Band::range).reduce(LatencyRange::union);
    // A margin, so that nothing is at the edge.
    range.map_or(LatencyRange::EMPTY, |range| LatencyRange { low: range.low - 0.5, high: range.high + 0.5 })
}

fn name_of(charted: &[Operation], view_index: usize, key: &joey_shared::view::ViewKey) -> String {
    let operation = charted.iter().find(|operation| operation.view_index == view_index && operation.key == *key);
    display_name(operation.map(Operation::name).unwrap_or_default())
}

#[component]
fn OperationCell(
    app: String,
    view_index: usize,
    key: joey_shared::view::ViewKey,
    name: String,
    charted: Memo<Vec<Operation>>,
    bands: Bands,
    axis: Memo<LatencyRange>,
) -> impl IntoView {
    let href = page_address(Page::Detail(app.clone(), key.clone()));
    let wanted = (app.clone(), key);
    let operation = Memo::new(move |_| {
        let charted = charted.read();
        charted.iter().find(|operation| operation.app == wanted.0 && operation.key == wanted.1).cloned()
    });
    let ranges = move || operation.read().as_ref().map(|operation| (operation.p50, operation.p99, operation.rate));
    let ranges = Memo::new(move |_| ranges());
    let label = Signal::derive(move || {
        let (p50, p99, _) = ranges.get().unwrap_or_default();
        format!("p50 {}, p99 {}", range_text(p50), range_text(p99))
    });
    let key = (app.clone(), view_index);
    let draw = move |size| {
        // The axis is computed together with the bands.
        let axis = axis.get_untracked();
        bands.with_value(|bands| Some(latency_band(bands.get(&key)?, axis, size)))
    };
    let figure = |label: &'static str, range: Option<QuantileRange>| {
        view! { <div><dt>{label}</dt><dd><LatencyRangeView range/></dd></div> }
    };
    view! {
        <li class="cell" data-testid="operation">
            <div class="label">
                <NameLink class="row-link ellipsis" name href/>
                <Name class="aside ellipsis" name=display_name(&app)/>
            </div>
            <Chart class="band" label draw/>
            {move || ranges.get().map(|(p50, p99, per_second)| view! {
                <dl class="cell-figures">
                    {figure("p50", p50)} {figure("p99", p99)}
                    <div class="rate"><dt>"rate"</dt><dd><Rate per_second/>"/s"</dd></div>
                </dl>
            })}
        </li>
    }
}
