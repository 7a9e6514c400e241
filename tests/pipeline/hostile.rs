//! What a broken or hostile producer can cause: the loss of its own frame or connection. Other clients are not
//! affected.

use std::time::Duration;

use joey_tests::frame::{self, captured, malformed};
use joey_tests::producer::Reply;
use joey_tests::{Chunking, Frame, Oracle, Producer, Relay, eventually_is};
use serde_json::json;

const THEN_S: u64 = 1_700_000_000;

/// A numbered frame of the application `App`.
fn numbered(worker: &str, number: u64) -> Frame {
    Frame::new("App", "computation", ["p", worker, "n"], THEN_S + 2 * number).with(&[number])
}

#[test]
fn a_malformed_frame_loses_only_itself_and_is_counted_by_reason() {
    let relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    let mut frames = Vec::new();
    for (at, (reason, broken)) in malformed(&numbered("w", 1)).into_iter().enumerate() {
        let before = relay.rejected(reason);
        producer.write(&broken);
        frames.push(numbered("w", at as u64));
        producer.send(&frames[at]);
        relay.wait_for_accepted(frames.len() as u64);
        assert_eq!(relay.rejected(reason), before + 1, "{reason}, number {at}");
    }
    Oracle::new(&frames).check(&relay.stats("App"));
    assert_eq!(relay.metric("joey_producer_connections_total"), 1);
    assert_eq!(relay.metric("joey_producers"), 1);
}

#[test]
fn a_frame_truncated_at_any_byte_is_counted_as_truncated() {
    let relay = Relay::start();
    let bytes = captured().encode();
    // Cover all offsets with many connections open at once.
    for chunk in (1..bytes.len()).collect::<Vec<_>>().chunks(50) {
        let producers: Vec<Producer> = chunk
            .iter()
            .map(|&at| {
                let mut producer = Producer::connect(relay.ingest);
                producer.write(&bytes[..at]);
                producer
            })
            .collect();
        producers.into_iter().for_each(Producer::finish);
    }
    let cuts = bytes.len() as u64 - 1;
    eventually_is("frames counted as truncated", &cuts, || relay.rejected("truncated"));
    // An empty connection is not an error.
    Producer::connect(relay.ingest).finish();
    relay.producer("App", "w").send(&numbered("w", 1));
    relay.wait_for_accepted(1);
    assert_eq!(relay.rejected("truncated"), cuts);
    Oracle::new(&[numbered("w", 1)]).check(&relay.stats("App"));
}

#[test]
fn a_frame_split_at_any_byte_arrives_whole() {
    let relay = Relay::start();
    let bytes = captured().encode();
    let mut producer = relay.producer("Alerts_windowed", "initializer");
    for at in 0..=bytes.len() {
        producer.write(&bytes[..at]);
        producer.write(&bytes[at..]);
    }
    let frames = vec![captured(); bytes.len() + 1];
    relay.wait_for_accepted(frames.len() as u64);
    Oracle::new(&frames).check(&relay.stats("Alerts_windowed"));
}

#[test]
fn an_impossible_length_closes_only_its_connection() {
    let relay = Relay::start();
    let mut neighbour = relay.producer("App", "neighbour");
    let mut frames = Vec::new();
    for (at, length) in [16_385, (1 << 31) - 1, 1 << 31, u32::MAX].into_iter().enumerate() {
        let mut liar = relay.producer("App", "liar");
        liar.send(&numbered("liar", at as u64));
        relay.wait_for_accepted(2 * at as u64 + 1);
        liar.write(&length.to_be_bytes());
        liar.wait_for_close();
        neighbour.send(&numbered("neighbour", at as u64));
        relay.wait_for_accepted(2 * at as u64 + 2);
        frames.extend([numbered("liar", at as u64), numbered("neighbour", at as u64)]);
    }
    eventually_is("impossible lengths counted", &4, || {
        relay.metric("joey_connections_closed_total{reason=\"frame_too_long\"}")
    });
    assert_eq!(relay.rejected("frame_too_long"), 4);
    assert_eq!(neighbour.read_reply(Duration::from_millis(50)), Reply::Nothing);
    Oracle::new(&frames).check(&relay.stats("App"));
}

#[test]
fn the_longest_and_the_shortest_frame_are_read_completely() {
    let relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    producer.write(&frame::framed(&[]));
    producer.write(&frame::framed(&[7; 16_384]));
    producer.send(&numbered("w", 1));
    relay.wait_for_accepted(1);
    assert_eq!((relay.rejected("bad_length"), relay.rejected("unknown_type")), (1, 1));
}

#[test]
fn a_slow_producer_does_not_delay_others() {
    let relay = Relay::start();
    let slow = numbered("slow", 0);
    let frames: Vec<Frame> = (1..=200).map(|number| numbered("quick", number)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut producer = relay.producer("App", "slow");
            for &byte in &slow.encode() {
                producer.write(&[byte]);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let mut quick = relay.producer("App", "quick");
        quick.send_all(&frames);
        relay.wait_for_accepted(200);
        Oracle::new(&frames).check(&relay.stats("App"));
    });
    relay.wait_for_accepted(201);
    let mut all = frames;
    all.push(slow);
    Oracle::new(&all).check(&relay.stats("App"));
}

