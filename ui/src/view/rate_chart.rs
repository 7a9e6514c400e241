//! The small chart of an application's rate.

use std::rc::Rc;

use leptos::prelude::*;

use super::chart::Chart;
use super::format::rate_summary;
use super::time_selection::TimeSelection;
use super::{AppName, use_ui};
use crate::chart::{Size, sparkline};
use crate::chart_data;

/// The rate of `app` over the window. `rate_out` is the current rate, for the text alternative.
#[component]
pub(super) fn AppRateChart(app: AppName, #[prop(into)] rate_out: Signal<Option<f64>>) -> impl IntoView {
    let ui = use_ui();
    let draw = move |size| {
        let mut model = ui.model.write_value();
        let app = app.read_value();
        let (from, to) = chart_data::window_range(model.app(&app)?);
        Some(sparkline::rate(&model.app_statistics(&app)?.rates, from, to, size))
    };
    let axis = Rc::new(move |size: Size| {
        let model = ui.model.read_value();
        let (from, to) = chart_data::window_range(model.app(&app.read_value())?);
        Some(sparkline::axis(from, to, size))
    });
    view! {
        <TimeSelection axis>
            <Chart class="spark" label=Signal::derive(move || rate_summary(rate_out.get())) draw/>
        </TimeSelection>
    }
}
