//! Mounts the app. A panic is a bug; its message goes to the console.

fn main() {
    console_error_panic_hook::set_once();
    if let Some(body) = joey_ui::browser::document().and_then(|document| document.body()) {
        // The page lives as long as its tab.
        leptos::mount::mount_to_renderer(&body, joey_ui::view::app).forget();
    }
}
