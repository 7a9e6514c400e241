//! Sends percentiles and throughput to a StatsD server, as Wallaroo's Monitoring Hub did.
//!
//! For the total of each pipeline, worker and computation that has new data, at most once per second:
//!
//! ```text
//! monhub.<app>.<name>.latency.percentile50:<ns>|g     also 95, 99, 999 and 9999
//! monhub.<app>.<name>.throughput:<events>|c
//! ```
//!
//! A percentile is the upper end of its power-of-two bin over the last five minutes, so it is never too low. Names with
//! `*`, `source`, `:` or `@` are left out, as in the hub.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use joey_shared::histogram::{Grid, Quantile};
use joey_shared::view::{Kind, ViewKey};
use joey_shared::window::{Window, second_of};
use joey_shared::wire::{SeriesEntry, Update};
use tokio::net::UdpSocket;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::follower::{Followed, Follower};
use super::view_filter::AppView;
use crate::hub::Hub;
use crate::metrics::Counters;

/// Interval of the gauges.
const INTERVAL: Duration = Duration::from_secs(1);
/// Maximum size of a packet, in bytes: it fits into an Ethernet frame with any header.
const PACKET_BYTES_MAX: usize = 1_432;
/// The window of the percentiles, in seconds.
const WINDOW_SECS: u64 = 300;
/// Throughput is sent this many seconds late. Periods of two seconds are complete then, as in the hub.
const DELAY_SECS: u64 = 4;
/// Maximum number of views, about 60 MB. Updates of further ones are not exported and counted.
const VIEWS_MAX: usize = 1_000;
/// Intervals without data after which a view is forgotten: as long as the window.
const SILENT_INTERVALS_MAX: u64 = WINDOW_SECS;

const PERCENTILES: [(&str, Quantile); 5] = [
    ("50", Quantile::P50),
    ("95", Quantile::P95),
    ("99", Quantile::P99),
    ("999", Quantile::P999),
    ("9999", Quantile::P9999),
];

/// Sends gauges to `server`, which is `host:port`, until `stop`.
pub async fn run(hub: Arc<Hub>, server: String, stop: CancellationToken) {
    let mut gauges = Gauges::new(&hub.config().statsd.out_prefix);
    let mut follower = None;
    let mut socket = None;
    while stop.run_until_cancelled(sleep(INTERVAL)).await.is_some() {
        if follower.is_none() {
            follower = Follower::new(&hub);
        }
        let Some(follower) = &mut follower else { continue };
        gauges.read(&hub, follower);
        let packets = gauges.packets();
        if socket.is_none() {
            match connect(&server).await {
                Ok(connected) => socket = Some(connected),
                Err(error) => tracing::warn!(server, %error, "cannot send to the StatsD server"),
            }
        }
        let is_sent = send(socket.as_ref(), &packets, hub.counters());
        if !is_sent {
            // The address may have changed.
            socket = None;
        }
    }
}

async fn connect(server: &str) -> std::io::Result<UdpSocket> {
    let mut addresses = tokio::net::lookup_host(server).await?;
    let address = addresses.next().ok_or_else(|| std::io::Error::other("the name has no address"))?;
    let any: std::net::IpAddr =
        if address.is_ipv4() { std::net::Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    // A new socket sends only after the runtime has found it writable.
    socket.writable().await?;
    Ok(socket)
}

/// Sends packets without waiting. Returns whether the socket works.
fn send(socket: Option<&UdpSocket>, packets: &[String], counters: &Counters) -> bool {
    let mut works = socket.is_some();
    for packet in packets {
        if let Some(sent) = socket.map(|socket| socket.try_send(packet.as_bytes())) {
            // An answer to an earlier packet, for example that nobody listens, is an error of this one.
            match sent {
                Ok(_) => {
                    counters.statsd_out_packets.inc();
                    continue;
                }
                Err(error) => works &= error.kind() == ErrorKind::WouldBlock,
            }
        }
        counters.statsd_out_packets_dropped.inc();
    }
    works
}

/// The windows of all exported views.
#[derive(Debug)]
struct Gauges {
    prefix: String,
    views: BTreeMap<Arc<AppView>, Gauge>,
    /// The newest second of each application.
    clocks: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Gauge {
    window: Window,
    /// The last second whose throughput was sent.
    sent_through: u64,
    /// The part of an event that was not sent, because counters are whole numbers.
    rest: f64,
    /// Intervals since the last data.
    silent: u64,
}

impl Gauges {
    fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), views: BTreeMap::new(), clocks: BTreeMap::new() }
    }

    fn read(&mut self, hub: &Hub, follower: &mut Follower<Vec<Arc<AppView>>>) {
        let Self { views, clocks, .. } = self;
        follower.read(hub.config().now_ns(), exported_views, |exported, Followed { update, .. }| {
            for view in exported {
                if views.len() >= VIEWS_MAX && !views.contains_key(view) {
                    hub.counters().view_updates_dropped.inc();
                    continue;
                }
                let end = second_of(update.end_ns);
                let clock = clocks.entry(view.app.clone()).or_insert(end);
                *clock = (*clock).max(end);
                let gauge = views.entry(view.clone()).or_insert_with(|| Gauge {
                    window: Window::new(WINDOW_SECS),
                    sent_through: second_of(update.end_ns.saturating_sub(update.period_ns)),
                    rest: 0.0,
                    silent: 0,
                });
                gauge.window.slide(*clock);
                gauge.window.add(&Update { histogram: update.histogram.in_grid(Grid::WALLAROO), ..(*update).clone() });
                gauge.silent = 0;
            }
        });
    }

    /// The gauges of views with new data, in packets.
    fn packets(&mut self) -> Vec<String> {
        let Self { prefix, views, clocks } = self;
        let mut packets = Vec::new();
        for (view, gauge) in views.iter_mut() {
            let clock = clocks.get(&view.app).copied().unwrap_or(0);
            gauge.window.slide(clock);
            let Some(name) = metric_name(prefix, view) else { continue };
            let through = clock.saturating_sub(DELAY_SECS);
            if through > gauge.sent_through {
                let mut events = gauge.rest;
                gauge.window.for_each_rate(gauge.sent_through + 1..=through, |_, rate| events += rate);
                gauge.sent_through = through;
                gauge.rest = events.fract();
                add_line(&mut packets, &format!("{name}.throughput:{}|c", events.trunc()));
            }
            if gauge.silent == 0 && view.key.kind.has_latency() {
                let histogram = gauge.window.histogram();
                for (percentile, q) in PERCENTILES {
                    if let Some(range) = histogram.quantile(q) {
                        let high = Grid::WALLAROO.high(Grid::WALLAROO.bin_of(range.low));
                        add_line(&mut packets, &format!("{name}.latency.percentile{percentile}:{high}|g"));
                    }
                }
            }
            gauge.silent += 1;
        }
        views.retain(|_, gauge| gauge.silent < SILENT_INTERVALS_MAX);
        clocks.retain(|app, _| views.keys().any(|view| view.app == *app));
        packets
    }
}

