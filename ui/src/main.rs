//! Mounts the app. A panic is a bug; its message goes to the console.

fn main() {
    std::panic::set_hook(Box::new(|panic| web_sys::console::error_1(&panic.to_string().into())));
    if let Some(body) = joey_ui::browser::document().and_then(|document| document.body()) {
        // What the document says until now is no longer true.
        joey_ui::browser::all("#starting").into_iter().for_each(|words| words.remove());
        // The page lives as long as its tab.
        leptos::mount::mount_to_renderer(&body, joey_ui::view::app).forget();
    }
}
