//! One viewer: subscribes to its topics in the protocol of its system, and counts what it receives.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use joey_shared::series::{Filter, Topic};
use joey_shared::wire::{ClientMessage, SUBPROTOCOL, ServerMessage, Start};
use memchr::memmem;
use mio::net::TcpStream;

use super::Group;
use crate::protocol::{mqtt, nats, websocket};
use crate::record::{now_ns, stamp};
use crate::system::System;
use crate::topic::{Grain, channel, pattern};

/// A byte string that every Wallaroo record contains once, just before the name of its application.
const RECORD_MARKER: &[u8] = b"metrics:";

pub(super) struct Viewer {
    pub(super) stream: TcpStream,
    pub(super) group: usize,
    pub(super) system: System,
    pub(super) topics: Vec<Topic>,
    pub(super) grain: Grain,
    pub(super) start: Start,
    /// Whether it reads the timestamp of every update.
    pub(super) is_sampled: bool,
    pub(super) state: State,
    /// An incomplete message.
    pub(super) partial: Vec<u8>,
    pub(super) updates: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It has requested a WebSocket.
    Requested,
    /// It has subscribed, and this many responses are outstanding.
    Subscribing(usize),
    Ready,
}

/// The WebSocket request of a viewer.
pub(super) fn request(system: System, topics: &[Topic]) -> Vec<u8> {
    match system {
        System::Joey => websocket::request("/ws", Some(SUBPROTOCOL)),
        System::Nats => websocket::request("/", None),
        System::Mosquitto => websocket::request("/", Some(mqtt::SUBPROTOCOL)),
        System::Uws | System::Axum | System::Nchan | System::Ws | System::Floor => {
            let channels: Vec<String> = topics.iter().map(channel).collect();
            websocket::request(&format!("/sub?{}", channels.join(",")), None)
        }
    }
}

