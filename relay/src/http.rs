//! The HTTP server: the page, the viewers' WebSocket and its replacement (HTTP streams), health checks and metrics.

pub mod accept;
mod assets;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use joey_shared::wire::SUBPROTOCOL;
use serde::Deserialize;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::auth::Auth;
use crate::export::{PrometheusFormat, ViewHistograms};
use crate::hub::Hub;
use crate::metrics::{self, CloseReason, Format};
use crate::net::listener::ConnectionLimit;
use crate::runtime::panic_guard::catch_panic;
use crate::session::{self, Transport, websocket::Socket};

use self::accept::Connection;
pub use self::assets::HAS_PAGE;
use self::stream::Streams;

/// The state that all handlers share.
#[derive(Clone)]
struct AppState {
    hub: Arc<Hub>,
    auth: Arc<Auth>,
    producers: Arc<ConnectionLimit>,
    viewers: TaskTracker,
    stop: CancellationToken,
    /// Cancelled during shutdown, when all received data has been sent and viewers are to be closed.
    close_viewers: CancellationToken,
    streams: Streams,
    /// The views for Prometheus, if any are configured.
    views: Option<Arc<ViewHistograms>>,
}

/// The address of a connection's other end.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddr(pub SocketAddr);

/// All routes. Viewers' tasks run in `viewers` and end at `close_viewers`. From `stop` on, the relay reports that it is
/// not ready.
pub fn router(
    hub: Arc<Hub>,
    auth: Arc<Auth>,
    producers: Arc<ConnectionLimit>,
    viewers: TaskTracker,
    stop: CancellationToken,
    close_viewers: CancellationToken,
    views: Option<Arc<ViewHistograms>>,
) -> Router {
    let pages = assets::routes(hub.config());
    let (cors_auth, hsts_auth) = (auth.clone(), auth.clone());
    let is_allowed =
        move |origin: &HeaderValue, _: &_| origin.to_str().is_ok_and(|origin| cors_auth.policy().allows_origin(origin));
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION]);
    // A browser that has used TLS once must not be downgraded to plain HTTP.
    let hsts = SetResponseHeaderLayer::if_not_present(header::STRICT_TRANSPORT_SECURITY, move |_: &Response| {
        hsts_auth.policy().tls().map(|_| HeaderValue::from_static("max-age=31536000"))
    });
    let state = AppState { hub, auth, producers, viewers, stop, close_viewers, streams: Streams::default(), views };
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .route("/metrics", get(serve_metrics))
        .route("/metrics/views", get(serve_views))
        .route("/stream", post(stream::open))
        .route("/stream/{id}", post(stream::command))
        .layer(cors)
        .route("/ws", any(websocket))
        .with_state(state)
        .merge(pages)
        .layer(hsts)
}

async fn websocket(
    State(state): State<AppState>,
    Extension(connection): Extension<Connection>,
    Extension(PeerAddr(peer)): Extension<PeerAddr>,
    request: Request,
) -> Response {
    let AppState { hub, auth, viewers, close_viewers, .. } = state;
    let headers = request.headers();
    if let Some(reason) = auth.policy().rejection(headers, peer.ip()) {
        return reject(&hub, &reason);
    }
    let token = subprotocol_token(headers);
    let offers_subprotocol = subprotocols(headers).any(|name| name == SUBPROTOCOL);
    let Connection { permit, .. } = connection;
    let mut response = upgrade(request, move |socket| async move {
        let _permit = permit;
        // Passed on directly: a named future would take memory of its own in every viewer's task.
        viewers
            .track_future(catch_panic(
                hub.counters().task_panics.clone(),
                "viewer",
                session::serve(Transport::socket(socket), hub, auth, token, close_viewers),
            ))
            .await;
    });
    if offers_subprotocol && response.status() == StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    response
}

