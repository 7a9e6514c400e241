//! Selecting a range of time on a chart: by dragging, or with the keyboard.

use std::rc::Rc;

use leptos::ev::{self, KeyboardEvent, PointerEvent, WheelEvent};
use leptos::html::Div;
use leptos::prelude::*;
use web_sys::MouseEvent;

use super::use_ui;
use crate::chart::Size;
use crate::chart::time_axis::TimeAxis;
use crate::time_range::TimeRange;

/// A drag that is shorter than this, in pixels, is a click.
const DRAG_MIN: f64 = 5.0;

/// How far a wheel turns for one step of the zoom, in pixels of scrolling. A notch of a mouse is about 100; a touchpad reports
/// many small movements.
const WHEEL_STEP: f64 = 50.0;

/// How far the wheel has been turned since the last step.
pub(super) type Turned = f64;

/// The direction of a step of the wheel, if turning it by `distance` completes one: whether it is up or to the left.
pub(super) fn wheel_step(turned: StoredValue<Turned>, distance: f64) -> Option<bool> {
    let total = turned.get_value() + distance;
    let is_step = total.abs() >= WHEEL_STEP;
    turned.set_value(if is_step { 0.0 } else { total });
    is_step.then_some(total < 0.0)
}

/// A drag in progress: positions in pixels from the left edge of the chart.
#[derive(Clone, Copy, PartialEq)]
struct Drag {
    /// The pointer: a second finger is not part of it.
    pointer: i32,
    from: f64,
    to: f64,
    /// Whether it moves the range instead of selecting one.
    is_pan: bool,
}

impl Drag {
    fn is_click(self) -> bool {
        (self.to - self.from).abs() < DRAG_MIN
    }
}

/// Returns the axis of a chart of the given size; `None` while it has no data.
pub(super) type AxisOfChart = Rc<dyn Fn(Size) -> Option<TimeAxis>>;

/// Whether the pointer of `event` can be over a chart without touching it. What a finger points at stays when it is lifted.
pub(super) fn is_hovering(event: &PointerEvent) -> bool {
    event.pointer_type() != "touch"
}

/// Where a key moves the crosshair of a chart of the seconds `from..=to`, whose last complete one is `last`. `None` if the key is
/// for something else.
pub(super) fn crosshair_after(
    event: &KeyboardEvent,
    current: Option<u64>,
    last: u64,
    (from, to): (u64, u64),
) -> Option<Option<u64>> {
    let next = match event.key().as_str() {
        "ArrowLeft" => Some(current.map_or(last, |second| second.saturating_sub(1))),
        "ArrowRight" => Some(current.map_or(last, |second| second + 1)),
        "Home" => Some(from),
        "End" => Some(last),
        "Escape" => None,
        _ => return None,
    };
    event.prevent_default();
    Some(next.map(|second| second.clamp(from, to)))
}

