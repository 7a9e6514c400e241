//! The HTTP side: the page, the viewers' WebSocket, health and figures.

pub mod accept;
mod origin;
mod page;

use std::sync::Arc;

use axum::extract::{State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use axum::{Extension, Router};
use joey_shared::wire::{CLIENT_BYTES_MAX, SUBPROTOCOL};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::door::{Place, Places};
use crate::fanout;
use crate::guard::contained;
use crate::hub::Hub;
use crate::metered::Written;

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    hub: Arc<Hub>,
    producers: Arc<Places>,
    viewers: TaskTracker,
    stop: CancellationToken,
    /// Cancelled when everything that was read is on its way, and viewers shall leave.
    goodbye: CancellationToken,
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

/// Every route. Viewers' tasks run in `viewers` and end at `goodbye`; from `stop` on the relay is not ready.
pub fn router(
    hub: Arc<Hub>,
    producers: Arc<Places>,
    viewers: TaskTracker,
    stop: CancellationToken,
    goodbye: CancellationToken,
) -> Router {
    let pages = page::routes(hub.config());
    let shared = Shared { hub, producers, viewers, stop, goodbye };
    Router::new()
        .route("/ws", any(websocket))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(shared)
        .merge(pages)
}

async fn websocket(
    State(shared): State<Shared>,
    Extension(place): Extension<Arc<Place>>,
    Extension(written): Extension<Written>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Shared { hub, viewers, goodbye, .. } = shared;
    if !origin::is_allowed(&headers, hub.config()) {
        hub.counters().close("origin");
        return (StatusCode::FORBIDDEN, "this origin may not connect; see --origin\n").into_response();
    }
    let upgrade = upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_write_buffer_size(WRITE_BYTES_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX);
    upgrade.on_upgrade(move |socket| async move {
        let _place = place;
        let counters = hub.counters().clone();
        viewers.track_future(contained(counters, "viewer", fanout::serve(socket, written, hub, goodbye))).await;
    })
}

async fn ready(State(shared): State<Shared>) -> Response {
    if shared.stop.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    } else {
        "ok\n".into_response()
    }
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let text = crate::metrics::render(&shared.hub, shared.producers.taken());
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
