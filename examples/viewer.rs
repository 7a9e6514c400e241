//! A viewer: subscribes to one application and prints the p99 latency of each of its views every second.
//! It ends when the connection does; [`Viewer`] could also resume on a new one.
//!
//! Usage: `cargo run --example viewer -- APP [ws://HOST:PORT/ws]`

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use joey_shared::histogram::Quantile;
use joey_shared::series::{Filter, Topic};
use joey_shared::{format, viewer::Viewer, wire};
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Message};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let app = args.next().ok_or("usage: viewer APP [ws://HOST:PORT/ws]")?;
    let relay = args.next().unwrap_or_else(|| "ws://127.0.0.1:4000/ws".to_owned());
    let request = ClientRequestBuilder::new(relay.parse()?).with_sub_protocol(wire::SUBPROTOCOL);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;

    // The viewer has no socket and no clock. It creates the messages to send and reads those that arrive.
    let mut viewer = Viewer::default();
    viewer.connected();
    viewer.subscribe(Topic { app: app.clone(), filter: Filter::All }, wire::Start::History);
    let start = Instant::now();
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        for message in viewer.outgoing() {
            socket.send(Message::binary(message)).await?;
        }
        tokio::select! {
            message = socket.next() => match message.ok_or("the relay closed the connection")?? {
                Message::Binary(bytes) => viewer.receive(&bytes, start.elapsed().as_nanos() as u64, |_| {})?,
                Message::Close(frame) => return Err(format!("the relay closed the connection: {frame:?}").into()),
                _ => {}
            },
            _ = every_second.tick() => {
                let Some(store) = viewer.app_mut(&app) else { continue };
                let views: Vec<_> = store.views_by_key().map(|(at, view)| (at, view.key.clone())).collect();
                for (at, key) in views.into_iter().filter(|(_, key)| key.kind.has_latency()) {
                    let Some(p99) = store.histogram(at).quantile(Quantile::P99) else { continue };
                    let names: Vec<String> = [key.pipeline, key.worker, key.name].into_iter().flatten().collect();
                    println!("{} {}: p99 {}", key.kind.as_str(), names.join(" | "), format::range(p99));
                }
            }
        }
    }
}
