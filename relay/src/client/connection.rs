//! The socket of a command-line client: connects, waits, comes back, here or at another relay.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use joey_shared::viewer::{Incoming, Viewer};
use joey_shared::wire::{RELAYS_MAX, VERSION};
use joey_shared::{address, backoff, close};

use super::args::Target;
use super::transport::{Failure, News, Opener, Wire};
use crate::runtime::clock::nanos;
use crate::runtime::console;

/// A relay that says nothing for this long is gone: it beats every 5 s.
const SILENCE: Duration = Duration::from_secs(15);
/// How often the file of the token is looked into while its token counts for a while only.
const LOOK: Duration = Duration::from_secs(1);

/// A relay that may be there.
struct Relay {
    /// Its WebSocket.
    address: String,
    /// Whether a stream over HTTP is tried first, since the WebSocket brought nothing.
    wants_stream: bool,
    /// Why it refuses this client for good, if it does.
    refusal: Option<String>,
}

impl Relay {
    const fn new(address: String) -> Self {
        Self { address, wants_stream: false, refusal: None }
    }
}

/// A viewer and its connection.
pub(super) struct Link {
    /// What is known.
    pub(super) viewer: Viewer,
    /// Relays, those that were given first.
    relays: Vec<Relay>,
    /// How many were given.
    given: usize,
    /// Which of them it is the turn of.
    at: usize,
    /// How many of them were tried in vain since one was heard.
    tried: usize,
    once: bool,
    opener: Opener,
    token_file: Option<PathBuf>,
    /// The token that was shown last.
    token: Option<String>,
    /// Whether the relay has refused it.
    is_refused: bool,
    looked: Instant,
    wire: Option<Wire>,
    /// Whether the connection has brought anything.
    is_heard: bool,
    started: Instant,
    attempt: u32,
    /// Whether no relay was there before one was.
    waited: bool,
    has_been_connected: bool,
}

