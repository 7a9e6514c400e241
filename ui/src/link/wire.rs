//! What carries messages: a WebSocket, or, where a network lets none through, one HTTP answer that is read as it comes and
//! requests that bring commands.
//!
//! Callbacks only put what has come into the link's inbox. A library's socket would do the same and weigh 3 KB more of the
//! gzipped bundle.

use joey_shared::stream::{OPENED, RECORD_BYTES_MAX, Record, Records, head};
use joey_shared::wire::SUBPROTOCOL;
use js_sys::{Array, Reflect, Uint8Array};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    AbortController, AbortSignal, BinaryType, CloseEvent, Event, MessageEvent, ReadableStreamDefaultReader,
    RequestInit, Response, WebSocket,
};

use super::Link;

/// What a connection has to say.
#[derive(Debug)]
pub(super) enum News {
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
pub(super) enum Wire {
    Socket { socket: WebSocket, _callbacks: [Closure<dyn FnMut(Event)>; 2] },
    Stream(Stream),
}

/// A stream, seen from the page.
pub(super) struct Stream {
    link: Link,
    /// Which connection of the link this is.
    number: u32,
    address: String,
    controller: AbortController,
    /// Whether commands may be sent. They wait for those before them, or the order would be anybody's guess.
    is_ready: bool,
}

impl Wire {
    /// Opens connection `number`, as a stream where `address` is one's. Nothing where the browser refuses.
    ///
    /// A browser adds no header to a WebSocket, so there the token goes along as one more subprotocol.
    pub(super) fn open(link: Link, number: u32, address: &str, token: &str) -> Option<Self> {
        if address.starts_with("http") {
            let controller = AbortController::new().ok()?;
            let signal = controller.signal();
            let (to, token) = (address.to_owned(), token.to_owned());
            spawn_local(async move {
                let end = read(link, number, to, token, signal).await;
                link.put(number, end.unwrap_or(News::Closed(ABNORMAL, String::new())));
            });
            let address = address.to_owned();
            return Some(Self::Stream(Stream { link, number, address, controller, is_ready: false }));
        }
        let protocols = Array::of1(&SUBPROTOCOL.into());
        if !token.is_empty() {
            protocols.push(&format!("bearer.{token}").into());
        }
        let socket = WebSocket::new_with_str_sequence(address, &protocols).ok()?;
        socket.set_binary_type(BinaryType::Arraybuffer);
        let callbacks = [true, false].map(|is_message| {
            Closure::<dyn FnMut(Event)>::new(move |event: Event| {
                let news = if is_message {
                    let data = event.unchecked_into::<MessageEvent>().data();
                    News::Message(Uint8Array::new(&data).to_vec())
                } else {
                    let event = event.unchecked_into::<CloseEvent>();
                    News::Closed(event.code(), event.reason())
                };
                link.put(number, news);
            })
        });
        socket.set_onmessage(Some(callbacks[0].as_ref().unchecked_ref()));
        socket.set_onclose(Some(callbacks[1].as_ref().unchecked_ref()));
        Some(Self::Socket { socket, _callbacks: callbacks })
    }

    /// Whether something can be sent now.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Self::Socket { socket, .. } => socket.ready_state() == WebSocket::OPEN,
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
            Self::Socket { socket, .. } => messages.iter().for_each(|message| _ = socket.send_with_u8_array(message)),
            Self::Stream(_) if messages.is_empty() => {}
            Self::Stream(stream) => {
                stream.is_ready = false;
                let mut body = Vec::new();
                for message in messages {
                    body.extend_from_slice(&head(message.len()));
                    body.extend_from_slice(message);
                }
                let (link, number) = (stream.link, stream.number);
                let (address, signal) = (stream.address.clone(), stream.controller.signal());
                spawn_local(async move {
                    let answer = post(&address, "", Uint8Array::from(&*body).into(), &signal).await;
                    // Where the relay says why it did not take this, it says it in the answer that is being read.
                    let lost = News::Closed(ABNORMAL, String::new());
                    link.put(number, if answer.is_some() { News::Sent } else { lost });
                });
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        match self {
            Self::Socket { socket, .. } => {
                socket.set_onmessage(None);
                socket.set_onclose(None);
                let _ = socket.close();
            }
            Self::Stream(stream) => stream.controller.abort(),
        }
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
async fn read(link: Link, number: u32, address: String, token: String, signal: AbortSignal) -> Option<News> {
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
                Record::Message(bytes) => News::Message(bytes.to_vec()),
                Record::Notice(OPENED, id) => News::Opened(id.to_owned()),
                Record::Notice(code, reason) => return Some(News::Closed(code, reason.to_owned())),
            };
            link.put(number, news);
        }
    }
}
