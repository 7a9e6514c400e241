//! The socket of a command-line client: connects, waits, comes back, here or at another relay.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{SinkExt as _, StreamExt as _};
use joey_shared::viewer::{Incoming, Viewer};
use joey_shared::wire::{RELAYS_MAX, SUBPROTOCOL, VERSION};
use joey_shared::{backoff, close};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::access::tls;
use crate::cli::Target;
use crate::console;
use crate::nanos;

/// A relay that says nothing for this long is gone: it beats every 5 s.
const SILENCE: Duration = Duration::from_secs(15);
/// How often the file of the token is looked into while its token counts for a while only.
const LOOK: Duration = Duration::from_secs(1);

/// A viewer and its connection.
pub(super) struct Link {
    /// What is known.
    pub(super) viewer: Viewer,
    /// Relays, those that were given first.
    addresses: Vec<String>,
    /// How many were given.
    given: usize,
    /// Which of them it is the turn of.
    at: usize,
    /// How many of them were tried in vain since one was heard.
    tried: usize,
    once: bool,
    ca: Option<PathBuf>,
    connector: Connector,
    token_file: Option<PathBuf>,
    /// The token that was shown last.
    token: Option<String>,
    /// Whether the relay has refused it.
    is_refused: bool,
    looked: Instant,
    socket: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    started: Instant,
    attempt: u32,
    /// Whether no relay was there before one was.
    waited: bool,
    has_been_connected: bool,
}

impl Link {
    pub(super) fn new(target: &Target, viewer: Viewer) -> anyhow::Result<Self> {
        let addresses = target.relay.iter().map(|typed| address_of(typed)).collect::<anyhow::Result<Vec<String>>>()?;
        Ok(Self {
            viewer,
            given: addresses.len(),
            addresses,
            at: 0,
            tried: 0,
            once: target.once,
            ca: target.ca.clone(),
            connector: Connector::Plain,
            token_file: target.token_file.clone(),
            token: None,
            is_refused: false,
            looked: Instant::now(),
            socket: None,
            started: Instant::now(),
            attempt: 0,
            waited: false,
            has_been_connected: false,
        })
    }

    /// The local clock that the viewer is given: ns since this client started.
    pub(super) fn now_ns(&self) -> u64 {
        nanos(self.started.elapsed())
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
        self.look_for_newer_token();
        let Some(socket) = &mut self.socket else { return self.connect().await };
        for message in self.viewer.outgoing() {
            if let Err(error) = socket.send(Message::from(message)).await {
                return self.lost(&error.to_string()).await;
            }
        }
        match tokio::time::timeout(SILENCE, socket.next()).await {
            Ok(Some(Ok(Message::Binary(bytes)))) => {
                (self.attempt, self.tried) = (0, 0);
                let now_ns = self.now_ns();
                if let Err(error) = self.viewer.receive(&bytes, now_ns, incoming) {
                    console::line(format_args!("joey: a message from the relay cannot be read: {error}"));
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
                self.is_refused = close::wants_token(code);
                if let Some(file) = self.token_file.as_ref().filter(|_| self.is_refused) {
                    let why = format!("the relay wants another token than that in {} ({code})", file.display());
                    return self.lost(&why).await;
                }
                anyhow::ensure!(close::may_return(code), "the relay refuses this client: {reason} ({code})");
                self.lost(&format!("the relay closed the connection: {reason} ({code})")).await
            }
            Ok(Some(Ok(_))) => Ok(()),
            Ok(Some(Err(error))) => self.lost(&error.to_string()).await,
            Ok(None) => self.lost("the connection ended").await,
            Err(_) => self.lost("the relay has gone silent").await,
        }
    }

    /// Shows the relay the token in the file, if that has changed since the last one was shown.
    fn look_for_newer_token(&mut self) {
        if self.socket.is_none() || self.viewer.expires_ns().is_none() || self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        // A file that is just being replaced may not be there; there is time to look again.
        if let Ok(Some(token)) = self.read_token()
            && self.token.as_ref() != Some(&token)
        {
            self.viewer.show_token(&token);
            self.token = Some(token);
        }
    }

    fn read_token(&self) -> anyhow::Result<Option<String>> {
        let token = match &self.token_file {
            Some(file) => {
                let token = std::fs::read_to_string(file);
                Some(token.with_context(|| format!("cannot read the token in {}", file.display()))?)
            }
            None => std::env::var("JOEY_TOKEN").ok(),
        };
        Ok(token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()))
    }

