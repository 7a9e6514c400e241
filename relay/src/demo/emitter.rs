//! Encodes Wallaroo's metrics format as a worker does, so simulated producers can connect to the ingest port.
//!
//! The encoder shares no code with the decoder. Tests check both against the same hand-written bytes.

use crate::data_point::DataPoint;

/// The first frame of a connection.
#[must_use]
pub fn connect() -> Vec<u8> {
    frame(vec![1])
}

/// The frame that names the application and the worker of a connection.
#[must_use]
pub fn join(app: &str, worker: &str) -> Vec<u8> {
    let mut body = vec![2];
    string(&mut body, format!("metrics:{app}").as_bytes());
    string(&mut body, worker.as_bytes());
    frame(body)
}

/// The frame of one histogram.
#[must_use]
pub fn metrics(metrics: &DataPoint<'_>) -> Vec<u8> {
    let mut data = Vec::with_capacity(640);
    for name in [metrics.name, metrics.category, metrics.worker, metrics.pipeline] {
        string(&mut data, name.as_bytes());
    }
    data.extend(metrics.id.to_be_bytes());
    let histogram = &metrics.histogram;
    let times = [histogram.min_ns, histogram.max_ns, metrics.period_ns, metrics.end_ns];
    let bins = (0..65).map(|bin| histogram.count_at(bin));
    data.extend(bins.chain(times).flat_map(u64::to_be_bytes));
    let mut body = vec![3];
    string(&mut body, b"metrics");
    string(&mut body, format!("metrics:{}", metrics.app).as_bytes());
    // Workers send the length of the data plus 148 in this header, which receivers ignore.
    body.extend(length(data.len() + 4));
    body.extend(length(data.len() + 4 + 148));
    body.extend(data);
    frame(body)
}

fn frame(body: Vec<u8>) -> Vec<u8> {
    [&length(body.len())[..], &body].concat()
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(length(bytes.len()));
    out.extend(bytes);
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}