/// Answers a request for a WebSocket. Calls `serve` with the WebSocket once it is open. Rejects any other request.
pub fn upgrade<F>(mut request: Request, serve: impl FnOnce(Socket) -> F + Send + 'static) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    if !request.headers().contains_key(header::UPGRADE) {
        let head = [
            (header::UPGRADE, "websocket"),
            // A page that cannot open a WebSocket sends this request to find out whether the relay rejects it.
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        ];
        let body = "Viewers open a WebSocket here.\n";
        return (StatusCode::UPGRADE_REQUIRED, head, body).into_response();
    }
    let response = match create_response_with_body(&request, Body::empty) {
        Ok(response) => response,
        Err(error) => {
            let status =
                if request.method() == Method::GET { StatusCode::BAD_REQUEST } else { StatusCode::METHOD_NOT_ALLOWED };
            return (status, format!("not a request for a WebSocket: {error}\n")).into_response();
        }
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // If the client disconnects before the upgrade, there is nothing to serve.
        if let Ok(connection) = upgrade.await {
            let (carrier, read) = accept::into_carrier(connection);
            serve(Socket::new(carrier, read)).await;
        }
    });
    response
}

/// Rejects a request and returns `reason`. A page of any origin may read it, because a browser reports no reason for a failed
/// WebSocket.
fn reject(hub: &Hub, reason: &str) -> Response {
    hub.counters().close(CloseReason::ForbiddenOrigin);
    let head = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    (StatusCode::FORBIDDEN, head, format!("{reason}\n")).into_response()
}

/// The token in the header `Sec-WebSocket-Protocol`, the only header that a browser lets a page set for a WebSocket.
fn subprotocol_token(headers: &HeaderMap) -> Option<String> {
    subprotocols(headers).find_map(|name| name.strip_prefix("bearer.")).map(str::to_owned)
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

async fn ready(State(state): State<AppState>) -> Response {
    if state.stop.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    } else if state.auth.refresh().has_failed() {
        // The relay itself is ready, as it is without NATS.
        "ok\nwarning: the token keys of the identity provider cannot be fetched, see the log\n".into_response()
    } else {
        "ok\n".into_response()
    }
}

async fn serve_metrics(
    State(state): State<AppState>,
    Extension(PeerAddr(peer)): Extension<PeerAddr>,
    headers: HeaderMap,
) -> Response {
    if !state.auth.policy().allows_metrics_reader(&headers, peer.ip()) {
        return metrics_require_a_token();
    }
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|accepted| accepted.to_str().ok());
    let format = Format::preferred(accepted);
    let text = format.write(metrics::render(state.hub.counters(), &state.hub.gauges(state.producers.in_use())));
    let head = [
        (header::CONTENT_TYPE, format.media_type()),
        // A cache must not answer a request for one format with the other.
        (header::VARY, "accept"),
    ];
    (head, text).into_response()
}

fn metrics_require_a_token() -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, "metrics require a token\n").into_response()
}

/// The parameters of `/metrics/views`.
#[derive(Deserialize)]
struct ViewsQuery {
    /// A scraper that accepts native histograms receives classic ones with `format=classic`.
    format: Option<String>,
}

async fn serve_views(
    State(state): State<AppState>,
    Extension(PeerAddr(peer)): Extension<PeerAddr>,
    Query(query): Query<ViewsQuery>,
    headers: HeaderMap,
) -> Response {
    if !state.auth.policy().allows_metrics_reader(&headers, peer.ip()) {
        return metrics_require_a_token();
    }
    let Some(views) = state.views else {
        return (StatusCode::NOT_FOUND, "no views are exported: see --metrics-views\n").into_response();
    };
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|accepted| accepted.to_str().ok());
    let accepted: Vec<&str> = accepted.collect();
    let format = match query.format.as_deref() {
        None => PrometheusFormat::preferred(&accepted),
        Some("classic") => PrometheusFormat::Classic(Format::preferred(accepted)),
        Some(_) => return (StatusCode::BAD_REQUEST, "the only format to ask for is classic\n").into_response(),
    };
    let head = [(header::CONTENT_TYPE, format.media_type()), (header::VARY, "accept")];
    (head, views.render(format)).into_response()
}