#[test]
fn a_frame_that_takes_longer_than_ten_seconds_closes_its_connection() {
    let relay = Relay::start();
    let mut producer = Producer::connect(relay.ingest);
    producer.write(&captured().encode()[..100]);
    producer.wait_for_close();
    assert_eq!(relay.rejected("frame_timeout"), 1);
}

#[test]
fn garbage_is_rejected_without_affecting_others() {
    let relay = Relay::start();
    let mut neighbour = relay.producer("App", "w");
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..20 {
        let mut garbage: Vec<u8> = (0..10_000).map(|_| rng.u8(..)).collect();
        // Otherwise the bytes could announce a valid length, and the relay would wait for the rest.
        garbage[0] = 0xff;
        let mut producer = Producer::connect(relay.ingest);
        producer.write(&garbage);
        producer.wait_for_close();
    }
    neighbour.send(&numbered("w", 1));
    relay.wait_for_accepted(1);
    eventually_is("garbage counted", &20, || relay.rejected("frame_too_long"));
    Oracle::new(&[numbered("w", 1)]).check(&relay.stats("App"));
}

#[test]
fn a_flipped_bit_affects_at_most_one_frame() {
    let relay = Relay::start();
    let bytes = numbered("w", 1).encode();
    let mut producer = relay.producer("App", "w");
    let mut sent = 0;
    // The length has its own tests.
    for at in 4..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 1 << (at % 8);
        producer.write(&broken);
        sent += 1;
    }
    producer.send(&Frame::new("Sound", "computation", ["p", "w", "n"], THEN_S).with(&[1]));
    let counted = || {
        let lines = relay.metrics();
        let rejections = lines.lines().filter(|line| line.starts_with("joey_frames_rejected_total{"));
        let rejected: u64 = rejections.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
        rejected + relay.metric("joey_frames_accepted_total")
    };
    eventually_is("frames accepted or rejected", &(sent + 1), counted);
    assert_eq!(relay.stats("Sound")["views"][0]["count"], json!(1));
    assert_eq!(relay.metric("joey_producers"), 1);
}

#[test]
fn a_producer_is_never_answered() {
    let relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    producer.send(&numbered("w", 1));
    producer.write(&frame::framed(b"nonsense"));
    relay.wait_for_accepted(1);
    assert_eq!(producer.read_reply(Duration::from_millis(200)), Reply::Nothing);
}

#[test]
fn frames_beyond_a_limit_are_rejected_and_counted_while_existing_series_continue() {
    let relay = Relay::start_with(&["--apps", "2", "--series-per-app", "3", "--series", "4"]);
    let of = |app: &str, name: &str| Frame::new(app, "computation", ["p", "w", name], THEN_S).with(&[5]);
    let mut producer = Producer::connect(relay.ingest);
    // A fourth series of one application, a fifth in total, a third application.
    producer.send_all(&[of("A", "1"), of("A", "2"), of("A", "3"), of("A", "4")]);
    producer.send_all(&[of("B", "1"), of("B", "2"), of("C", "1")]);
    producer.send_all(&[of("A", "1"), of("B", "1")]);
    relay.wait_for_accepted(6);
    assert_eq!((relay.rejected("series_limit"), relay.rejected("app_limit")), (2, 1));
    Oracle::new(&[of("A", "1"), of("A", "2"), of("A", "3"), of("A", "1")]).check(&relay.stats("A"));
    Oracle::new(&[of("B", "1"), of("B", "1")]).check(&relay.stats("B"));
}

#[test]
fn the_series_of_a_forgotten_application_can_be_used_again() {
    let relay = Relay::start_with(&["--series", "2", "--forget-secs", "1"]);
    let of = |app: &str, name: &str| Frame::new(app, "computation", ["p", "w", name], THEN_S).with(&[5]);
    // Rejected frames must not use up series slots that nothing would free again.
    relay.producer("A", "w").send_all((0..50).map(|name| of("A", &name.to_string())).collect::<Vec<_>>().iter());
    eventually_is("refusals", &48, || relay.rejected("series_limit"));
    eventually_is("applications", &0, || relay.metric("joey_apps"));
    relay.producer("B", "w").send_all(&[of("B", "1"), of("B", "2"), of("B", "3")]);
    eventually_is("refusals", &49, || relay.rejected("series_limit"));
    relay.wait_for_accepted(4);
}

#[test]
fn a_producer_beyond_the_limit_is_closed_and_counted() {
    let relay = Relay::start_with(&["--producers", "2"]);
    let mut first = relay.producer("App", "a");
    let second = relay.producer("App", "b");
    eventually_is("producers", &2, || relay.metric("joey_producers"));
    Producer::connect(relay.ingest).wait_for_close();
    assert_eq!(relay.metric("joey_connections_closed_total{reason=\"producer_limit\"}"), 1);
    first.send(&numbered("a", 1));
    relay.wait_for_accepted(1);
    second.finish();
    eventually_is("producers", &1, || relay.metric("joey_producers"));
    relay.producer("App", "c").send(&numbered("c", 2));
    relay.wait_for_accepted(2);
}

#[test]
fn a_burst_of_updates_from_one_connection_is_exact() {
    let relay = Relay::start();
    let frames: Vec<Frame> = (0..5_000).map(|at| numbered("w", at % 100)).collect();
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
    relay.producer("App", "w").write_in_chunks(&bytes, Chunking::Whole);
    relay.wait_for_accepted(5_000);
    Oracle::new(&frames).check(&relay.stats_over("App", "5m"));
}
