//! Many viewers of one or several systems, on one thread.
//!
//! A viewer costs the generator one read for what has arrived, and no more thought than counting takes: the frames of the peers
//! carry Wallaroo's records as they are, so these are found by a word that each holds once, whatever is around them. Of the
//! relay's messages the heads are read. Only some viewers read every update, for its stamp.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use joey_shared::series::{Filter, Topic};
use joey_shared::wire::{ClientMessage, SUBPROTOCOL, ServerMessage, Start};
use memchr::memmem::Finder;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::record::{now_ns, stamp};
use crate::system::{Server, System};
use crate::websocket;

/// Bytes read at once: what one viewer gets in a round, and more.
const READ_BYTES: usize = 256 * 1024;
/// One viewer in so many reads every update for its stamp.
const SAMPLED: usize = 10;
/// Connections opened before the answers to them are looked at.
const OPENED_AT_ONCE: usize = 200;
/// How long a lazy crowd sleeps between two looks. On loopback the kernel charges the waking of a reader to the writer, several
/// microseconds for each message; viewers on other machines cost their server no such thing. Whoever measures CPU lets nobody
/// be woken; whoever measures delays has to.
const PAUSE: Duration = Duration::from_millis(1);
/// How long anything may take before a run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the viewers of one group got.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Viewers that may begin.
    pub(crate) ready: usize,
    /// Updates in all.
    pub(crate) updates: u64,
    /// Bytes in all from the answer to the request on, heads of messages and everything else included.
    pub(crate) bytes: u64,
    /// Times from a producer's write to a viewer's read, in ns, of the viewers that look.
    pub(crate) delays_ns: Vec<u64>,
    /// When the last update came.
    pub(crate) last: Option<Instant>,
    first_viewer: usize,
    viewers: usize,
}

struct Viewer {
    stream: TcpStream,
    group: usize,
    system: System,
    topic: String,
    start: Start,
    is_open: bool,
    is_sampled: bool,
    /// What is not whole yet.
    partial: Vec<u8>,
    updates: u64,
}

/// All viewers.
pub(crate) struct Crowd {
    /// Whether they look only once in a while, see [`PAUSE`].
    is_lazy: bool,
    poll: Poll,
    events: Events,
    viewers: Vec<Viewer>,
    pub(crate) groups: Vec<Group>,
    buffer: Vec<u8>,
}

/// What a group of viewers wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    /// How many viewers.
    pub(crate) viewers: usize,
    /// Of which applications; they take turns.
    pub(crate) topics: &'a [String],
    /// From where on, as far as the system knows a past.
    pub(crate) start: Start,
}

impl Crowd {
    /// A crowd that reads what arrives at once.
    pub(crate) fn new() -> Result<Self> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(1_024));
        Ok(Self { is_lazy: false, poll, events, viewers: Vec::new(), groups: Vec::new(), buffer: vec![0; READ_BYTES] })
    }

    /// A crowd that nobody has to wake.
    pub(crate) fn lazy() -> Result<Self> {
        Ok(Self { is_lazy: true, ..Self::new()? })
    }

    /// Brings viewers to `server`; gives the number of their group. They may not all have been let in yet.
    pub(crate) fn bring(&mut self, server: &Server, wish: Wish<'_>) -> Result<usize> {
        let group = self.groups.len();
        self.groups.push(Group { first_viewer: self.viewers.len(), viewers: wish.viewers, ..Group::default() });
        for at in 0..wish.viewers {
            let topic = wish.topics[at % wish.topics.len()].clone();
            self.open(server.system, server.viewers, group, topic, wish.start, at % SAMPLED == 0)?;
            if at % OPENED_AT_ONCE == OPENED_AT_ONCE - 1 {
                self.turn(Duration::ZERO)?;
            }
        }
        Ok(group)
    }

    fn open(
        &mut self,
        system: System,
        address: SocketAddr,
        group: usize,
        topic: String,
        start: Start,
        is_sampled: bool,
    ) -> Result<()> {
        let mut stream = std::net::TcpStream::connect(address).with_context(|| system.name())?;
        let (path, subprotocol) = match system {
            System::Joey => ("/ws".to_owned(), Some(SUBPROTOCOL)),
            _ => (format!("/sub?{topic}"), None),
        };
        stream.write_all(&websocket::request(&path, subprotocol))?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(self.viewers.len()), Interest::READABLE)?;
        self.viewers.push(Viewer {
            stream,
            group,
            system,
            topic,
            start,
            is_open: false,
            is_sampled,
            partial: Vec::new(),
            updates: 0,
        });
        Ok(())
    }

    /// Reads what there is, or what comes within `patience`.
    pub(crate) fn turn(&mut self, patience: Duration) -> Result<()> {
        let patience = if self.is_lazy {
            thread::sleep(patience.min(PAUSE));
            Duration::ZERO
        } else {
            patience
        };
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let viewer = &mut self.viewers[event.token().0];
            let group = &mut self.groups[viewer.group];
            loop {
                let read = match viewer.stream.read(&mut self.buffer) {
                    Ok(0) => bail!("{} closed a viewer's connection", viewer.system.name()),
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error).with_context(|| viewer.system.name()),
                };
                viewer.hear(&self.buffer[..read], group)?;
                // Whoever has read less than there was room for has read everything.
                if read < self.buffer.len() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Reads until `is_done`.
    pub(crate) fn until(&mut self, what: &str, is_done: impl Fn(&[Group]) -> bool) -> Result<()> {
        let began = Instant::now();
        while !is_done(&self.groups) {
            ensure!(began.elapsed() < PATIENCE, "waited in vain until {what}: {:?}", self.groups);
            self.turn(Duration::from_millis(100))?;
        }
        Ok(())
    }

    /// Reads for `span`.
    pub(crate) fn during(&mut self, span: Duration) -> Result<()> {
        let end = Instant::now() + span;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.turn(left)?;
        }
        Ok(())
    }

    /// Reads until every viewer of `group` may begin.
    pub(crate) fn until_ready(&mut self, group: usize) -> Result<()> {
        self.until("all viewers were let in", |groups| groups[group].ready == groups[group].viewers)
    }

    /// Whether every single viewer of `group` got exactly `updates` updates.
    pub(crate) fn ensure_each_got(&self, group: usize, updates: u64) -> Result<()> {
        let Group { first_viewer, viewers, .. } = self.groups[group];
        for viewer in &self.viewers[first_viewer..first_viewer + viewers] {
            ensure!(
                viewer.updates == updates,
                "{}: a viewer got {} updates of {updates}",
                viewer.system.name(),
                viewer.updates
            );
        }
        Ok(())
    }
}

