//! HTTP streams, for viewers that cannot open a WebSocket. The answer to `POST /stream` carries the relay's messages, and
//! `POST /stream/{id}` carries the viewer's commands.
//!
//! The ID gives control over the stream, so it must be unguessable. Only the client that opened the stream receives it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use joey_shared::close;
use joey_shared::stream::{OPENED, Record, Records, encode_notice};
use joey_shared::wire::{CLIENT_BYTES_MAX, WireError};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::accept::Connection;
use super::{AppState, PeerAddr};
use crate::auth::bearer;
use crate::metrics::CloseReason;
use crate::runtime::panic_guard::catch_panic;
use crate::session::{self, CommandSender, Ended, StreamHandle, Transport};

/// Maximum size of the commands in one request: enough for a page to repeat all its subscriptions at once.
const COMMANDS_BYTES_MAX: usize = 8 * CLIENT_BYTES_MAX;
/// Maximum time for a request's commands to arrive.
const COMMANDS_TIMEOUT: Duration = Duration::from_secs(10);

/// The command channel of each open stream, by ID.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams(Arc<Mutex<HashMap<String, CommandSender>>>);

/// Keeps a stream registered. Dropping it removes the stream.
struct OpenStream {
    id: String,
    streams: Streams,
}

impl Streams {
    fn open(&self, id: String, commands: CommandSender) -> OpenStream {
        self.0.lock().insert(id.clone(), commands);
        OpenStream { id, streams: self.clone() }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.0.lock().remove(&self.id);
    }
}

/// Opens a stream. The body of the answer ends with the session.
pub(super) async fn open(
    State(state): State<AppState>,
    Extension(connection): Extension<Connection>,
    Extension(PeerAddr(peer)): Extension<PeerAddr>,
    headers: HeaderMap,
) -> Response {
    let AppState { hub, auth, viewers, close_viewers, streams, .. } = state;
    if let Some(reason) = auth.policy().rejection(&headers, peer.ip()) {
        return super::reject(&hub, &reason);
    }
    let Some(id) = random_id() else {
        hub.counters().close(CloseReason::NoRandomness);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let token = bearer(&headers).map(str::to_owned);
    let Connection { written, close, permit } = connection;
    let (transport, StreamHandle { mut messages, commands }) = Transport::stream(written, close);
    let opened = Bytes::from(encode_notice(OPENED, &id));
    let open = streams.open(id, commands);
    let panics = hub.counters().task_panics.clone();
    let serving = async move {
        let (_permit, _open) = (permit, open);
        session::serve(transport, hub, auth, token, close_viewers).await;
    };
    viewers.spawn(catch_panic(panics, "viewer", serving));
    let rest = stream::poll_fn(move |context| messages.poll_recv(context));
    let body = stream::iter([opened]).chain(rest).map(Ok::<_, Infallible>);
    let head = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        // Some proxies buffer an answer until it is complete, but this one does not end.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (head, Body::from_stream(body)).into_response()
}

/// Receives commands for the stream `id`, in order.
pub(super) async fn command(
    State(state): State<AppState>,
    Extension(PeerAddr(peer)): Extension<PeerAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let AppState { hub, auth, streams, .. } = state;
    if let Some(reason) = auth.policy().rejection(&headers, peer.ip()) {
        return super::reject(&hub, &reason);
    }
    let reject = |reason, status: StatusCode| {
        hub.counters().close(reason);
        status.into_response()
    };
    let commands = streams.0.lock().get(&id).cloned();
    let Some(commands) = commands else { return reject(CloseReason::UnknownStream, StatusCode::NOT_FOUND) };
    let Ok(body) = timeout(COMMANDS_TIMEOUT, to_bytes(body, COMMANDS_BYTES_MAX)).await else {
        return reject(CloseReason::CommandTimeout, StatusCode::REQUEST_TIMEOUT);
    };
    let mut records = Records::default();
    let (ended, status) = match body.map_err(|_| WireError::TooLong).and_then(|body| {
        records.push(&body);
        messages_in(&mut records)
    }) {
        Ok(messages) => {
            for command in messages {
                // Waits while the session's queue is full.
                if commands.send(Ok(command)).await.is_err() {
                    return reject(CloseReason::UnknownStream, StatusCode::NOT_FOUND);
                }
            }
            return StatusCode::NO_CONTENT.into_response();
        }
        Err(WireError::TooLong) => (Ended::Close(close::TOO_BIG, CloseReason::TooBig), StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => (Ended::Close(close::MALFORMED, CloseReason::Malformed), StatusCode::BAD_REQUEST),
    };
    // As with a WebSocket, a malformed message ends the session, which counts it.
    commands.send(Err(ended)).await.ok();
    status.into_response()
}

/// Returns the messages in `records`.
///
/// # Errors
/// Fails if `records` contains anything else.
fn messages_in(records: &mut Records) -> Result<Vec<Bytes>, WireError> {
    let mut messages = Vec::new();
    while let Some(record) = records.take(CLIENT_BYTES_MAX)? {
        let Record::Message(bytes) = record else { return Err(WireError::Malformed) };
        messages.push(Bytes::copy_from_slice(bytes));
    }
    if records.is_empty() { Ok(messages) } else { Err(WireError::Trailing) }
}

/// 128 random bits in hex, or `None` if the operating system provides none.
fn random_id() -> Option<String> {
    let mut bytes = [0; 16];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).ok()?;
    let mut id = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    Some(id)
}
