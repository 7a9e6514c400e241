//! The connection of a command-line client: connects, waits, and reconnects to the same relay or another one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use joey_shared::recording::Entry;
use joey_shared::viewer::{Incoming, Viewer};
use joey_shared::wire::{RELAYS_MAX, VERSION};
use joey_shared::{address, backoff, close};

use super::args::Target;
use super::record::Recorder;
use super::transport::{ConnectError, Connector, Event, Reached, Transport};
use crate::runtime::clock::nanos;
use crate::runtime::console;

/// A relay that sends nothing for this long is considered gone. It should send a heartbeat every 5 s.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Interval at which the token file is checked for a newer token, if the current token expires.
const TOKEN_FILE_INTERVAL: Duration = Duration::from_secs(1);

/// A relay to connect to.
struct Relay {
    /// The address of its WebSocket.
    address: String,
    /// Whether to try an HTTP stream first, because its WebSocket delivered no message.
    prefers_stream: bool,
    /// Why it rejects this client permanently, if it does.
    rejection: Option<String>,
}

impl Relay {
    const fn new(address: String) -> Self {
        Self { address, prefers_stream: false, rejection: None }
    }
}

/// An event of a connection, or why the connection is lost.
pub(super) type Received = Result<Event, String>;

/// A viewer and its connection.
pub(super) struct Connection {
    /// The state received from the relays.
    pub(super) viewer: Viewer,
    /// Records what the viewer sends and receives.
    pub(super) recorder: Option<Recorder>,
    /// Relays to try: first the configured ones, then those that a relay has announced.
    relays: Vec<Relay>,
    /// Number of configured relays.
    configured: usize,
    /// Index of the current relay.
    current: usize,
    /// Number of relays that have failed since one last sent a message.
    failed: usize,
    once: bool,
    connector: Connector,
    token_file: Option<PathBuf>,
    /// The token that was last sent.
    token: Option<String>,
    /// Whether the relay has rejected it.
    is_token_rejected: bool,
    token_file_checked: Instant,
    transport: Option<Transport>,
    /// When the connection was opened, or something arrived on it.
    last_received: Instant,
    /// Whether a message has arrived on the current connection.
    has_received: bool,
    started: Instant,
    attempt: u32,
    /// Whether no relay was reachable at the start.
    has_waited: bool,
    has_been_connected: bool,
}

impl Connection {
    pub(super) fn new(target: &Target, viewer: Viewer) -> Self {
        let mut relays: Vec<Relay> = Vec::new();
        for address in &target.relay {
            if !relays.iter().any(|relay| relay.address == *address) {
                relays.push(Relay::new(address.clone()));
            }
        }
        Self {
            viewer,
            recorder: None,
            configured: relays.len(),
            relays,
            current: 0,
            failed: 0,
            once: target.once,
            connector: Connector::new(target.ca.clone()),
            token_file: target.token_file.clone(),
            token: None,
            is_token_rejected: false,
            token_file_checked: Instant::now(),
            transport: None,
            last_received: Instant::now(),
            has_received: false,
            started: Instant::now(),
            attempt: 0,
            has_waited: false,
            has_been_connected: false,
        }
    }

    /// The local clock for the viewer: ns since this client started.
    pub(super) fn now_ns(&self) -> u64 {
        nanos(self.started.elapsed())
    }

    /// Begins a new file of the recording if the current one is full.
    pub(super) fn rotate_recording(&mut self) {
        let now_ns = self.now_ns();
        if let Some(recorder) = &mut self.recorder {
            recorder.rotate_if_full(&self.viewer, now_ns);
        }
    }

    /// Whether no relay was reachable when this client started.
    pub(super) const fn had_to_wait(&self) -> bool {
        self.has_waited
    }

