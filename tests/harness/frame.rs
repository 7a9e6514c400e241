//! Wallaroo's metrics format, written by hand from its description. It shares no code with the relay.
//!
//! A frame is a big-endian `u32` length followed by that many bytes: 1 (connect), 2 (join: topic, worker) or 3
//! (payload: event, topic, data). Strings and the data are a `u32` length followed by bytes. The data consists of an
//! unused `u32`, name, category, worker, pipeline, `u16` id, 65 `u64` bins, then minimum, maximum, period and period
//! end as `u64` in ns.

/// Nanoseconds in a second.
pub const S: u64 = 1_000_000_000;

/// One histogram of one series and one period, as a producer sends it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The application.
    pub app: String,
    /// What is measured.
    pub category: String,
    /// The pipeline.
    pub pipeline: String,
    /// The worker.
    pub worker: String,
    /// The metric.
    pub name: String,
    /// Position in the pipeline.
    pub id: u16,
    /// Counts; bin `i` is for `2^(i-1) <= ns < 2^i`.
    pub bins: [u64; 65],
    /// Shortest duration; all ones if there is none.
    pub min_ns: u64,
    /// Longest duration.
    pub max_ns: u64,
    /// Length of the period.
    pub period_ns: u64,
    /// End of the period since the Unix epoch.
    pub end_ns: u64,
    /// The recorded durations, if they are known. The page's quantiles are checked against them.
    pub values: Option<Vec<u64>>,
}

impl Frame {
    /// An empty histogram of a two-second period that ends at second `end_s`.
    #[must_use]
    pub fn new(app: &str, category: &str, [pipeline, worker, name]: [&str; 3], end_s: u64) -> Self {
        Self {
            app: app.to_owned(),
            category: category.to_owned(),
            pipeline: pipeline.to_owned(),
            worker: worker.to_owned(),
            name: name.to_owned(),
            id: 1,
            bins: [0; 65],
            min_ns: u64::MAX,
            max_ns: 0,
            period_ns: 2 * S,
            end_ns: end_s * S,
            values: Some(Vec::new()),
        }
    }

    /// Records durations as a producer does.
    #[must_use]
    pub fn with(mut self, values: &[u64]) -> Self {
        for &ns in values {
            self.bins[64 - ns.leading_zeros() as usize] += 1;
            self.min_ns = self.min_ns.min(ns);
            self.max_ns = self.max_ns.max(ns);
        }
        if let Some(known) = &mut self.values {
            known.extend(values);
        }
        self
    }

    /// Sets counts for which only bins and extremes are known.
    #[must_use]
    pub fn with_bins(mut self, bins: &[(usize, u64)], min_ns: u64, max_ns: u64) -> Self {
        for &(bin, count) in bins {
            self.bins[bin] = count;
        }
        (self.min_ns, self.max_ns, self.values) = (min_ns, max_ns, None);
        self
    }

    /// Sets the length of the period.
    #[must_use]
    pub const fn lasting(mut self, period_ns: u64) -> Self {
        self.period_ns = period_ns;
        self
    }

    /// Number of durations counted.
    #[must_use]
    pub fn count(&self) -> u128 {
        self.bins.iter().map(|&count| u128::from(count)).sum()
    }

    /// The data block.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        for name in [&self.name, &self.category, &self.worker, &self.pipeline] {
            string(&mut fields, name.as_bytes());
        }
        fields.extend(self.id.to_be_bytes());
        for number in self.bins.iter().chain([&self.min_ns, &self.max_ns, &self.period_ns, &self.end_ns]) {
            fields.extend(number.to_be_bytes());
        }
        // Real producers write the length plus 148 here by mistake; no reader uses it.
        let meaningless = u32::try_from(fields.len() + 4 + 148).expect("short");
        [&meaningless.to_be_bytes()[..], &fields].concat()
    }

    /// The body: everything after the length.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        payload(b"metrics", format!("metrics:{}", self.app).as_bytes(), &self.data())
    }

    /// The whole frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        framed(&self.body())
    }
}

/// The captured frame, the only frame of a real Wallaroo worker that was ever published.
#[must_use]
pub fn captured() -> Frame {
    let names = ["Alerts (windowed)", "initializer", "Decode Time in TCP Source"];
    let bins = [(6, 57_306), (7, 505), (8, 4), (9, 7), (12, 2), (14, 17)];
    Frame::new("Alerts_windowed", "computation", names, 1_544_101_820).with_bins(&bins, 34, 14_509)
}

/// The frame that opens a connection.
#[must_use]
pub fn connect() -> Vec<u8> {
    framed(&[1])
}

/// The frame that names the application and the worker of a connection.
#[must_use]
pub fn join(app: &str, worker: Option<&str>) -> Vec<u8> {
    let mut body = vec![2];
    string(&mut body, format!("metrics:{app}").as_bytes());
    worker.into_iter().for_each(|worker| string(&mut body, worker.as_bytes()));
    framed(&body)
}

