//! An HTTP request with a body over a connection of its own, for commands of a stream and for webhooks.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A stream with or without TLS.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// Posts `body` to `uri` over a new connection, encrypted if `tls` is given.
///
/// # Errors
/// Fails with the reason if the server cannot be reached or does not answer in HTTP.
pub async fn post(
    uri: &Uri,
    tls: Option<&Arc<ClientConfig>>,
    headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    body: Bytes,
) -> Result<Response<Incoming>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let host = uri.host().unwrap_or_default();
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or_else(|| if tls.is_some() { 443 } else { 80 });
    let stream = TcpStream::connect((name, port)).await.map_err(|error| text(&error))?;
    let io: Box<dyn Io> = match tls {
        None => Box::new(stream),
        Some(tls) => {
            let name = ServerName::try_from(name.to_owned()).map_err(|error| text(&error))?;
            let encrypted = TlsConnector::from(tls.clone()).connect(name, stream).await;
            Box::new(encrypted.map_err(|error| text(&error))?)
        }
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(|error| text(&error))?;
    // The task ends with the answer, or when the answer is dropped.
    tokio::spawn(connection);
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(Method::POST).uri(path).header(header::HOST, authority);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(body)).map_err(|error| text(&error))?;
    sender.send_request(request).await.map_err(|error| text(&error))
}
