//! A system under test as a child process.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::machine::{self, Cores};
use crate::system::System;

/// A running system.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) system: System,
    child: Child,
    /// Address that producers connect to.
    pub(crate) ingest: SocketAddr,
    /// Address that viewers connect to.
    pub(crate) viewers: SocketAddr,
    /// Its configuration and output files; deleted with it.
    _folder: TempDir,
}

impl Server {
    /// Starts `system` on the server's core, with further `arguments`.
    pub(crate) fn start(system: System, arguments: &[&str], cores: Cores) -> Result<Self> {
        let (viewers, ingest) = (free_address()?, free_address()?);
        let ingest = if system.has_own_ingest() { ingest } else { viewers };
        let folder = tempfile::tempdir()?;
        let mut command = system.command(ingest, viewers, folder.path(), arguments)?;
        // Their output would disturb the tables; a system that does not start is reported by name.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = cores.as_server(|| command.spawn())?.with_context(|| format!("cannot start {}", system.name()))?;
        let mut server = Self { system, child, ingest, viewers, _folder: folder };
        server.wait_until_open()?;
        Ok(server)
    }

    /// CPU time used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        machine::cpu(self.child.id())
    }

    /// Current memory in KiB.
    pub(crate) fn memory_kib(&self) -> Result<u64> {
        machine::memory_kib(self.child.id())
    }

    /// One of the relay's own metrics.
    pub(crate) fn metric(&self, name: &str) -> Result<u64> {
        let mut stream = TcpStream::connect(self.viewers)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no {name} in /metrics"))?.trim().parse()?)
    }

    /// Waits until the relay has accepted this many frames in total.
    pub(crate) fn until_accepted(&self, frames: usize) -> Result<()> {
        let start = Instant::now();
        while self.metric("joey_frames_accepted_total")? < frames as u64 {
            ensure!(start.elapsed() < Duration::from_secs(30), "joey accepts no more frames");
            thread::sleep(Duration::from_millis(3));
        }
        Ok(())
    }

    /// Id of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_open(&mut self) -> Result<()> {
        let start = Instant::now();
        for address in [self.ingest, self.viewers] {
            while TcpStream::connect(address).is_err() {
                ensure!(self.child.try_wait()?.is_none(), "{} exited at once", self.system.name());
                ensure!(start.elapsed() < Duration::from_secs(10), "{} does not open {address}", self.system.name());
                thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have exited already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