/// The body of a payload.
#[must_use]
pub fn payload(event: &[u8], topic: &[u8], data: &[u8]) -> Vec<u8> {
    let mut body = vec![3];
    [event, topic, data].into_iter().for_each(|part| string(&mut body, part));
    body
}

/// `body` prefixed with its length.
#[must_use]
pub fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    string(&mut bytes, body);
    bytes
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(u32::try_from(text.len()).expect("shorter than 4 GiB").to_be_bytes());
    out.extend(text);
}

/// One malformed frame of each kind, with a correct outer length, and the reason under which the relay counts it.
#[must_use]
pub fn malformed(good: &Frame) -> Vec<(&'static str, Vec<u8>)> {
    let body = good.body();
    let topic = format!("metrics:{}", good.app);
    let named = |name: &[u8]| {
        // The name is the first string of the data, after the unused four bytes.
        let data = good.data();
        let mut other = data[..4].to_vec();
        string(&mut other, name);
        other.extend(&data[4 + 4 + good.name.len()..]);
        framed(&payload(b"metrics", topic.as_bytes(), &other))
    };
    let with = |change: &dyn Fn(&mut Frame)| {
        let mut other = good.clone();
        change(&mut other);
        other.encode()
    };
    let poked = |at: usize, bytes: &[u8]| {
        let mut other = body.clone();
        other[at..at + bytes.len()].copy_from_slice(bytes);
        framed(&other)
    };
    // Layout of the body: type, length of the event, event, length of the topic, topic, length of the data, four bytes.
    let data_at = 1 + 4 + 7 + 4 + topic.len();
    let name_at = data_at + 8;
    let data_len = u32::try_from(good.data().len()).expect("short");
    let mut longer = body.clone();
    longer.extend([0; 3]);
    vec![
        ("bad_length", framed(&[])),
        ("bad_length", framed(&body[..body.len() - 1])),
        ("bad_length", framed(&body[..body.len() / 2])),
        ("bad_length", framed(&body[..6])),
        ("bad_length", framed(&longer)),
        ("bad_length", poked(1, &u32::MAX.to_be_bytes())),
        ("bad_length", poked(12, &(1_u32 << 31).to_be_bytes())),
        ("bad_length", poked(data_at, &(data_len + 1).to_be_bytes())),
        ("bad_length", poked(data_at, &(data_len - 1).to_be_bytes())),
        ("bad_length", poked(name_at, &u32::MAX.to_be_bytes())),
        ("bad_length", poked(name_at, &(data_len - 8).to_be_bytes())),
        ("unknown_type", poked(0, &[0])),
        ("unknown_type", poked(0, &[4])),
        ("unknown_type", framed(&[0xff])),
        ("bad_topic", framed(&payload(b"metrics", b"metrics:", &good.data()))),
        ("bad_topic", framed(&payload(b"metrics", b"Alerts", &good.data()))),
        ("bad_topic", framed(&payload(b"metrics", b"", &good.data()))),
        ("unknown_event", framed(&payload(b"report", topic.as_bytes(), &good.data()))),
        ("unknown_event", framed(&payload(b"", topic.as_bytes(), &[]))),
        ("invalid_name", named(&[b'a', 0xff, 0xfe])),
        ("invalid_name", named(b"a\0b")),
        ("invalid_name", named("a\u{202e}b".as_bytes())),
        ("name_too_long", named(&[b'n'; 256])),
        ("bad_period", with(&|frame| frame.period_ns = 0)),
        ("bad_period", with(&|frame| frame.period_ns = 1)),
        ("bad_period", with(&|frame| (frame.period_ns, frame.end_ns) = (1 << 63, u64::MAX))),
        ("bad_period", with(&|frame| (frame.period_ns, frame.end_ns) = (u64::MAX, u64::MAX))),
        ("bad_time", with(&|frame| frame.end_ns = 0)),
        ("bad_time", with(&|frame| frame.end_ns = frame.period_ns - 1)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths that the format's description gives for real frames.
    #[test]
    fn lengths_are_those_of_real_frames() {
        assert_eq!(captured().body().len(), 681);
        let names = ["Alerts", "initializer", "Check"];
        let check = Frame::new("Alerts", "computation", names, 1_544_101_820).with_bins(&[(7, 3), (10, 2)], 90, 900);
        let bytes = check.encode();
        assert_eq!((bytes.len(), &bytes[..5]), (645, &[0, 0, 2, 0x81, 3][..]));
        assert_eq!(bytes[34..42], [0, 0, 2, 0x5f, 0, 0, 2, 0xf3]);
        assert_eq!((bytes[149 + 7], bytes[173 + 7]), (3, 2));
        assert_eq!(bytes[637..], [0x15, 0x6d, 0xc0, 0x6c, 0x9e, 0x22, 0x58, 0x00]);
        assert_eq!(join("Alerts", Some("initializer")).len(), 38);
        assert_eq!(connect(), [0, 0, 0, 1, 1]);
    }
}
