//! Peers that are part of this program, which starts itself again for each.

use std::collections::HashMap;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread;

use anyhow::Result;
use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{RawQuery, State};
use axum::routing::any;
use futures_util::SinkExt as _;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Mutex, broadcast};

/// Bytes read at once when they are discarded.
const READ_BYTES: usize = 64 * 1024;
/// Messages queued for a slow viewer.
const QUEUE: usize = 4_096;
/// Bytes read from a viewer at once, as in the relay; the library's default is 128 KiB per viewer.
const VIEWER_BYTES: usize = 4 * 1024;

/// Reads everything from any connection and discards it.
pub(crate) fn floor(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        thread::spawn(move || {
            let mut bytes = vec![0; READ_BYTES];
            while stream.read(&mut bytes).is_ok_and(|read| read > 0) {}
        });
    }
    Ok(())
}

type Topics = Arc<Mutex<HashMap<String, broadcast::Sender<Message>>>>;

/// A simple axum server: a broadcast channel for each topic, whose viewers send all pending messages at once.
#[tokio::main]
pub(crate) async fn axum(port: u16) -> Result<()> {
    let router = Router::new().route("/pub", any(publish)).route("/sub", any(subscribe)).with_state(Topics::default());
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    Ok(axum::serve(listener, router).await?)
}

async fn channel(topics: &Topics, topic: Option<String>) -> broadcast::Sender<Message> {
    let mut topics = topics.lock().await;
    topics.entry(topic.unwrap_or_default()).or_insert_with(|| broadcast::channel(QUEUE).0).clone()
}

async fn publish(
    State(topics): State<Topics>,
    RawQuery(topic): RawQuery,
    upgrade: WebSocketUpgrade,
) -> axum::response::Response {
    let channel = channel(&topics, topic).await;
    upgrade.on_upgrade(async move |mut socket| {
        while let Some(Ok(message)) = socket.recv().await {
            // Sending fails without viewers, which is not an error.
            channel.send(message).ok();
        }
    })
}

async fn subscribe(
    State(topics): State<Topics>,
    RawQuery(topic): RawQuery,
    upgrade: WebSocketUpgrade,
) -> axum::response::Response {
    let updates = channel(&topics, topic).await.subscribe();
    upgrade.read_buffer_size(VIEWER_BYTES).on_upgrade(async move |socket| _ = forward(socket, updates).await)
}

async fn forward(mut socket: WebSocket, mut updates: broadcast::Receiver<Message>) -> Result<()> {
    loop {
        tokio::select! {
            message = updates.recv() => match message {
                Ok(message) => socket.feed(message).await?,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return Ok(()),
            },
            received = socket.recv() => match received {
                Some(Ok(_)) => continue,
                _ => return Ok(()),
            },
        }
        loop {
            match updates.try_recv() {
                Ok(message) => socket.feed(message).await?,
                Err(TryRecvError::Lagged(_)) => {}
                Err(_) => break,
            }
        }
        socket.flush().await?;
    }
}
