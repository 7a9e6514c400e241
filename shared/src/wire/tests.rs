//! Tests the hex examples of the specification, and decoding of malformed messages.

use super::*;
use crate::close::RESTART;
use crate::histogram::{Grid, Histogram, Unit};
use crate::recording::{self, Entry, Record};
use crate::series::{COMPUTATION, Filter};
use crate::stream::{OPENED, encode_notice, record_header};
use crate::view::{Kind, ViewKey};
use alloc::collections::BTreeMap;
use alloc::format;
use proptest::prelude::*;
use std::string::ToString;
use std::vec;

fn check_series() -> SeriesEntry {
    let [category, pipeline, worker, name] = [COMPUTATION, "Alerts", "initializer", "Check"].map(ToString::to_string);
    SeriesEntry::new(0, 2, SeriesKey { category, pipeline, worker, name })
}

/// The update of the worked example in the producer's format: bin 7 three times, bin 10 twice.
fn example_update(seq: u64) -> Update {
    let histogram = Histogram::from_counts(Grid::WALLAROO, 7, [3, 0, 0, 2]).with_statistics(90, 900, None);
    let end_ns = 1_544_101_820_000_000_000;
    Update { seq, series: 0, period_ns: 2_000_000_000, end_ns, offset_ns: 0, histogram }
}

fn example_head() -> BatchHead {
    BatchHead {
        feed: 1,
        from: 1,
        to: 2,
        cut_ns: 1_544_101_820_050_000_000,
        end_ns: 1_544_101_820_000_000_000,
        period_ns: 2_000_000_000,
        series: vec![check_series()],
    }
}

/// All hex examples of the specification, by name.
fn examples() -> BTreeMap<&'static str, Vec<u8>> {
    let topic = |filter| Topic { app: "Alerts".to_string(), filter };
    let head = example_head();
    let mut writer = UpdatesWriter::new(&head);
    writer.push(&example_update(1));
    writer.push(&example_update(2));
    // The same two updates as a rollup.
    let rollup_head = BatchHead { series: vec![], cut_ns: 1_544_101_829_000_000_000, ..example_head() };
    let mut rollup = UpdatesWriter::new(&rollup_head);
    let mut both = example_update(1);
    both.histogram.merge(&example_update(2).histogram);
    rollup.push(&both);
    let hello = Hello {
        version: 1,
        release: "0.1.0",
        epoch: 77,
        now_ns: 1_544_101_820_000_000_000,
        ring_ns: 300_000_000_000,
        series_retention_ns: 3_635_000_000_000,
        demo: false,
        ingest_port: 5001,
    };
    let worker = WorkerEntry {
        worker: "initializer".to_string(),
        connected: true,
        since_ns: 1_544_101_820_000_000_000,
        reconnects: 0,
        offset_ns: 15_000_000_000,
        offset_since_ns: 1_544_101_820_000_000_000,
    };
    let app = AppEntry {
        app: "Alerts".to_string(),
        workers: vec![worker],
        series: 1,
        sources: vec![Source::Wallaroo],
        is_approximate: false,
        is_sampled: false,
        last_received_ns: 1_544_101_820_000_000_000,
        late: 0,
        over_limit: 0,
        rejected_for_name: 0,
        rejected_names: vec![],
    };
    let subscribed = Subscribed { sub: 1, feed: 1, epoch: 77, next: 1, head: 2, missing: 0 };
    let subscribe = |sub, filter, start| ClientMessage::Subscribe { sub, topic: topic(filter), start }.encode();
    BTreeMap::from([
        ("hello", ServerMessage::Hello(hello).encode()),
        ("catalogue", ServerMessage::Catalogue { full: true, apps: vec![app], last: true }.encode()),
        (
            "series",
            ServerMessage::Series { app: "Alerts".to_string(), epoch: 77, series: vec![check_series()], last: true }
                .encode(),
        ),
        ("subscribed", ServerMessage::Subscribed(subscribed).encode()),
        ("rollup", ServerMessage::Rollup { head: rollup_head.clone(), updates: rollup.finish() }.encode()),
        ("batch", ServerMessage::Batch { head: head.clone(), updates: writer.finish() }.encode()),
        ("gap", ServerMessage::Gap { feed: 1, from: 3, to: 300 }.encode()),
        ("heartbeat", ServerMessage::Heartbeat { now_ns: 1_544_101_820_000_000_000, sent: vec![(1, 300)] }.encode()),
        ("expires", ServerMessage::Expires { at_ns: 1_544_101_820_000_000_000 }.encode()),
        ("relays", ServerMessage::Relays { addresses: vec!["wss://b/".to_string()] }.encode()),
        ("subscribe-failed", ServerMessage::SubscribeFailed { sub: 1, reason: SubscribeError::NoSuchApp }.encode()),
        ("subscribe-app", subscribe(1, Filter::All, Start::History)),
        ("subscribe-category", subscribe(2, Filter::Category(COMPUTATION.to_string()), Start::Live)),
        ("subscribe-series", subscribe(3, Filter::Series(check_series().key), Start::After { epoch: 77, seq: 300 })),
        ("subscribe-recent", subscribe(4, Filter::All, Start::Recent { span_ns: 3_600_000_000_000 })),
        ("unsubscribe", ClientMessage::Unsubscribe { sub: 1 }.encode()),
        (
            "subscribe-log",
            ClientMessage::SubscribeLog {
                sub: 5,
                epoch: 300,
                topic: topic(Filter::All),
                start: Start::After { epoch: 300, seq: 9 },
            }
            .encode(),
        ),
        (
            "cluster",
            ServerMessage::Cluster { connected: true, relays: 3, watching: vec![("Alerts".to_string(), 2)] }.encode(),
        ),
        (
            "wall-clock",
            ServerMessage::WallClock { step_ns: -5_000_000_000_000, at_ns: 1_544_101_820_000_000_000 }.encode(),
        ),
        ("objectives", objectives().encode()),
        ("logs", ServerMessage::Logs { app: "Alerts".to_string(), epochs: vec![77, 300] }.encode()),
        ("describe", ClientMessage::Describe { app: "Alerts".to_string() }.encode()),
        ("token", ClientMessage::Token { token: "e30.e30.c2ln".to_string() }.encode()),
    ])
}

