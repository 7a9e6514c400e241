//! What waits to be sent or acknowledged: encoded once, in order, and bounded in bytes. No I/O.

use std::collections::{HashMap, VecDeque};

use joey_shared::emit::{Data, HEADER_BYTES, Message, Series, write_entry};
use joey_shared::histogram::Histogram;
use joey_shared::wire::Blob;

use super::{SeriesName, Stats, Totals};

/// Target length of a message in bytes. The relay's limit is 16 KiB by default, and is known only after the first connection.
const MESSAGE_BYTES: usize = 8 * 1024;
/// Length of a message without its entries, at most, in bytes: its type, and four numbers of at most ten bytes each.
const DATA_OVERHEAD: usize = 41;
/// Maximum number of series. Histograms of more series are dropped, and counted. It is also the relay's default.
const SERIES_MAX: usize = 10_000;
/// Maximum number of reasons in [`Stats::rejected`]. A relay knows less than 20.
const REASONS_MAX: usize = 32;
/// Memory of a queued message in addition to its bytes.
const QUEUED_OVERHEAD: usize = 96;

/// The data that a relay has not acknowledged.
#[derive(Debug)]
pub(super) struct Outbox {
    /// All series, by number. The numbers are the same on every connection.
    names: Vec<SeriesName>,
    numbers: HashMap<SeriesName, u32>,
    /// Consecutive sequence numbers; the last one is `next_seq - 1`.
    queue: VecDeque<Queued>,
    next_seq: u64,
    bytes: usize,
    bytes_max: usize,
    message_bytes: usize,
    stats: Stats,
}

#[derive(Debug)]
struct Queued {
    frame: Vec<u8>,
    /// Number of series that have to be announced first.
    series: usize,
    totals: Totals,
}

/// What was announced and sent on one connection.
#[derive(Debug, Default)]
pub(super) struct Progress {
    announced: usize,
    /// Sequence number of the last message that was sent.
    sent_seq: u64,
}

impl Progress {
    /// Sequence number of the last message that was sent.
    pub(super) const fn sent_seq(&self) -> u64 {
        self.sent_seq
    }
}