/// The views that the hub exported: the totals of pipelines, workers and computations.
fn exported_views(app: &str, _: u64, series: &SeriesEntry) -> Vec<Arc<AppView>> {
    let is_total =
        |view: &AppView| matches!(view.key.kind, Kind::StartToEnd | Kind::NodeIngressEgress | Kind::Computation);
    AppView::of_series(app, series).filter(|view| is_total(view)).map(Arc::new).collect()
}

/// `prefix.app.name`; `None` for names that the hub did not export, which a StatsD server might misread.
fn metric_name(prefix: &str, AppView { app, key }: &AppView) -> Option<String> {
    let ViewKey { pipeline, worker, name, .. } = key;
    let names = [pipeline, worker, name].into_iter().flatten();
    let key = names.map(String::as_str).collect::<Vec<&str>>().join(".");
    let is_excluded = key.contains("source") || key.contains(['*', ':', '@']) || app.contains([':', '@']);
    // Characters with a meaning in StatsD, or that its servers do not accept in a name.
    let clean = |name: &str| name.replace(|c: char| c.is_whitespace() || c == '|' || c == '#', "_");
    (!is_excluded).then(|| format!("{prefix}.{}.{}", clean(app), clean(&key)))
}

/// Appends a line to the last packet, or to a new one if it is full. No line is longer than a packet, because names are
/// limited.
fn add_line(packets: &mut Vec<String>, line: &str) {
    match packets.last_mut() {
        Some(packet) if packet.len() + 1 + line.len() <= PACKET_BYTES_MAX => {
            packet.push('\n');
            packet.push_str(line);
        }
        _ => packets.push(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_hub() {
        let check = |app: &str, key: ViewKey, expected: Option<&str>| {
            let name = metric_name("monhub", &AppView { app: app.to_owned(), key });
            assert_eq!(name.as_deref(), expected);
        };
        check("Alerts", ViewKey::pipeline("Alerts"), Some("monhub.Alerts.Alerts"));
        check("Alerts", ViewKey::computation("Decode Time"), Some("monhub.Alerts.Decode_Time"));
        check("prod/shop", ViewKey::worker("a|b#c"), Some("monhub.prod/shop.a_b_c"));
        for excluded in ["a*b", "a:b", "a@b", "my source"] {
            check("Alerts", ViewKey::worker(excluded), None);
        }
        check("a:b", ViewKey::worker("w"), None);
    }

    #[test]
    fn packets_are_filled_up_to_their_limit() {
        let mut packets = Vec::new();
        let lines: Vec<String> =
            (0..1_000).map(|number| format!("monhub.app.{number}.throughput:{number}|c")).collect();
        lines.iter().for_each(|line| add_line(&mut packets, line));
        assert!(packets.iter().all(|packet| packet.len() <= PACKET_BYTES_MAX));
        assert!(packets.iter().rev().skip(1).all(|packet| packet.len() > PACKET_BYTES_MAX - 60));
        let sent: Vec<&str> = packets.iter().flat_map(|packet| packet.split('\n')).collect();
        assert_eq!(sent, lines);
        // The longest possible line is shorter than a packet.
        let longest = "n".repeat(255);
        let key = ViewKey { name: Some(longest.clone()), ..ViewKey::worker(&longest) };
        let name = metric_name(&"p".repeat(100), &AppView { app: longest, key }).unwrap();
        assert!(name.len() + ".latency.percentile9999:36893488147419103232|g".len() <= PACKET_BYTES_MAX);
    }
}
