//! What a broken or hostile producer can do: cost itself a frame or a connection. Nobody else notices.

use std::time::Duration;

use joey_tests::frame::{self, captured, malformed};
use joey_tests::producer::Answer;
use joey_tests::{Cut, Frame, Oracle, Producer, Relay, eventually_is};
use serde_json::json;

const THEN_S: u64 = 1_700_000_000;

/// A numbered frame of the application `App`.
fn numbered(worker: &str, number: u64) -> Frame {
    Frame::new("App", "computation", ["p", worker, "n"], THEN_S + 2 * number).with(&[number])
}

#[test]
fn a_malformed_frame_costs_that_frame_only_and_is_counted_by_its_reason() {
    let relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    let mut frames = Vec::new();
    for (at, (reason, broken)) in malformed(&numbered("w", 1)).into_iter().enumerate() {
        let before = relay.rejected(reason);
        producer.write(&broken);
        frames.push(numbered("w", at as u64));
        producer.send(&frames[at]);
        relay.accepts(frames.len() as u64);
        assert_eq!(relay.rejected(reason), before + 1, "{reason}, number {at}");
    }
    Oracle::of(&frames).check(&relay.stats("App"));
    assert_eq!(relay.metric("joey_producer_connections_total"), 1);
    assert_eq!(relay.metric("joey_producers"), 1);
}

#[test]
fn a_frame_that_ends_after_any_of_its_bytes_is_counted_as_truncated() {
    let relay = Relay::start();
    let bytes = captured().encode();
    // In a full turn over all offsets, many connections are under way at once.
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
    // An empty connection is no error.
    Producer::connect(relay.ingest).finish();
    relay.producer("App", "w").send(&numbered("w", 1));
    relay.accepts(1);
    assert_eq!(relay.rejected("truncated"), cuts);
    Oracle::of(&[numbered("w", 1)]).check(&relay.stats("App"));
}

#[test]
fn a_frame_cut_in_two_at_any_byte_arrives_whole() {
    let relay = Relay::start();
    let bytes = captured().encode();
    let mut producer = relay.producer("Alerts_windowed", "initializer");
    for at in 0..=bytes.len() {
        producer.write(&bytes[..at]);
        producer.write(&bytes[at..]);
    }
    let frames = vec![captured(); bytes.len() + 1];
    relay.accepts(frames.len() as u64);
    Oracle::of(&frames).check(&relay.stats("Alerts_windowed"));
}

#[test]
fn a_length_that_no_frame_has_ends_that_connection_only() {
    let relay = Relay::start();
    let mut neighbour = relay.producer("App", "neighbour");
    let mut frames = Vec::new();
    for (at, length) in [16_385, (1 << 31) - 1, 1 << 31, u32::MAX].into_iter().enumerate() {
        let mut liar = relay.producer("App", "liar");
        liar.send(&numbered("liar", at as u64));
        relay.accepts(2 * at as u64 + 1);
        liar.write(&length.to_be_bytes());
        liar.is_cut_off();
        neighbour.send(&numbered("neighbour", at as u64));
        relay.accepts(2 * at as u64 + 2);
        frames.extend([numbered("liar", at as u64), numbered("neighbour", at as u64)]);
    }
    eventually_is("lies counted", &4, || relay.metric("joey_connections_closed_total{reason=\"frame_too_long\"}"));
    assert_eq!(relay.rejected("frame_too_long"), 4);
    assert_eq!(neighbour.answer(Duration::from_millis(50)), Answer::Nothing);
    Oracle::of(&frames).check(&relay.stats("App"));
}

#[test]
fn the_longest_frame_and_the_shortest_are_read_to_their_ends() {
    let relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    producer.write(&frame::framed(&[]));
    producer.write(&frame::framed(&[7; 16_384]));
    producer.send(&numbered("w", 1));
    relay.accepts(1);
    assert_eq!((relay.rejected("bad_length"), relay.rejected("unknown_type")), (1, 1));
}

#[test]
fn a_slow_producer_delays_nobody_else() {
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
        relay.accepts(200);
        Oracle::of(&frames).check(&relay.stats("App"));
    });
    relay.accepts(201);
    let mut all = frames;
    all.push(slow);
    Oracle::of(&all).check(&relay.stats("App"));
}

#[test]
fn a_frame_that_takes_longer_than_ten_seconds_ends_its_connection() {
    let relay = Relay::start();
    let mut producer = Producer::connect(relay.ingest);
    producer.write(&captured().encode()[..100]);
    producer.is_cut_off();
    assert_eq!(relay.rejected("frame_timeout"), 1);
}

