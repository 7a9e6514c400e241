//! Many viewers of one or several systems, on one thread.
//!
//! A viewer costs the load generator little more than one read for what has arrived. The peers' messages contain
//! Wallaroo's records unchanged, so records are found by searching for a byte string that each contains once. Of the
//! relay's messages only the heads are decoded. Only sampled viewers decode every update, for its timestamp.

mod viewer;

use std::io::{ErrorKind, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use joey_shared::series::Topic;
use joey_shared::wire::Start;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use self::viewer::{State, Viewer, request};
use crate::server::Server;
use crate::statistics::percentile;
use crate::topic::Grain;

/// Bytes read at once: more than what one viewer receives in a round.
const READ_BYTES: usize = 256 * 1024;
/// One in this many viewers reads the timestamp of every update.
const SAMPLED: usize = 10;
/// Maximum number of viewers that are connecting. If a system accepts more slowly than they connect, more than 128
/// would exceed the backlog of Linux for a listener of Rust's standard library, and the connecting client would retry
/// after a second.
const WAITING_MAX: usize = 100;
/// How long a polling crowd sleeps between two polls. On loopback the kernel charges the wake-up of a reader to the
/// writer, several microseconds per message; viewers on other machines do not cost their server this. CPU is therefore
/// measured without wake-ups; delays need them.
const PAUSE: Duration = Duration::from_millis(1);
/// Timeout for any step of a run.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Receive buffer of a viewer that will not read, in bytes: the minimum that the kernel allows. Undelivered data then
/// stays with the server.
const STALLED_BUFFER_BYTES: usize = 4 * 1024;

/// What the viewers of one group received.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Number of subscribed viewers.
    pub(crate) ready: usize,
    /// Number of updates in total.
    pub(crate) updates: u64,
    /// Number of bytes in total after the response head, including the heads of messages.
    pub(crate) bytes: u64,
    /// Times from a producer's write to a viewer's read, in ns, of the sampled viewers.
    pub(crate) delays_ns: Vec<u64>,
    /// When the last update arrived.
    pub(crate) last: Option<Instant>,
    first_viewer: usize,
    viewers: usize,
}

impl Group {
    /// The delay that a `share` of all delays do not exceed, in ms.
    pub(crate) fn delay_ms(&mut self, share: f64) -> f64 {
        percentile(&mut self.delays_ns, share) / 1e6
    }
}

/// All viewers.
pub(crate) struct Crowd {
    /// Whether they poll instead of being woken up, see [`PAUSE`].
    is_polling: bool,
    poll: Poll,
    events: Events,
    viewers: Vec<Viewer>,
    pub(crate) groups: Vec<Group>,
    buffer: Vec<u8>,
}

/// Description of a group of viewers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ViewerSpec<'a> {
    /// Number of viewers.
    pub(crate) viewers: usize,
    /// The topics of each viewer, assigned in turn.
    pub(crate) topics: &'a [Vec<Topic>],
    /// How finely the topics are named.
    pub(crate) grain: Grain,
    /// Where to start, for systems with a history.
    pub(crate) start: Start,
    /// Whether they will stop reading.
    pub(crate) stops_reading: bool,
}

impl Crowd {
    /// A crowd that reads what arrives at once.
    pub(crate) fn new() -> Result<Self> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(1_024));
        Ok(Self {
            is_polling: false,
            poll,
            events,
            viewers: Vec::new(),
            groups: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// A crowd that polls.
    pub(crate) fn polling() -> Result<Self> {
        Ok(Self { is_polling: true, ..Self::new()? })
    }

    /// Connects viewers to `server` and runs `meanwhile` repeatedly until all are subscribed; returns the number of
    /// their group.
    pub(crate) fn connect(
        &mut self,
        server: &Server,
        spec: ViewerSpec<'_>,
        mut meanwhile: impl FnMut() -> Result<()>,
    ) -> Result<usize> {
        let group = self.groups.len();
        self.groups.push(Group { first_viewer: self.viewers.len(), viewers: spec.viewers, ..Group::default() });
        for at in 0..spec.viewers {
            self.open(server, group, spec, at)?;
            let waiting_max = if at + 1 == spec.viewers { 0 } else { WAITING_MAX };
            let start = Instant::now();
            while at + 1 - self.groups[group].ready > waiting_max {
                ensure!(start.elapsed() < TIMEOUT, "viewers no longer get connected: {}", self.progress());
                meanwhile()?;
                self.poll_once(PAUSE)?;
            }
        }
        Ok(group)
    }

    fn open(&mut self, server: &Server, group: usize, spec: ViewerSpec<'_>, at: usize) -> Result<()> {
        let topics = spec.topics[at % spec.topics.len()].clone();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if spec.stops_reading {
            socket.set_recv_buffer_size(STALLED_BUFFER_BYTES)?;
        }
        socket.connect(&server.viewers.into()).with_context(|| server.system.name())?;
        let mut stream = std::net::TcpStream::from(socket);
        stream.write_all(&request(server.system, &topics))?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(self.viewers.len()), Interest::READABLE)?;
        self.viewers.push(Viewer {
            stream,
            group,
            system: server.system,
            topics,
            grain: spec.grain,
            start: spec.start,
            is_sampled: at.is_multiple_of(SAMPLED),
            state: State::Requested,
            partial: Vec::new(),
            updates: 0,
        });
        Ok(())
    }

    /// Stops reading for all viewers of `group`.
    pub(crate) fn stall(&mut self, group: usize) -> Result<()> {
        let Group { first_viewer, viewers, .. } = self.groups[group];
        for viewer in &mut self.viewers[first_viewer..first_viewer + viewers] {
            self.poll.registry().deregister(&mut viewer.stream)?;
        }
        Ok(())
    }

    /// Reads what has arrived, or what arrives within `timeout`.
    pub(crate) fn poll_once(&mut self, timeout: Duration) -> Result<()> {
        let timeout = if self.is_polling {
            thread::sleep(timeout.min(PAUSE));
            Duration::ZERO
        } else {
            timeout
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let viewer = &mut self.viewers[event.token().0];
            viewer.read(&mut self.buffer, &mut self.groups[viewer.group])?;
        }
        Ok(())
    }

    /// Reads until the viewers of `group` have received this many updates in total.
    pub(crate) fn until_received(&mut self, group: usize, updates: u64) -> Result<()> {
        let start = Instant::now();
        while self.groups[group].updates < updates {
            ensure!(start.elapsed() < TIMEOUT, "not every viewer receives everything: {}", self.progress());
            self.poll_once(Duration::from_millis(100))?;
        }
        Ok(())
    }

    fn progress(&self) -> String {
        let group = |group: &Group| format!("{} of {} ready, {} updates", group.ready, group.viewers, group.updates);
        self.groups.iter().map(group).collect::<Vec<_>>().join("; ")
    }

    /// Reads for `span`.
    pub(crate) fn during(&mut self, span: Duration) -> Result<()> {
        let end = Instant::now() + span;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.poll_once(left)?;
        }
        Ok(())
    }

    /// Checks that every viewer of `group` received exactly `updates` updates.
    pub(crate) fn ensure_each_received(&self, group: usize, updates: u64) -> Result<()> {
        let Group { first_viewer, viewers, .. } = self.groups[group];
        for viewer in &self.viewers[first_viewer..first_viewer + viewers] {
            ensure!(
                viewer.updates == updates,
                "{}: a viewer received {} of {updates} updates",
                viewer.system.name(),
                viewer.updates
            );
        }
        Ok(())
    }
}
