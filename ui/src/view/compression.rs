//! Compression by the browser. A library would make the page a tenth larger.

use js_sys::{Array, Function, Reflect, Uint8Array};
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStream, ReadableStreamDefaultReader, WritableStream};

/// Compresses `bytes`. Returns `None` if the browser cannot.
pub(super) async fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    transform("CompressionStream", bytes, usize::MAX).await
}

/// The inverse of [`compress`]. Returns `None` if `bytes` are not compressed or expand to more than `bytes_max`.
pub(super) async fn decompress(bytes: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    transform("DecompressionStream", bytes, bytes_max).await
}

/// Passes `bytes` through a stream of this class. `web-sys` does not have them without a flag for unstable interfaces, though
/// every browser has had them since 2023.
async fn transform(class: &str, bytes: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let class: Function = Reflect::get(&js_sys::global(), &class.into()).ok()?.dyn_into().ok()?;
    let stream = Reflect::construct(&class, &Array::of1(&"deflate-raw".into())).ok()?;
    write(Reflect::get(&stream, &"writable".into()).ok()?.unchecked_ref(), bytes)?;
    read(Reflect::get(&stream, &"readable".into()).ok()?.unchecked_ref(), bytes_max).await
}

/// Writes all bytes. The stream takes them while they are read.
fn write(stream: &WritableStream, bytes: &[u8]) -> Option<()> {
    let writer = stream.get_writer().ok()?;
    for promise in [writer.write_with_chunk(&Uint8Array::from(bytes)), writer.close()] {
        // The reader gets the same error.
        spawn_local(async move { drop(JsFuture::from(promise).await) });
    }
    Some(())
}

async fn read(stream: &ReadableStream, bytes_max: usize) -> Option<Vec<u8>> {
    let reader = stream.get_reader().unchecked_into::<ReadableStreamDefaultReader>();
    let mut bytes = Vec::new();
    loop {
        let chunk = JsFuture::from(reader.read()).await.ok()?;
        let Ok(part) = Reflect::get(&chunk, &"value".into()).ok()?.dyn_into::<Uint8Array>() else { return Some(bytes) };
        if bytes.len() + part.length() as usize > bytes_max {
            let cancelled = reader.cancel();
            spawn_local(async move { drop(JsFuture::from(cancelled).await) });
            return None;
        }
        bytes.extend(part.to_vec());
    }
}
