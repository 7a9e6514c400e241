//! The transport of messages: a WebSocket or, if a proxy blocks WebSockets, an HTTP stream. A stream receives messages
//! in the body of one answer and sends commands in further requests.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::{HeaderValue, Response, StatusCode, Uri, header};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::body::Incoming;
use joey_shared::address;
use joey_shared::stream::{OPENED, RECORD_BYTES_MAX, Record, Records, record_header};
use joey_shared::wire::SUBPROTOCOL;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::{ProtocolError, UrlError};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::auth::tls;
use crate::net::post::post;

/// Maximum time to open a connection, or to send commands.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of bytes to read from an error answer.
const ERROR_BODY_BYTES_MAX: usize = 4_096;
/// Maximum number of characters to print from an error answer.
const ERROR_BODY_CHARS_MAX: usize = 300;

/// An open connection.
pub(super) enum Transport {
    WebSocket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    Stream(Box<HttpStream>),
}

/// An event on a connection.
pub(super) enum Event {
    /// A message.
    Message(Bytes),
    /// A sign of life without a message, such as a ping.
    Activity,
    /// The relay has closed the connection, with a close code and a reason.
    Closed(u16, String),
}

/// Why a connection attempt failed.
pub(super) struct ConnectError {
    /// The reason, for the user.
    pub(super) reason: String,
    /// How far the attempt has come.
    pub(super) reached: Reached,
    /// Whether trying again is useless.
    pub(super) is_final: bool,
}

/// How far a connection attempt has come before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Nothing listens at the address.
    Nobody,
    /// There was no answer, or none that could be read.
    Nothing,
    /// Something accepted the connection, and does not speak HTTP. An HTTP stream works only if that was the fault of a proxy.
    NoHttp,
    /// A server answered, but not with a WebSocket. An HTTP stream may work.
    Answer,
}

impl ConnectError {
    fn unreachable(error: impl std::fmt::Display) -> Self {
        Self { reason: error.to_string(), reached: Reached::Nothing, is_final: false }
    }

    /// Whether an HTTP stream may work where a WebSocket has failed.
    pub(super) const fn allows_stream(&self) -> bool {
        matches!(self.reached, Reached::NoHttp | Reached::Answer)
    }

    /// What the user should know of the failure at `address`.
    pub(super) fn message(&self, address: &str) -> String {
        let reason = &self.reason;
        match self.reached {
            Reached::Nobody => {
                format!(
                    "no relay at {address}: {reason}; start one with joey serve, or name it with --relay or JOEY_RELAY"
                )
            }
            Reached::NoHttp => {
                format!(
                    "{address} does not answer as a relay; name the port for viewers (joey serve --http, 4000 by default)"
                )
            }
            Reached::Nothing | Reached::Answer => format!("no relay at {address}: {reason}"),
        }
    }

    /// A server answered with `status` and `body`.
    fn answer(status: StatusCode, body: &[u8]) -> Self {
        let text = first_line(body);
        let reason =
            if text.is_empty() { format!("it answers {status}") } else { format!("it answers {status}: {text}") };
        Self {
            reason,
            reached: Reached::Answer,
            is_final: matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
        }
    }
}

/// The first line of `body` if it is readable text, otherwise an empty string.
fn first_line(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let line = body.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let is_text = !line.starts_with(['<', '{', '[']) && !line.contains(char::is_control);
    if is_text { line.chars().take(ERROR_BODY_CHARS_MAX).collect() } else { String::new() }
}

/// Opens connections.
pub(super) struct Connector {
    ca: Option<PathBuf>,
    tls: Option<Arc<ClientConfig>>,
}

impl Connector {
    pub(super) const fn new(ca: Option<PathBuf>) -> Self {
        Self { ca, tls: None }
    }

