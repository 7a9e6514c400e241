//! An empty stand-in for the crate `wasm-streams`.
//!
//! Leptos 0.8 always brings in its server functions, and they bring in `wasm-streams`, whose JavaScript classes are exports:
//! no linker may drop them, although nothing here calls a server function. They and what they need weigh 6 KB of the
//! gzipped bundle. This has the few names that `server_fn` 0.8 compiles against, and does nothing.

use futures_util::stream::{Stream, empty};
use wasm_bindgen::JsValue;

/// A stream that holds what it was made from and never yields.
#[derive(Debug)]
pub struct ReadableStream(web_sys::ReadableStream);

impl ReadableStream {
    /// Holds `raw`.
    #[must_use]
    pub const fn from_raw(raw: web_sys::ReadableStream) -> Self {
        Self(raw)
    }

    /// What it holds.
    #[must_use]
    pub fn into_raw(self) -> web_sys::ReadableStream {
        self.0
    }

    /// Drops `stream` and holds nothing.
    pub fn from_stream(stream: impl Stream<Item = Result<JsValue, JsValue>> + 'static) -> Self {
        drop(stream);
        Self(JsValue::UNDEFINED.into())
    }

    /// Nothing.
    pub fn into_stream(self) -> impl Stream<Item = Result<JsValue, JsValue>> {
        empty()
    }
}