    async fn connect(&mut self) -> anyhow::Result<()> {
        let address = self.addresses.get(self.at).cloned().unwrap_or_default();
        let mut request = address.as_str().into_client_request().context("not an address of a relay")?;
        if address.starts_with("wss") && matches!(self.connector, Connector::Plain) {
            self.connector = Connector::Rustls(tls::client(self.ca.as_deref())?);
        }
        let token = self.read_token()?;
        if self.is_refused && token == self.token {
            self.pause().await;
            return Ok(());
        }
        (self.token, self.is_refused) = (token, false);
        let protocols = match &self.token {
            Some(token) => format!("{SUBPROTOCOL}, bearer.{token}"),
            None => SUBPROTOCOL.to_owned(),
        };
        let mut protocols = HeaderValue::from_str(&protocols).context("the token is none")?;
        protocols.set_sensitive(true);
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocols);
        let connecting = connect_async_tls_with_config(request, None, false, Some(self.connector.clone()));
        let connected = tokio::time::timeout(SILENCE, connecting).await;
        match connected.unwrap_or_else(|_| Err(Error::Io(std::io::ErrorKind::TimedOut.into()))) {
            Ok((socket, _)) => {
                self.socket = Some(socket);
                self.has_been_connected = true;
                self.viewer.connected();
                Ok(())
            }
            Err(Error::Http(response)) if response.status().is_client_error() => {
                anyhow::bail!("{address} answers {}", response.status())
            }
            Err(error) if self.once && self.is_last() => anyhow::bail!("no relay at {address}: {error}"),
            Err(error) => {
                self.waited |= !self.has_been_connected && self.is_last();
                if self.attempt == 0 {
                    let next = if self.is_last() { "waiting for it" } else { "trying the next" };
                    console::line(format_args!("joey: no relay at {address} ({error}); {next}"));
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
        console::line(format_args!("joey: {why}; coming back"));
        self.pause().await;
        Ok(())
    }

    /// Whether every other relay was tried as well.
    const fn is_last(&self) -> bool {
        self.tried + 1 >= self.addresses.len()
    }

    /// Turns to the next relay: nearly at once, or after a while where none was there.
    async fn pause(&mut self) {
        let delay_ms = if self.is_last() {
            self.tried = 0;
            self.attempt = self.attempt.saturating_add(1);
            backoff::delay_ms(self.attempt - 1, fastrand::u32(..))
        } else {
            self.tried += 1;
            backoff::to_another_ms(fastrand::u32(..))
        };
        self.learn();
        self.at = (self.at + 1) % self.addresses.len();
        tokio::time::sleep(Duration::from_millis(delay_ms.into())).await;
    }

    /// Knows, behind what was given, what the relay has told last: those told earlier may be gone for good.
    fn learn(&mut self) {
        let current = self.addresses.get(self.at).cloned();
        self.addresses.truncate(self.given);
        for told in self.viewer.relays().iter().filter(|told| told.contains("://")) {
            if let Ok(address) = address_of(told)
                && !self.addresses.contains(&address)
                && self.addresses.len() < RELAYS_MAX
            {
                self.addresses.push(address);
            }
        }
        let at = self.addresses.iter().position(|address| Some(address) == current.as_ref());
        self.at = at.unwrap_or(self.addresses.len() - 1);
    }
}

/// The WebSocket's address from what was typed: `host:port`, or a URL whose path defaults to `/ws`.
fn address_of(typed: &str) -> anyhow::Result<String> {
    let (scheme, rest) = typed.split_once("://").unwrap_or(("ws", typed));
    let scheme = match scheme {
        "ws" | "http" => "ws",
        "wss" | "https" => "wss",
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
        assert_eq!(address_of("https://host").unwrap(), "wss://host/ws");
        assert!(["", "ftp://host", "ws://", "wss://"].into_iter().all(|typed| address_of(typed).is_err()));
    }
}
