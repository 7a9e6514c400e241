//! HTTP connections, from the first byte to the router: timeouts before a request arrives, small buffers afterwards.
//!
//! `axum::serve` has neither a timeout for request heads nor a connection limit, so this module uses hyper directly. It serves
//! HTTP/1 only: a WebSocket needs no more, and attacks on HTTP/2 are impossible.

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
use joey_shared::emit::MAGIC;
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::PeerAddr;
use crate::auth::{Auth, tls};
use crate::hub::Hub;
use crate::metrics::CloseReason;
use crate::net::counted_io::{BytesWritten, CountedIo};
use crate::net::listener::{ConnectionPermit, LimitedListener, enable_keepalive};
use crate::runtime::panic_guard::catch_panic;
use crate::session::websocket::SocketIo;

/// Maximum time to wait for the first byte of a connection, and for each complete request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of a request head, and so of one read.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Size of the kernel's send buffer for a viewer that does not read. By default it would grow to 4 MB.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Time without acknowledgement after which the kernel drops a connection. It is longer than the relay's own `stall_timeout`, so
/// that the relay can count the stall.
const USER_TIMEOUT: Duration = Duration::from_secs(40);

/// The stream of a connection while it carries HTTP.
type HttpIo<S> = TokioIo<BufReader<CountedIo<S>>>;

/// A handler's access to the connection of its request.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// The permit under the connection limit.
    pub(super) permit: Arc<ConnectionPermit>,
    /// Bytes written while the connection carries HTTP.
    pub(super) written: BytesWritten,
    /// Closes the connection at once when cancelled.
    pub(super) close: CancellationToken,
}

/// Serves connections until `stop`. Then waits until open connections have sent their answers.
pub async fn serve(
    mut listener: LimitedListener,
    router: Router,
    hub: Arc<Hub>,
    auth: Arc<Auth>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    while let Some((stream, peer, permit)) = stop.run_until_cancelled(listener.accept()).await {
        let (router, stop) = (router.clone(), stop.clone());
        // A WebSocket keeps the permit after this task has ended.
        let permit = Arc::new(permit);
        set_socket_options(&stream);
        let (counters, tls) = (hub.counters().clone(), auth.policy().tls().cloned());
        connections.spawn(catch_panic(hub.counters().task_panics.clone(), "http", async move {
            let Some(tls) = tls else { return serve_connection(stream, peer, router, permit, &stop).await };
            match stop.run_until_cancelled(tls::accept(tls, stream)).await {
                Some(Some(stream)) => serve_connection(stream, peer, router, permit, &stop).await,
                Some(None) => counters.close(CloseReason::TlsHandshake),
                None => {}
            }
        }));
    }
    connections.close();
    connections.wait().await;
}

/// Serves the requests of one connection, with or without TLS, until `stop`.
pub async fn serve_connection<S>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    permit: Arc<ConnectionPermit>,
    stop: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // hyper's own timeout starts with the first byte, so this code waits for that byte. Its buffer has one byte; larger
    // reads bypass it.
    let (stream, written) = CountedIo::new(stream);
    let mut stream: HttpIo<S> = TokioIo::new(BufReader::with_capacity(1, stream));
    let first = tokio::time::timeout(HEAD_TIMEOUT, stream.inner_mut().fill_buf());
    let Some(Ok(Ok(&[first]))) = stop.run_until_cancelled(first).await else {
        tracing::debug!(%peer, "connection closed before its first byte");
        return;
    };
    // No method of HTTP begins like this. hyper would wait for the rest of a line, and the producer with it.
    if first == MAGIC[0] {
        tracing::debug!(%peer, "a producer has connected to the port for viewers");
        return;
    }
    let close = CancellationToken::new();
    let handle = Connection { permit, written, close: close.clone() };
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(handle.clone());
        request.extensions_mut().insert(PeerAddr(peer));
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(stream, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        // An error here needs no handling: the connection is closed.
        _ = connection.as_mut() => {}
        () = close.cancelled() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            close.run_until_cancelled(connection).await;
        }
    }
}

/// Takes over a connection after its upgrade. Returns its stream and the bytes already read from it. A plain TCP connection loses
/// all wrappers, which saves memory for each viewer and calls for each write.
pub(super) fn into_carrier(connection: Upgraded) -> (SocketIo, Vec<u8>) {
    match connection.downcast::<HttpIo<TcpStream>>() {
        Ok(Parts { io, read_buf, .. }) => {
            let stream = io.into_inner();
            let read = [&read_buf, stream.buffer()].concat();
            (SocketIo::Left(stream.into_inner().into_inner()), read)
        }
        Err(connection) => (SocketIo::Right(TokioIo::new(connection)), Vec::new()),
    }
}

fn set_socket_options(stream: &TcpStream) {
    enable_keepalive(stream);
    // If one of these fails, the connection still works.
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    let _ = stream.set_nodelay(true);
}
