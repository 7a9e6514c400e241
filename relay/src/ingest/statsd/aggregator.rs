//! The histograms of the current second.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use joey_shared::histogram::{Grid, Histogram, Unit};
use joey_shared::series::{Provenance, START_TO_END, Source, THROUGHPUT, check_name};

use super::PERIOD_NS;
use super::parse::{Kind, Metric, lines};
use super::tags::TagSets;
use crate::config::{Config, Statsd, at_least_one};
use crate::data_point::DataPoint;
use crate::hub::{App, Hub};
use crate::ingest::presence::Presence;
use crate::metrics::{Counters, RejectReason};

/// Maximum number of peers with a rate limit of their own. Further ones share one.
const PEERS_MAX: usize = 1_024;
/// Burst limit: a peer may send the values of this many seconds at once.
const BURST_SECS: NonZeroU32 = at_least_one(10);
/// Highest rate that the limiter can measure. A higher setting means no limit.
const VALUES_PER_SEC_MAX: NonZeroU32 = at_least_one(100_000_000);
/// Worker of metrics from the Unix socket that have neither the tag `instance` nor `host`.
const UNIX_WORKER: &str = "local";
/// The tags of an operation that counts the sets of tags beyond the limit.
const OTHER: &str = "other";
/// Largest number of events that one value may stand for: `2^53`, up to which a floating-point number is exact.
const EVENTS_MAX: f64 = 9_007_199_254_740_992.0;

/// Adds up the values of all packets until they are flushed.
#[derive(Debug)]
pub struct Aggregator {
    config: Statsd,
    series_max: usize,
    series: HashMap<Series, Histogram>,
    tag_sets: TagSets,
    limits: Limits,
    random: fastrand::Rng,
}

/// What identifies a series. They are sorted by application, because each log is locked once for all of its series.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Series {
    app: String,
    worker: String,
    operation: String,
    is_counter: bool,
    is_sampled: bool,
}

impl Aggregator {
    /// Creates it without values.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.statsd.clone(),
            series_max: config.series_per_app_max,
            series: HashMap::new(),
            tag_sets: TagSets::default(),
            limits: Limits::new(config.frames_per_sec_max),
            random: fastrand::Rng::new(),
        }
    }

    /// Adds the values of a packet from `peer`, or from the Unix socket. What is rejected is counted.
    pub fn receive(&mut self, packet: &[u8], peer: Option<IpAddr>, counters: &Counters) {
        for line in lines(packet) {
            if let Err(reason) = self.receive_line(line, peer, counters) {
                counters.reject(reason);
                tracing::debug!(?peer, reason = reason.as_str(), "line of StatsD rejected");
            }
        }
    }

    fn receive_line(&mut self, line: &[u8], peer: Option<IpAddr>, counters: &Counters) -> Result<(), RejectReason> {
        let metric = Metric::parse(line)?;
        self.limits.check(peer, metric.value_count())?;
        let (series, is_other) = self.series_of(&metric, peer)?;
        let Self { config, series_max, series: all, random, .. } = self;
        let unit = if metric.kind == Kind::Timer { Unit::Milliseconds } else { config.unit.into() };
        let mut counted = 0;
        if all.len() >= *series_max && !all.contains_key(&series) {
            return Err(RejectReason::SeriesLimit);
        }
        let empty = if series.is_counter { Histogram::default() } else { Histogram::with_sum(Grid::FINEST) };
        let histogram = all.entry(series).or_insert(empty);
        for value in metric.values() {
            match value.and_then(|value| record(histogram, metric.kind, value, metric.rate, unit, random)) {
                Ok(()) => counted += 1,
                Err(reason) => counters.reject(reason),
            }
        }
        counters.statsd_values.inc_by(counted);
        if is_other {
            counters.statsd_values_other.inc_by(counted);
        }
        Ok(())
    }

    /// The series of a metric, and whether its tags are replaced by `other`.
    fn series_of(&mut self, metric: &Metric<'_>, peer: Option<IpAddr>) -> Result<(Series, bool), RejectReason> {
        let (mut service, mut environment, mut instance, mut host) = (None, None, None, None);
        let mut selected: Vec<(usize, &str, &str)> = Vec::new();
        for (key, value) in metric.tags() {
            match key {
                "service" => service = service.or(Some(value)),
                "env" => environment = environment.or(Some(value)),
                "instance" => instance = instance.or(Some(value)),
                "host" => host = host.or(Some(value)),
                key => selected.extend(self.config.tag_position(key).map(|position| (position, key, value))),
            }
        }
        let app = service.unwrap_or(&self.config.app);
        let app = environment.map_or_else(|| app.to_owned(), |environment| format!("{environment}/{app}"));
        let worker = match (instance.or(host), peer) {
            (Some(name), _) => name.to_owned(),
            (None, Some(peer)) => peer.to_string(),
            (None, None) => UNIX_WORKER.to_owned(),
        };
        check_name(app.as_bytes())?;
        check_name(worker.as_bytes())?;
        let (mut operation, mut is_other) = (metric.name.to_owned(), false);
        if !selected.is_empty() {
            // The order in which a client sends tags does not matter.
            selected.sort_unstable();
            selected.dedup();
            let listed = self.config.tags.len();
            let words = selected.iter().map(|&(position, key, value)| match position {
                position if position < listed => value.to_owned(),
                // A value alone would not say what it means.
                _ => format!("{key}:{value}"),
            });
            let tags = words.collect::<Vec<String>>().join(" ");
            operation = format!("{} {tags}", metric.name);
            check_name(operation.as_bytes())?;
            if !self.tag_sets.admits(&app, metric.name, &tags) {
                (operation, is_other) = (format!("{} {OTHER}", metric.name), true);
            }
        }
        let (is_counter, is_sampled) = (metric.kind == Kind::Counter, metric.rate < 1.0);
        Ok((Series { app, worker, operation, is_counter, is_sampled }, is_other))
    }

    /// Publishes the histograms of the period that ends at `end_ns`, and begins the next one. Series without values
    /// have no data point.
    pub fn flush(&mut self, hub: &Hub, presence: &Presence, end_ns: u64) {
        self.tag_sets.next_period();
        self.limits.next_period();
        let mut apps: BTreeMap<String, Vec<(Series, Histogram)>> = BTreeMap::new();
        for (series, histogram) in self.series.drain() {
            // A value with a sample rate may have been rounded down to no event.
            if !histogram.is_empty() {
                apps.entry(series.app.clone()).or_default().push((series, histogram));
            }
        }
        for (name, mut all) in apps {
            match hub.app(&name) {
                Ok(app) => {
                    all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
                    let mut workers: Vec<String> = all.iter().map(|(series, _)| series.worker.clone()).collect();
                    workers.dedup();
                    publish(hub, &app, all, end_ns);
                    workers.iter().for_each(|worker| presence.seen(&app, worker, PERIOD_NS, end_ns));
                }
                Err(reason) => all.iter().for_each(|_| hub.counters().reject(reason)),
            }
        }
    }
}

