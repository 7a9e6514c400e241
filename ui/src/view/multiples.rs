//! The rows of a table as small charts, all on the same axis.
//!
//! Like rows, those far out of sight are not in the document. A line of the grid takes the place of a row.

use std::collections::BTreeMap;
use std::sync::Arc;

use joey_shared::window::SLOT_NS;
use leptos::ev::FocusEvent;
use leptos::html::Ul;
use leptos::prelude::*;
use wasm_bindgen::JsCast;

use super::caveats::Caveats;
use super::cells::{LatencyRange as LatencyRangeView, Rate};
use super::chart::Chart;
use super::favourite::FavouriteStar;
use super::format::view_summary;
use super::live_text::LiveText;
use super::measured::measured;
use super::name::{Name, NameLink, display_name};
use super::overview::{common_axis, slow_tick};
use super::table::TableContent;
use super::table_row::{RowStatistics, row_marks, row_statistics};
use super::{AppName, UiState, page_address, use_ui, use_words};
use crate::band_data::Band;
use crate::browser;
use crate::chart::latency_axis::LatencyRange;
use crate::chart::latency_band::latency_band;
use crate::chart::sparkline;
use crate::chart_data;
use crate::rendered_rows::{self, Part};
use crate::route::Page;
use crate::statistics;
use crate::table_rows::TableRow;
use crate::vocabulary::view_caveats;

/// The minimum width of a small chart, and the gap between two, in CSS pixels.
const CELL_WIDTH: f64 = 290.0;
/// The same on a wall display, whose type is larger, and the width from which a grid is on one.
const WALL_CELL_WIDTH: f64 = 420.0;
const WALL_WIDTH: f64 = 2_300.0;
const GAP: f64 = 1.0;
/// The height of a line, in CSS pixels, before it has been measured.
const LINE_HEIGHT: f64 = 150.0;

/// Where the lines of the grid are.
#[derive(Clone, PartialEq)]
struct GridLayout {
    columns: usize,
    visible: core::ops::Range<usize>,
    line_height: f64,
}

/// A part of the grid.
#[derive(Clone, PartialEq)]
enum GridPart {
    Cell(Arc<TableRow>),
    /// Lines that are not rendered: the first one, and their number.
    Gap(usize, usize),
}

/// What identifies a part: the index of a view, or a gap.
#[derive(PartialEq, Eq, Hash)]
enum PartKey {
    View(usize),
    Gap(usize, usize),
}

impl GridPart {
    fn key(&self) -> PartKey {
        match self {
            Self::Cell(row) => PartKey::View(row.view_index),
            Self::Gap(from, lines) => PartKey::Gap(*from, *lines),
        }
    }
}

/// The small charts of the rows in `content`.
#[component]
pub(super) fn Multiples(app: AppName, content: Memo<TableContent>, shows_latency: bool) -> impl IntoView {
    let ui = use_ui();
    let grid = NodeRef::<Ul>::new();
    let count = Memo::new(move |_| content.read().rows.len());
    let layout = layout(ui, grid, count);
    let focused_view = RwSignal::new(None);
    let parts = Memo::new(move |_| {
        let (content, layout) = (content.read(), layout.read());
        let visible = if ui.is_printing.get() { 0..rendered_rows::PRINTED_MAX } else { layout.visible.clone() };
        let focused = focused_view.get().and_then(|view| content.rows.iter().position(|row| row.view_index == view));
        parts_of(&content.rows, layout.columns, &visible, focused)
    });
    let line_height = Memo::new(move |_| layout.read().line_height);
    let tick = slow_tick(ui);
    let bands: Bands = StoredValue::new_local(BTreeMap::new());
    let scales = Memo::new(move |_| {
        let _ = tick.get();
        read_charts(ui, &app.read_value(), &parts.read(), bands)
    });
    let on_focus = move |event: FocusEvent| {
        let cell = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
        let cell = cell.and_then(|target| target.closest(".cell").ok().flatten());
        let view = cell.and_then(|cell| cell.get_attribute("data-view")?.parse::<usize>().ok());
        focused_view.set(view);
    };
    let columns = move || layout.read().columns;
    let is_partial = move || count.get() > rendered_rows::ALL_MAX;
    // As in a table: the page must not be short while charts are exchanged.
    let min_height = move || {
        let GridLayout { columns, line_height, .. } = layout.get();
        let lines = if is_partial() { count.get().div_ceil(columns) } else { 0 };
        format!("{}px", lines as f64 * line_height)
    };
    let caption = Signal::derive(move || caption(ui, &app.read_value(), shows_latency));
    view! {
        <p class="multiples-caption" hidden=move || count.get() == 0><LiveText text=caption/></p>
        <ul
            class="multiples"
            class:partial=is_partial
            hidden=move || count.get() == 0
            data-columns=move || columns().to_string()
            style:min-height=min_height
            style:grid-template-columns=move || format!("repeat({}, minmax(0, 1fr))", columns())
            node_ref=grid
            on:focusin=on_focus
        >
            <For each=move || parts.get() key=GridPart::key let(part)>
                {match part {
                    GridPart::Cell(row) => view! { <Cell app row scales bands shows_latency/> }.into_any(),
                    GridPart::Gap(_, lines) => view! {
                        <li class="gap" aria-hidden="true" style:height=move || format!("{}px", lines as f64 * line_height.get())></li>
                    }
                    .into_any(),
                }}
            </For>
        </ul>
    }
}

