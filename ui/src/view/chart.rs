//! One chart on the page: a canvas with a name, known to the clock for as long as it is there.

use std::rc::Rc;

use wasm_bindgen::JsCast;
use web_sys::HtmlCanvasElement;

use super::Ctx;
use super::node::{El, with_class};
use crate::chart::{Shape, Size};
use crate::frame_loop::Paint;

/// A canvas of class `class` that is painted by `paint` and called `label`.
pub(super) fn chart(
    ctx: Ctx,
    class: &'static str,
    label: impl FnMut() -> String + 'static,
    paint: impl Fn(Size) -> Option<Vec<Shape>> + 'static,
) -> El {
    numbered(ctx, ctx.clock.reserve(), class, label, paint)
}

/// The same, as chart `number`, by which it can be painted at once.
pub(super) fn numbered(
    ctx: Ctx,
    number: u64,
    class: &'static str,
    label: impl FnMut() -> String + 'static,
    paint: impl Fn(Size) -> Option<Vec<Shape>> + 'static,
) -> El {
    mounted(ctx, number, with_class("canvas", class).attr("role", "img").live("aria-label", label), Rc::new(paint))
}

fn mounted(ctx: Ctx, number: u64, canvas: El, paint: Paint) -> El {
    let add = move |canvas: &web_sys::Element| {
        ctx.clock.add(number, canvas.clone().unchecked_into::<HtmlCanvasElement>(), paint);
    };
    canvas.built(add).gone(move || ctx.clock.remove(number))
}
