//! The small chart of an application's rate.

use std::rc::Rc;

use joey_shared::format;
use leptos::ev::{KeyboardEvent, PointerEvent};
use leptos::prelude::*;
use web_sys::HtmlCanvasElement;

use super::chart::Chart;
use super::format::rate_summary;
use super::time_selection::{TimeSelection, crosshair_after, is_hovering};
use super::{AppName, use_ui};
use crate::chart::time_axis::TimeAxis;
use crate::chart::{Size, sparkline};
use crate::chart_data;

/// The rate of `app` over the window. `rate_out` is the current rate, for the text alternative.
#[component]
pub(super) fn AppRateChart(app: AppName, #[prop(into)] rate_out: Signal<Option<f64>>) -> impl IntoView {
    let ui = use_ui();
    let hover = RwSignal::new(None::<u64>);
    let id = ui.frame_loop.new_chart_id();
    let set_hover = move |second: Option<u64>| {
        if second != hover.get_untracked() {
            hover.set(second);
            ui.frame_loop.repaint_chart(id);
        }
    };
    let draw = move |size| {
        let mut model = ui.model.write_value();
        let app = app.read_value();
        let (from, to) = chart_data::window_range(model.app(&app)?);
        let mut list = sparkline::rate(&model.app_statistics(&app)?.rates, from, to, size);
        if let Some(second) = hover.get_untracked() {
            sparkline::crosshair(&mut list, second, from, to, size);
        }
        Some(list)
    };
    let axis = move |size: Size| -> Option<TimeAxis> {
        let model = ui.model.read_value();
        let (from, to) = chart_data::window_range(model.app(&app.read_value())?);
        Some(sparkline::axis(from, to, size))
    };
    // What the chart shows: the ends of its vertical axis, or the second under the crosshair.
    let label = Signal::derive(move || {
        ui.frame_loop.tick.track();
        let rates = ui.model.write_value().app_statistics(&app.read_value()).map(|statistics| statistics.rates);
        let rates = rates.unwrap_or_default();
        if let Some(second) = hover.get() {
            let ns = second.saturating_mul(1_000_000_000);
            let at = second.checked_sub(rates.start_second).and_then(|at| rates.values.get(usize::try_from(at).ok()?));
            return format!("{}: {}", ui.utc_offset(ns).time(ns), rate_summary(at.copied()));
        }
        let summary = rate_summary(rate_out.get());
        let range = rates.values.iter().fold(None, |range: Option<(f64, f64)>, &rate| {
            Some(range.map_or((rate, rate), |(low, high)| (low.min(rate), high.max(rate))))
        });
        range.map_or_else(
            || summary.clone(),
            |(low, high)| {
                let [low, high] = [low, high].map(|rate| format::rate(rate).to_string());
                format!("{summary}, between {low} and {high} in {} s", rates.values.len())
            },
        )
    });
    let on_pointer = move |event: PointerEvent| {
        let canvas = event_target::<HtmlCanvasElement>(&event);
        let size = Size { width: canvas.client_width().into(), height: canvas.client_height().into() };
        set_hover(axis(size).and_then(|axis| axis.second_inside(f64::from(event.offset_x()))));
    };
    let on_keydown = move |event: KeyboardEvent| {
        let Some(last) = ui.model.read_value().app(&app.read_value()).map(|store| store.through_second()) else {
            return;
        };
        let Some(axis) = axis(Size { width: 1.0, height: 1.0 }) else { return };
        if let Some(next) = crosshair_after(&event, hover.get_untracked(), last, (axis.from, axis.to)) {
            set_hover(next);
        }
    };
    view! {
        <TimeSelection axis=Rc::new(axis) crosshair=hover>
            <Chart
                class="spark"
                label
                draw
                id
                attr:tabindex="0"
                attr:title=move || label.get()
                on:pointermove=on_pointer
                on:pointerdown=on_pointer
                on:pointerleave=move |event: PointerEvent| if is_hovering(&event) { set_hover(None) }
                on:blur=move |_| set_hover(None)
                on:keydown=on_keydown
            />
        </TimeSelection>
    }
}
