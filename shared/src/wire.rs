//! The WebSocket protocol `joey.v1` between relay and viewer.
//!
//! Each binary WebSocket message is one postcard value of [`ServerMessage`] or [`ClientMessage`]. `shared/README.md` is
//! the specification. Its hex examples are tests in this module. New variants are added at the end of an enum; any
//! other change needs a new subprotocol. Decoding accepts any bytes: it returns a message or an error and never panics.
//! It allocates nothing for a length before the bytes have arrived.

mod batch;
mod histogram;
mod objectives;

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

pub use self::batch::{BatchHead, Blob, Update, Updates, UpdatesWriter};
pub(crate) use self::histogram::take;
pub use self::histogram::{PackedHistogram, Span, read_histogram, span_of, write_histogram};
pub use self::objectives::{OBJECTIVE_VIEWS_MAX, ObjectiveCounts, ObjectiveEntry, ObjectiveState, ObjectiveView};
use crate::series::{NameError, Provenance, SeriesKey, Source, Topic};

/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "joey.v1";
/// The protocol version, the first field of the relay's hello.
pub const VERSION: u16 = 1;
/// Maximum length of a message from a viewer, in bytes.
pub const CLIENT_BYTES_MAX: usize = 16 * 1024;
/// Maximum number of relay addresses in a message.
pub const RELAYS_MAX: usize = 16;

/// A message from relay to viewer. Add new variants at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerMessage<'a> {
    /// The first message on every connection.
    Hello(Hello<'a>),
    /// The applications and their workers.
    Catalogue {
        /// Whether this is the whole catalogue, which replaces the viewer's, or only the changed entries.
        full: bool,
        /// The applications.
        apps: Vec<AppEntry>,
        /// Whether this message ends the list.
        last: bool,
    },
    /// The answer to a subscription: its feed, where it starts, and what is missing.
    Subscribed(Subscribed),
    /// Updates of one feed. All viewers of the feed receive the same bytes.
    Batch {
        /// The range of the log, and the base of the first update.
        head: BatchHead,
        /// The updates. [`BatchHead::read`] decodes them.
        #[serde(borrow)]
        updates: Blob<'a>,
    },
    /// A part of a feed that the relay no longer retains. This viewer will not receive it.
    Gap {
        /// The feed.
        feed: u32,
        /// First missing sequence number.
        from: u64,
        /// Last missing sequence number.
        to: u64,
    },
    /// Sent when nothing else was sent for a while. It shows that the connection works, and the position of each feed.
    Heartbeat {
        /// The relay's time, in ns since the Unix epoch.
        now_ns: u64,
        /// `(feed, last sequence number sent)` for each feed of this viewer, so that it detects a lost tail.
        sent: Vec<(u32, u64)>,
    },
    /// A rejected subscription.
    SubscribeFailed {
        /// The viewer's number of the subscription.
        sub: u32,
        /// The reason.
        reason: SubscribeError,
    },
    /// Names and numbers of series. The relay sends those of a topic before [`ServerMessage::Subscribed`], and those of an
    /// application in answer to [`ClientMessage::Describe`]. It splits a long list into several messages.
    Series {
        /// The application.
        app: String,
        /// The epoch of the log that the numbers belong to.
        epoch: u64,
        /// Some of its series. Those of one category are in the order in which they were first received.
        series: Vec<SeriesEntry>,
        /// Whether this message ends the list.
        last: bool,
    },
    /// The sum of a range of a feed, instead of its batches. The relay sends it to viewers that read too slowly, and
    /// for history that is older than the retained batches. No count is lost; only time resolution is.
    Rollup {
        /// The range of the log, as in a batch.
        head: BatchHead,
        /// One item for each series and each ten seconds of period ends: the sum of the updates, from the start of the
        /// first to the end of the last. The sequence number of an item has no meaning.
        #[serde(borrow)]
        updates: Blob<'a>,
    },
    /// When the viewer's token expires. Sent when the token is accepted, and again when a third of its lifetime is left.
    Expires {
        /// The expiry time, in ns since the Unix epoch.
        at_ns: u64,
    },
    /// Addresses of relays that the viewer can connect to if this relay fails. Sent after the hello if any are
    /// configured, and again after a change.
    Relays {
        /// The addresses as configured, including this relay's own.
        addresses: Vec<String>,
    },
    /// The logs of an application, at this relay and at others. Sent before [`SubscribeError::SeveralLogs`] answers a
    /// subscription, and again after a change. Logs that are not in the list have ended.
    Logs {
        /// The application.
        app: String,
        /// The logs, by their epochs.
        epochs: Vec<u64>,
    },
    /// The state of the relay's cluster. Sent after each change.
    Cluster {
        /// Whether the relay is connected to the others.
        connected: bool,
        /// Number of relays, including this one.
        relays: u32,
        /// Number of viewers over all relays, for each application that this viewer is subscribed to.
        watching: Vec<(String, u32)>,
    },
    /// The relay's wall clock was set while the relay ran. Sent after the hello if this has happened, and again after
    /// each change. All other times of the relay are measured by its monotonic clock, which does not change.
    WallClock {
        /// How far the wall clock is ahead of the monotonic clock, in ns.
        step_ns: i64,
        /// When it was last set, in ns since the Unix epoch by the monotonic clock.
        at_ns: u64,
    },
    /// The objectives that the relay watches itself, and their state in an application that the viewer is subscribed to. Sent
    /// after [`ServerMessage::Subscribed`] if the relay watches any in the application, and again after a change. It replaces
    /// the one before.
    Objectives {
        /// The application.
        app: String,
        /// The objectives that are for at least one of its views, in the order of the relay's files.
        objectives: Vec<ObjectiveEntry>,
    },
}

