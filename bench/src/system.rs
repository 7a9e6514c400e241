//! What is measured: the relay and its peers, started as processes of their own.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::machine::{self, Cores};

/// A system that carries updates from producers to viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// The relay.
    Joey,
    /// uWebSockets, inside Bun.
    Uws,
    /// A broadcast channel of tokio behind axum's WebSocket.
    Axum,
    /// The npm package of this name.
    Ws,
    /// Reads what comes and drops it.
    Floor,
}

impl System {
    /// As it is called in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Joey => "joey",
            Self::Uws => "uWebSockets (Bun)",
            Self::Axum => "axum broadcast",
            Self::Ws => "ws (Node)",
            Self::Floor => "read and drop",
        }
    }

    /// Whether its producers speak WebSocket too.
    pub(crate) const fn publishes_over_websocket(self) -> bool {
        matches!(self, Self::Uws | Self::Axum | Self::Ws)
    }
}

/// A running system.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) system: System,
    child: Child,
    /// Where producers connect.
    pub(crate) ingest: SocketAddr,
    /// Where viewers connect.
    pub(crate) viewers: SocketAddr,
}

impl Server {
    /// Starts `system` where servers run, with further `words` on its command line. `None` when it is not installed.
    pub(crate) fn start(system: System, words: &[&str], cores: Cores) -> Result<Option<Self>> {
        let (viewers, mut ingest) = (free_address()?, free_address()?);
        let port = viewers.port().to_string();
        let script = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name);
        let mut command = match system {
            System::Joey => {
                let mut command = Command::new(env::var_os("JOEY_BIN").context("JOEY_BIN names no relay")?);
                command.args(["serve", "--log-level", "error", "--per-address", "0", "--viewers", "19000"]);
                command.args(["--ingest", &ingest.to_string(), "--http", &viewers.to_string()]).args(words);
                command
            }
            System::Uws => {
                let Some(bun) = installed("node_modules/bun/bin/bun.exe") else { return Ok(None) };
                let mut command = Command::new(bun);
                command.arg(script("uws.js")).arg(port);
                command
            }
            System::Ws => {
                let Some(modules) = installed("node_modules/ws") else { return Ok(None) };
                let mut command = Command::new("node");
                command.arg(script("ws.js")).arg(port).env("NODE_PATH", modules.with_file_name(""));
                command
            }
            System::Axum | System::Floor => {
                let mut command = Command::new(env::current_exe()?);
                command.arg(if system == System::Axum { "serve-axum" } else { "serve-floor" }).arg(port);
                command
            }
        };
        if system != System::Joey {
            ingest = viewers;
        }
        // What they say when they start would stand between the figures; one that does not start is named.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = cores.as_server(|| command.spawn())?.with_context(|| format!("cannot start {}", system.name()))?;
        let mut server = Self { system, child, ingest, viewers };
        server.wait_until_open()?;
        Ok(Some(server))
    }

    /// CPU time used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        machine::cpu(self.child.id())
    }

    /// Memory now, in KiB.
    pub(crate) fn memory_kib(&self) -> Result<u64> {
        machine::memory_kib(self.child.id())
    }

    /// One of the relay's own figures.
    pub(crate) fn metric(&self, name: &str) -> Result<u64> {
        let mut stream = TcpStream::connect(self.viewers)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no {name} in /metrics"))?.trim().parse()?)
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_open(&mut self) -> Result<()> {
        let began = Instant::now();
        for address in [self.ingest, self.viewers] {
            while TcpStream::connect(address).is_err() {
                ensure!(self.child.try_wait()?.is_none(), "{} ended at once", self.system.name());
                ensure!(began.elapsed() < Duration::from_secs(10), "{} does not open {address}", self.system.name());
                thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to end.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A file below the folder where `cargo xtask bench --install-peers` puts things.
fn installed(file: &str) -> Option<PathBuf> {
    let file = PathBuf::from(env::var_os("JOEY_PEERS")?).join(file);
    file.exists().then_some(file)
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