    /// Connects if necessary, receives the next message, and calls `incoming` for each new update in it.
    ///
    /// # Errors
    /// Fails if no relay is reachable and the client must not wait, or if waiting cannot help.
    pub(super) async fn step(&mut self, incoming: impl FnMut(&Incoming<'_>)) -> anyhow::Result<()> {
        if !self.is_connected() {
            return self.connect().await;
        }
        self.send().await?;
        match self.next().await {
            Some(event) => self.handle(event, incoming).await,
            None => Ok(()),
        }
    }

    /// Whether there is a connection to a relay.
    pub(super) const fn is_connected(&self) -> bool {
        self.transport.is_some()
    }

    /// Sends the messages of the viewer.
    ///
    /// # Errors
    /// Fails if the connection is lost and the client must not reconnect.
    pub(super) async fn send(&mut self) -> anyhow::Result<()> {
        self.send_newer_token();
        let Some(transport) = &mut self.transport else { return Ok(()) };
        let commands = self.viewer.outgoing();
        if let Some(recorder) = &mut self.recorder {
            let relay_ns = self.viewer.relay_ns(nanos(self.started.elapsed())).unwrap_or(0);
            // The format itself leaves out tokens.
            commands.iter().for_each(|command| recorder.write(relay_ns, Entry::Command(command)));
        }
        match transport.send(commands).await {
            Ok(()) => Ok(()),
            Err(reason) => self.lost(&reason).await,
        }
    }

    /// Waits for the next event of the connection; `None` without a connection. It may be cancelled: then nothing is lost.
    pub(super) async fn next(&mut self) -> Option<Received> {
        let transport = self.transport.as_mut()?;
        let silent_at = self.last_received + SILENCE_MAX;
        let event = tokio::time::timeout_at(silent_at.into(), transport.next()).await;
        self.last_received = Instant::now();
        Some(event.unwrap_or_else(|_| Err("the relay stopped responding".to_owned())))
    }

    /// Handles an event of the connection, and calls `incoming` for each new update in it.
    ///
    /// # Errors
    /// Fails if the connection is lost and the client must not reconnect, or if the relay rejects it permanently.
    pub(super) async fn handle(&mut self, event: Received, incoming: impl FnMut(&Incoming<'_>)) -> anyhow::Result<()> {
        match event {
            Ok(Event::Message(bytes)) => {
                self.mark_received();
                let now_ns = self.now_ns();
                if let Err(error) = self.viewer.receive(&bytes, now_ns, incoming) {
                    console::line(format_args!("joey: cannot decode a message from the relay: {error}"));
                }
                if let Some(recorder) = &mut self.recorder {
                    recorder.write(self.viewer.relay_ns(now_ns).unwrap_or(0), Entry::Message(&bytes));
                }
                anyhow::ensure!(
                    self.viewer.is_compatible(),
                    "this program uses version {VERSION} of the protocol, the relay uses version {}",
                    self.viewer.relay().map_or(0, |relay| relay.version)
                );
                Ok(())
            }
            Ok(Event::Activity) => Ok(()),
            Ok(Event::Closed(code, reason)) => self.closed(code, &reason).await,
            Err(reason) => self.lost(&reason).await,
        }
    }

    /// A message has arrived, so the relay works.
    fn mark_received(&mut self) {
        (self.attempt, self.failed, self.has_received) = (0, 0, true);
        self.relays.iter_mut().for_each(|relay| relay.rejection = None);
    }

    /// Handles a close by the relay.
    async fn closed(&mut self, code: u16, reason: &str) -> anyhow::Result<()> {
        // A close reason is a response too.
        self.has_received = true;
        let needs_token = close::requires_token(code);
        if let Some(file) = self.token_file.as_ref().filter(|_| needs_token) {
            self.is_token_rejected = true;
            let reason = format!("the relay rejects the token in {} ({code})", file.display());
            return self.lost(&reason).await;
        }
        if needs_token {
            let reason = format!("it rejects this client: {reason} ({code})");
            return self.failed(&ConnectError { reason, reached: Reached::Answer, is_final: true }).await;
        }
        anyhow::ensure!(close::allows_reconnect(code), "the relay rejects this client: {reason} ({code})");
        self.lost(&format!("the relay closed the connection: {reason} ({code})")).await
    }

    /// Sends the token in the file, if it has changed since the last one was sent.
    fn send_newer_token(&mut self) {
        if self.transport.is_none()
            || self.viewer.expires_ns().is_none()
            || self.token_file_checked.elapsed() < TOKEN_FILE_INTERVAL
        {
            return;
        }
        self.token_file_checked = Instant::now();
        // The file may be missing while it is being replaced. The next check reads it.
        if let Ok(Some(token)) = self.read_token()
            && self.token.as_ref() != Some(&token)
        {
            self.viewer.set_token(&token);
            self.token = Some(token);
        }
    }

    fn read_token(&self) -> anyhow::Result<Option<String>> {
        super::args::read_token(self.token_file.as_deref())
    }

    /// Connects to a relay, or waits before the next attempt.
    ///
    /// # Errors
    /// Fails if no relay is reachable and the client must not wait, or if waiting cannot help.
    pub(super) async fn connect(&mut self) -> anyhow::Result<()> {
        let token = self.read_token()?;
        if self.is_token_rejected && token == self.token {
            self.pause().await;
            return Ok(());
        }
        (self.token, self.is_token_rejected) = (token, false);
        let Some(relay) = self.relays.get_mut(self.current) else {
            self.pause().await;
            return Ok(());
        };
        let (address, token) = (relay.address.as_str(), self.token.as_deref());
        let socket = if relay.prefers_stream { None } else { Some(self.connector.socket(address, token).await?) };
        let opened = match socket {
            Some(Err(error)) if error.allows_stream() => {
                // A proxy that blocks WebSockets may answer "forbidden". This is final only if a stream gets an answer too.
                let stream = self.connector.stream(address, token).await?;
                relay.prefers_stream = stream.is_ok();
                stream.map_err(|stream| ConnectError { is_final: error.is_final && stream.allows_stream(), ..error })
            }
            Some(opened) => opened,
            None => {
                let stream = self.connector.stream(address, token).await?;
                relay.prefers_stream = stream.is_ok();
                stream
            }
        };
        match opened {
            Ok(transport) => {
                self.transport = Some(transport);
                self.last_received = Instant::now();
                (self.has_been_connected, self.has_received) = (true, false);
                self.viewer.connected();
                Ok(())
            }
            Err(error) => self.failed(&error).await,
        }
    }

    /// Handles a failed connection attempt, and moves on to the next relay.
    ///
    /// # Errors
    /// Fails if all relays reject this client permanently, or none is reachable and this client must not wait.
    async fn failed(&mut self, error: &ConnectError) -> anyhow::Result<()> {
        self.transport = None;
        self.viewer.disconnected();
        let is_last = self.is_last();
        let Some(relay) = self.relays.get_mut(self.current) else { return Ok(()) };
        let address = relay.address.clone();
        relay.rejection = error.is_final.then(|| format!("{address}: {}", error.reason));
        let rejections: Vec<&str> = self.relays.iter().filter_map(|relay| relay.rejection.as_deref()).collect();
        if rejections.len() == self.relays.len() {
            anyhow::bail!("rejected by {}", rejections.join("; "));
        }
        anyhow::ensure!(!(self.once && is_last), error.message(&address));
        self.has_waited |= !self.has_been_connected && is_last;
        if self.attempt == 0 {
            let next = if is_last { "waiting for it" } else { "trying the next" };
            console::line(format_args!("joey: {}; {next}", error.message(&address)));
        }
        self.pause().await;
        Ok(())
    }

    /// Handles a lost connection.
    async fn lost(&mut self, reason: &str) -> anyhow::Result<()> {
        let transport = self.transport.take();
        self.viewer.disconnected();
        if let (Some(relay), false) = (self.relays.get_mut(self.current), self.has_received) {
            // A proxy accepts WebSockets but forwards no messages, so an HTTP stream is tried at once.
            relay.prefers_stream = matches!(transport, Some(Transport::WebSocket(_)));
            if relay.prefers_stream {
                return Ok(());
            }
        }
        anyhow::ensure!(!self.once, "{reason}");
        console::line(format_args!("joey: {reason}; reconnecting"));
        self.pause().await;
        Ok(())
    }

    /// Whether all other relays have failed too.
    const fn is_last(&self) -> bool {
        self.failed + 1 >= self.relays.len()
    }

    /// Moves on to the next relay: almost at once, or after a delay if none was reachable.
    async fn pause(&mut self) {
        let delay_ms = if self.is_last() {
            self.failed = 0;
            self.attempt = self.attempt.saturating_add(1);
            backoff::delay_ms(self.attempt - 1, fastrand::u32(..))
        } else {
            self.failed += 1;
            backoff::failover_delay_ms(fastrand::u32(..))
        };
        self.update_relays();
        self.current = (self.current + 1) % self.relays.len();
        tokio::time::sleep(Duration::from_millis(delay_ms.into())).await;
    }

    /// Replaces the announced relays by the latest announcement. Relays from earlier announcements may no longer exist.
    fn update_relays(&mut self) {
        let current = self.relays.get(self.current).map(|relay| relay.address.clone());
        let announced_before = self.relays.split_off(self.configured);
        for announced in self.viewer.relays().iter().filter(|relay| address::has_scheme(relay)) {
            let Some(address) = address::websocket(announced, false) else { continue };
            if self.relays.len() < RELAYS_MAX && !self.relays.iter().any(|relay| relay.address == address) {
                self.relays.push(Relay::new(address));
            }
        }
        for before in announced_before {
            if let Some(relay) = self.relays.iter_mut().find(|relay| relay.address == before.address) {
                *relay = before;
            }
        }
        let at = self.relays.iter().position(|relay| Some(&relay.address) == current.as_ref());
        self.current = at.unwrap_or(self.relays.len() - 1);
    }
}