/// Information about the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// [`VERSION`] of the relay. A viewer with another version shows an error and stops.
    pub version: u16,
    /// The release of the relay, for display.
    pub release: &'a str,
    /// Random number of this run of the relay. Sequence numbers are only valid within their epoch.
    pub epoch: u64,
    /// The relay's time, in ns since the Unix epoch.
    pub now_ns: u64,
    /// How long the relay retains single updates, in ns.
    pub ring_ns: u64,
    /// How long the relay retains a series that no producer sends any more, in ns.
    pub series_retention_ns: u64,
    /// Whether the relay runs simulated producers (`joey demo`).
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
    /// Number of its series.
    pub series: u32,
    /// The formats of its producers, in ascending order.
    pub sources: Vec<Source>,
    /// Whether the counts of some series are in approximate bins.
    pub is_approximate: bool,
    /// Whether some series are sampled.
    pub is_sampled: bool,
    /// When its newest update arrived, in ns since the Unix epoch; 0 before the first.
    pub last_received_ns: u64,
    /// Number of frames that were older than the retained history.
    pub late: u64,
    /// Number of frames that were rejected because a limit of the application was reached.
    pub over_limit: u64,
    /// Number of frames that were rejected because of an invalid name.
    pub rejected_for_name: u64,
    /// The newest rejected names, at most [`REJECTED_NAMES_MAX`], oldest first.
    pub rejected_names: Vec<RejectedName>,
}

/// A rejected name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedName {
    /// The name, shortened and with escaped characters, safe for display.
    pub escaped: String,
    /// Why it was rejected.
    pub reason: NameError,
}

/// Maximum number of rejected names in an entry of the catalogue.
pub const REJECTED_NAMES_MAX: usize = 8;

/// One worker in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerEntry {
    /// Its name.
    pub worker: String,
    /// Whether a connection of this worker is open.
    pub connected: bool,
    /// Since when it is connected or disconnected, in ns since the Unix epoch.
    pub since_ns: u64,
    /// How often it has reconnected.
    pub reconnects: u32,
    /// The offset that the relay adds to the ends of its periods, in ns. Positive if the worker's clock is behind, 0 if it is
    /// approximately right.
    pub offset_ns: i64,
    /// When the offset was last changed, in ns since the Unix epoch; 0 without an offset.
    pub offset_since_ns: u64,
}

/// A series and its number in an application's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesEntry {
    /// Its number, which is never reused in this log.
    pub number: u32,
    /// The producer's ID: the position in the pipeline. Two IDs of one key are two entries.
    pub id: u16,
    /// Where its histograms come from. Two of them of one key are two entries.
    pub provenance: Provenance,
    /// Its names.
    pub key: SeriesKey,
}