/// The parts of a grid with this number of columns, of which the lines `visible` are in sight. `focused` is the position of the
/// row that has, or last had, the focus.
fn parts_of(
    rows: &[Arc<TableRow>],
    columns: usize,
    visible: &core::ops::Range<usize>,
    focused: Option<usize>,
) -> Vec<GridPart> {
    if rows.len() <= rendered_rows::ALL_MAX {
        return rows.iter().cloned().map(GridPart::Cell).collect();
    }
    let lines = rows.len().div_ceil(columns);
    let mut parts = Vec::new();
    for part in rendered_rows::parts_of_many(lines, visible, focused.map(|at| at / columns)) {
        match part {
            Part::Row(line) => {
                let cells = rows.iter().skip(line * columns).take(columns);
                parts.extend(cells.cloned().map(GridPart::Cell));
            }
            Part::Gap { from, rows } => parts.push(GridPart::Gap(from, rows)),
        }
    }
    parts
}

/// What the charts show, in words.
fn caption(ui: UiState, app: &str, shows_latency: bool) -> String {
    let mut model = ui.read_model();
    let Some(store) = model.app_mut(app) else { return String::new() };
    let (from, to) = chart_data::window_range(store);
    let time = |second: u64| ui.utc_offset(second * SLOT_NS).time(second * SLOT_NS);
    let what = if shows_latency {
        "Bars from the median (blue box) to p99 (orange box), as high as their bins"
    } else {
        "Events per second"
    };
    format!("{what}, from {} to {}. All charts have the same axis.", time(from.saturating_sub(1)), time(to))
}

/// The axes of all charts.
#[derive(Clone, Copy, PartialEq)]
struct Scales {
    latency: LatencyRange,
    /// The highest rate.
    rate: f64,
}

/// The latencies over time of the rows that are in the document, by view index.
type Bands = StoredValue<BTreeMap<usize, Band>, LocalStorage>;

/// Reads what the charts in the document show into `bands`, and returns their common axes.
fn read_charts(ui: UiState, app: &str, parts: &[GridPart], bands: Bands) -> Scales {
    let mut model = ui.model.write_value();
    let (mut fresh, mut rate) = (BTreeMap::new(), 0.0_f64);
    for part in parts {
        let GridPart::Cell(row) = part else { continue };
        let Some(store) = model.app_mut(app) else { continue };
        if row.key.kind.has_latency() {
            fresh.extend(Band::of(store, row.view_index).map(|band| (row.view_index, band)));
        } else {
            rate = rate.max(store.throughput(row.view_index).map_or(0.0, |throughput| throughput.max));
        }
    }
    let latency = common_axis(fresh.values());
    bands.set_value(fresh);
    Scales { latency, rate }
}

