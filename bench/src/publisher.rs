//! One producer of one system, in that system's own protocol.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use joey::demo::emitter;
use socket2::SockRef;

use crate::protocol::{mqtt, nats, websocket};
use crate::record::{LENGTH, Records, now_ns};
use crate::server::Server;
use crate::system::System;
use crate::topic::{Grain, app_topic, channel};

/// A connection and the bytes to write to it.
pub(crate) struct Publisher {
    system: System,
    stream: TcpStream,
    out: Vec<u8>,
    /// The channel of each series: one for all, or one each.
    channels: Vec<String>,
    grain: Grain,
}

impl Publisher {
    /// Connects to `server` in order to publish `records`.
    pub(crate) fn connect(server: &Server, records: &Records, grain: Grain) -> Result<Self> {
        let (system, app) = (server.system, records.app());
        let mut stream =
            TcpStream::connect(server.ingest).with_context(|| format!("{} at {}", system.name(), server.ingest))?;
        stream.set_nodelay(true)?;
        // Use cubic where allowed, as most machines do. With BBR the sender's kernel sets pacing timers. On loopback
        // that happens when an acknowledgement arrives and is charged to the reader: a seventh of a frame's cost.
        let _ = SockRef::from(&stream).set_tcp_congestion(b"cubic");
        let handshake = match system {
            System::Joey => [emitter::connect(), emitter::join(app, "initializer")].concat(),
            System::Floor => Vec::new(),
            System::Nats => nats::CONNECT.to_vec(),
            System::Mosquitto => mqtt::connect(&format!("producer-{app}")),
            System::Uws | System::Axum | System::Nchan | System::Ws => websocket::request(&format!("/pub?{app}"), None),
        };
        stream.write_all(&handshake)?;
        if matches!(system, System::Uws | System::Axum | System::Nchan | System::Ws) {
            websocket::expect_switch(&mut stream)?;
        }
        // Discard what the server sends, so that it does not fill its buffers.
        let mut reader = stream.try_clone()?;
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while reader.read(&mut bytes).is_ok_and(|read| read > 0) {}
        });
        let channels = (0..records.series()).map(|series| {
            let channel = match grain {
                Grain::App => channel(&app_topic(app)),
                Grain::Series => channel(&records.topic(series)),
            };
            if system == System::Nats { nats::subject(&channel) } else { channel }
        });
        let channels = channels.collect();
        Ok(Self { system, stream, out: Vec::new(), channels, grain })
    }

    /// Adds a frame of series number `series` to the output buffer.
    pub(crate) fn push(&mut self, series: usize, frame: &[u8]) {
        let out = &mut self.out;
        match self.system {
            System::Joey | System::Floor => out.extend(frame),
            System::Nats => nats::push(out, &self.channels[series], &frame[LENGTH..]),
            System::Mosquitto => mqtt::push(out, &self.channels[series], &frame[LENGTH..]),
            System::Uws | System::Axum | System::Nchan | System::Ws => {
                if self.grain == Grain::Series {
                    websocket::push_masked_text(out, &self.channels[series]);
                }
                websocket::push_masked(out, &frame[LENGTH..]);
            }
        }
    }

    /// Adds a frame of every series with the timestamp `at_ns`, and writes the buffer.
    pub(crate) fn round(&mut self, records: &mut Records, number: usize, at_ns: u64) -> Result<()> {
        for (series, frame) in records.round(number, at_ns).enumerate() {
            self.push(series, frame);
        }
        self.flush()
    }

    /// Writes `count` frames separately, `rate` per second.
    pub(crate) fn one_by_one(&mut self, records: &mut Records, count: usize, rate: u32) -> Result<()> {
        let (start, pause) = (Instant::now(), Duration::from_secs(1) / rate);
        for number in 0..count {
            let due = start + pause * u32::try_from(number)?;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let (series, frame) = records.one(number, now_ns());
            self.push(series, frame);
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the buffer.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let written = self.stream.write_all(&self.out).with_context(|| format!("{} does not read", self.system.name()));
        self.out.clear();
        written
    }

    /// Wakes up a system that otherwise serves its viewers only ten times a second.
    pub(crate) fn nudge(&mut self) -> Result<()> {
        if self.system == System::Mosquitto {
            self.stream.write_all(mqtt::PING)?;
        }
        Ok(())
    }

    /// Closes the write side, and waits until the server has read everything and closes.
    pub(crate) fn finish(self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let mut rest = self.stream;
        rest.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut bytes = [0; 64];
        while rest.read(&mut bytes)? > 0 {}
        Ok(())
    }
}
