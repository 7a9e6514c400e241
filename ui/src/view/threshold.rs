//! The threshold of a detail page: a line on the heatmap and on the percentile curve, with a handle on the latency axis.
//!
//! The handle is a slider: dragged, or moved with the arrow keys. All charts of the page have the same threshold. It is that of
//! the view's first objective until it is dragged; the address follows when the handle is released.

use joey_shared::histogram::Quantile;
use joey_shared::objective::{Under, threshold_text};
use leptos::ev::{KeyboardEvent, PointerEvent};
use leptos::html::Div;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use super::objective_text::{over_text, share_text};
use super::{AppName, UiState};
use crate::chart::threshold_line::VerticalAxis;
use crate::chart::{Shape, Size};
use crate::frame_loop::ChartId;
use crate::{threshold, units};

/// The view whose threshold is shown.
#[derive(Clone, Copy)]
pub(super) struct Threshold {
    pub(super) ui: UiState,
    pub(super) app: AppName,
    pub(super) view_index: usize,
}

impl Threshold {
    /// The threshold in ns: the dragged one, or that of the first objective of the view.
    fn get(self) -> Option<u64> {
        self.ui.threshold_ns.get().or_else(|| {
            self.ui.frame_loop.tick.track();
            self.of_objective()
        })
    }

    fn get_untracked(self) -> Option<u64> {
        self.ui.threshold_ns.get_untracked().or_else(|| self.of_objective())
    }

    fn of_objective(self) -> Option<u64> {
        let outcomes = self.ui.model.write_value().outcomes(&self.app.read_value(), self.view_index);
        outcomes.first().map(|(objective, _)| objective.threshold_ns())
    }

    /// The threshold, or where its handle is before it was used: at the 99th percentile.
    pub(super) fn shown(self) -> u64 {
        self.ui.frame_loop.tick.track();
        self.get().unwrap_or_else(|| {
            let statistics = self.ui.model.write_value().view_statistics(&self.app.read_value(), self.view_index);
            let p99 = statistics.and_then(|statistics| statistics.histogram.quantile(Quantile::P99));
            threshold::rounded(p99.map_or(1e6, |range| range.high as f64))
        })
    }

    /// The events of what is shown that are under `ns`.
    fn under(self, ns: u64) -> Option<Under> {
        let statistics = self.ui.model.write_value().view_statistics(&self.app.read_value(), self.view_index)?;
        Some(Under::of(&statistics.histogram, ns))
    }

    /// Adds the line to a chart.
    pub(super) fn draw(self, list: &mut Vec<Shape>, axis: Option<VerticalAxis>) {
        if let Some((axis, ns)) = axis.zip(self.get_untracked()) {
            axis.draw_threshold(list, ns);
        }
    }
}

/// A chart with the handle of the threshold on its latency axis.
#[component]
pub(super) fn ThresholdHandle(
    threshold: Threshold,
    /// Returns the latency axis of the chart at a given size; `None` while it has no data.
    axis: impl Fn(Size) -> Option<VerticalAxis> + Copy + Send + Sync + 'static,
    /// The chart, which is painted again when the threshold moves.
    chart: ChartId,
    children: Children,
) -> impl IntoView {
    let ui = threshold.ui;
    let frame = NodeRef::<Div>::new();
    let current_axis = move || {
        let frame = frame.get_untracked()?;
        let size = Size { width: frame.client_width().into(), height: frame.client_height().into() };
        axis(size)
    };
    Effect::new(move |_| {
        ui.threshold_ns.track();
        ui.frame_loop.repaint_chart(chart);
    });
    let is_used = Memo::new(move |_| threshold.get().is_some());
    let shown = Memo::new(move |_| threshold.shown());
    let is_dragging = StoredValue::new(false);
    // What Escape goes back to.
    let before = StoredValue::new(None::<u64>);
    let move_to = move |ns: u64| ui.threshold_ns.set(Some(ns.max(1)));
    let on_down = move |event: PointerEvent| {
        if event.button() == 0 && event.is_primary() {
            // The chart would select a range of time.
            event.stop_propagation();
            is_dragging.set_value(true);
            before.set_value(ui.threshold_ns.get_untracked());
            if let Some(handle) = event.current_target().and_then(|target| target.dyn_into::<HtmlElement>().ok()) {
                let _ = handle.set_pointer_capture(event.pointer_id());
            }
        }
    };
    let on_move = move |event: PointerEvent| {
        if !is_dragging.get_value() {
            return;
        }
        event.stop_propagation();
        if let Some((axis, frame)) = current_axis().zip(frame.get_untracked()) {
            let y = f64::from(event.client_y()) - frame.get_bounding_client_rect().top();
            move_to(threshold::rounded(axis.duration(y)));
        }
    };
    let release = move || {
        is_dragging.set_value(false);
        ui.write_address();
    };
    let cancel = move || {
        is_dragging.set_value(false);
        ui.threshold_ns.set(before.get_value());
    };
    let on_keydown = move |event: KeyboardEvent| {
        let current = shown.get_untracked();
        let next = match event.key().as_str() {
            "ArrowUp" | "ArrowRight" => threshold::stepped(current, true),
            "ArrowDown" | "ArrowLeft" => threshold::stepped(current, false),
            "PageUp" => current.saturating_mul(2),
            "PageDown" => current / 2,
            "Escape" if is_dragging.get_value() => return cancel(),
            "Delete" | "Backspace" => {
                event.prevent_default();
                ui.threshold_ns.set(None);
                return;
            }
            _ => return,
        };
        event.prevent_default();
        event.stop_propagation();
        move_to(next);
    };
    let top = move || {
        let ns = shown.get();
        // The axis changes with the data.
        ui.frame_loop.tick.track();
        current_axis().map(|axis| format!("{}px", axis.position(ns)))
    };
    let label = move || units::duration(shown.get().into()).to_string();
    let value_text = move || {
        ui.frame_loop.tick.track();
        let ns = shown.get();
        let under = threshold.under(ns);
        under.map_or_else(String::new, |under| {
            format!("{}: {} under, {} over", threshold_text(ns), share_text(&under), over_text(&under))
        })
    };
    view! {
        <div class="threshold-frame" node_ref=frame>
            {children()}
            <div
                class="threshold-handle"
                class:unused=move || !is_used.get()
                role="slider"
                tabindex="0"
                title="Drag, or use the arrow keys, to move the threshold; Delete removes it"
                aria-label="Latency threshold"
                aria-orientation="vertical"
                aria-valuemin="1"
                aria-valuenow=move || shown.get().to_string()
                aria-valuetext=value_text
                style:top=top
                on:pointerdown=on_down
                on:pointermove=on_move
                on:pointerup=move |_| if is_dragging.get_value() { release() }
                on:pointercancel=move |_| cancel()
                on:dblclick=move |event| event.stop_propagation()
                on:keydown=on_keydown
                on:keyup=move |_| ui.write_address()
            >
                <span prop:textContent=label></span>
            </div>
        </div>
    }
}