#[component]
fn Cell(app: AppName, row: Arc<TableRow>, scales: Memo<Scales>, bands: Bands, shows_latency: bool) -> impl IntoView {
    let (ui, words) = (use_ui(), use_words());
    let TableRow { view_index, key, label, qualifier, .. } = Arc::unwrap_or_clone(row);
    let href = page_address(Page::Detail(app.get_value(), key.clone()));
    let has_latency = shows_latency && key.kind.has_latency();
    let favourite_key = key.clone();
    let row = Memo::new(move |_| {
        ui.frame_loop.tick.track();
        row_statistics(ui, &app.read_value(), view_index, &key)
    });
    let label_text = Memo::new(move |_| row.read().as_ref().map(|row| view_summary(&row.view)).unwrap_or_default());
    let caveats =
        Signal::derive(move || row.read().as_ref().map(|row| view_caveats(row.provenance)).unwrap_or_default());
    let draw = move |size| {
        let scales = scales.get_untracked();
        if has_latency {
            return bands.with_value(|bands| Some(latency_band(bands.get(&view_index)?, scales.latency, size)));
        }
        let mut model = ui.model.write_value();
        let store = model.app_mut(&app.read_value())?;
        let (from, to) = chart_data::window_range(store);
        Some(sparkline::rate_up_to(&statistics::rates(store, &[view_index]), scales.rate, from, to, size))
    };
    view! {
        <li
            class="cell"
            data-testid="cell"
            data-view=view_index.to_string()
            class:stalled=move || row.read().as_ref().is_some_and(|row| row.state.is_quiet())
            class:missed=move || row.read().as_ref().is_some_and(RowStatistics::misses_objective)
        >
            <div class="label">
                <FavouriteStar key=favourite_key name=label.clone()/>
                <NameLink class="row-link ellipsis" name=display_name(&label) href/>
                {qualifier.map(|name| view! { <Name class="aside ellipsis" name/> })}
                <Caveats caveats/>
                {move || row.read().as_ref().map(|row| row_marks(ui, words, row))}
            </div>
            <Chart class="band" label=label_text draw/>
            {move || row.read().as_ref().map(|row| cell_figures(row, has_latency))}
        </li>
    }
}

/// The numbers below a chart.
fn cell_figures(row: &RowStatistics, has_latency: bool) -> impl IntoView + use<> {
    let [p50, _, p99, ..] = row.view.quantiles;
    let figure = |label, range: Option<joey_shared::histogram::QuantileRange>| {
        let (low, high) = (range.map(|range| range.low.to_string()), range.map(|range| range.high.to_string()));
        view! { <div data-col=label data-low=low data-high=high><dt>{label}</dt><dd><LatencyRangeView range/></dd></div> }
    };
    view! {
        <dl class="cell-figures">
            {has_latency.then(|| (figure("p50", p50), figure("p99", p99)))}
            <div class="rate"><dt>"rate"</dt><dd><Rate per_second=row.view.recent_rate/>"/s"</dd></div>
        </dl>
    }
}

/// Where the lines are.
fn layout(ui: UiState, grid: NodeRef<Ul>, count: Memo<usize>) -> RwSignal<GridLayout> {
    let initial = GridLayout { columns: 4, visible: 0..8, line_height: LINE_HEIGHT };
    let changes = move || {
        count.track();
        grid.track();
    };
    measured(ui, initial, changes, move |_| {
        let grid = grid.get_untracked()?;
        let columns = columns_in(f64::from(grid.client_width()));
        let lines = count.get_untracked().div_ceil(columns);
        let (top, viewport_height) = browser::vertical_position(&grid)?;
        let line_height = browser::mean_height(&grid, ".cell").unwrap_or(LINE_HEIGHT) + GAP;
        let visible = rendered_rows::visible_rows(lines, top, viewport_height, line_height);
        Some(GridLayout { columns, visible, line_height })
    })
}

/// The number of columns in a grid of this width.
fn columns_in(width: f64) -> usize {
    let cell = if width > WALL_WIDTH { WALL_CELL_WIDTH } else { CELL_WIDTH };
    (((width + GAP) / (cell + GAP)) as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use joey_shared::view::ViewKey;

    fn rows(count: usize) -> Vec<Arc<TableRow>> {
        let row = |at: usize| TableRow {
            view_index: at,
            key: ViewKey::computation(&at.to_string()),
            position: 0,
            label: String::new(),
            qualifier: None,
        };
        (0..count).map(row).map(Arc::new).collect()
    }

    #[test]
    fn a_grid_is_as_high_as_all_its_lines() {
        let parts = parts_of(&rows(1_000), 7, &(50..54), Some(0));
        let lines: usize = parts.iter().map(|part| if let GridPart::Gap(_, lines) = part { *lines } else { 0 }).sum();
        let cells = parts.iter().filter(|part| matches!(part, GridPart::Cell(_))).count();
        // The last line is not full.
        assert_eq!((1_000_usize.div_ceil(7) - lines - 1) * 7 + 1_000 % 7, cells);
        assert!(cells < 250, "{cells}");
        assert_eq!(parts_of(&rows(100), 7, &(0..0), None).len(), 100);
    }

    #[test]
    fn columns_fill_the_width() {
        assert_eq!([100.0, 358.0, 581.0, 1_408.0, 2_496.0].map(columns_in), [1, 1, 2, 4, 5]);
    }
}
