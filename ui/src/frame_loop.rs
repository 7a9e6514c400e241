//! The page's only animation-frame loop: it sends ticks and paints charts.
//!
//! A frame is requested when something may have changed: a message arrived and a tick is due, the pointer moved, or the
//! 250 ms timer fired. Two requests never overlap. In a frame, at most every [`TICK_NS`], the `tick` signal tells
//! components to read the model again, and the visible charts are painted. The rows of tables follow in their
//! [`Turn`]s, a few in each of the next frames, each with its charts: all of them at once would take longer than a
//! frame. Charts out of sight are painted a few at a time, so that a screenshot of the whole page has them too; before
//! the page is printed, all are painted at once in light colours. The browser grants no frames to a hidden page: data
//! is still merged then, but nothing is drawn.

use std::rc::Rc;
use std::time::Duration;

use leptos::prelude::{
    LocalStorage, ReadValue, RwSignal, Set, StoredValue, WriteValue, on_cleanup, request_animation_frame_with_handle,
    set_interval_with_handle,
};
use web_sys::HtmlCanvasElement;

use crate::browser;
use crate::chart::canvas::{Palette, image, paint};
use crate::chart::{Shape, Size};
use crate::model::Model;

mod turns;

pub use self::turns::Turn;
use self::turns::Turns;

/// Minimum time between two ticks, in ns. Producers report every second or two, so more ticks would show nothing new.
const TICK_NS: u64 = 500_000_000;
/// Maximum time between two ticks, in ns: ages and the relay's time change without any message.
const IDLE_TICK_NS: u64 = 1_000_000_000;
/// How many ticks a chart out of sight may be old.
const HIDDEN_TICKS: u64 = 10;
/// Maximum number of charts out of sight that are painted in one frame.
const HIDDEN_CHARTS_MAX: usize = 16;
/// How often the timer checks whether a tick is due.
const TIMER_PERIOD: Duration = Duration::from_millis(250);

/// The page's one model.
pub type ModelHandle = StoredValue<Model, LocalStorage>;

/// Returns the shapes of a chart of the given size, or `None` while there is no data.
pub type DrawChart = Rc<dyn Fn(Size) -> Option<Vec<Shape>>>;

/// Identifies a chart on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChartId(u64);

/// The frame loop. Copies share the same loop.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "charts are closures")]
pub struct FrameLoop {
    model: ModelHandle,
    charts: StoredValue<Charts, LocalStorage>,
    turns: StoredValue<Turns, LocalStorage>,
    /// Changes when components should read the model again.
    pub tick: RwSignal<u64>,
}

/// The charts on the page and when they were painted.
#[derive(Default)]
struct Charts {
    charts: Vec<Chart>,
    last_id: u64,
    palette: Option<Rc<Palette>>,
    /// Whether the page is being printed.
    is_printing: bool,
    frame_requested: bool,
    /// Whether the open recording was still being read in the last frame.
    was_reading: bool,
    ticks: u64,
    last_tick_ns: u64,
    /// The model's revision at the last tick.
    revision: u64,
}

struct Chart {
    id: ChartId,
    canvas: HtmlCanvasElement,
    draw: DrawChart,
    /// The turn of its row; `None` if it is painted at each tick.
    turn: Option<Turn>,
    /// Tick and size of the last paint.
    painted: Option<(u64, Size)>,
    /// Whether there was data to paint.
    has_data: bool,
}

/// What to paint in this frame.
struct DueCharts {
    due: Vec<DueChart>,
    /// Whether no chart out of sight has to wait for the next frame.
    is_complete: bool,
    palette: Option<Rc<Palette>>,
}

/// A chart to paint in this frame.
struct DueChart {
    id: ChartId,
    canvas: HtmlCanvasElement,
    draw: DrawChart,
    size: Size,
}

impl FrameLoop {
    /// Starts a loop that shows `model`. It stops when the current reactive owner is disposed.
    #[must_use]
    pub fn start(model: ModelHandle) -> Self {
        let frame_loop = Self {
            model,
            charts: StoredValue::new_local(Charts::default()),
            turns: StoredValue::new_local(Turns::default()),
            tick: RwSignal::new(0),
        };
        if let Ok(timer) = set_interval_with_handle(move || frame_loop.request_frame(), TIMER_PERIOD) {
            on_cleanup(move || timer.clear());
        }
        frame_loop
    }