impl Viewer {
    fn hear(&mut self, bytes: &[u8], group: &mut Group) -> Result<()> {
        if self.partial.is_empty() {
            let used = self.take(bytes, group)?;
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(bytes);
            let used = self.take(&whole, group)?;
            self.partial.extend_from_slice(&whole[used..]);
        }
        Ok(())
    }

    /// Takes what is whole; gives how many bytes that was.
    fn take(&mut self, bytes: &[u8], group: &mut Group) -> Result<usize> {
        let mut used = 0;
        if !self.is_open {
            let Some(head) = websocket::head(bytes) else { return Ok(0) };
            ensure!(bytes.starts_with(b"HTTP/1.1 101"), "refused: {}", String::from_utf8_lossy(&bytes[..head]));
            self.is_open = true;
            used = head;
            match self.system {
                System::Joey => self.subscribe()?,
                _ => group.ready += 1,
            }
        }
        let rest = &bytes[used..];
        let before = self.updates;
        let taken = match self.system {
            System::Joey => self.take_messages(rest, group)?,
            _ => self.take_records(rest, group),
        };
        if self.updates > before {
            group.updates += self.updates - before;
            group.last = Some(Instant::now());
        }
        group.bytes += taken as u64;
        Ok(used + taken)
    }

    fn subscribe(&mut self) -> Result<()> {
        let topic = Topic { app: self.topic.clone(), filter: Filter::All };
        let mut out = Vec::new();
        websocket::push_masked(&mut out, &ClientMessage::Subscribe { sub: 1, topic, start: self.start }.encode());
        self.say(&out)
    }

    fn say(&mut self, bytes: &[u8]) -> Result<()> {
        ensure!(self.stream.write(bytes)? == bytes.len(), "a viewer could not speak");
        Ok(())
    }

    /// Takes the relay's messages.
    fn take_messages(&mut self, bytes: &[u8], group: &mut Group) -> Result<usize> {
        let mut used = 0;
        while let Some(frame) = websocket::frame(&bytes[used..]) {
            used += frame.length;
            match frame.opcode {
                websocket::BINARY => self.take_message(frame.payload, group)?,
                websocket::PING => {
                    let mut out = Vec::new();
                    websocket::push_pong(&mut out, frame.payload);
                    self.say(&out)?;
                }
                websocket::CLOSE => bail!("joey closed: {}", String::from_utf8_lossy(frame.payload)),
                _ => {}
            }
        }
        Ok(used)
    }

    fn take_message(&mut self, payload: &[u8], group: &mut Group) -> Result<()> {
        match ServerMessage::decode(payload).map_err(anyhow::Error::msg)? {
            ServerMessage::Subscribed(_) => group.ready += 1,
            ServerMessage::Batch { head, updates } => {
                // A whole application's feed leaves no number out.
                self.updates += head.to + 1 - head.from;
                if self.is_sampled {
                    let now_ns = now_ns();
                    let updates = head.read(updates).filter_map(Result::ok);
                    group.delays_ns.extend(updates.map(|update| now_ns.saturating_sub(update.end_ns)));
                }
            }
            ServerMessage::Gap { .. } => bail!("joey left a gap"),
            ServerMessage::Refused { .. } => bail!("joey refused a subscription"),
            _ => {}
        }
        Ok(())
    }

    /// Finds Wallaroo's records in whatever a peer puts around them.
    fn take_records(&mut self, bytes: &[u8], group: &mut Group) -> usize {
        let word = format!("metrics:{}", self.topic);
        let finder = Finder::new(&word);
        let now_ns = now_ns();
        let mut used = 0;
        for at in finder.find_iter(bytes) {
            let after = at + word.len();
            // The length of the data, and then the data, whose last eight bytes are the stamp.
            let Some(length) = bytes.get(after..).and_then(|rest| rest.first_chunk()) else { return used };
            let Some(record) = bytes.get(..after + 4 + u32::from_be_bytes(*length) as usize) else { return used };
            used = record.len();
            self.updates += 1;
            if self.is_sampled {
                group.delays_ns.push(now_ns.saturating_sub(stamp(record)));
            }
        }
        used
    }
}
