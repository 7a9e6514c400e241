//! The usual way to use this crate: one registry, sent once per second.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::registry::{Registry, SERIES_MAX};
use crate::send::{PeriodicSender, SendConfig, Stats};
use crate::series::Series;

/// Records latencies and sends them to a relay once per period. Dropping it sends the rest, and waits for
/// acknowledgements for [`SendConfig::flush_timeout`].
///
/// ```no_run
/// use joey_emit::Emitter;
///
/// let emitter = Emitter::builder("shop", "instance-1").relay("127.0.0.1:5001").start()?;
/// let checkout = emitter.start_to_end("POST /checkout");
/// checkout.time(|| { /* serve the request */ });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Emitter {
    registry: Arc<Registry>,
    sender: PeriodicSender,
}

/// Options of an [`Emitter`].
#[derive(Clone, Debug)]
pub struct EmitterBuilder {
    config: SendConfig,
    relays: Vec<String>,
    period: Duration,
    series_max: usize,
}

impl EmitterBuilder {
    /// Sends to this address, as `host:port`. Repeat it for relays to use if this one fails. Default: `127.0.0.1:5001`.
    #[must_use]
    pub fn relay(mut self, address: impl Into<String>) -> Self {
        self.relays.push(address.into());
        self
    }

    /// The time between two histograms of a series, from 10 ms to 1 h. Default: 1 s.
    #[must_use]
    pub const fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// A token, for a relay that checks the tokens of producers. Default: none.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.token = Some(token.into());
        self
    }

    /// Memory for data that the relay has not acknowledged, in bytes. Default: 4 MiB.
    #[must_use]
    pub const fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.config.buffer_bytes = bytes;
        self
    }

    /// Maximum number of series. Default: [`SERIES_MAX`].
    #[must_use]
    pub const fn series_max(mut self, series: usize) -> Self {
        self.series_max = series;
        self
    }

    /// Starts to send.
    ///
    /// # Errors
    /// Fails if a thread cannot be started. A relay that cannot be reached is no error: the emitter tries again.
    pub fn start(self) -> io::Result<Emitter> {
        let Self { mut config, relays, period, series_max } = self;
        if !relays.is_empty() {
            config.relays = relays;
        }
        let registry = Arc::new(Registry::new(series_max));
        let of_sender = registry.clone();
        let collect = move || of_sender.take().into_iter().map(Into::into).collect();
        Ok(Emitter { registry, sender: PeriodicSender::start(config, period, collect)? })
    }
}

impl Emitter {
    /// An emitter for this instance `worker` of the application `app`.
    #[must_use]
    pub fn builder(app: impl Into<String>, worker: impl Into<String>) -> EmitterBuilder {
        let config = SendConfig::new(app, worker);
        EmitterBuilder { config, relays: Vec::new(), period: Duration::from_secs(1), series_max: SERIES_MAX }
    }

    /// The series of this emitter, for a recorder of `metrics` or a layer of `tracing`.
    #[must_use]
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// See [`Registry::series`].
    pub fn series(&self, category: &str, pipeline: &str, name: &str) -> Series {
        self.registry.series(category, pipeline, name)
    }

    /// See [`Registry::start_to_end`].
    pub fn start_to_end(&self, operation: &str) -> Series {
        self.registry.start_to_end(operation)
    }

    /// See [`Registry::computation`].
    pub fn computation(&self, pipeline: &str, name: &str) -> Series {
        self.registry.computation(pipeline, name)
    }

    /// See [`Registry::node_ingress_egress`].
    pub fn node_ingress_egress(&self, pipeline: &str) -> Series {
        self.registry.node_ingress_egress(pipeline)
    }

    /// See [`Registry::pipeline_ingestion`].
    pub fn pipeline_ingestion(&self, pipeline: &str, name: &str) -> Series {
        self.registry.pipeline_ingestion(pipeline, name)
    }

    /// See [`Registry::throughput`].
    pub fn throughput(&self, name: &str) -> Series {
        self.registry.throughput(name)
    }

    /// How often a series was rejected because of the limit or an invalid name. Its handles record nothing.
    #[must_use]
    pub fn rejected_series(&self) -> u64 {
        self.registry.rejected()
    }

    /// What has become of the recorded durations: acknowledged, dropped, rejected by the relay, or still in the buffer.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.sender.stats()
    }

    /// Sends what was recorded so far, and waits until it is acknowledged, at most for `timeout`. Returns whether it
    /// is.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.sender.flush(timeout)
    }
}
