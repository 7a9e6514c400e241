//! The transport of messages: a WebSocket, or a stream over HTTP where a network blocks WebSockets.
//!
//! A stream is one long HTTP response that carries the relay's messages, and a POST request for each batch of commands.
//! Tasks that read only forward events to the connection.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::Poll;

use futures_util::{Sink, Stream as _};
use gloo_net::websocket::futures::WebSocket;
use gloo_net::websocket::{Message, State, WebSocketError};
use joey_shared::address::over_http;
use joey_shared::stream::{OPENED, RECORD_BYTES_MAX, Record, Records, record_header};
use joey_shared::wire::{ClientMessage, SUBPROTOCOL};
use js_sys::{Array, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{AbortController, AbortSignal, ReadableStreamDefaultReader, RequestInit, Response};

use super::Connection;

/// An event of a transport.
#[derive(Debug)]
pub(super) enum TransportEvent {
    /// A message arrived.
    Message(Vec<u8>),
    /// A stream is open; commands go to the stream of this id.
    Opened(String),
    /// The last commands have arrived, and more can be sent.
    Sent,
    /// The transport was closed: close code and reason.
    Closed(u16, String),
}

/// The close code for an end without a close frame.
const ABNORMAL: u16 = 1006;

/// A transport that is open or opening. Dropping it closes it.
pub(super) enum Transport {
    Socket(Rc<RefCell<WebSocket>>),
    Stream(HttpStream),
}

/// A stream over HTTP.
pub(super) struct HttpStream {
    connection: Connection,
    /// The number of the connection that this stream belongs to.
    number: u32,
    /// Where commands are sent.
    address: String,
    controller: AbortController,
    /// Whether commands can be sent: one request at a time keeps them in order.
    is_ready: bool,
}

impl Transport {
    /// Opens connection `number`: a stream if `address` is an HTTP address, else a WebSocket. Returns `None` if the browser
    /// refuses the address.
    ///
    /// A browser cannot add a header to a WebSocket, so the token is its first message.
    pub(super) fn open(connection: Connection, number: u32, address: &str, token: &str) -> Option<Self> {
        if address.starts_with("http") {
            let controller = AbortController::new().ok()?;
            let signal = controller.signal();
            let (stream_address, token) = (address.to_owned(), token.to_owned());
            spawn_local(async move {
                let end = read_stream(connection, number, stream_address, token, signal).await;
                connection
                    .receive_event(number, end.unwrap_or_else(|| TransportEvent::Closed(ABNORMAL, String::new())));
            });
            let address = address.to_owned();
            return Some(Self::Stream(HttpStream { connection, number, address, controller, is_ready: false }));
        }
        let socket = WebSocket::open_with_protocol(address, SUBPROTOCOL).ok()?;
        let socket = Rc::new(RefCell::new(socket));
        let token = (!token.is_empty()).then(|| ClientMessage::Token { token: token.to_owned() }.encode());
        spawn_local(read_socket(connection, number, Rc::downgrade(&socket), token));
        Some(Self::Socket(socket))
    }

    /// Whether commands can be sent now.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Self::Socket(socket) => matches!(socket.borrow().state(), State::Open),
            Self::Stream(stream) => stream.is_ready,
        }
    }

    /// Handles [`TransportEvent::Opened`].
    pub(super) fn opened(&mut self, id: &str) {
        if let Self::Stream(stream) = self {
            stream.address.push('/');
            stream.address.push_str(id);
        }
        self.sent();
    }

    /// Handles [`TransportEvent::Sent`].
    pub(super) const fn sent(&mut self) {
        if let Self::Stream(stream) = self {
            stream.is_ready = true;
        }
    }

    /// Sends `messages`. A failure closes the transport.
    pub(super) fn send(&mut self, messages: &[Vec<u8>]) {
        match self {
            Self::Socket(socket) => messages.iter().for_each(|message| send_to(socket, message.clone())),
            Self::Stream(_) if messages.is_empty() => {}
            Self::Stream(stream) => stream.send(messages),
        }
    }
}