impl Link {
    pub(super) fn new(target: &Target, viewer: Viewer) -> Self {
        let mut relays: Vec<Relay> = Vec::new();
        for address in &target.relay {
            if !relays.iter().any(|relay| relay.address == *address) {
                relays.push(Relay::new(address.clone()));
            }
        }
        Self {
            viewer,
            given: relays.len(),
            relays,
            at: 0,
            tried: 0,
            once: target.once,
            opener: Opener::new(target.ca.clone()),
            token_file: target.token_file.clone(),
            token: None,
            is_refused: false,
            looked: Instant::now(),
            wire: None,
            is_heard: false,
            started: Instant::now(),
            attempt: 0,
            waited: false,
            has_been_connected: false,
        }
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
        let Some(wire) = &mut self.wire else { return self.connect().await };
        if let Err(why) = wire.send(self.viewer.outgoing()).await {
            return self.lost(&why).await;
        }
        match tokio::time::timeout(SILENCE, wire.next()).await {
            Ok(Ok(News::Message(bytes))) => {
                self.has_heard();
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
            Ok(Ok(News::Life)) => Ok(()),
            Ok(Ok(News::Closed(code, reason))) => self.closed(code, &reason).await,
            Ok(Err(why)) => self.lost(&why).await,
            Err(_) => self.lost("the relay has gone silent").await,
        }
    }

    /// The connection has brought something: its relay is there.
    fn has_heard(&mut self) {
        (self.attempt, self.tried, self.is_heard) = (0, 0, true);
        self.relays.iter_mut().for_each(|relay| relay.refusal = None);
    }

    /// The relay has ended the connection.
    async fn closed(&mut self, code: u16, reason: &str) -> anyhow::Result<()> {
        // Who is told why has been heard.
        self.is_heard = true;
        let wants_token = close::wants_token(code);
        if let Some(file) = self.token_file.as_ref().filter(|_| wants_token) {
            self.is_refused = true;
            let why = format!("the relay wants another token than that in {} ({code})", file.display());
            return self.lost(&why).await;
        }
        if wants_token {
            let why = format!("it refuses this client: {reason} ({code})");
            return self.failed(Failure { why, is_answer: true, is_final: true }).await;
        }
        anyhow::ensure!(close::may_return(code), "the relay refuses this client: {reason} ({code})");
        self.lost(&format!("the relay closed the connection: {reason} ({code})")).await
    }

    /// Shows the relay the token in the file, if that has changed since the last one was shown.
    fn look_for_newer_token(&mut self) {
        if self.wire.is_none() || self.viewer.expires_ns().is_none() || self.looked.elapsed() < LOOK {
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
        let token = self.read_token()?;
        if self.is_refused && token == self.token {
            self.pause().await;
            return Ok(());
        }
        (self.token, self.is_refused) = (token, false);
        let Some(relay) = self.relays.get_mut(self.at) else {
            self.pause().await;
            return Ok(());
        };
        let (address, token) = (relay.address.as_str(), self.token.as_deref());
        let socket = if relay.wants_stream { None } else { Some(self.opener.socket(address, token).await?) };
        let opened = match socket {
            Some(Err(socket)) if socket.is_answer => {
                // Whoever lets no WebSocket through may say that it is forbidden. It is, where a stream is not let through either.
                let stream = self.opener.stream(address, token).await?;
                relay.wants_stream = stream.is_ok();
                stream.map_err(|stream| Failure { is_final: socket.is_final && stream.is_answer, ..socket })
            }
            Some(opened) => opened,
            None => {
                let stream = self.opener.stream(address, token).await?;
                relay.wants_stream = stream.is_ok();
                stream
            }
        };
        match opened {
            Ok(wire) => {
                self.wire = Some(wire);
                (self.has_been_connected, self.is_heard) = (true, false);
                self.viewer.connected();
                Ok(())
            }
            Err(failure) => self.failed(failure).await,
        }
    }

    /// There is no connection to the relay whose turn it was: goes on to the next.
    ///
    /// # Errors
    /// When all of them refuse this client for good, or none is there and this client is not to wait.
    async fn failed(&mut self, Failure { why, is_final, .. }: Failure) -> anyhow::Result<()> {
        self.wire = None;
        self.viewer.disconnected();
        let is_last = self.is_last();
        let Some(relay) = self.relays.get_mut(self.at) else { return Ok(()) };
        let address = relay.address.clone();
        relay.refusal = is_final.then(|| format!("{address}: {why}"));
        let refusals: Vec<&str> = self.relays.iter().filter_map(|relay| relay.refusal.as_deref()).collect();
        if refusals.len() == self.relays.len() {
            anyhow::bail!("refused by {}", refusals.join("; "));
        }
        anyhow::ensure!(!(self.once && is_last), "no relay at {address}: {why}");
        self.waited |= !self.has_been_connected && is_last;
        if self.attempt == 0 {
            let next = if is_last { "waiting for it" } else { "trying the next" };
            console::line(format_args!("joey: no relay at {address} ({why}); {next}"));
        }
        self.pause().await;
        Ok(())
    }

    async fn lost(&mut self, why: &str) -> anyhow::Result<()> {
        let wire = self.wire.take();
        self.viewer.disconnected();
        if let (Some(relay), false) = (self.relays.get_mut(self.at), self.is_heard) {
            // Something takes WebSockets and lets nothing through them: the other way is tried at once.
            relay.wants_stream = matches!(wire, Some(Wire::Socket(_)));
            if relay.wants_stream {
                return Ok(());
            }
        }
        anyhow::ensure!(!self.once, "{why}");
        console::line(format_args!("joey: {why}; coming back"));
        self.pause().await;
        Ok(())
    }

    /// Whether every other relay was tried as well.
    const fn is_last(&self) -> bool {
        self.tried + 1 >= self.relays.len()
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
        self.at = (self.at + 1) % self.relays.len();
        tokio::time::sleep(Duration::from_millis(delay_ms.into())).await;
    }

    /// Knows, behind what was given, what the relay has told last: those told earlier may be gone for good.
    fn learn(&mut self) {
        let current = self.relays.get(self.at).map(|relay| relay.address.clone());
        let known = self.relays.split_off(self.given);
        for told in self.viewer.relays().iter().filter(|told| address::is_whole(told)) {
            let Some(address) = address::websocket(told, false) else { continue };
            if self.relays.len() < RELAYS_MAX && !self.relays.iter().any(|relay| relay.address == address) {
                self.relays.push(Relay::new(address));
            }
        }
        for before in known {
            if let Some(relay) = self.relays.iter_mut().find(|relay| relay.address == before.address) {
                *relay = before;
            }
        }
        let at = self.relays.iter().position(|relay| Some(&relay.address) == current.as_ref());
        self.at = at.unwrap_or(self.relays.len() - 1);
    }
}
