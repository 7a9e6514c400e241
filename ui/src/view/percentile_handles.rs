//! Handles on the percentile curve: dragging one, or moving it with the arrow keys, chooses a percentile.
//!
//! The curve has a handle for each percentile that was chosen, or one at p90 to begin with. The page and the address
//! follow when the handle is released: browsers limit how often an address may change.

use leptos::ev::{KeyboardEvent, PointerEvent};
use leptos::html::Div;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{HtmlElement, MouseEvent};

use super::format::range_text;
use super::live_text::LiveText;
use super::other_side::Viewed;
use super::percentile_choice::is_figure;
use crate::browser;
use crate::chart::percentile_curve::{self, MARGINS};
use crate::percentile_step::{self, Step};
use crate::typed_percentile::TypedPercentile;

/// How many percentiles in a row are skipped at most because the page shows them anyway.
const SKIPPED_MAX: usize = 8;

/// A handle that is being moved: its index, and where it is.
#[derive(Clone, Copy, PartialEq)]
struct Moving {
    index: usize,
    percentile: TypedPercentile,
}

/// The curve's canvas with the handles over it.
#[component]
pub(super) fn PercentileHandles(viewed: Viewed, children: Children) -> impl IntoView {
    let ui = viewed.ui;
    let frame = NodeRef::<Div>::new();
    let moving = RwSignal::new(None::<Moving>);
    let chosen = move || {
        let typed = ui.percentiles.get();
        if typed.is_empty() { vec![percentile_step::at_nines(1.0)] } else { typed }
    };
    let nines_max = Memo::new(move |_| {
        ui.frame_loop.tick.track();
        let (histogram, reference) = viewed.histograms();
        percentile_curve::nines_max(&histogram, reference.as_ref())
    });
    let commit = move || {
        let Some(Moving { index, percentile }) = moving.get_untracked() else { return };
        moving.set(None);
        let Some(old) = untrack(chosen).get(index).copied() else { return };
        ui.replace_percentile(old, percentile);
        // The handles are in order, so another one may be at this place now.
        let index = untrack(chosen).binary_search(&percentile).unwrap_or(index);
        if let Some(handle) = browser::query_all("[role=slider].percentile-handle").get(index) {
            let _ = handle.focus();
        }
    };
    let handle = move |index: usize| {
        let at = move || {
            let chosen = chosen().get(index).copied().unwrap_or_else(|| percentile_step::at_nines(1.0));
            moving.get().filter(|moving| moving.index == index).map_or(chosen, |moving| moving.percentile)
        };
        let is_free = move |percentile: TypedPercentile| {
            let chosen = untrack(chosen);
            !is_figure(percentile) && chosen.iter().enumerate().all(|(at, other)| at == index || *other != percentile)
        };
        let move_to = move |percentile| {
            if is_free(percentile) {
                moving.set(Some(Moving { index, percentile }));
            }
        };
        let drag_to = move |event: &MouseEvent| {
            let Some(frame) = frame.get_untracked() else { return };
            let area = frame.get_bounding_client_rect();
            let width = (area.width() - MARGINS.0 - MARGINS.1).max(1.0);
            let share = (f64::from(event.client_x()) - area.left() - MARGINS.0) / width;
            move_to(percentile_step::at_nines(share.clamp(0.0, 1.0) * nines_max.get_untracked()));
        };
        let is_dragging = StoredValue::new(false);
        let on_down = move |event: PointerEvent| {
            if event.button() == 0 && event.is_primary() {
                is_dragging.set_value(true);
                // Without it, the drag would end where the pointer leaves the handle.
                if let Some(handle) = event.current_target().and_then(|target| target.dyn_into::<HtmlElement>().ok()) {
                    let _ = handle.set_pointer_capture(event.pointer_id());
                }
            }
        };
        let on_move = move |event: PointerEvent| {
            // A second finger is not part of the drag.
            if is_dragging.get_value() && event.is_primary() {
                drag_to(&event);
            }
        };
        let on_up = move |event: PointerEvent| {
            if event.is_primary() {
                is_dragging.set_value(false);
                commit();
            }
        };
        let cancel = move || {
            is_dragging.set_value(false);
            moving.set(None);
        };
        let on_keydown = move |event: KeyboardEvent| {
            let (step, again) = match event.key().as_str() {
                "ArrowRight" | "ArrowUp" => (Step::Up, Step::Up),
                "ArrowLeft" | "ArrowDown" => (Step::Down, Step::Down),
                "PageUp" => (Step::MoreNines, Step::Up),
                "PageDown" => (Step::FewerNines, Step::Down),
                "Escape" => return cancel(),
                _ => return,
            };
            event.prevent_default();
            event.stop_propagation();
            let mut next = percentile_step::moved(untrack(at), step);
            for _ in 0..SKIPPED_MAX {
                if is_free(next) {
                    break;
                }
                next = percentile_step::moved(next, again);
            }
            move_to(next);
        };
        let value = Memo::new(move |_| {
            ui.frame_loop.tick.track();
            let [current, _] = viewed.statistics();
            let percentile = at();
            let range = current.and_then(|current| current.typed_quantile(percentile));
            format!("{} {}", percentile.label(), range_text(range))
        });
        let share = move || (percentile_step::nines_of(at()) / nines_max.get()).clamp(0.0, 1.0);
        // The value is on the side with more room.
        let is_right = move || share() > 0.6;
        let (left, right) = MARGINS;
        view! {
            <div
                class="percentile-handle"
                class:right=is_right
                class:unused=move || ui.percentiles.read().is_empty()
                role="slider"
                tabindex="0"
                title="Drag, or use the arrow keys, to choose a percentile; Page Up and Page Down move by a nine"
                aria-label="Percentile"
                aria-orientation="horizontal"
                aria-valuemin="1"
                aria-valuemax="99.9999"
                aria-valuenow=move || at().number()
                aria-valuetext=move || value.get()
                style:left=move || format!("calc({left}px + (100% - {}px) * {})", left + right, share())
                on:pointerdown=on_down
                on:pointermove=on_move
                on:pointerup=on_up
                on:pointercancel=move |_| cancel()
                on:keydown=on_keydown
                on:keyup=move |_| if !is_dragging.get_value() { commit() }
                on:blur=move |_| if !is_dragging.get_value() { commit() }
            >
                <span class="grip" aria-hidden="true"></span>
                <span class="value" aria-hidden="true"><LiveText text=value/></span>
            </div>
        }
    };
    view! {
        <div class="curve-frame" node_ref=frame>
            {children()}
            // By place: a handle that is moved keeps its element, and with it the focus.
            <For each=move || 0..chosen().len() key=|index| *index children=handle/>
        </div>
    }
}