/// Makes the chart inside selectable: dragging selects a range of time, dragging with Shift moves it, a double click zooms
/// out (a finger that moves up or down scrolls the page), the wheel with Ctrl zooms at the pointer, and Escape cancels a drag. If
/// the chart has a crosshair, Shift with the arrow keys extends a selection from it, and Enter shows it.
#[component]
pub(super) fn TimeSelection(
    axis: AxisOfChart,
    /// The second under the crosshair of the chart.
    #[prop(optional)]
    crosshair: Option<RwSignal<Option<u64>>>,
    children: Children,
) -> impl IntoView {
    let ui = use_ui();
    let frame = NodeRef::<Div>::new();
    let drag = RwSignal::new(None::<Drag>);
    // Where a selection by keyboard began.
    let anchor = RwSignal::new(None::<u64>);
    let axis = StoredValue::new_local(axis);
    let current_axis = move || {
        let frame = frame.get_untracked()?;
        let size = Size { width: frame.client_width().into(), height: frame.client_height().into() };
        axis.with_value(|axis| axis(size))
    };
    let position = move |event: &MouseEvent| {
        let left = frame.get_untracked().map_or(0.0, |frame| frame.get_bounding_client_rect().left());
        f64::from(event.client_x()) - left
    };
    let on_down = move |event: PointerEvent| {
        if event.button() != 0 || !event.is_primary() || current_axis().is_none() {
            return;
        }
        let at = position(&event);
        anchor.set(None);
        drag.set(Some(Drag { pointer: event.pointer_id(), from: at, to: at, is_pan: event.shift_key() }));
        if let Some(frame) = frame.get_untracked() {
            // Without it, the drag would end at the edge of the chart.
            let _ = frame.set_pointer_capture(event.pointer_id());
        }
    };
    let own = move |event: &PointerEvent| drag.get_untracked().filter(|drag| drag.pointer == event.pointer_id());
    let on_move = move |event: PointerEvent| {
        if let Some(started) = own(&event) {
            drag.set(Some(Drag { to: position(&event), ..started }));
        }
    };
    let on_up = move |event: PointerEvent| {
        let Some(started) = own(&event) else { return };
        drag.set(None);
        let done = Drag { to: position(&event), ..started };
        let Some(axis) = current_axis().filter(|_| !done.is_click()) else { return };
        if done.is_pan {
            let seconds = (axis.to + 1 - axis.from) as f64 * (done.from - done.to) / (axis.right - axis.left).max(1.0);
            ui.change_range(|range| range.moved(seconds.round() as i64));
        } else {
            ui.select_range(Some(TimeRange::between(axis.second_at(done.from), axis.second_at(done.to))));
        }
    };
    let turned = StoredValue::new(Turned::default());
    let on_wheel = move |event: WheelEvent| {
        // Without Ctrl, the wheel scrolls the page.
        let Some(axis) = current_axis().filter(|_| event.ctrl_key() || event.meta_key()) else { return };
        // The browser would zoom the page.
        event.prevent_default();
        if let Some(is_in) = wheel_step(turned, event.delta_y()) {
            let second = axis.second_at(position(&event));
            ui.change_range(|range| range.zoomed_at(second, is_in));
        }
    };
    // The chart of a drag need not have the focus.
    let escape = window_event_listener(ev::keydown, move |event| {
        if event.key() == "Escape" && drag.get_untracked().is_some() {
            drag.set(None);
        }
    });
    on_cleanup(move || escape.remove());
    let on_keydown = move |event: KeyboardEvent| {
        let at = crosshair.and_then(|crosshair| crosshair.get_untracked());
        match event.key().as_str() {
            "Escape" if drag.get_untracked().is_some() || anchor.get_untracked().is_some() => {
                drag.set(None);
                anchor.set(None);
            }
            "ArrowLeft" | "ArrowRight" if event.shift_key() => {
                if anchor.get_untracked().is_none() {
                    anchor.set(at);
                }
                return;
            }
            "Enter" => {
                let Some((anchor_second, at)) = anchor.get_untracked().zip(at) else { return };
                anchor.set(None);
                ui.select_range(Some(TimeRange::between(anchor_second, at)));
            }
            "ArrowLeft" | "ArrowRight" | "Home" | "End" => {
                anchor.set(None);
                return;
            }
            _ => return,
        }
        event.prevent_default();
        event.stop_propagation();
    };
    // The left edge and the width of the selection, in pixels.
    let selection = move || {
        if let Some(drag) = drag.get().filter(|drag| !drag.is_pan && !drag.is_click()) {
            return Some((drag.from.min(drag.to), (drag.to - drag.from).abs()));
        }
        let (anchor, at) = anchor.get().zip(crosshair.and_then(|crosshair| crosshair.get()))?;
        let axis = current_axis()?;
        let (start, end) = (axis.start_of(anchor.min(at)), axis.end_of(anchor.max(at)));
        Some((start, end - start))
    };
    view! {
        <div
            class="time-selection"
            class:panning=move || drag.get().is_some_and(|drag| drag.is_pan)
            node_ref=frame
            on:pointerdown=on_down
            on:pointermove=on_move
            on:pointerup=on_up
            on:pointercancel=move |event: PointerEvent| if own(&event).is_some() { drag.set(None) }
            on:wheel=on_wheel
            on:dblclick=move |_| ui.change_range(TimeRange::zoomed_out)
            // Before the chart moves its crosshair, which is where the selection begins.
            on:keydown:capture=on_keydown
        >
            {children()}
            {move || selection().map(|(left, width)| view! {
                <div class="selection" style:left=format!("{left}px") style:width=format!("{width}px")></div>
            })}
        </div>
    }
}
