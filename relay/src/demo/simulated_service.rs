//! A simulated web service with OpenTelemetry: its instances, operations, rates and latencies, as requests in OTLP's JSON.
//!
//! The histograms are what an SDK exports with `base2_exponential_bucket_histogram`: exponential ones, in seconds, with sums. The
//! encoder shares no code with the decoder.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use fastrand::Rng;
use joey_shared::histogram::{Grid, Histogram, SCALE_MAX, Unit};
use serde_json::{Value, json};

use super::deploys::Deploys;
use super::latency_model::{Mode, poisson, sample};

/// The name of the service.
const SERVICE: &str = "Web Shop";

/// The period of its exports, in ns.
pub(super) const PERIOD_NS: u64 = 1_000_000_000;

const MS: f64 = 1_000_000.0;

/// An instance of the service, one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instance {
    name: &'static str,
    /// Its position in a rolling deploy.
    number: u64,
    /// Its share of all requests.
    share: f64,
}

/// All instances.
pub(super) const INSTANCES: [Instance; 2] = [
    Instance { name: "shop-6f7c9-a", number: 0, share: 0.6 },
    Instance { name: "shop-6f7c9-b", number: 1, share: 0.4 },
];

/// What an instrument measures for one set of attributes.
struct Operation {
    instrument: &'static str,
    attributes: &'static [(&'static str, &'static str)],
    /// Events per second over all instances.
    rate: f64,
    modes: &'static [Mode],
    is_slow_at_times: bool,
    /// What the slow release multiplies the durations and the rate with.
    deployed: (f64, f64),
}

/// What the slow release does not change.
const UNCHANGED: (f64, f64) = (1.0, 1.0);

const fn mode(share: f64, median_ns: f64, sigma: f64) -> Mode {
    Mode { share, median_ns, sigma }
}

const HTTP: &str = "http.server.request.duration";
const DATABASE: &str = "db.client.operation.duration";

const OPERATIONS: [Operation; 6] = [
    Operation {
        instrument: HTTP,
        attributes: &[("http.request.method", "GET"), ("http.route", "/products/{id}")],
        rate: 620.0,
        // A cache that mostly hits.
        modes: &[mode(0.9, 4.2 * MS, 0.3), mode(0.1, 31.0 * MS, 0.35)],
        is_slow_at_times: false,
        deployed: UNCHANGED,
    },
    Operation {
        instrument: HTTP,
        attributes: &[("http.request.method", "GET"), ("http.route", "/cart")],
        rate: 210.0,
        modes: &[mode(1.0, 2.1 * MS, 0.35)],
        is_slow_at_times: false,
        // The slow release reads each product of the cart with a query of its own.
        deployed: (2.6, 1.0),
    },
    Operation {
        instrument: HTTP,
        attributes: &[("http.request.method", "POST"), ("http.route", "/orders")],
        rate: 46.0,
        modes: &[mode(0.97, 62.0 * MS, 0.22), mode(0.03, 470.0 * MS, 0.25)],
        is_slow_at_times: true,
        deployed: UNCHANGED,
    },
    Operation {
        instrument: DATABASE,
        attributes: &[("db.operation.name", "SELECT"), ("db.collection.name", "products")],
        rate: 62.0,
        modes: &[mode(1.0, 24.0 * MS, 0.35)],
        is_slow_at_times: false,
        deployed: (1.0, 3.4),
    },
    Operation {
        instrument: DATABASE,
        attributes: &[("db.operation.name", "INSERT"), ("db.collection.name", "orders")],
        rate: 46.0,
        modes: &[mode(1.0, 7.5 * MS, 0.3)],
        is_slow_at_times: true,
        deployed: UNCHANGED,
    },
    Operation {
        instrument: "http.client.request.duration",
        attributes: &[("http.request.method", "POST"), ("server.address", "payments")],
        rate: 46.0,
        modes: &[mode(1.0, 41.0 * MS, 0.2)],
        is_slow_at_times: false,
        deployed: UNCHANGED,
    },
];

/// The instruments, in the order of an export.
const INSTRUMENTS: [&str; 3] = [HTTP, DATABASE, "http.client.request.duration"];

impl Instance {
    /// The body of the request that exports one period. Period number 0 begins at the Unix epoch.
    pub(super) fn export(&self, period: u64, deploys: Deploys) -> Vec<u8> {
        let mut rng = self.rng(period);
        let is_deployed = deploys.is_deployed(period, self.number);
        let load = self.share * load(period);
        let times = json!({
            "startTimeUnixNano": (period.saturating_sub(1) * PERIOD_NS).to_string(),
            "timeUnixNano": (period * PERIOD_NS).to_string(),
        });
        let mut metrics: Vec<Value> = INSTRUMENTS
            .iter()
            .map(|&instrument| {
                let operations = OPERATIONS.iter().filter(|operation| operation.instrument == instrument);
                let points: Vec<Value> = operations
                    .map(|operation| {
                        let histogram = operation.sample(period, load, is_deployed, &mut rng);
                        merged([&times, &json!({"attributes": attributes(operation.attributes)}), &point(&histogram)])
                    })
                    .collect();
                json!({
                    "name": instrument,
                    "unit": "s",
                    // Delta: each period is exported once.
                    "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints": points},
                })
            })
            .collect();
        let hits = merged([&times, &json!({"asInt": poisson(540.0 * load, &mut rng).to_string()})]);
        metrics.push(json!({
            "name": "cache.hits",
            "unit": "{hit}",
            "sum": {"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [hits]},
        }));
        let resource = attributes(&[("service.name", SERVICE), ("service.instance.id", self.name)]);
        let request = json!({"resourceMetrics": [{
            "resource": {"attributes": resource},
            "scopeMetrics": [{"scope": {"name": "joey demo"}, "metrics": metrics}],
        }]});
        request.to_string().into_bytes()
    }

