//! Records 2,000 known durations with the OpenTelemetry SDK and prints them, in s, one per line. It contains nothing of
//! Joey.
//!
//! ```text
//! export OTEL_SERVICE_NAME=shop
//! export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318
//! export OTEL_METRIC_EXPORT_INTERVAL=1000
//! cargo run -p joey-tests --bin durations
//! ```
//!
//! Outside this repository: `cargo add opentelemetry`, `cargo add opentelemetry_sdk --features
//! spec_unstable_metrics_views` and `cargo add opentelemetry-otlp`.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, InstrumentKind, SdkMeterProvider, Stream};

/// Makes every histogram exponential: the Rust SDK does not read
/// `OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION`.
fn exponential(instrument: &Instrument) -> Option<Stream> {
    let aggregation = Aggregation::Base2ExponentialHistogram { max_size: 160, max_scale: 20, record_min_max: true };
    let is_histogram = instrument.kind() == InstrumentKind::Histogram;
    is_histogram.then(|| Stream::builder().with_aggregation(aggregation).build().ok()).flatten()
}

fn main() -> Result<(), Box<dyn Error>> {
    // Everything else comes from the environment variables.
    let exporter = MetricExporter::builder().build()?;
    let provider = SdkMeterProvider::builder().with_view(exponential).with_periodic_exporter(exporter).build();
    let histogram = provider.meter("durations").f64_histogram("checkout.duration").with_unit("s").build();
    for number in 0..2_000_u32 {
        // Three powers of ten, most of them short.
        let seconds = 0.001 * 10_f64.powf(3.0 * (f64::from(number * 7_919 % 2_000) / 2_000.0).powi(3));
        histogram.record(seconds, &[]);
        println!("{seconds}");
        if number % 500 == 499 {
            // Let several export intervals pass.
            sleep(Duration::from_secs(1));
        }
    }
    provider.shutdown()?;
    Ok(())
}