impl Viewer {
    /// Reads what has arrived.
    pub(super) fn read(&mut self, buffer: &mut [u8], group: &mut Group) -> Result<()> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => bail!("{} closed a viewer's connection", self.system.name()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).with_context(|| self.system.name()),
            };
            self.receive(&buffer[..read], group)?;
            // A short read means that the socket is empty.
            if read < buffer.len() {
                return Ok(());
            }
        }
    }

    fn receive(&mut self, bytes: &[u8], group: &mut Group) -> Result<()> {
        if self.partial.is_empty() {
            let used = self.process(bytes, group)?;
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(bytes);
            let used = self.process(&whole, group)?;
            self.partial.extend_from_slice(&whole[used..]);
        }
        Ok(())
    }

    /// Processes complete messages; returns how many bytes they were.
    fn process(&mut self, bytes: &[u8], group: &mut Group) -> Result<usize> {
        let mut used = 0;
        if self.state == State::Requested {
            let Some(head) = websocket::head(bytes) else { return Ok(0) };
            ensure!(bytes.starts_with(b"HTTP/1.1 101"), "rejected: {}", String::from_utf8_lossy(&bytes[..head]));
            used = head;
            self.state = State::Subscribing(self.subscribe()?);
            self.record_responses(0, group);
        }
        if matches!(self.system, System::Nats | System::Mosquitto) && self.state != State::Ready {
            let ready = match self.system {
                System::Nats => nats::READY.to_vec(),
                _ => mqtt::ready(self.topics.len()),
            };
            let Some(at) = memmem::find(&bytes[used..], &ready) else { return Ok(used) };
            used += at + ready.len();
            self.record_responses(1, group);
        }
        let rest = &bytes[used..];
        let before = self.updates;
        let taken = match self.system {
            System::Joey => self.process_messages(rest, group)?,
            _ => self.process_records(rest, group),
        };
        if self.updates > before {
            group.updates += self.updates - before;
            group.last = Some(Instant::now());
        }
        group.bytes += taken as u64;
        Ok(used + taken)
    }

    /// Subscribes to its topics; returns the number of expected responses.
    fn subscribe(&mut self) -> Result<usize> {
        let mut out = Vec::new();
        let patterns = |rest| self.topics.iter().map(|topic| pattern(topic, self.grain, rest)).collect::<Vec<_>>();
        let answers = match self.system {
            System::Joey => {
                for (at, topic) in self.topics.iter().enumerate() {
                    let (sub, topic, start) = (u32::try_from(at)?, topic.clone(), self.start);
                    websocket::push_masked(&mut out, &ClientMessage::Subscribe { sub, topic, start }.encode());
                }
                self.topics.len()
            }
            System::Nats => {
                let subjects: Vec<String> = patterns(">").iter().map(|pattern| nats::subject(pattern)).collect();
                websocket::push_masked(&mut out, &nats::subscribe(&subjects));
                1
            }
            System::Mosquitto => {
                // Two clients with the same name would disconnect each other.
                let name = format!("viewer-{}", self.stream.local_addr()?.port());
                let packets = [mqtt::connect(&name), mqtt::subscribe(&patterns("#"))].concat();
                websocket::push_masked(&mut out, &packets);
                1
            }
            System::Uws | System::Axum | System::Nchan | System::Ws | System::Floor => return Ok(0),
        };
        self.send(&out)?;
        Ok(answers)
    }

    /// Records that this many responses arrived.
    fn record_responses(&mut self, answers: usize, group: &mut Group) {
        if let State::Subscribing(left) = self.state {
            let left = left.saturating_sub(answers);
            self.state = if left == 0 { State::Ready } else { State::Subscribing(left) };
            group.ready += usize::from(left == 0);
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        ensure!(self.stream.write(bytes)? == bytes.len(), "a viewer could not write");
        Ok(())
    }

    /// Processes the relay's messages.
    fn process_messages(&mut self, bytes: &[u8], group: &mut Group) -> Result<usize> {
        let mut used = 0;
        while let Some(frame) = websocket::frame(&bytes[used..]) {
            used += frame.length;
            match frame.opcode {
                websocket::BINARY => self.process_message(frame.payload, group)?,
                websocket::PING => {
                    let mut out = Vec::new();
                    websocket::push_pong(&mut out, frame.payload);
                    self.send(&out)?;
                }
                websocket::CLOSE => bail!("joey closed: {}", String::from_utf8_lossy(frame.payload)),
                _ => {}
            }
        }
        Ok(used)
    }

    fn process_message(&mut self, payload: &[u8], group: &mut Group) -> Result<()> {
        match ServerMessage::decode(payload).map_err(anyhow::Error::msg)? {
            ServerMessage::Subscribed(_) => self.record_responses(1, group),
            ServerMessage::Batch { head, updates } => {
                // The feed of a whole application has every number; for any other the updates must be decoded.
                let is_whole = matches!(self.topics.as_slice(), [Topic { filter: Filter::All, .. }]);
                if is_whole {
                    self.updates += head.to + 1 - head.from;
                }
                if !is_whole || self.is_sampled {
                    let now_ns = now_ns();
                    for update in head.read(updates).filter_map(Result::ok) {
                        self.updates += u64::from(!is_whole);
                        if self.is_sampled {
                            group.delays_ns.push(now_ns.saturating_sub(update.end_ns));
                        }
                    }
                }
            }
            ServerMessage::Gap { .. } => bail!("joey sent a gap"),
            ServerMessage::Rollup { .. } => bail!("joey sent a rollup to a slow viewer"),
            ServerMessage::SubscribeFailed { .. } => bail!("joey rejected a subscription"),
            _ => {}
        }
        Ok(())
    }

    /// Finds Wallaroo's records in the messages of a peer.
    fn process_records(&mut self, bytes: &[u8], group: &mut Group) -> usize {
        // All applications of a run have names of the same length.
        let name = self.topics.first().map_or(0, |topic| topic.app.len());
        let now_ns = now_ns();
        let mut used = 0;
        for at in memmem::find_iter(bytes, RECORD_MARKER) {
            let after = at + RECORD_MARKER.len() + name;
            // The length of the data, then the data, whose last eight bytes are the timestamp.
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
