//! Many viewers of one or several systems, on one thread.
//!
//! A viewer costs the generator one read for what has arrived, and no more thought than counting takes: the frames of the peers
//! carry Wallaroo's records as they are, so these are found by a word that each holds once, whatever is around them. Of the
//! relay's messages the heads are read. Only some viewers read every update, for its stamp.

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
use crate::figures::percentile;
use crate::server::Server;
use crate::topic::Grain;

/// Bytes read at once: what one viewer gets in a round, and more.
const READ_BYTES: usize = 256 * 1024;
/// One viewer in so many reads every update for its stamp.
const SAMPLED: usize = 10;
/// Viewers that have come and not been let in, at most. A system that is slower than they come would otherwise have more waiting
/// than Linux lets wait (128 for a listener of Rust's standard library), and whoever comes then tries again a second later.
const WAITING_MAX: usize = 100;
/// How long a lazy crowd sleeps between two looks. On loopback the kernel charges the waking of a reader to the writer, several
/// microseconds for each message; viewers on other machines cost their server no such thing. Whoever measures CPU lets nobody
/// be woken; whoever measures delays has to.
const PAUSE: Duration = Duration::from_millis(1);
/// How long anything may take before a run is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the machine keeps for a viewer that will not read, in bytes: the least it agrees to. What is owed to the viewer then stays
/// with the server.
const DEAF_BYTES: usize = 4 * 1024;

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

impl Group {
    /// What this `share` of the delays stay below, in ms.
    pub(crate) fn delay_ms(&mut self, share: f64) -> f64 {
        percentile(&mut self.delays_ns, share) / 1e6
    }
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
    /// What each of them watches; they take turns.
    pub(crate) topics: &'a [Vec<Topic>],
    /// How finely that is named.
    pub(crate) grain: Grain,
    /// From where on, as far as the system knows a past.
    pub(crate) start: Start,
    /// Whether they will stop reading.
    pub(crate) is_deaf: bool,
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

    /// Brings viewers to `server`, with `meanwhile` done all the time, until all have been let in; gives the number of their group.
    pub(crate) fn bring(
        &mut self,
        server: &Server,
        wish: Wish<'_>,
        mut meanwhile: impl FnMut() -> Result<()>,
    ) -> Result<usize> {
        let group = self.groups.len();
        self.groups.push(Group { first_viewer: self.viewers.len(), viewers: wish.viewers, ..Group::default() });
        for at in 0..wish.viewers {
            self.open(server, group, wish, at)?;
            let waiting_max = if at + 1 == wish.viewers { 0 } else { WAITING_MAX };
            let began = Instant::now();
            while at + 1 - self.groups[group].ready > waiting_max {
                ensure!(began.elapsed() < PATIENCE, "nobody is let in any more: {}", self.progress());
                meanwhile()?;
                self.turn(PAUSE)?;
            }
        }
        Ok(group)
    }

    fn open(&mut self, server: &Server, group: usize, wish: Wish<'_>, at: usize) -> Result<()> {
        let topics = wish.topics[at % wish.topics.len()].clone();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if wish.is_deaf {
            socket.set_recv_buffer_size(DEAF_BYTES)?;
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
            grain: wish.grain,
            start: wish.start,
            is_sampled: at.is_multiple_of(SAMPLED),
            state: State::Asked,
            partial: Vec::new(),
            updates: 0,
        });
        Ok(())
    }

    /// From now on nobody of `group` reads.
    pub(crate) fn stall(&mut self, group: usize) -> Result<()> {
        let Group { first_viewer, viewers, .. } = self.groups[group];
        for viewer in &mut self.viewers[first_viewer..first_viewer + viewers] {
            self.poll.registry().deregister(&mut viewer.stream)?;
        }
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
            viewer.read(&mut self.buffer, &mut self.groups[viewer.group])?;
        }
        Ok(())
    }

    /// Reads until those of `group` have got so many updates in all.
    pub(crate) fn until_got(&mut self, group: usize, updates: u64) -> Result<()> {
        let began = Instant::now();
        while self.groups[group].updates < updates {
            ensure!(began.elapsed() < PATIENCE, "not every viewer gets everything: {}", self.progress());
            self.turn(Duration::from_millis(100))?;
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
            self.turn(left)?;
        }
        Ok(())
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
