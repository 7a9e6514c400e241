//! A chart on the page: a canvas with a text alternative, painted by the frame loop.

use std::rc::Rc;

use leptos::html::Canvas;
use leptos::prelude::*;

use super::use_ui;
use crate::chart::{Shape, Size};
use crate::frame_loop::{ChartId, Turn};

/// A canvas that shows the shapes that `draw` returns. `draw` is called in animation frames and reads the model itself.
#[component]
pub(super) fn Chart(
    class: &'static str,
    /// The text alternative.
    #[prop(into)]
    label: Signal<String>,
    draw: impl Fn(Size) -> Option<Vec<Shape>> + 'static,
    /// The id, if the caller repaints the chart itself.
    #[prop(optional)]
    id: Option<ChartId>,
    /// The turn of the row that it belongs to, so that the whole row is of the same tick.
    #[prop(optional)]
    turn: Option<Turn>,
) -> impl IntoView {
    let frame_loop = use_ui().frame_loop;
    let id = id.unwrap_or_else(|| frame_loop.new_chart_id());
    let canvas = NodeRef::<Canvas>::new();
    canvas.on_load(move |canvas| frame_loop.add_chart(id, canvas, Rc::new(draw), turn));
    on_cleanup(move || frame_loop.remove_chart(id));
    view! { <canvas class=class role="img" aria-label=move || label.get() node_ref=canvas></canvas> }
}
