//! Mounts the app. A panic is a bug; its message goes to the console.

fn main() {
    std::panic::set_hook(Box::new(|panic| web_sys::console::error_1(&panic.to_string().into())));
    if let Some(body) = joey_ui::browser::document().and_then(|document| document.body()) {
        // The page lives as long as its tab.
        leptos::mount::mount_to_renderer(&body, joey_ui::view::app).forget();
    }
}
