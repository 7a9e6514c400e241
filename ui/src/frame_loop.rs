//! When to look again: the only animation-frame loop of the page.
//!
//! A frame is asked for when something may have changed (a message, a pointer, the quarter-second beat) and never twice. In
//! it, at most every [`TICK_NS`], one signal says that numbers may be read again, and the charts that are in sight are
//! painted. While nobody sees the page the browser gives no frames: data is merged and nothing is drawn.

use std::rc::Rc;

use leptos::prelude::{RwSignal, Set};
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::HtmlCanvasElement;

use crate::browser;
use crate::chart::canvas::{Palette, paint};
use crate::chart::{Shape, Size};
use crate::kept::Kept;
use crate::model::Model;

/// Least time between two ticks, in ns. Producers report every second or two; more often would only be unrest.
const TICK_NS: u64 = 500_000_000;
/// Most time between two ticks, in ns: ages and the clock move on their own.
const IDLE_TICK_NS: u64 = 1_000_000_000;
/// How often the clock looks whether a tick is due, in ms.
const BEAT_MS: u32 = 250;

/// The page's one model.
pub type Handle = Kept<Model>;

/// What paints a chart. A trait of its own, since `dyn Fn` brings two calls along that nobody makes.
pub trait Draws {
    /// The chart at this size.
    fn list(&self, size: Size) -> Option<Vec<Shape>>;
}

impl<F: Fn(Size) -> Option<Vec<Shape>>> Draws for F {
    fn list(&self, size: Size) -> Option<Vec<Shape>> {
        self(size)
    }
}

/// What paints a chart of a given size.
pub type Paint = Rc<dyn Draws>;

/// A chart that is to be painted: where, how, and how large.
type Due = (HtmlCanvasElement, Paint, Size);

/// The clock. Copies are the same clock.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "charts are closures")]
pub struct FrameLoop {
    model: Handle,
    charts: Kept<Charts>,
    /// Changes when numbers may be read again.
    pub tick: RwSignal<u64>,
}

/// The charts on the page.
#[derive(Default)]
struct Charts {
    known: Vec<Chart>,
    next: u64,
    palette: Option<Rc<Palette>>,
    frame: Option<js_sys::Function>,
    frame_pending: bool,
    ticks: u64,
    ticked_ns: u64,
    revision: u64,
}

struct Chart {
    number: u64,
    canvas: HtmlCanvasElement,
    paint: Paint,
    /// Tick and size when it was last painted.
    painted: Option<(u64, Size)>,
}

impl FrameLoop {
    /// A clock that shows `model`. It beats as long as the page lives.
    #[must_use]
    pub fn start(model: Handle) -> Self {
        let clock = Self { model, charts: Kept::new(Charts::default()), tick: RwSignal::new(0) };
        let frame = Closure::<dyn FnMut()>::new(move || clock.frame()).into_js_value();
        clock.charts.get().frame = frame.dyn_into().ok();
        gloo_timers::callback::Interval::new(BEAT_MS, move || clock.wake()).forget();
        clock
    }

    /// Asks for a frame, unless one is coming.
    pub fn wake(self) {
        let mut charts = self.charts.get();
        if charts.frame_pending || browser::is_hidden() {
            return;
        }
        if let (Some(frame), Some(window)) = (&charts.frame, web_sys::window()) {
            charts.frame_pending = window.request_animation_frame(frame).is_ok();
        }
    }

    /// Ticks and paints in the next frame, whatever the time: somebody did something.
    pub fn now(self) {
        self.charts.get().ticked_ns = 0;
        self.wake();
    }

    /// Forgets the colours and paints everything again.
    pub fn repaint(self) {
        {
            let mut charts = self.charts.get();
            charts.palette = None;
            charts.known.iter_mut().for_each(|chart| chart.painted = None);
        }
        self.wake();
    }

    /// A number for a chart that is about to exist.
    #[must_use]
    pub fn reserve(self) -> u64 {
        let mut charts = self.charts.get();
        charts.next += 1;
        charts.next
    }

    /// Paints chart `number` on `canvas` from now on.
    pub fn add(self, number: u64, canvas: HtmlCanvasElement, paint: Paint) {
        self.charts.get().known.push(Chart { number, canvas, paint, painted: None });
        self.wake();
    }

    /// Paints chart `number` no more.
    pub fn remove(self, number: u64) {
        self.charts.get().known.retain(|chart| chart.number != number);
    }

    /// Paints chart `number` in the next frame.
    pub fn touch(self, number: u64) {
        self.charts
            .get()
            .known
            .iter_mut()
            .filter(|chart| chart.number == number)
            .for_each(|chart| chart.painted = None);
        self.wake();
    }

    fn frame(self) {
        let now_ns = browser::now_ns();
        let revision = {
            let mut model = self.model.get();
            model.viewer().advance(now_ns);
            model.revision()
        };
        let tick = self.charts.get().tick(revision, now_ns);
        if let Some(tick) = tick {
            self.tick.set(tick);
        }
        self.paint_charts();
    }

    /// Paints what is in sight and older than the last tick. Painting reads the model, so nothing here may hold it.
    fn paint_charts(self) {
        let (due, palette) = self.charts.get().due();
        let ratio = web_sys::window().map_or(1.0, |window| window.device_pixel_ratio());
        for (canvas, draw, size) in due {
            if let (Some(list), Some(palette)) = (draw.list(size), &palette) {
                paint(&canvas, &list, palette, size, ratio);
            }
        }
    }
}

impl Charts {
    /// The number of a new tick, if one is due.
    fn tick(&mut self, revision: u64, now_ns: u64) -> Option<u64> {
        self.frame_pending = false;
        let due_ns = if revision == self.revision { IDLE_TICK_NS } else { TICK_NS };
        if self.ticked_ns > 0 && now_ns.saturating_sub(self.ticked_ns) < due_ns {
            return None;
        }
        (self.revision, self.ticked_ns) = (revision, now_ns);
        self.ticks += 1;
        Some(self.ticks)
    }

    /// What is to be painted now, and in which colours.
    fn due(&mut self) -> (Vec<Due>, Option<Rc<Palette>>) {
        if self.palette.is_none() {
            let body = browser::document().and_then(|document| document.body());
            self.palette = body.and_then(|body| Palette::read(&body)).map(Rc::new);
        }
        let mut due = Vec::new();
        for chart in &mut self.known {
            let size =
                Size { width: f64::from(chart.canvas.client_width()), height: f64::from(chart.canvas.client_height()) };
            if chart.painted != Some((self.ticks, size)) && size.width > 0.0 && browser::is_in_sight(&chart.canvas) {
                chart.painted = Some((self.ticks, size));
                due.push((chart.canvas.clone(), Rc::clone(&chart.paint), size));
            }
        }
        (due, self.palette.clone())
    }
}
