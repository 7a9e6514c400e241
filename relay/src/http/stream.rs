//! Viewers without a WebSocket: the answer to `POST /stream` is what they are told, and `POST /stream/{id}` brings what they
//! say.
//!
//! The id is as good as the connection itself, so it is not to be guessed; it is told to whoever opened the stream, and to
//! nobody else.

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
use joey_shared::stream::{OPENED, Record, Records, notice};
use joey_shared::wire::{CLIENT_BYTES_MAX, WireError};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::accept::Connection;
use super::{Peer, Shared};
use crate::auth::bearer;
use crate::runtime::panic_guard::contained;
use crate::session::{self, Commands, Ended, Far, Transport};

/// Bytes of commands in one request: enough to subscribe anew to everything that a page follows at once.
const COMMANDS_BYTES_MAX: usize = 8 * CLIENT_BYTES_MAX;
/// How long a request may take to bring its commands.
const COMMANDS_DEADLINE: Duration = Duration::from_secs(10);

/// Where the commands for each open stream go, by its id.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams(Arc<Mutex<HashMap<String, Commands>>>);

/// A stream that is open. It is no longer once this is dropped.
struct Open {
    id: String,
    streams: Streams,
}

impl Streams {
    fn open(&self, id: String, commands: Commands) -> Open {
        self.0.lock().insert(id.clone(), commands);
        Open { id, streams: self.clone() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.0.lock().remove(&self.id);
    }
}

/// Opens a stream: a body without an end.
pub(super) async fn open(
    State(shared): State<Shared>,
    Extension(connection): Extension<Connection>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    let Shared { hub, access, viewers, goodbye, streams, .. } = shared;
    if let Some(why) = access.rules().refusal(&headers, peer.ip()) {
        return super::refuse(&hub, &why);
    }
    let Some(id) = unguessable() else {
        hub.counters().close("no_randomness");
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let token = bearer(&headers).map(str::to_owned);
    let Connection { written, end, place } = connection;
    let (transport, Far { mut messages, commands }) = Transport::stream(written, end);
    let opened = Bytes::from(notice(OPENED, &id));
    let open = streams.open(id, commands);
    let panics = hub.counters().panics.clone();
    let serving = async move {
        let (_place, _open) = (place, open);
        session::serve(transport, hub, access, token, goodbye).await;
    };
    viewers.spawn(contained(panics, "viewer", serving));
    let rest = stream::poll_fn(move |context| messages.poll_recv(context));
    let body = stream::iter([opened]).chain(rest).map(Ok::<_, Infallible>);
    let head = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        // Some proxies hold an answer back until it is whole, which this one never is.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (head, Body::from_stream(body)).into_response()
}

/// Takes commands for the stream called `id`, in order.
pub(super) async fn command(
    State(shared): State<Shared>,
    Extension(Peer(peer)): Extension<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Shared { hub, access, streams, .. } = shared;
    if let Some(why) = access.rules().refusal(&headers, peer.ip()) {
        return super::refuse(&hub, &why);
    }
    let refuse = |reason, status: StatusCode| {
        hub.counters().close(reason);
        status.into_response()
    };
    let commands = streams.0.lock().get(&id).cloned();
    let Some(commands) = commands else { return refuse("stream_unknown", StatusCode::NOT_FOUND) };
    let Ok(body) = timeout(COMMANDS_DEADLINE, to_bytes(body, COMMANDS_BYTES_MAX)).await else {
        return refuse("stream_slow", StatusCode::REQUEST_TIMEOUT);
    };
    let mut records = Records::default();
    let (end, status) = match body.map_err(|_| WireError::TooLong).and_then(|body| {
        records.push(&body);
        each(&mut records)
    }) {
        Ok(told) => {
            for command in told {
                // Waits while the session has enough to do.
                if commands.send(Ok(command)).await.is_err() {
                    return refuse("stream_unknown", StatusCode::NOT_FOUND);
                }
            }
            return StatusCode::NO_CONTENT.into_response();
        }
        Err(WireError::TooLong) => (Ended::Close(close::TOO_BIG, "too_big"), StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => (Ended::Close(close::UNREADABLE, "unreadable"), StatusCode::BAD_REQUEST),
    };
    // As over a WebSocket, whoever talks nonsense is not listened to any more; the session counts it.
    commands.send(Err(end)).await.ok();
    status.into_response()
}

/// The messages in `records`, which hold nothing else.
fn each(records: &mut Records) -> Result<Vec<Bytes>, WireError> {
    let mut told = Vec::new();
    while let Some(record) = records.take(CLIENT_BYTES_MAX)? {
        let Record::Message(bytes) = record else { return Err(WireError::Malformed) };
        told.push(Bytes::copy_from_slice(bytes));
    }
    if records.is_empty() { Ok(told) } else { Err(WireError::Trailing) }
}

/// 128 bits that nobody can know beforehand, in hex; nothing where the system has none.
fn unguessable() -> Option<String> {
    let mut bytes = [0; 16];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).ok()?;
    let mut id = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    Some(id)
}
