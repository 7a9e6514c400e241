//! The socket of a command-line client: connects, waits, comes back.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{SinkExt as _, StreamExt as _};
use joey_shared::viewer::{Incoming, Viewer};
use joey_shared::wire::{SUBPROTOCOL, VERSION};
use joey_shared::{backoff, close};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::cli::Target;

/// A relay that says nothing for this long is gone: it beats every 5 s.
const SILENCE: Duration = Duration::from_secs(15);

/// A viewer and its connection.
pub(super) struct Link {
    /// What is known.
    pub(super) viewer: Viewer,
    address: String,
    once: bool,
    socket: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    started: Instant,
    attempt: u32,
    /// Whether some attempt failed before the first one succeeded.
    waited: bool,
    has_been_connected: bool,
}

impl Link {
    pub(super) fn new(target: &Target, viewer: Viewer) -> anyhow::Result<Self> {
        Ok(Self {
            viewer,
            address: address_of(&target.relay)?,
            once: target.once,
            socket: None,
            started: Instant::now(),
            attempt: 0,
            waited: false,
            has_been_connected: false,
        })
    }

    /// The local clock that the viewer is given: ns since this client started.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether the relay was not there when this client started.
    pub(super) const fn had_to_wait(&self) -> bool {
        self.waited
    }

    /// Takes the next message, connecting first where need be, and shows `incoming` every new update in it.
    ///
    /// # Errors
    /// When the relay is not there and the client is not to wait, or when waiting cannot help.
    pub(super) async fn step(&mut self, incoming: impl FnMut(&Incoming<'_>)) -> anyhow::Result<()> {
        let Some(socket) = &mut self.socket else { return self.connect().await };
        for message in self.viewer.outgoing() {
            if let Err(error) = socket.send(Message::from(message)).await {
                return self.lost(&error.to_string()).await;
            }
        }
        match tokio::time::timeout(SILENCE, socket.next()).await {
            Ok(Some(Ok(Message::Binary(bytes)))) => {
                self.attempt = 0;
                let now_ns = self.now_ns();
                if let Err(error) = self.viewer.receive(&bytes, now_ns, incoming) {
                    eprintln!("joey: a message from the relay cannot be read: {error}");
                }
                anyhow::ensure!(
                    self.viewer.speaks_our_version(),
                    "this program speaks version {VERSION} of the protocol, the relay version {}",
                    self.viewer.relay().map_or(0, |relay| relay.version)
                );
                Ok(())
            }
            Ok(Some(Ok(Message::Close(frame)))) => {
                let (code, reason) =
                    frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                anyhow::ensure!(close::may_return(code), "the relay refuses this client: {reason} ({code})");
                self.lost(&format!("the relay closed the connection: {reason} ({code})")).await
            }
            Ok(Some(Ok(_))) => Ok(()),
            Ok(Some(Err(error))) => self.lost(&error.to_string()).await,
            Ok(None) => self.lost("the connection ended").await,
            Err(_) => self.lost("the relay has gone silent").await,
        }
    }

    async fn connect(&mut self) -> anyhow::Result<()> {
        let mut request = self.address.as_str().into_client_request().context("not an address of a relay")?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
        let connected = tokio::time::timeout(SILENCE, connect_async(request)).await;
        match connected.unwrap_or_else(|_| Err(Error::Io(std::io::ErrorKind::TimedOut.into()))) {
            Ok((socket, _)) => {
                self.socket = Some(socket);
                self.has_been_connected = true;
                self.viewer.connected();
                Ok(())
            }
            Err(Error::Http(response)) if response.status().is_client_error() => {
                anyhow::bail!("{} answers {}", self.address, response.status())
            }
            Err(error) if self.once => anyhow::bail!("no relay at {}: {error}", self.address),
            Err(error) => {
                self.waited |= !self.has_been_connected;
                if self.attempt == 0 {
                    eprintln!("joey: no relay at {} ({error}); waiting for it", self.address);
                }
                self.pause().await;
                Ok(())
            }
        }
    }

    async fn lost(&mut self, why: &str) -> anyhow::Result<()> {
        self.socket = None;
        self.viewer.disconnected();
        anyhow::ensure!(!self.once, "{why}");
        eprintln!("joey: {why}; coming back");
        self.pause().await;
        Ok(())
    }

    async fn pause(&mut self) {
        let delay_ms = backoff::delay_ms(self.attempt, fastrand::u32(..));
        self.attempt = self.attempt.saturating_add(1);
        tokio::time::sleep(Duration::from_millis(delay_ms.into())).await;
    }
}

/// The WebSocket's address from what was typed: `host:port`, or a URL whose path defaults to `/ws`.
fn address_of(typed: &str) -> anyhow::Result<String> {
    let (scheme, rest) = typed.split_once("://").unwrap_or(("ws", typed));
    let scheme = match scheme {
        "ws" | "http" => "ws",
        "wss" | "https" => {
            anyhow::bail!("{typed}: this program has no TLS; connect to the relay itself, or through a tunnel")
        }
        _ => anyhow::bail!("{typed} is not the address of a relay"),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    anyhow::ensure!(!host.is_empty(), "{typed} is not the address of a relay");
    Ok(if path.is_empty() { format!("{scheme}://{host}/ws") } else { format!("{scheme}://{host}/{path}") })
}

#[cfg(test)]
mod tests {
    use super::address_of;

    #[test]
    fn a_relay_may_be_named_in_short() {
        for typed in ["127.0.0.1:4000", "ws://127.0.0.1:4000", "http://127.0.0.1:4000/", "ws://127.0.0.1:4000/ws"] {
            assert_eq!(address_of(typed).unwrap(), "ws://127.0.0.1:4000/ws");
        }
        assert_eq!(address_of("ws://host/joey/ws").unwrap(), "ws://host/joey/ws");
        assert!(["", "ftp://host", "ws://", "wss://host"].into_iter().all(|typed| address_of(typed).is_err()));
    }
}