    /// Opens a WebSocket at `address`.
    ///
    /// # Errors
    /// The outer error is permanent, such as an invalid certificate file. The inner error is a failed attempt.
    pub(super) async fn socket(
        &mut self,
        address: &str,
        token: Option<&str>,
    ) -> anyhow::Result<Result<Transport, ConnectError>> {
        let mut request = address.into_client_request().context("invalid relay address")?;
        let connector = match self.tls(address)? {
            Some(tls) => tokio_tungstenite::Connector::Rustls(tls),
            None => tokio_tungstenite::Connector::Plain,
        };
        let protocols = token.map_or_else(|| SUBPROTOCOL.to_owned(), |token| format!("{SUBPROTOCOL}, bearer.{token}"));
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, secret(&protocols)?);
        let opening = connect_async_tls_with_config(request, None, false, Some(connector));
        Ok(match timeout(TIMEOUT, opening).await {
            Ok(Ok((socket, _))) => Ok(Transport::WebSocket(Box::new(socket))),
            Ok(Err(Error::Http(answer))) => {
                Err(ConnectError::answer(answer.status(), answer.body().as_deref().unwrap_or_default()))
            }
            Ok(Err(Error::Url(UrlError::UnableToConnect(_)) | Error::Tls(_))) => {
                Err(ConnectError::unreachable("it cannot be reached"))
            }
            // The server accepted the connection and closed it during the WebSocket handshake.
            Ok(Err(error @ (Error::Protocol(_) | Error::ConnectionClosed | Error::AlreadyClosed))) => {
                Err(ConnectError { reached: Reached::NoHttp, ..ConnectError::unreachable(error) })
            }
            Ok(Err(Error::Io(error))) => {
                let reached = match error.kind() {
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => Reached::NoHttp,
                    ErrorKind::ConnectionRefused => Reached::Nobody,
                    _ => Reached::Nothing,
                };
                Err(ConnectError { reached, ..ConnectError::unreachable(error) })
            }
            Ok(Err(error)) => Err(ConnectError::unreachable(error)),
            Err(_) => Err(ConnectError { reached: Reached::Answer, ..ConnectError::unreachable("it does not answer") }),
        })
    }

    /// Opens an HTTP stream to the relay whose WebSocket is at `address`.
    ///
    /// # Errors
    /// See [`Connector::socket`].
    pub(super) async fn stream(
        &mut self,
        address: &str,
        token: Option<&str>,
    ) -> anyhow::Result<Result<Transport, ConnectError>> {
        let uri: Uri = address::stream(address).parse().context("invalid relay address")?;
        let token = token.map(|token| secret(&format!("Bearer {token}"))).transpose()?;
        let stream = HttpStream { uri, tls: self.tls(address)?, token, body: None, records: Records::default() };
        Ok(match timeout(TIMEOUT, stream.opened()).await {
            Ok(opened) => opened.map(|stream| Transport::Stream(Box::new(stream))),
            Err(_) => Err(ConnectError::unreachable("it does not answer")),
        })
    }

    fn tls(&mut self, address: &str) -> anyhow::Result<Option<Arc<ClientConfig>>> {
        if !address.starts_with("wss") {
            return Ok(None);
        }
        if self.tls.is_none() {
            self.tls = Some(tls::client_config(self.ca.as_deref())?);
        }
        Ok(self.tls.clone())
    }
}

/// A header value that is never logged.
fn secret(value: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(value).context("the token is none")?;
    value.set_sensitive(true);
    Ok(value)
}