    /// A random number generator seeded by the instance and the period alone.
    fn rng(&self, period: u64) -> Rng {
        let mut hasher = DefaultHasher::new();
        (SERVICE, self.name, period).hash(&mut hasher);
        Rng::with_seed(hasher.finish())
    }
}

impl Operation {
    fn sample(&self, period: u64, load: f64, is_deployed: bool, rng: &mut Rng) -> Histogram {
        let grid = Grid::new(SCALE_MAX, Unit::Seconds).unwrap_or(Grid::FINEST);
        // The database is slow for 15 s of every 160 s.
        let slowdown = if self.is_slow_at_times && period % 160 < 15 { 2.5 } else { 1.0 };
        let (longer, more) = if is_deployed { self.deployed } else { UNCHANGED };
        sample(grid, self.modes, self.rate * load * more, slowdown * longer, rng)
    }
}

/// The load factor, around 1.
fn load(period: u64) -> f64 {
    let at = |periods: f64| (period as f64 * std::f64::consts::TAU / periods).sin();
    1.0 + 0.2 * at(140.0) + 0.04 * at(9.0)
}

/// The counts, sum and extremes of a data point, in seconds.
fn point(histogram: &Histogram) -> Value {
    let grid = histogram.grid();
    let (first, counts) = histogram.span();
    let middle_s = |bin: usize| (grid.low(bin) as f64 + grid.high(bin) as f64) / 2.0 / 1e9;
    let sum_s: f64 = histogram.occupied().map(|(bin, count)| middle_s(bin) * count as f64).sum();
    let mut point =
        json!({"count": histogram.count().to_string(), "sum": sum_s, "scale": grid.scale(), "zeroCount": "0"});
    if let Some((min_ns, max_ns)) = histogram.extremes() {
        let counts: Vec<String> = counts.iter().map(u64::to_string).collect();
        point["positive"] = json!({"offset": grid.index_of_bin(first), "bucketCounts": counts});
        point["min"] = json!(min_ns as f64 / 1e9);
        point["max"] = json!(max_ns as f64 / 1e9);
    }
    point
}

fn attributes(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect()
}

/// One object with the fields of all `parts`.
fn merged<const N: usize>(parts: [&Value; N]) -> Value {
    let fields = parts.into_iter().filter_map(Value::as_object).flatten();
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn exports_depend_on_the_time_alone_and_have_all_operations() {
        let [a, b] = INSTANCES;
        let deploys = Deploys::new(1_800_000_000, Duration::from_secs(60));
        let export = |instance: Instance| instance.export(1_700_000_000, deploys);
        assert_eq!(export(a), export(a));
        assert_ne!(export(a), export(b));
        let request: Value = serde_json::from_slice(&export(a)).unwrap();
        let metrics = &request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        let points = |metric: &Value| metric["exponentialHistogram"]["dataPoints"].as_array().map_or(0, Vec::len);
        assert_eq!(metrics.as_array().unwrap().iter().map(points).collect::<Vec<_>>(), [3, 2, 1, 0]);
        let point = &metrics[0]["exponentialHistogram"]["dataPoints"][0];
        let counts = point["positive"]["bucketCounts"].as_array().unwrap();
        let total: u64 = counts.iter().map(|count| count.as_str().unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(point["count"], total.to_string());
        let mean_s = point["sum"].as_f64().unwrap() / total as f64;
        assert!((0.004..0.012).contains(&mean_s), "{mean_s}");
    }

    #[test]
    fn a_slow_release_makes_one_operation_slower() {
        let deploys = Deploys::new(1_700_000_000, Duration::from_secs(60));
        let means = |period| -> Vec<f64> {
            let request: Value = serde_json::from_slice(&INSTANCES[0].export(period, deploys)).unwrap();
            let points =
                &request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["exponentialHistogram"]["dataPoints"];
            let mean = |point: &Value| {
                point["sum"].as_f64().unwrap() / point["count"].as_str().unwrap().parse::<f64>().unwrap()
            };
            points.as_array().unwrap().iter().map(mean).collect()
        };
        let (before, during) = (means(1_700_000_050), means(1_700_000_070));
        assert!(during[1] > 2.0 * before[1], "{before:?} {during:?}");
        assert!(during[0] < 1.5 * before[0] && during[2] < 1.5 * before[2], "{before:?} {during:?}");
    }
}