/// The answer to a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// The viewer's number of the subscription.
    pub sub: u32,
    /// The relay's number of the feed, which each batch contains.
    pub feed: u32,
    /// The epoch of the log.
    pub epoch: u64,
    /// The next sequence number that this viewer will receive, whether or not that update matches the filter.
    pub next: u64,
    /// The last sequence number of the feed's batches. A viewer that has passed it has received all history.
    pub head: u64,
    /// Number of requested updates before `next` that the relay no longer retains.
    pub missing: u64,
}

/// Why a subscription was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubscribeError {
    /// The application does not exist, or the viewer has no permission for it. It appears in the catalogue when that changes.
    NoSuchApp,
    /// The viewer has reached its limit of subscriptions.
    TooManySubscriptions,
    /// The viewer already uses this number.
    DuplicateNumber,
    /// Several relays have a log of the application. Subscribe to each log in [`ServerMessage::Logs`] instead.
    SeveralLogs,
}

/// A message from viewer to relay. Add new variants at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// Subscribe to a topic.
    Subscribe {
        /// The viewer's number of the subscription.
        sub: u32,
        /// The topic.
        topic: Topic,
        /// Where to start.
        start: Start,
    },
    /// End a subscription.
    Unsubscribe {
        /// The number of the subscription.
        sub: u32,
    },
    /// Request the series of an application without a subscription.
    Describe {
        /// The application.
        app: String,
    },
    /// Send a token: as the first message, unless the HTTP request contained one, and later to renew it.
    Token {
        /// The token, a JWT in its compact form.
        token: String,
    },
    /// Subscribe to a topic in one log of its application.
    SubscribeLog {
        /// The viewer's number of the subscription.
        sub: u32,
        /// The epoch of the log.
        epoch: u64,
        /// The topic.
        topic: Topic,
        /// Where to start.
        start: Start,
    },
}

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// With all single updates that the relay retains.
    History,
    /// With the next update.
    Live,
    /// After the last update that the viewer has. If the epoch is another one, with all retained history, including rollups.
    After {
        /// The epoch of that update.
        epoch: u64,
        /// The sequence number of that update.
        seq: u64,
    },
    /// With the retained history of this span up to now: single updates, and rollups for older history.
    Recent {
        /// The span, in ns.
        span_ns: u64,
    },
}

/// Why bytes cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// They are not the postcard form of a known message.
    Malformed,
    /// They continue after the end of the message.
    Trailing,
    /// The length exceeds the limit.
    TooLong,
}

impl core::fmt::Display for WireError {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str(match self {
            Self::Malformed => "not a message of this protocol version",
            Self::Trailing => "bytes after the end of the message",
            Self::TooLong => "longer than the limit",
        })
    }
}

impl core::error::Error for WireError {}

impl SeriesEntry {
    /// The entry of the Wallaroo series `key` with this number and producer ID.
    #[must_use]
    pub const fn new(number: u32, id: u16, key: SeriesKey) -> Self {
        Self { number, id, provenance: Provenance::exact(Source::Wallaroo), key }
    }
}

impl<'a> ServerMessage<'a> {
    /// Decodes one message.
    ///
    /// ```
    /// use joey_shared::wire::{ServerMessage, WireError};
    /// // The example of a gap in shared/README.md.
    /// let bytes = [0x04, 0x01, 0x03, 0xac, 0x02];
    /// assert_eq!(ServerMessage::decode(&bytes), Ok(ServerMessage::Gap { feed: 1, from: 3, to: 300 }));
    /// assert_eq!(ServerMessage::decode(&bytes[..4]), Err(WireError::Malformed));
    /// ```
    ///
    /// # Errors
    /// Fails if `bytes` are not exactly one message. The viewer can ignore the error, because messages are decoded independently.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        decode(bytes)
    }

    /// Encodes this message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

impl ClientMessage {
    /// Decodes one message.
    ///
    /// # Errors
    /// Fails if `bytes` are not exactly one message.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        decode(bytes)
    }

    /// Encodes this message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(WireError::Trailing),
        Err(_) => Err(WireError::Malformed),
    }
}

pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Encoding cannot fail: the length of every sequence is known, and the vector grows as needed.
    postcard::to_allocvec(message).unwrap_or_default()
}

#[cfg(test)]
mod tests;
