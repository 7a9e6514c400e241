//! Exports views to other systems: histograms to Prometheus, and gauges to a StatsD server.
//!
//! An export follows the relay's own logs as a viewer does, so it never delays a producer or a viewer. In a cluster
//! each relay exports what its own producers send, so that the sum over all relays counts everything once.

mod follower;
mod prometheus;
mod statsd;
mod view_filter;

pub(crate) use self::follower::{Followed, Follower};
pub use self::prometheus::{PrometheusFormat, ViewHistograms};
pub use self::statsd::run as run_statsd;
