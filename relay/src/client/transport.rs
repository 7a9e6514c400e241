//! What carries messages: a WebSocket, or, where none gets through, one HTTP answer that is read as it comes and requests that
//! bring commands.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use joey_shared::address;
use joey_shared::stream::{OPENED, RECORD_BYTES_MAX, Record, Records, head};
use joey_shared::wire::SUBPROTOCOL;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::{ProtocolError, UrlError};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::auth::tls;

/// How long opening a connection may take.
const OPENING: Duration = Duration::from_secs(10);
/// How much of what a server says in place of a WebSocket is read, and shown.
const SAID_BYTES_MAX: usize = 4_096;
const SAID_CHARS_MAX: usize = 300;

/// A connection that is open.
pub(super) enum Wire {
    Socket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    Stream(Box<Stream>),
}

/// What a connection has to say.
pub(super) enum News {
    /// A message.
    Message(Bytes),
    /// It lives.
    Life,
    /// The relay has ended it: a close code and the reason.
    Closed(u16, String),
}

/// Why there is no connection.
pub(super) struct Failure {
    /// In words.
    pub(super) why: String,
    /// Whether somebody answered, and not as a WebSocket: a stream over HTTP may get through.
    pub(super) is_answer: bool,
    /// Whether trying again cannot help.
    pub(super) is_final: bool,
}

impl Failure {
    fn unreachable(error: impl std::fmt::Display) -> Self {
        Self { why: error.to_string(), is_answer: false, is_final: false }
    }

    fn no_socket(error: impl std::fmt::Display) -> Self {
        Self { is_answer: true, ..Self::unreachable(error) }
    }

    /// A server answered with `status`, and `said` something.
    fn answer(status: StatusCode, said: &[u8]) -> Self {
        let said = first_line(said);
        let why = if said.is_empty() { format!("it answers {status}") } else { format!("it answers {status}: {said}") };
        Self { why, is_answer: true, is_final: matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) }
    }
}

/// The first line of `said`, if a person can read it.
fn first_line(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let is_text = !line.starts_with(['<', '{', '[']) && !line.contains(char::is_control);
    if is_text { line.chars().take(SAID_CHARS_MAX).collect() } else { String::new() }
}

/// What every connection is opened with.
pub(super) struct Opener {
    ca: Option<PathBuf>,
    tls: Option<Arc<ClientConfig>>,
}

impl Opener {
    pub(super) const fn new(ca: Option<PathBuf>) -> Self {
        Self { ca, tls: None }
    }