/// An objective that one of three views misses.
fn objectives() -> ServerMessage<'static> {
    let view = ObjectiveView {
        view: ViewKey::computation("Check"),
        state: ObjectiveState::Missed,
        since_ns: 1_544_101_820_000_000_000,
        value: "11 ms".to_string(),
    };
    let counts = ObjectiveCounts { missed: 1, met: 2, ..ObjectiveCounts::default() };
    let entry = ObjectiveEntry { objective: "*: p99 < 10ms over 10s".to_string(), counts, views: vec![view] };
    ServerMessage::Objectives { app: "Alerts".to_string(), objectives: vec![entry] }
}

/// The hex examples of a stream without a WebSocket.
fn stream_examples() -> [(&'static str, Vec<u8>); 3] {
    let message = ClientMessage::Unsubscribe { sub: 1 }.encode();
    [
        ("stream-opened", encode_notice(OPENED, "00112233445566778899aabbccddeeff")),
        ("stream-message", [&record_header(message.len()), &*message].concat()),
        ("stream-closed", encode_notice(RESTART, "restart")),
    ]
}

/// The hex example of a histogram at scale 3 in seconds.
fn fine_histogram() -> Vec<u8> {
    let seconds = Grid::new(3, Unit::Seconds).unwrap();
    let counts = [300, 0, 0, 0, 1].into_iter();
    let histogram = Histogram::from_counts(seconds, seconds.bin_of_index(-56), counts);
    let mut bytes = Vec::new();
    write_histogram(&mut bytes, &histogram.with_statistics(8_000_000, 12_000_000, Some(2_550_000_000)));
    bytes
}

/// The hex example of a recording with one message and one command.
fn recording() -> Vec<u8> {
    let mut file = recording::header().to_vec();
    let time_ns = 1_544_101_820_000_000_000;
    let (message, command) = (ServerMessage::Gap { feed: 1, from: 3, to: 300 }, ClientMessage::Unsubscribe { sub: 1 });
    for entry in [Entry::Message(&message.encode()), Entry::Command(&command.encode())] {
        assert!(Record { time_ns, entry }.write(&mut file));
    }
    file
}

/// The hex example of a recording with two relays, of which the second is removed.
fn recording_of_several() -> Vec<u8> {
    let mut file = recording::header_of_several().to_vec();
    let time_ns = 1_544_101_820_000_000_000;
    let message = ServerMessage::Gap { feed: 1, from: 3, to: 300 }.encode();
    for entry in [Entry::Message(&message), Entry::Relay(1), Entry::Message(&message), Entry::Removed(1)] {
        assert!(Record { time_ns, entry }.write(&mut file));
    }
    file
}

/// The hex blocks of the specification, by the name after ` ```hex `.
fn specification() -> BTreeMap<&'static str, Vec<u8>> {
    let blocks = include_str!("../../README.md").split("```hex ").skip(1);
    let parse = |block: &'static str| {
        let (name, rest) = block.split_once('\n').unwrap();
        let hex = rest.split("```").next().unwrap();
        let code = hex.lines().map(|line| line.split('#').next().unwrap());
        let digits: String = code.flat_map(|code| code.chars().filter(char::is_ascii_hexdigit)).collect();
        let pairs = (0..digits.len()).step_by(2);
        (name.trim(), pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect())
    };
    blocks.map(parse).collect()
}

