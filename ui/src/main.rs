//! Mounts the page. A panic is a bug; its message is written to the console.

use joey_ui::browser;
use joey_ui::view::App;

fn main() {
    std::panic::set_hook(Box::new(|panic| web_sys::console::error_1(&panic.to_string().into())));
    // The notice in index.html is shown until here.
    browser::query_all("#starting").into_iter().for_each(|notice| notice.remove());
    leptos::mount::mount_to_body(App);
}
