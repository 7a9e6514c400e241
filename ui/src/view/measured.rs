//! Where an element with many parts is on the screen, for tables and grids that render only the parts near the viewport.

use leptos::ev;
use leptos::prelude::*;

use super::UiState;

/// The layout that `measure` returns, given the last one: at each tick, when what `changes` reads changes, and whenever the
/// page is scrolled or resized. It keeps its value while `measure` returns `None`.
pub(super) fn measured<T: Clone + PartialEq + Send + Sync + 'static>(
    ui: UiState,
    initial: T,
    changes: impl Fn() + 'static,
    measure: impl Fn(&T) -> Option<T> + Copy + 'static,
) -> RwSignal<T> {
    let layout = RwSignal::new(initial);
    let update = move || {
        let next = measure(&layout.read_untracked());
        if let Some(next) = next.filter(|next| *layout.read_untracked() != *next) {
            layout.set(next);
        }
    };
    Effect::new(move || {
        ui.frame_loop.tick.track();
        changes();
        update();
    });
    let on_scroll = window_event_listener(ev::scroll, move |_| update());
    let on_resize = window_event_listener(ev::resize, move |_| update());
    on_cleanup(move || {
        on_scroll.remove();
        on_resize.remove();
    });
    layout
}
