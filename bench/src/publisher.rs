//! One producer of one system, in that system's own protocol.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};
use joey::demo::emitter;

use crate::record::LENGTH;
use crate::system::System;
use crate::websocket;

/// A connection and what is to be written to it.
pub(crate) struct Publisher {
    system: System,
    stream: TcpStream,
    out: Vec<u8>,
}

impl Publisher {
    /// Connects to `system` at `address`, to publish to `topic`.
    pub(crate) fn connect(system: System, address: SocketAddr, topic: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address).with_context(|| format!("{} at {address}", system.name()))?;
        stream.set_nodelay(true)?;
        let greeting = match system {
            System::Joey => [emitter::connect(), emitter::join(topic, "initializer")].concat(),
            System::Floor => Vec::new(),
            System::Uws | System::Axum | System::Ws => websocket::request(&format!("/pub?{topic}"), None),
        };
        stream.write_all(&greeting)?;
        if system.publishes_over_websocket() {
            websocket::expect_switch(&mut stream)?;
        }
        // What the other end says meanwhile must not fill its buffers.
        let mut ear = stream.try_clone()?;
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while ear.read(&mut bytes).is_ok_and(|read| read > 0) {}
        });
        Ok(Self { system, stream, out: Vec::new() })
    }

    /// Adds a frame to what is written next.
    pub(crate) fn push(&mut self, frame: &[u8]) {
        match self.system {
            System::Joey | System::Floor => self.out.extend(frame),
            System::Uws | System::Axum | System::Ws => websocket::push_masked(&mut self.out, &frame[LENGTH..]),
        }
    }

    /// Writes it.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let written = self.stream.write_all(&self.out).with_context(|| format!("{} takes nothing", self.system.name()));
        self.out.clear();
        written
    }

    /// Says that nothing more comes, and waits until the other end has read everything and closes.
    pub(crate) fn finish(self) -> Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)?;
        let mut rest = self.stream;
        rest.set_read_timeout(Some(std::time::Duration::from_secs(30)))?;
        let mut bytes = [0; 64];
        while rest.read(&mut bytes)? > 0 {}
        Ok(())
    }
}
