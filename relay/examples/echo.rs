//! An echo server on the relay's WebSocket implementation, for conformance tests of RFC 6455. The relay itself has no echo
//! endpoint. Prints its address.

use std::future::poll_fn;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use joey::http::upgrade;
use joey::net::ws_frame::WsFrame;
use joey::session::websocket::Socket;
use tokio_tungstenite::tungstenite::Message;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    let echo = async |request: Request| upgrade(request, echo);
    axum::serve(listener, Router::new().fallback(any(echo))).await
}

async fn echo(mut socket: Socket) {
    // The library answers pings and close frames, and ends the stream at a protocol violation.
    while let Ok(message) = poll_fn(|context| socket.poll_message(context)).await {
        let is_sent = match message {
            // The relay sends its messages in the same way.
            Message::Binary(bytes) => {
                socket.push(&WsFrame::new(&bytes));
                true
            }
            Message::Text(_) => socket.push_message(message).is_ok(),
            _ => true,
        };
        if !is_sent || poll_fn(|context| socket.poll_drain(context)).await.is_err() {
            return;
        }
    }
}
