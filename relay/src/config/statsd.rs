//! The configuration of StatsD.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use joey_shared::histogram::Unit;
use serde::Deserialize;

/// The tags that become part of an operation's name unless others are configured: those that clients use for what a
/// request does.
const TAGS: [&str; 14] = [
    "method",
    "http.method",
    "route",
    "http.route",
    "endpoint",
    "resource_name",
    "handler",
    "view",
    "rpc.method",
    "operation",
    "command",
    "queue",
    "topic",
    "job",
];

/// The entry of the list of tags that stands for every tag.
const ALL_TAGS: &str = "*";

/// The configuration of StatsD, received and sent.
#[derive(Clone, Debug)]
pub struct Statsd {
    /// UDP address to receive on. Default: none, so StatsD is not received.
    pub udp: Option<SocketAddr>,
    /// Path of the Unix datagram socket to receive on. Default: none.
    pub socket: Option<PathBuf>,
    /// Application of metrics without the tag `service`. Default: `statsd`.
    pub app: String,
    /// Unit of the values of the types `h` and `d`, which the protocol leaves open. Default: milliseconds, as for `ms`.
    pub unit: StatsdUnit,
    /// Tags whose values become part of an operation's name, in this order. `*` means every other tag.
    pub tags: Vec<String>,
    /// Server to send gauges to, as `host:port`. Default: none.
    pub out: Option<String>,
    /// Prefix of these gauges. Default: `monhub`, as in Wallaroo's Monitoring Hub.
    pub out_prefix: String,
}

impl Default for Statsd {
    fn default() -> Self {
        let tags = TAGS.map(str::to_owned).to_vec();
        Self {
            udp: None,
            socket: None,
            app: "statsd".to_owned(),
            unit: StatsdUnit::Ms,
            tags,
            out: None,
            out_prefix: "monhub".to_owned(),
        }
    }
}

impl Statsd {
    /// The position of the tag `key` in an operation's name; `None` if it does not become part of it. Tags that only
    /// `*` selects share the last position.
    #[must_use]
    pub fn tag_position(&self, key: &str) -> Option<usize> {
        let position = self.tags.iter().position(|tag| tag == key);
        position.or_else(|| self.tags.iter().any(|tag| tag == ALL_TAGS).then_some(self.tags.len()))
    }
}

/// The unit of a number that is a duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum StatsdUnit {
    /// Seconds.
    S,
    /// Milliseconds.
    #[default]
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

impl From<StatsdUnit> for Unit {
    fn from(unit: StatsdUnit) -> Self {
        match unit {
            StatsdUnit::S => Self::Seconds,
            StatsdUnit::Ms => Self::Milliseconds,
            StatsdUnit::Us => Self::Microseconds,
            StatsdUnit::Ns => Self::Nanoseconds,
        }
    }
}