fn publish(hub: &Hub, app: &Arc<App>, all: Vec<(Series, Histogram)>, end_ns: u64) {
    let mut publisher = hub.publisher(app, end_ns);
    for (Series { app, worker, operation, is_counter, is_sampled }, histogram) in all {
        let (category, pipeline) = if is_counter { (THROUGHPUT, "") } else { (START_TO_END, operation.as_str()) };
        let point = DataPoint {
            app: &app,
            name: &operation,
            category,
            worker: &worker,
            pipeline,
            id: 0,
            provenance: Provenance { is_sampled, ..Provenance::exact(Source::Statsd) },
            histogram,
            period_ns: PERIOD_NS,
            end_ns,
        };
        if let Err(reason) = publisher.publish(&point) {
            hub.counters().reject(reason);
        }
    }
}

/// Records one value, which stands for `1 / rate` events.
fn record(
    histogram: &mut Histogram,
    kind: Kind,
    value: f64,
    rate: f64,
    unit: Unit,
    random: &mut fastrand::Rng,
) -> Result<(), RejectReason> {
    if kind == Kind::Counter {
        histogram.add(0, whole_events(value / rate, random)?);
    } else {
        let ns = (value * unit.ns() as f64).round();
        if ns >= u64::MAX as f64 {
            return Err(RejectReason::StatsdBadValue);
        }
        histogram.record_many(ns as u64, whole_events(1.0 / rate, random)?);
    }
    Ok(())
}

/// Rounds a number of events up with the probability of its fractional part, so that sums are right on average.
/// Rounding to the nearest number would count 2 events for each value at a rate of 0.4.
fn whole_events(events: f64, random: &mut fastrand::Rng) -> Result<u64, RejectReason> {
    if events > EVENTS_MAX {
        return Err(RejectReason::StatsdBadValue);
    }
    let nearest = events.round();
    // For example, 1 / 0.1 is not exactly 10 for every rate.
    if (events - nearest).abs() <= nearest * 1e-9 {
        return Ok(nearest as u64);
    }
    Ok(events as u64 + u64::from(random.f64() < events.fract()))
}

/// The rate limits of all peers.
#[derive(Debug)]
struct Limits {
    quota: Quota,
    /// The limit of each peer, and whether it has sent in this period.
    peers: HashMap<Option<IpAddr>, (DefaultDirectRateLimiter, bool)>,
    /// The limit that peers beyond the maximum share.
    shared: DefaultDirectRateLimiter,
}

impl Limits {
    fn new(values_per_sec: NonZeroU32) -> Self {
        let rate = values_per_sec.min(VALUES_PER_SEC_MAX);
        let quota = Quota::per_second(rate).allow_burst(rate.saturating_mul(BURST_SECS));
        Self { quota, peers: HashMap::new(), shared: RateLimiter::direct(quota) }
    }

    fn check(&mut self, peer: Option<IpAddr>, values: usize) -> Result<(), RejectReason> {
        let limiter = if let Some((limiter, is_used)) = self.peers.get_mut(&peer) {
            *is_used = true;
            limiter
        } else if self.peers.len() >= PEERS_MAX {
            &self.shared
        } else {
            let quota = self.quota;
            &self.peers.entry(peer).or_insert_with(|| (RateLimiter::direct(quota), true)).0
        };
        let values = at_least_one(u32::try_from(values).unwrap_or(u32::MAX));
        match limiter.check_n(values) {
            Ok(Ok(())) => Ok(()),
            _ => Err(RejectReason::RateLimit),
        }
    }

    /// Forgets peers whose limit is not used up in part.
    fn next_period(&mut self) {
        let burst = self.quota.burst_size();
        self.peers.retain(|_, (limiter, is_used)| {
            let is_full = !*is_used && limiter.check_n(burst).is_ok_and(|allowed| allowed.is_ok());
            *is_used = false;
            !is_full
        });
    }
}

#[cfg(test)]
mod tests;