fn is_from_viewer(name: &str) -> bool {
    (name.starts_with("subscribe-") && name != "subscribe-failed")
        || ["unsubscribe", "describe", "token"].contains(&name)
}

#[test]
fn examples_of_the_specification_match_the_code() {
    let (mut examples, specification) = (examples(), specification());
    examples.extend(stream_examples());
    examples.insert("histogram", fine_histogram());
    examples.insert("recording", recording());
    examples.insert("recording-of-several-relays", recording_of_several());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    for (name, bytes) in &examples {
        assert_eq!(
            specification.get(name).map(|spec| hex(spec)),
            Some(hex(bytes)),
            "example {name} of shared/README.md"
        );
    }
    assert_eq!(specification.len(), examples.len());
}

#[test]
fn examples_are_decoded_and_encoded_again() {
    for (name, bytes) in examples() {
        let back = if is_from_viewer(name) {
            ClientMessage::decode(&bytes).unwrap().encode()
        } else {
            ServerMessage::decode(&bytes).unwrap().encode()
        };
        assert_eq!(back, bytes, "{name}");
    }
}

#[test]
fn prefixes_wrong_bytes_and_trailing_bytes_do_not_panic() {
    for (name, bytes) in &examples() {
        let is_decoded = |bytes: &[u8]| {
            if is_from_viewer(name) {
                ClientMessage::decode(bytes).is_ok()
            } else {
                ServerMessage::decode(bytes).is_ok()
            }
        };
        for at in 0..bytes.len() {
            assert!(!is_decoded(&bytes[..at]), "the first {at} bytes of {name}");
            for flip in 1..=255 {
                let mut broken = bytes.clone();
                broken[at] ^= flip;
                let _ = ClientMessage::decode(&broken);
                if let Ok(ServerMessage::Batch { head, updates }) = ServerMessage::decode(&broken) {
                    head.read(updates).for_each(drop);
                }
            }
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(!is_decoded(&longer));
    }
}

#[test]
fn a_writer_encodes_the_same_whether_or_not_its_buffer_was_shrunk() {
    let full = |seq| {
        let counts = [u64::MAX; 65];
        let histogram = Histogram::from_counts(Grid::WALLAROO, 0, counts).with_statistics(0, u64::MAX, None);
        Update { histogram, ..example_update(seq) }
    };
    let mut writer = UpdatesWriter::default();
    let mut write = |updates: &[Update], room| {
        let head = example_head();
        writer.begin(head.from, head.end_ns, head.period_ns);
        updates.iter().for_each(|update| writer.push(update));
        let bytes = writer.finish().0.to_vec();
        assert_eq!(head.read(Blob(&bytes)).collect::<Result<Vec<_>, _>>(), Ok(updates.to_vec()));
        writer.shrink_to(room);
        bytes
    };
    let (few, many) = ([example_update(1)], (1..=20).map(full).collect::<Vec<_>>());
    let first = write(&few, 0);
    for room in [0, 64, 4096] {
        let long = write(&many, room);
        assert_eq!(write(&few, room), first);
        assert_eq!(write(&few, room), first);
        assert_eq!(write(&many, room), long);
    }
}

#[test]
fn a_claimed_length_allocates_nothing() {
    // A catalogue of 2^63 applications in eleven bytes.
    let bytes = [1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert_eq!(ServerMessage::decode(&bytes), Err(WireError::Malformed));
}

#[test]
fn more_than_65_bins_are_rejected() {
    for (first, len, ok) in [(0, 65, true), (1, 65, false), (64, 1, true), (65, 1, false), (255, 1, false)] {
        let mut bytes = vec![first, len];
        bytes.extend(core::iter::repeat_n(1, usize::from(len) + 2));
        assert_eq!(read_histogram(&mut &bytes[..]).is_ok(), ok, "{len} bins from {first}");
    }
}

fn any_update() -> impl Strategy<Value = Update> {
    let counts = prop::collection::vec(prop_oneof![3 => Just(0), 1 => any::<u64>()], 65);
    (any::<[u64; 5]>(), any::<i64>(), any::<u32>(), counts, 0..=3_u8).prop_map(
        |([skip, period_ns, end_ns, min_ns, max_ns], offset_ns, series, counts, scale)| {
            let grid = Grid::new(scale, Unit::Nanoseconds).unwrap();
            let histogram = Histogram::from_counts(grid, 0, counts).with_statistics(min_ns, max_ns, None);
            Update { seq: skip % 1000, series, period_ns, end_ns, offset_ns, histogram }
        },
    )
}

fn any_objective() -> impl Strategy<Value = ObjectiveEntry> {
    let kind = prop_oneof![Just(Kind::StartToEnd), Just(Kind::Throughput), ".*".prop_map(Kind::Other)];
    let name = || prop::option::of(".{0,12}");
    let state = prop::sample::select(ObjectiveState::ALL.to_vec());
    let view = (kind, name(), name(), name(), state, any::<u64>(), ".{0,12}").prop_map(
        |(kind, pipeline, worker, name, state, since_ns, value)| ObjectiveView {
            view: ViewKey { kind, pipeline, worker, name },
            state,
            since_ns,
            value,
        },
    );
    ((".*"), any::<[u32; 5]>(), prop::collection::vec(view, 0..4)).prop_map(
        |(objective, [missed, pending, undecided, met, no_data], views)| {
            let counts = ObjectiveCounts { missed, pending, undecided, met, no_data };
            ObjectiveEntry { objective, counts, views }
        },
    )
}

proptest! {
    #[test]
    fn objectives_with_any_values_are_decoded_unchanged(
        app in ".*",
        objectives in prop::collection::vec(any_objective(), 0..4),
    ) {
        let message = ServerMessage::Objectives { app, objectives };
        let bytes = message.encode();
        prop_assert_eq!(ServerMessage::decode(&bytes), Ok(message));
    }

    #[test]
    fn updates_with_any_values_are_decoded_unchanged(updates in prop::collection::vec(any_update(), 0..20)) {
        let head = example_head();
        let mut writer = UpdatesWriter::new(&head);
        let mut seq = head.from;
        let updates: Vec<Update> = updates.into_iter().map(|update| {
            seq += 1 + update.seq;
            Update { seq, ..update }
        }).collect();
        updates.iter().for_each(|update| writer.push(update));
        let bytes = ServerMessage::Batch { head, updates: writer.finish() }.encode();
        let Ok(ServerMessage::Batch { head, updates: blob }) = ServerMessage::decode(&bytes) else { panic!() };
        prop_assert_eq!(head.read(blob).collect::<Result<Vec<_>, _>>(), Ok(updates));
    }

    #[test]
    fn any_bytes_decode_to_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = ClientMessage::decode(&bytes);
        if let Ok(ServerMessage::Batch { head, updates }) = ServerMessage::decode(&bytes) {
            head.read(updates).for_each(drop);
        }
    }
}
