//! A modal dialog. It exists while it is open; the browser keeps the focus inside, closes it on Escape, and gives the focus back.

use leptos::ev::MouseEvent;
use leptos::html::Dialog;
use leptos::prelude::*;
use wasm_bindgen::JsCast;

/// A dialog that is open while `open` is true.
#[component]
pub(super) fn Modal(
    open: RwSignal<bool>,
    class: &'static str,
    /// What it is, for screen readers.
    label: &'static str,
    children: ChildrenFn,
) -> impl IntoView {
    let children = StoredValue::new(children);
    view! {
        <Show when=move || open.get()>
            <OpenDialog open class label>{children.with_value(|children| children())}</OpenDialog>
        </Show>
    }
}

#[component]
fn OpenDialog(open: RwSignal<bool>, class: &'static str, label: &'static str, children: Children) -> impl IntoView {
    let dialog = NodeRef::<Dialog>::new();
    // The element must be in the document, which it is in the next frame.
    dialog.on_load(move |dialog| request_animation_frame(move || drop(dialog.show_modal())));
    // A press beside the dialog is one on the dialog itself: its content covers all of it.
    let on_click = move |event: MouseEvent| {
        let target = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
        if target.is_some_and(|target| target.tag_name() == "DIALOG") {
            close(dialog);
        }
    };
    view! {
        <dialog class=class aria-label=label node_ref=dialog on:close=move |_| open.set(false) on:click=on_click>
            {children()}
        </dialog>
    }
}

fn close(dialog: NodeRef<Dialog>) {
    if let Some(dialog) = dialog.get_untracked() {
        dialog.close();
    }
}

/// Closes the open dialog, so that the focus is where it was before.
pub(super) fn close_open() {
    for dialog in crate::browser::query_all("dialog[open]") {
        if let Ok(dialog) = dialog.dyn_into::<web_sys::HtmlDialogElement>() {
            dialog.close();
        }
    }
}
