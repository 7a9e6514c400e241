//! What carries messages: a WebSocket, or, where a network lets none through, one HTTP answer that is read as it comes and
//! requests that bring commands.
//!
//! Whoever reads only puts what has come into the connection's inbox.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::Poll;

use futures_util::{Sink, Stream as _};
use gloo_net::websocket::futures::WebSocket;
use gloo_net::websocket::{Message, State, WebSocketError};
use joey_shared::address::over_http;
use joey_shared::stream::{OPENED, RECORD_BYTES_MAX, Record, Records, head};
use joey_shared::wire::{ClientMessage, SUBPROTOCOL};
use js_sys::{Array, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{AbortController, AbortSignal, ReadableStreamDefaultReader, RequestInit, Response};

use super::Connection;

/// What a connection has to say.
#[derive(Debug)]
pub(super) enum TransportEvent {
    /// A message.
    Message(Vec<u8>),
    /// A stream is open, and commands for it go here.
    Opened(String),
    /// What was sent has arrived, and more may be.
    Sent,
    /// The end: a close code and the reason.
    Closed(u16, String),
}

/// The code of an end without a word, which both ways know.
const ABNORMAL: u16 = 1006;

/// A connection, open or about to be. Dropping it ends it.
pub(super) enum Transport {
    Socket(Rc<RefCell<WebSocket>>),
    Stream(Stream),
}

/// A stream, seen from the page.
pub(super) struct Stream {
    connection: Connection,
    /// Which connection of the connection this is.
    number: u32,
    address: String,
    controller: AbortController,
    /// Whether commands may be sent. They wait for those before them, or the order would be anybody's guess.
    is_ready: bool,
}

impl Transport {
    /// Opens connection `number`, as a stream where `address` is one's. Nothing where the browser refuses.
    ///
    /// A browser adds no header to a WebSocket, so there the token is the first thing that is said.
    pub(super) fn open(connection: Connection, number: u32, address: &str, token: &str) -> Option<Self> {
        if address.starts_with("http") {
            let controller = AbortController::new().ok()?;
            let signal = controller.signal();
            let (to, token) = (address.to_owned(), token.to_owned());
            spawn_local(async move {
                let end = read(connection, number, to, token, signal).await;
                connection.put(number, end.unwrap_or(TransportEvent::Closed(ABNORMAL, String::new())));
            });
            let address = address.to_owned();
            return Some(Self::Stream(Stream { connection, number, address, controller, is_ready: false }));
        }
        let socket = WebSocket::open_with_protocol(address, SUBPROTOCOL).ok()?;
        let socket = Rc::new(RefCell::new(socket));
        let token = (!token.is_empty()).then(|| ClientMessage::Token { token: token.to_owned() }.encode());
        spawn_local(hear(connection, number, Rc::downgrade(&socket), token));
        Some(Self::Socket(socket))
    }

    /// Whether something can be sent now.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Self::Socket(socket) => matches!(socket.borrow().state(), State::Open),
            Self::Stream(stream) => stream.is_ready,
        }
    }

    /// Commands go to the stream of this id.
    pub(super) fn opened(&mut self, id: &str) {
        if let Self::Stream(stream) = self {
            stream.address.push('/');
            stream.address.push_str(id);
        }
        self.sent();
    }

    /// What was sent has arrived.
    pub(super) const fn sent(&mut self) {
        if let Self::Stream(stream) = self {
            stream.is_ready = true;
        }
    }

    /// Sends `messages`; a failure shows as the end.
    pub(super) fn send(&mut self, messages: &[Vec<u8>]) {
        match self {
            Self::Socket(socket) => messages.iter().for_each(|message| say(socket, message.clone())),
            Self::Stream(_) if messages.is_empty() => {}
            Self::Stream(stream) => {
                stream.is_ready = false;
                let mut body = Vec::new();
                for message in messages {
                    body.extend_from_slice(&head(message.len()));
                    body.extend_from_slice(message);
                }
                let (connection, number) = (stream.connection, stream.number);
                let (address, signal) = (stream.address.clone(), stream.controller.signal());
                spawn_local(async move {
                    let answer = post(&address, "", Uint8Array::from(&*body).into(), &signal).await;
                    // Where the relay says why it did not take this, it says it in the answer that is being read.
                    let lost = TransportEvent::Closed(ABNORMAL, String::new());
                    connection.put(number, if answer.is_some() { TransportEvent::Sent } else { lost });
                });
            }
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // A socket closes when it is dropped, and whoever reads it notices.
        if let Self::Stream(stream) = self {
            stream.controller.abort();
        }
    }
}

