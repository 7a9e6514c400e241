//! The page itself: from a directory, from the binary, or a word on how to build it.

use axum::Router;
use axum::http::{HeaderValue, header};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::config::Config;

/// The routes of the page.
pub(super) fn routes(config: &Config) -> Router {
    let router = match &config.ui_dir {
        Some(dir) => Router::new().fallback_service(tower_http::services::ServeDir::new(dir)),
        None => embedded(),
    };
    let header = |name, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    router
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::REFERRER_POLICY, "no-referrer"))
        // Names of hashed files change with their content; the page that names them must not be kept.
        .layer(header(header::CACHE_CONTROL, "no-cache"))
}

#[cfg(feature = "embed-ui")]
fn embedded() -> Router {
    use memory_serve::CacheControl;
    memory_serve::load!()
        .index_file(Some("/index.html"))
        .html_cache_control(CacheControl::NoCache)
        .cache_control(CacheControl::Long)
        .into_router()
}

#[cfg(not(feature = "embed-ui"))]
fn embedded() -> Router {
    const WORD: &str = "This relay was built without its page. `cargo xtask run` builds both; `joey serve --ui-dir dist` serves \
                        one that `cargo xtask ui` made. Viewers connect at /ws, figures are at /metrics.\n";
    Router::new().route("/", axum::routing::get(async || WORD))
}