impl Outbox {
    /// Keeps at most `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            names: Vec::new(),
            numbers: HashMap::new(),
            queue: VecDeque::new(),
            next_seq: 1,
            bytes: 0,
            bytes_max,
            message_bytes: MESSAGE_BYTES,
            stats: Stats::default(),
        }
    }

    /// Adds the histograms of one period. Drops the oldest data if there is no room.
    pub(super) fn push(
        &mut self,
        period_ns: u64,
        end_ns: u64,
        histograms: impl IntoIterator<Item = (SeriesName, Histogram)>,
    ) {
        let (mut entries, mut entry, mut totals) = (Vec::new(), Vec::new(), Totals::default());
        for (name, histogram) in histograms {
            if histogram.is_empty() {
                continue;
            }
            let of_one = Totals::of(&histogram);
            self.stats.recorded.add(of_one);
            let Some(number) = self.number(name) else {
                self.stats.dropped.add(of_one);
                continue;
            };
            entry.clear();
            write_entry(&mut entry, number, &histogram);
            if !entries.is_empty() && entries.len() + entry.len() + DATA_OVERHEAD > self.message_bytes {
                self.enqueue(period_ns, end_ns, &entries, totals);
                entries.clear();
                totals = Totals::default();
            }
            entries.extend_from_slice(&entry);
            totals.add(of_one);
        }
        if !entries.is_empty() {
            self.enqueue(period_ns, end_ns, &entries, totals);
        }
    }

    fn number(&mut self, name: SeriesName) -> Option<u32> {
        if let Some(number) = self.numbers.get(&name) {
            return Some(*number);
        }
        let number = u32::try_from(self.names.len()).ok().filter(|_| self.names.len() < SERIES_MAX)?;
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        Some(number)
    }

    fn enqueue(&mut self, period_ns: u64, end_ns: u64, entries: &[u8], totals: Totals) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let frame = Message::Data(Data { seq, period_ns, end_ns, entries: Blob(entries) }).to_frame();
        self.bytes += frame.len() + QUEUED_OVERHEAD;
        self.queue.push_back(Queued { frame, series: self.names.len(), totals });
        while self.bytes > self.bytes_max && self.pop().is_some_and(|dropped| self.dropped(dropped)) {}
    }

    fn pop(&mut self) -> Option<Totals> {
        let queued = self.queue.pop_front()?;
        self.bytes -= queued.frame.len() + QUEUED_OVERHEAD;
        Some(queued.totals)
    }

    fn dropped(&mut self, totals: Totals) -> bool {
        self.stats.dropped.add(totals);
        true
    }

    /// The sequence number of the oldest message.
    pub(super) fn first_seq(&self) -> u64 {
        self.next_seq - self.queue.len() as u64
    }

    /// Whether everything is acknowledged or dropped.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Everything up to `seq` has arrived. Returns whether this is news.
    pub(super) fn acknowledge(&mut self, seq: u64) -> bool {
        let before = self.queue.len();
        while self.first_seq() <= seq
            && let Some(totals) = self.pop()
        {
            self.stats.acknowledged.add(totals);
        }
        self.queue.len() < before
    }

    /// The relay has refused histograms. Their message is acknowledged separately.
    pub(super) fn reject(&mut self, histograms: u32, durations: u64, reason: &str) {
        let totals = Totals { histograms: histograms.into(), durations };
        let rejected = &mut self.stats.rejected;
        if let Some((_, known)) = rejected.iter_mut().find(|(known, _)| known == reason) {
            known.add(totals);
        } else if rejected.len() < REASONS_MAX {
            rejected.push((reason.to_owned(), totals));
        }
    }

    /// A relay has accepted the connection. It has everything up to `last_seq`, and accepts messages of at most `frame_bytes_max`
    /// bytes.
    pub(super) fn welcome(&mut self, last_seq: u64, frame_bytes_max: u32) -> Progress {
        self.acknowledge(last_seq);
        self.message_bytes = MESSAGE_BYTES.min(usize::try_from(frame_bytes_max).unwrap_or(usize::MAX));
        Progress { announced: 0, sent_seq: self.first_seq() - 1 }
    }

    /// Appends announcements and data to `bytes`, up to about `bytes_max`, that were not sent on this connection. Messages of
    /// more than `frame_bytes_max` bytes are sent without their histograms, which count as dropped: the relay would close the
    /// connection.
    pub(super) fn write(
        &mut self,
        progress: &mut Progress,
        bytes: &mut Vec<u8>,
        bytes_max: usize,
        frame_bytes_max: usize,
    ) {
        // The oldest data may have been dropped in the meantime.
        progress.sent_seq = progress.sent_seq.max(self.first_seq() - 1);
        while bytes.len() < bytes_max {
            let at = progress.sent_seq + 1 - self.first_seq();
            let Some(queued) = usize::try_from(at).ok().and_then(|at| self.queue.get_mut(at)) else { return };
            progress.sent_seq += 1;
            if queued.frame.len() > frame_bytes_max.saturating_add(HEADER_BYTES) {
                self.stats.dropped.add(std::mem::take(&mut queued.totals));
                self.bytes -= queued.frame.len();
                let empty = Data { seq: progress.sent_seq, period_ns: 0, end_ns: 0, entries: Blob(&[]) };
                queued.frame = Message::Data(empty).to_frame();
                self.bytes += queued.frame.len();
            }
            for (number, name) in self.names.iter().enumerate().take(queued.series).skip(progress.announced) {
                bytes.extend(announcement(number, name));
            }
            progress.announced = progress.announced.max(queued.series);
            bytes.extend_from_slice(&queued.frame);
        }
    }

    /// The state that the application sees.
    pub(super) fn stats(&self) -> Stats {
        Stats { buffered_bytes: self.bytes, ..self.stats.clone() }
    }

    /// The state of the connection in [`Stats`].
    pub(super) const fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }
}

fn announcement(number: usize, name: &SeriesName) -> Vec<u8> {
    let SeriesName { category, pipeline, name, is_approximate, is_sampled, has_extremes } = name;
    let (is_approximate, is_sampled, has_extremes) = (*is_approximate, *is_sampled, *has_extremes);
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    Message::Series(Series { number, id: 0, category, pipeline, name, is_approximate, is_sampled, has_extremes })
        .to_frame()
}

#[cfg(test)]
mod tests {
    use joey_shared::emit::{entries, next_frame};

    use super::*;

    const ANY: usize = usize::MAX;

    fn name(name: &str) -> SeriesName {
        SeriesName::exact("computation", "", name)
    }

