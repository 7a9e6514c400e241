//! The WebSocket protocol `joey.v1`: what relay and viewer say to each other.
//!
//! Every message is one binary WebSocket message and one postcard value of [`ServerMessage`] or [`ClientMessage`].
//! `shared/README.md` is the specification, with hex examples that the tests here check. The enums grow only at their
//! ends; anything else is a new subprotocol. Decoding is total: any bytes give a message or an error, never a panic, and no
//! length that a peer claims is allocated before its bytes are there.

mod batch;
mod bins;

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

pub use self::batch::{BatchHead, Blob, Update, Updates, UpdatesWriter};
pub use self::bins::{PackedBins, Span, SparseBins, span_of};
use crate::series::{NameError, SeriesKey, Topic};

/// The WebSocket subprotocol that both ends name.
pub const SUBPROTOCOL: &str = "joey.v1";
/// The protocol's version, first thing in the relay's hello.
pub const VERSION: u16 = 1;
/// Longest message that a relay accepts from a viewer, in bytes.
pub const CLIENT_BYTES_MAX: usize = 16 * 1024;
/// Addresses that a viewer knows at most.
pub const RELAYS_MAX: usize = 16;

/// From relay to viewer. New kinds are added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerMessage<'a> {
    /// The first message on every connection.
    Hello(Hello<'a>),
    /// Applications that exist, and their workers.
    Catalogue {
        /// Whether this is everything (it replaces what the viewer knows) or only what changed.
        full: bool,
        /// The applications.
        apps: Vec<AppEntry>,
        /// Whether this message ends the list.
        last: bool,
    },
    /// Answer to a subscription: what will come, from where on, and what is missing.
    Subscribed(Subscribed),
    /// Updates of one feed, the same bytes for every viewer of it.
    Batch {
        /// Which part of the log this covers, and what the updates are relative to.
        head: BatchHead,
        /// The updates; read them with [`BatchHead::read`].
        #[serde(borrow)]
        updates: Blob<'a>,
    },
    /// Part of a feed that the relay no longer holds, and that this viewer will not get.
    Gap {
        /// The feed.
        feed: u32,
        /// First number missing.
        from: u64,
        /// Last number missing.
        to: u64,
    },
    /// Sent when nothing else was for a while: the connection lives, and this is how far each feed has come.
    Heartbeat {
        /// The relay's clock, in ns since the Unix epoch.
        now_ns: u64,
        /// `(feed, last number covered by what was sent)` for each feed of this viewer, so that it sees when the tail is lost.
        sent: Vec<(u32, u64)>,
    },
    /// A subscription that was not made.
    SubscribeFailed {
        /// The viewer's number for the subscription.
        sub: u32,
        /// Why.
        reason: SubscribeError,
    },
    /// Names and numbers of series: before [`ServerMessage::Subscribed`] those of the topic, and the answer to
    /// [`ClientMessage::Describe`]. A long list comes in several messages.
    Series {
        /// The application.
        app: String,
        /// The epoch of the log that the numbers belong to.
        epoch: u64,
        /// Some of its series; those of one category in the order in which they were first seen.
        series: Vec<SeriesEntry>,
        /// Whether this message ends the list.
        last: bool,
    },
    /// What a stretch of a feed adds up to, in place of its batches: for a viewer that reads too slowly for them, and for the
    /// time before the batches that the relay still holds. No count is lost, only which update it came with.
    Rollup {
        /// As in a batch: which part of the log this covers.
        head: BatchHead,
        /// One item for each series and ten seconds of period ends: the sum of its updates, from the start of the first to the
        /// end of the last. An item's number means nothing.
        #[serde(borrow)]
        updates: Blob<'a>,
    },
    /// Until when the viewer's token is good: said once it is accepted, and again when a third of its life is left.
    Expires {
        /// The end, in ns since the Unix epoch.
        at_ns: u64,
    },
    /// Where else a viewer may go, should this relay be gone: after the hello, if the relay was told, and again when that
    /// changes.
    Relays {
        /// Addresses as a person would write them; this relay's own among them.
        addresses: Vec<String>,
    },
    /// Which logs there are of an application, here and in other relays; said before a subscription to it is answered with
    /// [`SubscribeError::SeveralLogs`], and again when it changes. What is no longer named has ended.
    Logs {
        /// The application.
        app: String,
        /// The logs, by their epochs.
        epochs: Vec<u64>,
    },
    /// How the relay stands with others, where it is one of several; said when it changes.
    Cluster {
        /// Whether it hears of the others; if not, it is on its own for now.
        connected: bool,
        /// How many relays there are, itself counted.
        relays: u32,
        /// How many viewers, wherever they are, watch each application that this one watches.
        watching: Vec<(String, u32)>,
    },
    /// The wall clock of the relay was set while it ran; sent after the hello where that has happened, and again when it changes.
    /// All times that the relay sends are by a clock of its own, which goes on as it was.
    WallClock {
        /// How far the wall clock is ahead of the relay's own clock, in ns.
        step_ns: i64,
        /// When it was last set, by the relay's own clock, in ns since the Unix epoch.
        at_ns: u64,
    },
}

/// Who the relay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// [`VERSION`] of the relay. A viewer that speaks another one says so and stops.
    pub version: u16,
    /// The relay's release, to show.
    pub release: &'a str,
    /// Random number of this run of the relay. Stamps of another epoch mean nothing here.
    pub epoch: u64,
    /// The relay's clock, in ns since the Unix epoch.
    pub now_ns: u64,
    /// How far back the relay remembers, in ns.
    pub ring_ns: u64,
    /// How long the relay keeps the number of a series that nobody sends any more, in ns.
    pub series_retention_ns: u64,
    /// Whether the relay makes up its own producers (`joey demo`).
    pub demo: bool,
    /// The TCP port where producers connect.
    pub ingest_port: u16,
}

