//! Sends back every message, over a WebSocket that is configured as the relay's own: what tests of conformance to RFC 6455 talk
//! to. The relay itself has nothing that echoes. Prints its address.

use axum::Router;
use axum::extract::WebSocketUpgrade;
use axum::extract::ws::{Message, WebSocket};
use axum::response::Response;
use axum::routing::any;
use joey::http::bounded;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    let echo = async |upgrade: WebSocketUpgrade| -> Response { bounded(upgrade).on_upgrade(echo) };
    axum::serve(listener, Router::new().fallback(any(echo))).await
}

async fn echo(mut socket: WebSocket) {
    // The library answers pings and close frames; what breaks the standard ends the stream.
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}
