//! Tests whether a relay answers, without using it.

use futures_util::future::{Either, select};
use futures_util::{SinkExt, StreamExt};
use gloo_net::websocket::futures::WebSocket;
use gloo_net::websocket::{Message, WebSocketError};
use gloo_timers::future::TimeoutFuture;
use joey_shared::format;
use joey_shared::wire::{ClientMessage, SUBPROTOCOL, ServerMessage, VERSION};

use super::transport::rejection_reason;
use crate::browser;

/// How long a relay may take to answer, in ms.
const TIMEOUT_MS: u32 = 5_000;

/// Connects to the relay at each of `addresses` and tells the result in one sentence for each.
pub async fn probe(addresses: &[String], token: &str) -> String {
    let mut sentences = Vec::new();
    for address in addresses {
        let sentence = probe_address(address, token).await;
        sentences.push(if addresses.len() > 1 { format!("{address}: {sentence}") } else { sentence });
    }
    sentences.join(" ")
}

async fn probe_address(address: &str, token: &str) -> String {
    if browser::is_encrypted() && address.starts_with("ws:") {
        return "This page came over HTTPS. From here, browsers only open wss:// addresses.".to_owned();
    }
    let Ok(mut socket) = WebSocket::open_with_protocol(address, SUBPROTOCOL) else {
        return "The browser does not open this address.".to_owned();
    };
    let opened_ns = browser::now_ns();
    let hello = async {
        if !token.is_empty() {
            let _ = socket.send(Message::Bytes(ClientMessage::Token { token: token.to_owned() }.encode())).await;
        }
        socket.next().await
    };
    let answer = match select(Box::pin(hello), TimeoutFuture::new(TIMEOUT_MS)).await {
        Either::Left((answer, _)) => answer,
        Either::Right(_) => return format!("No answer within {} s.", TIMEOUT_MS / 1_000),
    };
    match answer {
        Some(Ok(Message::Bytes(bytes))) => match ServerMessage::decode(&bytes) {
            Ok(ServerMessage::Hello(hello)) if hello.version == VERSION => {
                let took = format::duration(browser::now_ns().saturating_sub(opened_ns).into());
                format!("It works: release {}, connected in {took}.", hello.release)
            }
            Ok(ServerMessage::Hello(hello)) => {
                format!("Release {} speaks protocol {}, this page {VERSION}.", hello.release, hello.version)
            }
            _ => "What answers there is not a relay.".to_owned(),
        },
        Some(Err(WebSocketError::ConnectionClose(event))) if event.code != 1006 => {
            format!("The relay refused (code {}): {}", event.code, event.reason)
        }
        _ => rejection_reason(address).await.unwrap_or_else(|| {
            "No connection. Is the address right, does the relay run, and does a firewall let it through?".to_owned()
        }),
    }
}