    /// Requests a frame, unless one is already requested or the page is hidden.
    pub fn request_frame(self) {
        let Some(mut charts) = self.charts.try_write_value() else { return };
        if !charts.frame_requested && !browser::is_hidden() {
            charts.frame_requested = request_animation_frame_with_handle(move || self.on_frame()).is_ok();
        }
    }

    /// Requests a frame if a tick is due: a message has arrived. Otherwise, a later message or the timer requests it. A
    /// frame without a tick would show nothing new, and to request one costs more than to merge a message.
    pub fn request_due_tick(self) {
        if self.charts.try_read_value().is_some_and(|charts| charts.is_tick_due(TICK_NS, browser::now_ns())) {
            self.request_frame();
        }
    }

    /// Ticks and paints in the next frame, even if no tick is due: the user did something.
    pub fn tick_now(self) {
        if let Some(mut charts) = self.charts.try_write_value() {
            charts.last_tick_ns = 0;
        }
        self.request_frame();
    }

    /// Reads the colours again and repaints every chart.
    pub fn repaint_all(self) {
        {
            let mut charts = self.charts.write_value();
            charts.palette = None;
            charts.charts.iter_mut().for_each(|chart| chart.painted = None);
        }
        self.request_frame();
    }

    /// Paints every chart in light colours at once: the page is about to be printed.
    pub fn start_printing(self) {
        {
            let mut charts = self.charts.write_value();
            if charts.is_printing {
                return;
            }
            charts.is_printing = true;
            charts.palette = None;
            charts.charts.iter_mut().for_each(|chart| chart.painted = None);
        }
        self.paint_charts();
    }

    /// Paints the charts that were added after [`start_printing`](Self::start_printing).
    pub fn paint_for_print(self) {
        if self.charts.read_value().is_printing {
            self.paint_charts();
        }
    }

    /// Goes back to the theme's colours after printing.
    pub fn stop_printing(self) {
        self.charts.write_value().is_printing = false;
        self.repaint_all();
    }

    /// A chart as an image with a title, twice as fine as on the screen. `None` if there is no such chart or no data.
    #[must_use]
    pub fn image_of(self, id: ChartId, title: &str) -> Option<HtmlCanvasElement> {
        let (draw, size, palette) = {
            let charts = self.charts.read_value();
            let chart = charts.charts.iter().find(|chart| chart.id == id)?;
            (Rc::clone(&chart.draw), size_of(&chart.canvas), charts.palette.clone()?)
        };
        image(&draw(size)?, &palette, size, title)
    }

    /// An id for a chart that will be added.
    #[must_use]
    pub fn new_chart_id(self) -> ChartId {
        let mut charts = self.charts.write_value();
        charts.last_id += 1;
        ChartId(charts.last_id)
    }

    /// The turn of a new row, until the current reactive owner is disposed.
    #[must_use]
    pub fn turn(self) -> Turn {
        let turn = self.turns.write_value().add(self.charts.read_value().ticks);
        on_cleanup(move || {
            if let Some(mut turns) = self.turns.try_write_value() {
                turns.remove(turn);
            }
        });
        turn
    }

    /// Paints chart `id` on `canvas` from the next frame on, again at each tick or at each `turn`.
    pub fn add_chart(self, id: ChartId, canvas: HtmlCanvasElement, draw: DrawChart, turn: Option<Turn>) {
        self.charts.write_value().charts.push(Chart { id, canvas, draw, turn, painted: None, has_data: false });
        self.request_frame();
    }

    /// Stops painting chart `id`.
    pub fn remove_chart(self, id: ChartId) {
        if let Some(mut charts) = self.charts.try_write_value() {
            charts.charts.retain(|chart| chart.id != id);
        }
    }

    /// Repaints chart `id` in the next frame.
    pub fn repaint_chart(self, id: ChartId) {
        if let Some(chart) = self.charts.write_value().charts.iter_mut().find(|chart| chart.id == id) {
            chart.painted = None;
        }
        self.request_frame();
    }