impl Transport {
    /// Sends `messages`.
    ///
    /// # Errors
    /// Fails if the connection is lost.
    pub(super) async fn send(&mut self, messages: Vec<Vec<u8>>) -> Result<(), String> {
        match self {
            Self::WebSocket(socket) => {
                for message in messages {
                    socket.send(Message::from(message)).await.map_err(|error| error.to_string())?;
                }
                Ok(())
            }
            Self::Stream(_) if messages.is_empty() => Ok(()),
            Self::Stream(stream) => stream.send(&messages).await,
        }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// Fails if the connection is lost without a close message.
    pub(super) async fn next(&mut self) -> Result<Event, String> {
        match self {
            Self::WebSocket(socket) => match socket.next().await {
                Some(Ok(Message::Binary(bytes))) => Ok(Event::Message(bytes)),
                Some(Ok(Message::Close(frame))) => Ok(frame.map_or_else(
                    || Event::Closed(1005, String::new()),
                    |frame| Event::Closed(frame.code.into(), frame.reason.to_string()),
                )),
                Some(Ok(_)) => Ok(Event::Activity),
                Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) | None => {
                    Err("the connection ended".to_owned())
                }
                Some(Err(error)) => Err(error.to_string()),
            },
            Self::Stream(stream) => stream.next().await,
        }
    }
}

/// An HTTP stream.
pub(super) struct HttpStream {
    /// The address that opens it, and later the address for its commands.
    uri: Uri,
    tls: Option<Arc<ClientConfig>>,
    token: Option<HeaderValue>,
    /// The body of the answer, which carries the messages.
    body: Option<BodyDataStream>,
    /// The part of the body that was read and not decoded yet.
    records: Records,
}

impl HttpStream {
    async fn opened(mut self) -> Result<Self, ConnectError> {
        let answer = self.post(Bytes::new()).await.map_err(ConnectError::unreachable)?;
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK {
            let body = to_bytes(Body::new(body), ERROR_BODY_BYTES_MAX).await.unwrap_or_default();
            return Err(ConnectError::answer(head.status, &body));
        }
        self.body = Some(Body::new(body).into_data_stream());
        match self.next_record().await {
            Ok(OwnedRecord::Notice(OPENED, id)) => {
                self.uri = format!("{}/{id}", self.uri).parse().map_err(ConnectError::unreachable)?;
                Ok(self)
            }
            Ok(_) => Err(ConnectError::unreachable("it does not answer with a stream")),
            Err(error) => Err(ConnectError::unreachable(error)),
        }
    }

    /// Posts `body` over a new connection.
    async fn post(&self, body: Bytes) -> Result<Response<Incoming>, String> {
        let token = self.token.iter().map(|token| (header::AUTHORIZATION, token.clone()));
        post(&self.uri, self.tls.as_ref(), token, body).await
    }

    async fn send(&self, messages: &[Vec<u8>]) -> Result<(), String> {
        let mut body = Vec::new();
        for message in messages {
            body.extend_from_slice(&record_header(message.len()));
            body.extend_from_slice(message);
        }
        let answer =
            timeout(TIMEOUT, self.post(body.into())).await.map_err(|_| "it does not accept commands".to_owned())??;
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answers {} to commands", answer.status())) }
    }

    async fn next(&mut self) -> Result<Event, String> {
        Ok(match self.next_record().await? {
            OwnedRecord::Message(bytes) => Event::Message(bytes),
            OwnedRecord::Notice(OPENED, _) => Event::Activity,
            OwnedRecord::Notice(code, reason) => Event::Closed(code, reason),
        })
    }

    async fn next_record(&mut self) -> Result<OwnedRecord, String> {
        loop {
            match self.records.take(RECORD_BYTES_MAX) {
                Ok(Some(Record::Message(bytes))) => return Ok(OwnedRecord::Message(Bytes::copy_from_slice(bytes))),
                Ok(Some(Record::Notice(code, text))) => return Ok(OwnedRecord::Notice(code, text.to_owned())),
                Ok(None) => {}
                Err(error) => return Err(error.to_string()),
            }
            let Some(body) = &mut self.body else { return Err("the connection ended".to_owned()) };
            match body.next().await {
                Some(Ok(bytes)) => self.records.push(&bytes),
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the connection ended".to_owned()),
            }
        }
    }
}

/// A record of a stream.
enum OwnedRecord {
    Message(Bytes),
    Notice(u16, String),
}