impl HttpStream {
    fn send(&mut self, messages: &[Vec<u8>]) {
        self.is_ready = false;
        let mut body = Vec::new();
        for message in messages {
            body.extend_from_slice(&record_header(message.len()));
            body.extend_from_slice(message);
        }
        let (connection, number) = (self.connection, self.number);
        let (address, signal) = (self.address.clone(), self.controller.signal());
        spawn_local(async move {
            let response = post(&address, "", Uint8Array::from(&*body).into(), &signal).await;
            // If the relay rejects the commands, it sends the reason on the stream.
            let lost = TransportEvent::Closed(ABNORMAL, String::new());
            connection.receive_event(number, if response.is_some() { TransportEvent::Sent } else { lost });
        });
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // A WebSocket closes when it is dropped.
        if let Self::Stream(stream) = self {
            stream.controller.abort();
        }
    }
}

/// Sends one message on an open socket, which queues it at once. A failure closes the socket.
fn send_to(socket: &RefCell<WebSocket>, message: Vec<u8>) {
    let _ = Pin::new(&mut *socket.borrow_mut()).start_send(Message::Bytes(message));
}

/// Sends `first` once the socket is open, and reads the socket to its end.
async fn read_socket(connection: Connection, number: u32, socket: Weak<RefCell<WebSocket>>, first: Option<Vec<u8>>) {
    if let Some(first) = first {
        poll_fn(|context| match socket.upgrade() {
            Some(socket) => Pin::new(&mut *socket.borrow_mut()).poll_ready(context).map(|_| ()),
            None => Poll::Ready(()),
        })
        .await;
        if let Some(socket) = socket.upgrade() {
            send_to(&socket, first);
        }
    }
    loop {
        let next = poll_fn(|context| match socket.upgrade() {
            Some(socket) => Pin::new(&mut *socket.borrow_mut()).poll_next(context),
            None => Poll::Ready(None),
        });
        let event = match next.await {
            Some(Ok(Message::Bytes(bytes))) => TransportEvent::Message(bytes),
            Some(Err(WebSocketError::ConnectionClose(event))) => TransportEvent::Closed(event.code, event.reason),
            Some(_) => continue,
            None => return connection.receive_event(number, TransportEvent::Closed(ABNORMAL, String::new())),
        };
        connection.receive_event(number, event);
    }
}

/// Asks the relay behind the WebSocket address `socket` why it rejects this page. Returns `None` if it does not reject the
/// page or does not answer.
///
/// A browser does not tell a page why a WebSocket could not be opened.
pub(super) async fn rejection_reason(socket: &str) -> Option<String> {
    let controller = AbortController::new().ok()?;
    let response = post(&over_http(socket), "", JsValue::UNDEFINED, &controller.signal()).await?;
    match response.status() {
        403 => JsFuture::from(response.text().ok()?).await.ok()?.as_string(),
        404 => Some(format!("There is no relay at {socket}.")),
        _ => None,
    }
}

async fn post(address: &str, token: &str, body: JsValue, signal: &AbortSignal) -> Option<Response> {
    let init = RequestInit::new();
    init.set_method("POST");
    init.set_body(&body);
    init.set_signal(Some(signal));
    if !token.is_empty() {
        let header = Array::of2(&"authorization".into(), &format!("Bearer {token}").into());
        init.set_headers(&Array::of1(&header));
    }
    let response = web_sys::window()?.fetch_with_str_and_init(address, &init);
    JsFuture::from(response).await.ok()?.unchecked_into::<Response>().into()
}

/// Reads a stream to its end. Returns the close event if the relay sent one.
async fn read_stream(
    connection: Connection,
    number: u32,
    address: String,
    token: String,
    signal: AbortSignal,
) -> Option<TransportEvent> {
    let response = post(&address, &token, JsValue::UNDEFINED, &signal).await?;
    let body = response.body().filter(|_| response.ok())?;
    let reader = body.get_reader().unchecked_into::<ReadableStreamDefaultReader>();
    let mut records = Records::default();
    loop {
        let chunk = JsFuture::from(reader.read()).await.ok()?;
        let bytes = Reflect::get(&chunk, &"value".into()).ok()?.dyn_into::<Uint8Array>().ok()?;
        records.push(&bytes.to_vec());
        while let Some(record) = records.take(RECORD_BYTES_MAX).ok()? {
            let event = match record {
                Record::Message(bytes) => TransportEvent::Message(bytes.to_vec()),
                Record::Notice(OPENED, id) => TransportEvent::Opened(id.to_owned()),
                Record::Notice(code, reason) => return Some(TransportEvent::Closed(code, reason.to_owned())),
            };
            connection.receive_event(number, event);
        }
    }
}