    fn histogram(count: u64) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.record_many(1_000, count);
        histogram
    }

    fn push(outbox: &mut Outbox, names: &[&str]) {
        outbox.push(1, 2, names.iter().map(|text| (name(text), histogram(3))));
    }

    /// The messages in `bytes`: a series by its number and name, data by its number and the numbers of its series.
    fn messages(mut bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(body) = next_frame(bytes, ANY).unwrap() {
            found.push(match Message::decode(body).unwrap() {
                Message::Series(series) => format!("{} {}", series.number, series.name),
                Message::Data(data) => {
                    let series: Vec<u32> = entries(data.entries).map(|entry| entry.unwrap().0).collect();
                    format!("#{} {series:?}", data.seq)
                }
                Message::Hello(_) => "hello".to_owned(),
            });
            bytes = &bytes[HEADER_BYTES + body.len()..];
        }
        found
    }

    fn written(outbox: &mut Outbox, progress: &mut Progress) -> Vec<String> {
        let mut bytes = Vec::new();
        outbox.write(progress, &mut bytes, ANY, ANY);
        messages(&bytes)
    }

    #[test]
    fn a_new_connection_announces_all_series_and_sends_what_is_not_acknowledged() {
        let mut outbox = Outbox::new(ANY);
        push(&mut outbox, &["a", "b"]);
        let mut progress = outbox.welcome(0, 16_384);
        assert_eq!(written(&mut outbox, &mut progress), ["0 a", "1 b", "#1 [0, 1]"]);
        push(&mut outbox, &["b", "c"]);
        push(&mut outbox, &["a"]);
        assert_eq!(written(&mut outbox, &mut progress), ["2 c", "#2 [1, 2]", "#3 [0]"]);
        assert!(outbox.acknowledge(1) && !outbox.acknowledge(1));
        // The connection breaks. The relay has received the second message.
        let mut progress = outbox.welcome(2, 16_384);
        assert_eq!(written(&mut outbox, &mut progress), ["0 a", "1 b", "2 c", "#3 [0]"]);
        assert!(written(&mut outbox, &mut progress).is_empty() && !outbox.is_empty());
        outbox.acknowledge(3);
        let stats = outbox.stats();
        assert!(outbox.is_empty() && stats.buffered_bytes == 0);
        assert_eq!((stats.recorded, stats.acknowledged), (Totals { histograms: 5, durations: 15 }, stats.recorded));
    }

    #[test]
    fn the_oldest_data_is_dropped_and_counted_if_the_buffer_is_full() {
        let mut outbox = Outbox::new(3 * (QUEUED_OVERHEAD + 30));
        let mut progress = outbox.welcome(0, 16_384);
        push(&mut outbox, &["a"]);
        assert_eq!(written(&mut outbox, &mut progress), ["0 a", "#1 [0]"]);
        for _ in 2..=9 {
            push(&mut outbox, &["a"]);
        }
        let stats = outbox.stats();
        assert!(stats.buffered_bytes <= 3 * (QUEUED_OVERHEAD + 30));
        assert_eq!(stats.dropped, Totals { histograms: 6, durations: 18 });
        assert_eq!(written(&mut outbox, &mut progress), ["#7 [0]", "#8 [0]", "#9 [0]"]);
        // An acknowledgement of dropped data changes nothing.
        assert!(!outbox.acknowledge(4));
        assert_eq!(outbox.stats().acknowledged, Totals::default());
    }

    #[test]
    fn many_histograms_are_split_into_several_messages() {
        let mut outbox = Outbox::new(ANY);
        let names: Vec<String> = (0..2_000).map(|number| format!("series {number}")).collect();
        push(&mut outbox, &names.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(outbox.queue.len() > 1);
        assert!(outbox.queue.iter().all(|queued| queued.frame.len() <= MESSAGE_BYTES + HEADER_BYTES));
        assert_eq!(outbox.queue.iter().map(|queued| queued.totals.histograms).sum::<u64>(), 2_000);
        // A relay with a lower limit would close the connection.
        let mut progress = outbox.welcome(0, 1_024);
        let mut bytes = Vec::new();
        outbox.write(&mut progress, &mut bytes, ANY, 1_024);
        let messages = messages(&bytes);
        let data: Vec<&String> = messages.iter().filter(|text| text.starts_with('#')).collect();
        assert!(data[0].ends_with("[]") && data.len() == outbox.queue.len(), "{data:?}");
        assert!(outbox.stats().dropped.histograms > 1_500);
        push(&mut outbox, &names.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(outbox.queue.iter().rev().take(40).all(|queued| queued.frame.len() <= 1_024 + HEADER_BYTES));
    }

    #[test]
    fn empty_histograms_are_left_out_and_series_are_limited() {
        let mut outbox = Outbox::new(ANY);
        outbox.push(1, 2, [(name("a"), Histogram::default())]);
        assert!(outbox.is_empty());
        outbox.push(1, 2, (0..SERIES_MAX + 2).map(|number| (name(&number.to_string()), histogram(1))));
        assert_eq!(outbox.stats().dropped, Totals { histograms: 2, durations: 2 });
    }

    #[test]
    fn rejections_are_counted_by_reason() {
        let mut outbox = Outbox::new(ANY);
        for reason in ["rate_limit", "series_limit", "rate_limit"] {
            outbox.reject(2, 10, reason);
        }
        let totals = |histograms, durations| Totals { histograms, durations };
        let expected = [("rate_limit".to_owned(), totals(4, 20)), ("series_limit".to_owned(), totals(2, 10))];
        assert_eq!(outbox.stats().rejected, expected);
    }
}