#[test]
fn garbage_is_refused_and_leaves_others_alone() {
    let relay = Relay::start();
    let mut neighbour = relay.producer("App", "w");
    let mut chance = fastrand::Rng::with_seed(3);
    for _ in 0..20 {
        let mut garbage: Vec<u8> = (0..10_000).map(|_| chance.u8(..)).collect();
        // Otherwise the length might be one that a frame could have, and the rest would be waited for.
        garbage[0] = 0xff;
        let mut producer = Producer::connect(relay.ingest);
        producer.write(&garbage);
        producer.is_cut_off();
    }
    neighbour.send(&numbered("w", 1));
    relay.accepts(1);
    eventually_is("garbage counted", &20, || relay.rejected("frame_too_long"));
    Oracle::of(&[numbered("w", 1)]).check(&relay.stats("App"));
}

#[test]
fn a_flipped_bit_is_at_worst_one_wrong_frame() {
    let relay = Relay::start();
    let bytes = numbered("w", 1).encode();
    let mut producer = relay.producer("App", "w");
    let mut sent = 0;
    // The length in front has tests of its own.
    for at in 4..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 1 << (at % 8);
        producer.write(&broken);
        sent += 1;
    }
    producer.send(&Frame::new("Sound", "computation", ["p", "w", "n"], THEN_S).with(&[1]));
    let counted = || {
        let lines = relay.metrics();
        let figures = lines.lines().filter(|line| line.starts_with("joey_frames_rejected_total{"));
        let rejected: u64 = figures.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
        rejected + relay.metric("joey_frames_accepted_total")
    };
    eventually_is("frames accepted or refused", &(sent + 1), counted);
    assert_eq!(relay.stats("Sound")["views"][0]["count"], json!(1));
    assert_eq!(relay.metric("joey_producers"), 1);
}

#[test]
fn a_producer_is_never_answered() {
    let relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    producer.send(&numbered("w", 1));
    producer.write(&frame::framed(b"nonsense"));
    relay.accepts(1);
    assert_eq!(producer.answer(Duration::from_millis(200)), Answer::Nothing);
}

#[test]
fn beyond_a_limit_frames_are_refused_and_counted_and_what_exists_goes_on() {
    let relay = Relay::start_with(&["--apps", "2", "--series-per-app", "3", "--series", "4"]);
    let of = |app: &str, name: &str| Frame::new(app, "computation", ["p", "w", name], THEN_S).with(&[5]);
    let mut producer = Producer::connect(relay.ingest);
    // A fourth series of one application, a fifth in all, a third application.
    producer.send_all(&[of("A", "1"), of("A", "2"), of("A", "3"), of("A", "4")]);
    producer.send_all(&[of("B", "1"), of("B", "2"), of("C", "1")]);
    producer.send_all(&[of("A", "1"), of("B", "1")]);
    relay.accepts(6);
    assert_eq!((relay.rejected("series_limit"), relay.rejected("app_limit")), (2, 1));
    Oracle::of(&[of("A", "1"), of("A", "2"), of("A", "3"), of("A", "1")]).check(&relay.stats("A"));
    Oracle::of(&[of("B", "1"), of("B", "1")]).check(&relay.stats("B"));
}

#[test]
fn room_that_a_forgotten_application_leaves_can_be_used_again() {
    let relay = Relay::start_with(&["--series", "2", "--forget-secs", "1"]);
    let of = |app: &str, name: &str| Frame::new(app, "computation", ["p", "w", name], THEN_S).with(&[5]);
    // Refusals take no room that nobody would ever give back.
    relay.producer("A", "w").send_all((0..50).map(|name| of("A", &name.to_string())).collect::<Vec<_>>().iter());
    eventually_is("refusals", &48, || relay.rejected("series_limit"));
    eventually_is("applications", &0, || relay.metric("joey_apps"));
    relay.producer("B", "w").send_all(&[of("B", "1"), of("B", "2"), of("B", "3")]);
    eventually_is("refusals", &49, || relay.rejected("series_limit"));
    relay.accepts(4);
}

#[test]
fn one_producer_too_many_is_closed_and_counted() {
    let relay = Relay::start_with(&["--producers", "2"]);
    let mut first = relay.producer("App", "a");
    let second = relay.producer("App", "b");
    eventually_is("producers", &2, || relay.metric("joey_producers"));
    Producer::connect(relay.ingest).is_cut_off();
    assert_eq!(relay.metric("joey_connections_closed_total{reason=\"producer_limit\"}"), 1);
    first.send(&numbered("a", 1));
    relay.accepts(1);
    second.finish();
    eventually_is("producers", &1, || relay.metric("joey_producers"));
    relay.producer("App", "c").send(&numbered("c", 2));
    relay.accepts(2);
}

#[test]
fn an_update_storm_from_one_connection_is_exact() {
    let relay = Relay::start();
    let frames: Vec<Frame> = (0..5_000).map(|at| numbered("w", at % 100)).collect();
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
    relay.producer("App", "w").write_cut(&bytes, Cut::Nowhere);
    relay.accepts(5_000);
    Oracle::of(&frames).check(&relay.stats_over("App", "5m"));
}
