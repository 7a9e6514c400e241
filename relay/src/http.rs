//! The HTTP side: the page, the viewers' WebSocket and what stands in for it, health and figures.

pub mod accept;
mod assets;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use joey_shared::wire::SUBPROTOCOL;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::auth::Access;
use crate::hub::Hub;
use crate::metrics::{self, Format};
use crate::net::listener::Places;
use crate::runtime::panic_guard::contained;
use crate::session::{self, Transport, websocket::Socket};

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
    let pages = assets::routes(hub.config());
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
        .route("/metrics", get(figures))
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
    request: Request,
) -> Response {
    let Shared { hub, access, viewers, goodbye, .. } = shared;
    let headers = request.headers();
    if let Some(why) = access.rules().refusal(headers, peer.ip()) {
        return refuse(&hub, &why);
    }
    let token = token_in(headers);
    let speaks_ours = subprotocols(headers).any(|name| name == SUBPROTOCOL);
    let Connection { place, .. } = connection;
    let mut response = upgrade(request, move |socket| async move {
        let _place = place;
        // Handed on at once: what has a name of its own has room of its own, in every viewer's task.
        viewers
            .track_future(contained(
                hub.counters().panics.clone(),
                "viewer",
                session::serve(Transport::socket(socket), hub, access, token, goodbye),
            ))
            .await;
    });
    if speaks_ours && response.status() == StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    response
}

/// Answers a request for a WebSocket, which `serve` gets once the connection is one; any other request is refused.
pub fn upgrade<F>(mut request: Request, serve: impl FnOnce(Socket) -> F + Send + 'static) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    if !request.headers().contains_key(header::UPGRADE) {
        let head = [
            (header::UPGRADE, "websocket"),
            // Whoever cannot open a WebSocket asks in this way whether it is the relay that does not want it.
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        ];
        let word = "This is where viewers open a WebSocket.\n";
        return (StatusCode::UPGRADE_REQUIRED, head, word).into_response();
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
        // Whoever leaves before there is a WebSocket has missed nothing.
        if let Ok(connection) = upgrade.await {
            let (carrier, read) = accept::unwrapped(connection);
            serve(Socket::new(carrier, read)).await;
        }
    });
    response
}

/// Turns somebody away, and says `why`: to a page of any origin, since a browser tells it nothing of a WebSocket that failed.
fn refuse(hub: &Hub, why: &str) -> Response {
    hub.counters().close("origin");
    let head = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    (StatusCode::FORBIDDEN, head, format!("{why}\n")).into_response()
}

/// The token that a request brings as a subprotocol, since a browser can add no other header to a WebSocket.
fn token_in(headers: &HeaderMap) -> Option<String> {
    subprotocols(headers).find_map(|name| name.strip_prefix("bearer.")).map(str::to_owned)
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

async fn ready(State(shared): State<Shared>) -> Response {
    if shared.stop.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    } else {
        "ok\n".into_response()
    }
}

async fn figures(State(shared): State<Shared>, Extension(Peer(peer)): Extension<Peer>, headers: HeaderMap) -> Response {
    if !shared.access.rules().admits_reader(&headers, peer.ip()) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, challenge, "figures want a token\n").into_response();
    }
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|accepted| accepted.to_str().ok());
    let format = Format::preferred(accepted);
    let text = format.write(metrics::render(shared.hub.counters(), &shared.hub.gauges(shared.producers.taken())));
    let head = [
        (header::CONTENT_TYPE, format.media_type()),
        // What is kept of one form is no answer to who asks for the other.
        (header::VARY, "accept"),
    ];
    (head, text).into_response()
}
