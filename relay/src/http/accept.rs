//! Viewers' connections, from the first byte to the router: deadlines before anybody is known, small buffers after.
//!
//! `axum::serve` has neither a deadline for the request's head nor a limit on connections, so this is hyper by hand, with
//! HTTP/1 only: a WebSocket needs no more, and a whole class of attacks has nothing to attack.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{Parts, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::Peer;
use crate::auth::{Access, tls};
use crate::hub::Hub;
use crate::net::counted_io::{Metered, Written};
use crate::net::listener::{Door, Place, keep_alive};
use crate::runtime::panic_guard::contained;
use crate::session::websocket::Carrier;

/// How long a connection may take to send the head of a request, from its first byte or from the last answer.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of a request's head, and so of what is read at once.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes that the kernel holds for a viewer that does not read. Without a limit it would be 4 MB.
const SEND_BYTES: usize = 128 * 1024;
/// How long written bytes may go without being taken before the kernel gives the viewer up: longer than the relay's own
/// deadline for a viewer that stalls, which counts it.
const USER_TIMEOUT: Duration = Duration::from_secs(40);

/// A connection for as long as it speaks HTTP.
type Wrapped<S> = TokioIo<BufReader<Metered<S>>>;

/// What a request's handler may keep of its connection.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// Its place among all connections.
    pub(super) place: Arc<Place>,
    /// What it has written, while it speaks HTTP.
    pub(super) written: Written,
    /// Ends it at once.
    pub(super) end: CancellationToken,
}

/// Serves connections until `stop`, and then those that are open until they have answered.
pub async fn serve(mut door: Door, router: Router, hub: Arc<Hub>, access: Arc<Access>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    while let Some((stream, peer, place)) = stop.run_until_cancelled(door.next()).await {
        let (router, stop) = (router.clone(), stop.clone());
        // A WebSocket keeps the place when it leaves this task.
        let place = Arc::new(place);
        prepare(&stream);
        let (counters, tls) = (hub.counters().clone(), access.rules().tls().cloned());
        connections.spawn(contained(hub.counters().panics.clone(), "http", async move {
            let Some(tls) = tls else { return converse(stream, peer, router, place, &stop).await };
            match stop.run_until_cancelled(tls::accept(tls, stream)).await {
                Some(Some(stream)) => converse(stream, peer, router, place, &stop).await,
                Some(None) => counters.close("tls_handshake"),
                None => {}
            }
        }));
    }
    connections.close();
    connections.wait().await;
}

/// Answers what comes over one connection, whatever carries it, until `stop`.
pub async fn converse<S>(stream: S, peer: SocketAddr, router: Router, place: Arc<Place>, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // hyper's own deadline begins with the first byte. A buffer of one byte holds it back; larger reads go past the buffer.
    let (stream, written) = Metered::new(stream);
    let mut stream: Wrapped<S> = TokioIo::new(BufReader::with_capacity(1, stream));
    let first = tokio::time::timeout(HEAD_DEADLINE, stream.inner_mut().fill_buf());
    if !matches!(stop.run_until_cancelled(first).await, Some(Ok(Ok([_])))) {
        tracing::debug!(%peer, "said nothing");
        return;
    }
    let end = CancellationToken::new();
    let handle = Connection { place, written, end: end.clone() };
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(handle.clone());
        request.extensions_mut().insert(Peer(peer));
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(stream, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        // How a connection ended matters to nobody.
        _ = connection.as_mut() => {}
        () = end.cancelled() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            end.run_until_cancelled(connection).await;
        }
    }
}

/// A connection that speaks HTTP no longer, and what was read of it already. Where nothing but TCP carries it, everything that
/// was around it is gone: a viewer's memory and the way to its socket are shorter.
pub(super) fn unwrapped(connection: Upgraded) -> (Carrier, Vec<u8>) {
    match connection.downcast::<Wrapped<TcpStream>>() {
        Ok(Parts { io, read_buf, .. }) => {
            let stream = io.into_inner();
            let read = [&read_buf, stream.buffer()].concat();
            (Carrier::Left(stream.into_inner().into_inner()), read)
        }
        Err(connection) => (Carrier::Right(TokioIo::new(connection)), Vec::new()),
    }
}

fn prepare(stream: &TcpStream) {
    keep_alive(stream);
    // Each of these failing leaves a connection that works, only less well.
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
    let _ = socket.set_send_buffer_size(SEND_BYTES);
    let _ = stream.set_nodelay(true);
}