    fn on_frame(self) {
        let now_ns = browser::now_ns();
        let (revision, is_reading, has_arrived) = {
            // The page may have been unmounted since the frame was requested.
            let Some(mut model) = self.model.try_write_value() else { return };
            model.advance(now_ns);
            model.advance_recording(now_ns);
            let was_reading =
                std::mem::replace(&mut self.charts.write_value().was_reading, model.is_reading_recording());
            (model.revision(), model.is_reading_recording(), was_reading && !model.is_reading_recording())
        };
        if has_arrived {
            self.charts.write_value().last_tick_ns = 0;
        }
        let tick = self.charts.write_value().next_tick(revision, now_ns);
        if let Some(tick) = tick {
            self.turns.write_value().start(tick);
            self.tick.set(tick);
        } else {
            // The guard must be dropped before the rows read the loop.
            let due = self.turns.write_value().take();
            due.into_iter().for_each(Turn::take_place);
        }
        self.paint_charts();
        if is_reading || self.turns.read_value().are_due() {
            self.request_frame();
        }
    }

    /// Paints the visible charts that are older than the last tick. Painting reads the model, so it must not be locked here.
    fn paint_charts(self) {
        let DueCharts { due, is_complete, palette } = self.charts.write_value().due();
        let Some(palette) = palette else { return };
        let ratio = web_sys::window().map_or(1.0, |window| window.device_pixel_ratio());
        // Paper is finer than a screen.
        let ratio = if self.charts.read_value().is_printing { ratio.max(2.0) } else { ratio };
        for DueChart { id, canvas, draw, size } in due {
            let shapes = draw(size);
            if let Some(shapes) = &shapes {
                paint(&canvas, shapes, &palette, size, ratio);
            }
            if let Some(chart) = self.charts.write_value().charts.iter_mut().find(|chart| chart.id == id) {
                chart.has_data = shapes.is_some();
            }
        }
        if !is_complete {
            self.request_frame();
        }
    }
}

impl Charts {
    /// Whether the last tick was at least `period_ns` ago.
    const fn is_tick_due(&self, period_ns: u64, now_ns: u64) -> bool {
        self.last_tick_ns == 0 || now_ns.saturating_sub(self.last_tick_ns) >= period_ns
    }

    /// The number of a new tick, if one is due.
    fn next_tick(&mut self, revision: u64, now_ns: u64) -> Option<u64> {
        self.frame_requested = false;
        let period_ns = if revision == self.revision { IDLE_TICK_NS } else { TICK_NS };
        if !self.is_tick_due(period_ns, now_ns) {
            return None;
        }
        (self.revision, self.last_tick_ns) = (revision, now_ns);
        self.ticks += 1;
        Some(self.ticks)
    }

    /// The charts to paint in this frame, and the colours to use.
    fn due(&mut self) -> DueCharts {
        if self.palette.is_none() {
            let body = browser::document().and_then(|document| document.body());
            self.palette = body.and_then(|body| Palette::read(&body, self.is_printing)).map(Rc::new);
        }
        let (mut due, mut hidden, mut is_complete) = (Vec::new(), 0, true);
        for chart in &mut self.charts {
            let size = size_of(&chart.canvas);
            let ticks = chart.turn.map_or(self.ticks, Turn::tick);
            if chart.painted == Some((ticks, size)) || size.width <= 0.0 {
                continue;
            }
            if !self.is_printing && !browser::is_in_viewport(&chart.canvas) {
                let is_recent = |(tick, known): (u64, Size)| known == size && ticks - tick < HIDDEN_TICKS;
                // Data may have arrived since a chart was empty.
                if chart.has_data && chart.painted.is_some_and(is_recent) {
                    continue;
                }
                if hidden == HIDDEN_CHARTS_MAX {
                    is_complete = false;
                    continue;
                }
                hidden += 1;
            }
            chart.painted = Some((ticks, size));
            due.push(DueChart { id: chart.id, canvas: chart.canvas.clone(), draw: Rc::clone(&chart.draw), size });
        }
        DueCharts { due, is_complete, palette: self.palette.clone() }
    }
}

fn size_of(canvas: &HtmlCanvasElement) -> Size {
    Size { width: f64::from(canvas.client_width()), height: f64::from(canvas.client_height()) }
}