/// One application in the catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppEntry {
    /// Its name.
    pub app: String,
    /// Its workers, by name.
    pub workers: Vec<WorkerEntry>,
    /// How many series it has.
    pub series: u32,
    /// When its newest update arrived, in ns since the Unix epoch; 0 before the first.
    pub last_received_ns: u64,
    /// How many of its frames were older than everything the relay still held.
    pub late: u64,
    /// How many frames were refused because of a limit on this application.
    pub over_limit: u64,
    /// How many frames were refused because of a name in them.
    pub rejected_for_name: u64,
    /// The names of the newest of them, at most [`REJECTED_NAMES_MAX`], the oldest first.
    pub rejected_names: Vec<RejectedName>,
}

/// A name that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedName {
    /// The name as it can be shown: cut, and with escapes in it.
    pub escaped: String,
    /// Why it was refused.
    pub reason: NameError,
}

/// Refused names in one entry of the catalogue.
pub const REJECTED_NAMES_MAX: usize = 8;

/// One worker in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerEntry {
    /// Its name.
    pub worker: String,
    /// Whether a connection of this worker is open.
    pub connected: bool,
    /// Since when it is connected, or gone, in ns since the Unix epoch.
    pub since_ns: u64,
    /// How often it has come back.
    pub reconnects: u32,
    /// What the relay adds to the ends of its periods, since its clock is off, in ns: positive where it is behind. 0 where it is
    /// about right.
    pub offset_ns: i64,
    /// Since when the relay does that, in ns since the Unix epoch. 0 where it does not.
    pub offset_since_ns: u64,
}

/// A series and the number that stands for it in one application's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesEntry {
    /// Its number, never given to another series of this log.
    pub number: u32,
    /// The producer's id: where in the pipeline the metric sits. Two ids of one key are two entries.
    pub id: u16,
    /// What it is about.
    pub key: SeriesKey,
}

/// Answer to a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// The viewer's number for the subscription.
    pub sub: u32,
    /// The relay's number for the feed; batches carry it.
    pub feed: u32,
    /// The epoch of the log.
    pub epoch: u64,
    /// The next number that this viewer will get, whether or not an update with it passes the filter.
    pub next: u64,
    /// The last number that the feed's batches cover now. Once a viewer is past it, it has all the history there was.
    pub head: u64,
    /// Numbers that the viewer asked for and that the relay no longer holds: how many before `next`.
    pub missing: u64,
}

/// Why a subscription was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubscribeError {
    /// No such application yet, as far as this viewer may know; it will be in the catalogue once there is one.
    NoSuchApp,
    /// The viewer has as many subscriptions as it may.
    TooManySubscriptions,
    /// The viewer uses this number already.
    DuplicateNumber,
    /// The application has a log in each of several relays: follow those that [`ServerMessage::Logs`] names.
    SeveralLogs,
}

/// From viewer to relay. New kinds are added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// Follow a topic.
    Subscribe {
        /// The viewer's own number for this subscription.
        sub: u32,
        /// What to follow.
        topic: Topic,
        /// Where to begin.
        start: Start,
    },
    /// Stop following.
    Unsubscribe {
        /// The number given when subscribing.
        sub: u32,
    },
    /// Ask for the series of an application without following it.
    Describe {
        /// The application.
        app: String,
    },
    /// Show a token: the first message, unless the request brought one, and later a newer token in its place.
    Token {
        /// The token, a JWT in its compact form.
        token: String,
    },
    /// Follow a topic in one log of its application.
    SubscribeLog {
        /// The viewer's own number for this subscription.
        sub: u32,
        /// The log's epoch.
        epoch: u64,
        /// What to follow.
        topic: Topic,
        /// Where to begin.
        start: Start,
    },
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// With every single update that the relay holds.
    History,
    /// With what arrives from now on.
    Live,
    /// After a stamp that the viewer has. Under another epoch: with everything that the relay holds, sums as well.
    After {
        /// The epoch of the stamp.
        epoch: u64,
        /// The number of the stamp.
        seq: u64,
    },
    /// With what the relay holds of this span up to now: single updates where it has them, sums of what is older.
    Recent {
        /// The span, in ns.
        span_ns: u64,
    },
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Not the postcard form of any message known here.
    Malformed,
    /// A message, and bytes after it.
    Trailing,
    /// More bytes than there may be.
    TooLong,
}

impl core::fmt::Display for WireError {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str(match self {
            Self::Malformed => "not a message of this protocol version",
            Self::Trailing => "bytes after the end of the message",
            Self::TooLong => "more bytes than there may be",
        })
    }
}

impl core::error::Error for WireError {}

impl<'a> ServerMessage<'a> {
    /// Reads one message.
    ///
    /// # Errors
    /// When `bytes` are not exactly one message. The viewer counts it and goes on: each message stands alone.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        decode(bytes)
    }

    /// The bytes of this message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

impl ClientMessage {
    /// Reads one message.
    ///
    /// # Errors
    /// When `bytes` are not exactly one message.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        decode(bytes)
    }

    /// The bytes of this message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(WireError::Trailing),
        Err(_) => Err(WireError::Malformed),
    }
}

fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Our messages hold nothing that postcard cannot write: every sequence knows its length, and memory grows as needed.
    postcard::to_allocvec(message).unwrap_or_default()
}

#[cfg(test)]
mod tests;
