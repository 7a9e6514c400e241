//! The HTTP side: the page, the viewers' WebSocket and what stands in for it, health and figures.

pub mod accept;
mod page;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{State, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use joey_shared::wire::{CLIENT_BYTES_MAX, SUBPROTOCOL};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::access::Access;
use crate::door::Places;
use crate::fanout::{self, Transport};
use crate::guard::contained;
use crate::hub::Hub;

use self::accept::Connection;
use self::stream::Streams;

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    hub: Arc<Hub>,
    access: Arc<Access>,
    producers: Arc<Places>,
    viewers: TaskTracker,
    stop: CancellationToken,
    /// Cancelled when everything that was read is on its way, and viewers shall leave.
    goodbye: CancellationToken,
    streams: Streams,
}

/// Bytes read from a viewer at once. The library's default of 128 KiB would be the largest part of a viewer's cost.
const READ_BYTES: usize = 4 * 1024;
/// Longest message that is read to its end. It leaves room above [`CLIENT_BYTES_MAX`], so that a viewer that says too much
/// can be told so; one that goes beyond this is cut off without a word.
const MESSAGE_BYTES_MAX: usize = 4 * CLIENT_BYTES_MAX;
/// Bytes gathered before a write.
const WRITE_BYTES: usize = 16 * 1024;
/// Bytes that may wait for a viewer: more than the largest single message.
const WRITE_BYTES_MAX: usize = 4 << 20;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Every route. Viewers' tasks run in `viewers` and end at `goodbye`; from `stop` on the relay is not ready.
pub fn router(
    hub: Arc<Hub>,
    access: Arc<Access>,
    producers: Arc<Places>,
    viewers: TaskTracker,
    stop: CancellationToken,
    goodbye: CancellationToken,
) -> Router {
    let pages = page::routes(hub.config());
    let (for_pages, for_strict) = (access.clone(), access.clone());
    let listed = move |origin: &HeaderValue, _: &_| origin.to_str().is_ok_and(|origin| for_pages.rules().lists(origin));
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(listed))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION]);
    // Whoever came over TLS once shall not be led to come without it.
    let strict = SetResponseHeaderLayer::if_not_present(header::STRICT_TRANSPORT_SECURITY, move |_: &Response| {
        for_strict.rules().tls().map(|_| HeaderValue::from_static("max-age=31536000"))
    });
    let shared = Shared { hub, access, producers, viewers, stop, goodbye, streams: Streams::default() };
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .route("/metrics", get(metrics))
        .route("/stream", post(stream::open))
        .route("/stream/{id}", post(stream::command))
        .layer(cors)
        .route("/ws", any(websocket))
        .with_state(shared)
        .merge(pages)
        .layer(strict)
}

async fn websocket(
    State(shared): State<Shared>,
    Extension(connection): Extension<Connection>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Shared { hub, access, viewers, goodbye, .. } = shared;
    if !access.rules().admits_page(&headers, peer.ip()) {
        return refuse_origin(&hub);
    }
    let token = token_in(&headers);
    let Connection { place, written, .. } = connection;
    bounded(upgrade).protocols([SUBPROTOCOL]).on_upgrade(move |socket| async move {
        let _place = place;
        let counters = hub.counters().clone();
        let serving = fanout::serve(Transport::socket(socket, written), hub, access, token, goodbye);
        viewers.track_future(contained(counters, "viewer", serving)).await;
    })
}

fn refuse_origin(hub: &Hub) -> Response {
    hub.counters().close("origin");
    (StatusCode::FORBIDDEN, "this origin may not connect; see --origin\n").into_response()
}

/// A WebSocket with our limits on what is read, gathered and held.
pub fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_write_buffer_size(WRITE_BYTES_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
}

/// The token that a request brings as a subprotocol, since a browser can add no other header to a WebSocket.
fn token_in(headers: &HeaderMap) -> Option<String> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).find_map(|name| name.trim().strip_prefix("bearer.")).map(str::to_owned)
}

async fn ready(State(shared): State<Shared>) -> Response {
    if shared.stop.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    } else {
        "ok\n".into_response()
    }
}

async fn metrics(State(shared): State<Shared>, Extension(Peer(peer)): Extension<Peer>, headers: HeaderMap) -> Response {
    if !shared.access.rules().admits_reader(&headers, peer.ip()) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, challenge, "figures want a token\n").into_response();
    }
    let text = crate::metrics::render(&shared.hub, shared.producers.taken());
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