/// Hands one message to an open socket, which takes it at once; a failure shows as the end.
fn say(socket: &RefCell<WebSocket>, message: Vec<u8>) {
    let _ = Pin::new(&mut *socket.borrow_mut()).start_send(Message::Bytes(message));
}

/// Says `first` once the socket is open, and reads it to its end.
async fn hear(connection: Connection, number: u32, socket: Weak<RefCell<WebSocket>>, first: Option<Vec<u8>>) {
    if let Some(first) = first {
        poll_fn(|context| match socket.upgrade() {
            Some(socket) => Pin::new(&mut *socket.borrow_mut()).poll_ready(context).map(|_| ()),
            None => Poll::Ready(()),
        })
        .await;
        if let Some(socket) = socket.upgrade() {
            say(&socket, first);
        }
    }
    loop {
        let next = poll_fn(|context| match socket.upgrade() {
            Some(socket) => Pin::new(&mut *socket.borrow_mut()).poll_next(context),
            None => Poll::Ready(None),
        });
        let news = match next.await {
            Some(Ok(Message::Bytes(bytes))) => TransportEvent::Message(bytes),
            Some(Err(WebSocketError::ConnectionClose(event))) => TransportEvent::Closed(event.code, event.reason),
            Some(_) => continue,
            None => return connection.put(number, TransportEvent::Closed(ABNORMAL, String::new())),
        };
        connection.put(number, news);
    }
}

/// What is said at `socket`, a WebSocket's address, to whoever may not open one; nothing where this page may, or nobody can be
/// asked.
///
/// Of a WebSocket that was not opened a browser says nothing, not even to its own page.
pub(super) async fn refusal(socket: &str) -> Option<String> {
    let controller = AbortController::new().ok()?;
    let answer = post(&over_http(socket), "", JsValue::UNDEFINED, &controller.signal()).await?;
    match answer.status() {
        403 => JsFuture::from(answer.text().ok()?).await.ok()?.as_string(),
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
    let answer = web_sys::window()?.fetch_with_str_and_init(address, &init);
    JsFuture::from(answer).await.ok()?.unchecked_into::<Response>().into()
}

/// Reads a stream to its end, which it gives if it was told.
async fn read(
    connection: Connection,
    number: u32,
    address: String,
    token: String,
    signal: AbortSignal,
) -> Option<TransportEvent> {
    let answer = post(&address, &token, JsValue::UNDEFINED, &signal).await?;
    let body = answer.body().filter(|_| answer.ok())?;
    let reader = body.get_reader().unchecked_into::<ReadableStreamDefaultReader>();
    let mut records = Records::default();
    loop {
        let chunk = JsFuture::from(reader.read()).await.ok()?;
        let bytes = Reflect::get(&chunk, &"value".into()).ok()?.dyn_into::<Uint8Array>().ok()?;
        records.push(&bytes.to_vec());
        while let Some(record) = records.take(RECORD_BYTES_MAX).ok()? {
            let news = match record {
                Record::Message(bytes) => TransportEvent::Message(bytes.to_vec()),
                Record::Notice(OPENED, id) => TransportEvent::Opened(id.to_owned()),
                Record::Notice(code, reason) => return Some(TransportEvent::Closed(code, reason.to_owned())),
            };
            connection.put(number, news);
        }
    }
}
