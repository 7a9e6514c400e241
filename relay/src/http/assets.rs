//! The page, from a directory or embedded in the binary, and its security headers. Without a page, a hint on how to build it.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::config::Config;

/// The routes of the page.
pub(super) fn routes(config: &Config) -> Router {
    let router = match config.ui_dir.clone() {
        // The file is read for each answer, because the directory may be rebuilt while the relay runs.
        Some(dir) => Router::new()
            .fallback_service(tower_http::services::ServeDir::new(&dir))
            .layer(policy_layer(move || policy(&std::fs::read_to_string(dir.join("index.html")).unwrap_or_default()))),
        None => {
            let policy = policy(INDEX);
            embedded().layer(policy_layer(move || policy.clone()))
        }
    };
    let headers = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
        // The names of all other files change with their content, so only the page itself must be revalidated.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    headers.into_iter().fold(router, |router, (name, value)| {
        router.layer(SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value)))
    })
}

/// Adds the content security policy that `policy` returns to every answer.
fn policy_layer<F: Fn() -> String + Clone>(
    policy: F,
) -> SetResponseHeaderLayer<impl Fn(&Response) -> Option<HeaderValue> + Clone> {
    SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, move |_: &Response| {
        HeaderValue::from_str(&policy()).ok()
    })
}

/// The content security policy of the page. It allows the page's own code, the inline scripts in `index` by their hashes, and
/// connections to any relay, because the page's address may name one.
fn policy(index: &str) -> String {
    let hashes: String =
        inline_scripts(index).map(|script| format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(script)))).collect();
    format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'{hashes}; style-src 'self'; img-src 'self' data:; \
         connect-src 'self' ws: wss: http: https:; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The text of each inline script in `index`.
fn inline_scripts(index: &str) -> impl Iterator<Item = &str> {
    index.split("<script").skip(1).filter_map(|rest| {
        let (attributes, rest) = rest.split_once('>')?;
        let (script, _) = rest.split_once("</script>")?;
        (!attributes.contains("src=") && !script.is_empty()).then_some(script)
    })
}

#[cfg(feature = "embed-ui")]
const INDEX: &str = include_str!(env!("JOEY_INDEX"));

#[cfg(feature = "embed-ui")]
fn embedded() -> Router {
    use memory_serve::CacheControl;
    memory_serve::load!()
        .index_file(Some("/index.html"))
        .html_cache_control(CacheControl::NoCache)
        .cache_control(CacheControl::Long)
        .into_router()
        .layer(axum::middleware::from_fn(revalidate_fixed_names))
}

/// Lets browsers ask again for files whose names do not change with their content: the service worker, the manifest and
/// the icons.
#[cfg(feature = "embed-ui")]
async fn revalidate_fixed_names(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let has_fixed_name = !is_hashed(request.uri().path());
    let mut response = next.run(request).await;
    if has_fixed_name {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    response
}

/// Whether the name of a file contains a hash of its content: `joey-ui-0123456789abcdef.js`.
#[cfg(any(feature = "embed-ui", test))]
fn is_hashed(path: &str) -> bool {
    let parts = path.rsplit('/').next().unwrap_or_default().split(['-', '_', '.']);
    parts.into_iter().any(|part| part.len() >= 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether the program contains the page.
pub const HAS_PAGE: bool = cfg!(feature = "embed-ui");

#[cfg(not(feature = "embed-ui"))]
const INDEX: &str = "";

#[cfg(not(feature = "embed-ui"))]
fn embedded() -> Router {
    const HINT: &str = "This relay was built without its page. `cargo xtask run` builds both; `joey serve --ui-dir dist` \
                        serves a page built with `cargo xtask ui`. Viewers connect at /ws, metrics are at /metrics.\n";
    Router::new().route("/", axum::routing::get(async || HINT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_a_hash_are_kept_without_asking_again() {
        for path in ["/joey-ui-6f3c9d1e2a4b5c6d_bg.wasm", "/a/style-0123456789abcdef.css"] {
            assert!(is_hashed(path), "{path}");
        }
        for path in ["/", "/index.html", "/sw.js", "/manifest.webmanifest", "/icon-192.png", "/icon-maskable-512.png"] {
            assert!(!is_hashed(path), "{path}");
        }
    }

    #[test]
    fn only_inline_scripts_of_the_page_are_allowed() {
        let index = "<script src='a.js'></script><script type=\"module\">alert(1)</script>";
        assert_eq!(inline_scripts(index).collect::<Vec<_>>(), ["alert(1)"]);
        // printf 'alert(1)' | openssl dgst -sha256 -binary | base64
        assert!(policy(index).contains("'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"));
        assert!(!policy("<p>no scripts</p>").contains("sha256"));
    }
}