    /// Opens a WebSocket at `address`.
    ///
    /// # Errors
    /// Outside, when trying again cannot help; inside, why there is none.
    pub(super) async fn socket(&mut self, address: &str, token: Option<&str>) -> anyhow::Result<Result<Wire, Failure>> {
        let mut request = address.into_client_request().context("not an address of a relay")?;
        let connector = match self.tls(address)? {
            Some(tls) => Connector::Rustls(tls),
            None => Connector::Plain,
        };
        let protocols = token.map_or_else(|| SUBPROTOCOL.to_owned(), |token| format!("{SUBPROTOCOL}, bearer.{token}"));
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, secret(&protocols)?);
        let opening = connect_async_tls_with_config(request, None, false, Some(connector));
        Ok(match timeout(OPENING, opening).await {
            Ok(Ok((socket, _))) => Ok(Wire::Socket(Box::new(socket))),
            Ok(Err(Error::Http(answer))) => {
                Err(Failure::answer(answer.status(), answer.body().as_deref().unwrap_or_default()))
            }
            Ok(Err(Error::Url(UrlError::UnableToConnect(_)) | Error::Tls(_))) => {
                Err(Failure::unreachable("it cannot be reached"))
            }
            // Somebody took the connection, and ended it when it was to become a WebSocket.
            Ok(Err(error @ (Error::Protocol(_) | Error::ConnectionClosed | Error::AlreadyClosed))) => {
                Err(Failure::no_socket(error))
            }
            Ok(Err(Error::Io(error))) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(Failure::no_socket(error))
            }
            Ok(Err(error)) => Err(Failure::unreachable(error)),
            Err(_) => Err(Failure::no_socket("it does not answer")),
        })
    }

    /// Opens a stream over HTTP to the relay whose WebSocket would be at `address`.
    ///
    /// # Errors
    /// As [`Opener::socket`].
    pub(super) async fn stream(&mut self, address: &str, token: Option<&str>) -> anyhow::Result<Result<Wire, Failure>> {
        let to: Uri = address::stream(address).parse().context("not an address of a relay")?;
        let token = token.map(|token| secret(&format!("Bearer {token}"))).transpose()?;
        let stream = Stream { to, tls: self.tls(address)?, token, body: None, records: Records::default() };
        Ok(match timeout(OPENING, stream.opened()).await {
            Ok(opened) => opened.map(|stream| Wire::Stream(Box::new(stream))),
            Err(_) => Err(Failure::unreachable("it does not answer")),
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

/// A header that no log shows.
fn secret(value: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(value).context("the token is none")?;
    value.set_sensitive(true);
    Ok(value)
}

impl Wire {
    /// Sends `messages`.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) async fn send(&mut self, messages: Vec<Vec<u8>>) -> Result<(), String> {
        match self {
            Self::Socket(socket) => {
                for message in messages {
                    socket.send(Message::from(message)).await.map_err(|error| error.to_string())?;
                }
                Ok(())
            }
            Self::Stream(_) if messages.is_empty() => Ok(()),
            Self::Stream(stream) => stream.send(&messages).await,
        }
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// When the connection is gone without a word.
    pub(super) async fn next(&mut self) -> Result<News, String> {
        match self {
            Self::Socket(socket) => match socket.next().await {
                Some(Ok(Message::Binary(bytes))) => Ok(News::Message(bytes)),
                Some(Ok(Message::Close(frame))) => Ok(frame.map_or_else(
                    || News::Closed(1005, String::new()),
                    |frame| News::Closed(frame.code.into(), frame.reason.to_string()),
                )),
                Some(Ok(_)) => Ok(News::Life),
                Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) | None => {
                    Err("the connection ended".to_owned())
                }
                Some(Err(error)) => Err(error.to_string()),
            },
            Self::Stream(stream) => stream.next().await,
        }
    }
}

/// A stream over HTTP.
pub(super) struct Stream {
    /// Where it is opened; later, where its commands go.
    to: Uri,
    tls: Option<Arc<ClientConfig>>,
    token: Option<HeaderValue>,
    /// The answer without an end, and the part of it that was read.
    body: Option<BodyDataStream>,
    records: Records,
}

/// A connection of either kind.
trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Carrier for S {}

impl Stream {
    async fn opened(mut self) -> Result<Self, Failure> {
        let answer = self.post(Bytes::new()).await.map_err(Failure::unreachable)?;
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK {
            let said = to_bytes(Body::new(body), SAID_BYTES_MAX).await.unwrap_or_default();
            return Err(Failure::answer(head.status, &said));
        }
        self.body = Some(Body::new(body).into_data_stream());
        match self.next_record().await {
            Ok(Taken::Notice(OPENED, id)) => {
                self.to = format!("{}/{id}", self.to).parse().map_err(Failure::unreachable)?;
                Ok(self)
            }
            Ok(_) => Err(Failure::unreachable("it answers with something else than a stream")),
            Err(error) => Err(Failure::unreachable(error)),
        }
    }

    /// Posts `body`, over a connection of its own.
    async fn post(&self, body: Bytes) -> Result<Response<Incoming>, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let host = self.to.host().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.to.port_u16().unwrap_or_else(|| if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((name, port)).await.map_err(|error| text(&error))?;
        let carrier: Box<dyn Carrier> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from(name.to_owned()).map_err(|error| text(&error))?;
                let encrypted = TlsConnector::from(tls.clone()).connect(name, stream).await;
                Box::new(encrypted.map_err(|error| text(&error))?)
            }
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(carrier)).await.map_err(|error| text(&error))?;
        // It ends with the answer, or when nobody waits for that any more.
        tokio::spawn(connection);
        let authority = self.to.authority().map(ToString::to_string).unwrap_or_default();
        let path = self.to.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(Method::POST).uri(path).header(header::HOST, authority);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Body::from(body)).map_err(|error| text(&error))?;
        sender.send_request(request).await.map_err(|error| text(&error))
    }

    async fn send(&self, messages: &[Vec<u8>]) -> Result<(), String> {
        let mut body = Vec::new();
        for message in messages {
            body.extend_from_slice(&head(message.len()));
            body.extend_from_slice(message);
        }
        let answer =
            timeout(OPENING, self.post(body.into())).await.map_err(|_| "it takes no commands".to_owned())??;
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answers {} to commands", answer.status())) }
    }

    async fn next(&mut self) -> Result<News, String> {
        Ok(match self.next_record().await? {
            Taken::Message(bytes) => News::Message(bytes),
            Taken::Notice(OPENED, _) => News::Life,
            Taken::Notice(code, reason) => News::Closed(code, reason),
        })
    }

    async fn next_record(&mut self) -> Result<Taken, String> {
        loop {
            match self.records.take(RECORD_BYTES_MAX) {
                Ok(Some(Record::Message(bytes))) => return Ok(Taken::Message(Bytes::copy_from_slice(bytes))),
                Ok(Some(Record::Notice(code, text))) => return Ok(Taken::Notice(code, text.to_owned())),
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

/// One record of a stream.
enum Taken {
    Message(Bytes),
    Notice(u16, String),
}
