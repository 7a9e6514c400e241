//! Viewers: topics, exactly-once delivery, notices about missing updates, and how a WebSocket is closed.

use joey_shared::series::Filter;
use joey_shared::wire::{CLIENT_BYTES_MAX, ClientMessage, Start, SubscribeError};
use joey_tests::viewer::{Received, category, open, series};
use joey_tests::{Frame, Relay, Viewer, eventually, eventually_is};
use tokio_tungstenite::tungstenite::Message;

const THEN_S: u64 = 1_700_000_000;

/// Frames of several categories, numbered from `from` in the order of the log.
fn frames(from: u64, count: u64) -> Vec<Frame> {
    let one = |number: u64| {
        let category = ["computation", "start-to-end", "node-ingress-egress", "else"][(number % 4) as usize];
        Frame::new("App", category, ["p", "w", "n"], THEN_S + 2 * number).with(&[number])
    };
    (from..from + count).map(one).collect()
}

/// A relay that holds frames 1 to `count` of `App`.
fn relay_with(count: u64, arguments: &[&str]) -> Relay {
    let relay = Relay::start_with(arguments);
    relay.producer("App", "w").send_all(&frames(1, count));
    relay.wait_for_accepted(count);
    relay
}

/// The numbers from 1 to `last` whose frames are of the category with this remainder.
fn every_fourth(last: u64, remainder: u64) -> Vec<u64> {
    (1..=last).filter(|number| number % 4 == remainder).collect()
}

#[test]
fn a_topic_is_an_application_a_category_or_one_series() {
    let relay = relay_with(40, &[]);
    let check = |filter: Filter, expected: Vec<u64>| {
        let mut viewer = Viewer::connect(&relay);
        let (_, subscribed) = viewer.subscribe("App", filter.clone(), Start::History);
        assert_eq!((subscribed.next, subscribed.missing), (1, 0), "{filter:?}");
        let collected = viewer.collect(&[subscribed.feed], subscribed.head);
        assert_eq!(collected.numbers, expected, "{filter:?}");
        let values = collected.updates.iter().map(|update| update.histogram.min_ns);
        assert!(values.eq(expected), "each number has its own histogram");
    };
    check(Filter::All, (1..=40).collect());
    check(category("start-to-end"), every_fourth(40, 1));
    check(series("node-ingress-egress", "p", "w", "n"), every_fourth(40, 2));
}

#[test]
fn one_socket_can_subscribe_and_unsubscribe() {
    let relay = relay_with(8, &[]);
    let mut producer = relay.producer("App", "w");
    let mut viewer = Viewer::connect(&relay);
    let (_, start_to_end) = viewer.subscribe("App", category("start-to-end"), Start::Live);
    producer.send_all(&frames(9, 8));
    assert_eq!(viewer.collect(&[start_to_end.feed], 13).numbers, [9, 13]);
    let (sub, other) = viewer.subscribe("App", category("else"), Start::Live);
    producer.send_all(&frames(17, 8));
    let both = viewer.collect(&[start_to_end.feed, other.feed], 21);
    assert_eq!(sorted(both.numbers), [17, 19, 21, 23]);
    viewer.send(&ClientMessage::Unsubscribe { sub });
    // The relay reads in order: once it answers the next subscription, the other one has ended.
    let (_, all) = viewer.subscribe("App", series("computation", "p", "w", "n"), Start::Live);
    producer.send_all(&frames(25, 8));
    let rest = viewer.collect(&[start_to_end.feed, all.feed], 29);
    assert!(rest.numbers.iter().all(|number| number % 4 != 3), "{:?}", rest.numbers);
    assert!([25, 28, 29].iter().all(|number| rest.numbers.contains(number)), "{:?}", rest.numbers);
}

#[test]
fn batches_are_broadcast_directly_to_idle_viewers() {
    const BATCHES: u64 = 20;
    let relay = relay_with(4, &[]);
    let mut producer = relay.producer("App", "w");
    let mut viewers: Vec<Viewer> = (0..3).map(|_| Viewer::connect(&relay)).collect();
    // The last one has two topics that do not contain each other, so its own session task merges them.
    let mut feeds: Vec<Vec<u32>> = Vec::new();
    for (at, viewer) in viewers.iter_mut().enumerate() {
        let filters = if at < 2 { vec![Filter::All] } else { vec![category("else"), category("computation")] };
        feeds.push(filters.into_iter().map(|filter| viewer.subscribe("App", filter, Start::History).1.feed).collect());
    }
    let mut seen = [(); 3].map(|()| Vec::new());
    for round in 0..=BATCHES {
        if round > 0 {
            producer.send_all(&frames(1 + 4 * round, 4));
        }
        let last = 4 * (round + 1);
        for ((viewer, feeds), seen) in viewers.iter_mut().zip(&feeds).zip(&mut seen) {
            seen.extend(viewer.collect(feeds, last).numbers);
        }
    }
    let all: Vec<u64> = (1..=4 * (BATCHES + 1)).collect();
    let parts: Vec<u64> = all.iter().copied().filter(|number| matches!(number % 4, 0 | 3)).collect();
    let [first, second, third] = seen.map(sorted);
    assert_eq!((&first, &second, third), (&all, &all, parts));
    // A session may not be idle yet when a batch is cut, so not every message is sent directly.
    let direct = relay.metric("joey_sent_messages_direct_total");
    assert!((BATCHES..=2 * BATCHES).contains(&direct), "{direct} messages");
}

#[test]
fn overlapping_subscriptions_deliver_each_update_once() {
    let relay = relay_with(4, &[]);
    let mut producer = relay.producer("App", "w");
    let mut viewer = Viewer::connect(&relay);
    let (_, narrow) = viewer.subscribe("App", category("computation"), Start::Live);
    let (wide, all) = viewer.subscribe("App", Filter::All, Start::Live);
    let (_, one) = viewer.subscribe("App", series("start-to-end", "p", "w", "n"), Start::Live);
    let (again, _) = viewer.subscribe("App", Filter::All, Start::Live);
    for round in 0..5 {
        producer.send_all(&frames(5 + 20 * round, 20));
        let last = 24 + 20 * round;
        assert_eq!(viewer.collect(&[all.feed], last).numbers, (last - 19..=last).collect::<Vec<_>>());
    }
    // Without the wide subscriptions, the narrow ones continue where those stopped.
    viewer.send(&ClientMessage::Unsubscribe { sub: wide });
    viewer.send(&ClientMessage::Unsubscribe { sub: again });
    let (_, other) = viewer.subscribe("App", category("else"), Start::Live);
    producer.send_all(&frames(105, 40));
    let numbers = viewer.collect(&[narrow.feed, one.feed, other.feed], 141).numbers;
    let expected: Vec<u64> = (105..=141).filter(|number| number % 4 != 2).collect();
    let received: Vec<u64> = sorted(numbers).into_iter().filter(|&number| number <= 141).collect();
    assert_eq!(received, expected);
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

#[test]
fn every_viewer_of_a_topic_receives_identical_batch_bytes() {
    let relay = relay_with(4, &[]);
    let mut viewers: Vec<(Viewer, u32)> = (0..3)
        .map(|_| {
            let mut viewer = Viewer::connect(&relay);
            let feed = viewer.subscribe("App", category("computation"), Start::History).1.feed;
            (viewer, feed)
        })
        .collect();
    let mut producer = relay.producer("App", "w");
    for round in 0..5 {
        producer.send_all(&frames(5 + 40 * round, 40));
        relay.wait_for_accepted(44 + 40 * round);
    }
    let mut bytes = viewers.iter_mut().map(|(viewer, feed)| viewer.collect(&[*feed], 204).batches);
    let first = bytes.next().unwrap();
    assert!(!first.is_empty());
    assert!(bytes.all(|other| other == first));
}

#[test]
fn a_viewer_resumes_after_its_last_sequence_number() {
    let relay = relay_with(40, &[]);
    let epoch = Viewer::connect(&relay).subscribe("App", Filter::All, Start::Live).1.epoch;
    let check = |start: Start, expected: Vec<u64>, missing: u64| {
        let mut viewer = Viewer::connect(&relay);
        let (_, subscribed) = viewer.subscribe("App", Filter::All, start);
        assert_eq!((subscribed.head, subscribed.missing), (40, missing), "{start:?}");
        let mut numbers = Vec::new();
        if subscribed.next <= subscribed.head {
            numbers = viewer.collect(&[subscribed.feed], 40).numbers;
        }
        // A batch is never split: it may begin before the requested sequence number, but never after it.
        assert!(numbers.ends_with(&expected), "{start:?}: {numbers:?}");
    };
    check(Start::After { epoch, seq: 0 }, (1..=40).collect(), 0);
    check(Start::After { epoch, seq: 25 }, (26..=40).collect(), 0);
    check(Start::After { epoch, seq: 40 }, vec![], 0);
    check(Start::After { epoch, seq: 4_000 }, vec![], 0);
    check(Start::After { epoch: epoch + 1, seq: 25 }, (1..=40).collect(), 0);
    check(Start::Live, vec![], 0);
}

#[test]
fn evicted_updates_are_reported_missing_on_resume() {
    let relay = relay_with(40, &["--ring-bytes", "1"]);
    let mut viewer = Viewer::connect(&relay);
    let epoch = viewer.subscribe("App", Filter::All, Start::Live).1.epoch;
    eventually_is("bytes of history", &0, || relay.metric("joey_ring_bytes"));
    for filter in [Filter::All, category("computation"), series("start-to-end", "p", "w", "n")] {
        let mut viewer = Viewer::connect(&relay);
        let (_, subscribed) = viewer.subscribe("App", filter.clone(), Start::After { epoch, seq: 10 });
        assert_eq!((subscribed.next, subscribed.missing), (41, 30), "{filter:?}");
    }
    assert_eq!((relay.metric("joey_gaps_total"), relay.metric("joey_gap_updates_total")), (3, 90));
}

#[test]
fn a_viewer_that_reads_too_slowly_learns_exactly_what_it_missed() {
    let relay = Relay::start_with(&["--ring-bytes", "300000"]);
    // Dense histograms of large counts, which take ten bytes per bin.
    let mut rng = fastrand::Rng::with_seed(9);
    let mut dense = |number: u64| {
        let bins: Vec<(usize, u64)> = (0..65).map(|bin| (bin, rng.u64(1 << 60..))).collect();
        Frame::new("App", "computation", ["p", "w", "n"], THEN_S + number % 100).with_bins(&bins, 1, u64::MAX)
    };
    let mut producer = relay.producer("App", "w");
    producer.send(&dense(0));
    relay.wait_for_accepted(1);
    let mut sleeper = Viewer::connect(&relay);
    let mut reader = Viewer::connect(&relay);
    let asleep = sleeper.subscribe("App", Filter::All, Start::History).1.feed;
    let awake = reader.subscribe("App", Filter::All, Start::History).1.feed;
    // More than the kernel's buffers hold, while one viewer reads nothing.
    let (mut sent, mut read) = (1, Vec::new());
    while sent < 5_001 {
        let frames: Vec<Frame> = (0..200).map(|_| dense(sent)).collect();
        producer.send_all(&frames);
        sent += 200;
        relay.wait_for_accepted(sent);
        let collected = reader.collect(&[awake], sent);
        assert_eq!(collected.gaps, [], "a viewer that reads misses nothing");
        read.extend(collected.numbers);
    }
    assert_eq!(read, (1..=sent).collect::<Vec<_>>());
    let collected = sleeper.collect(&[asleep], sent);
    let gaps = collected.gaps.iter().flat_map(|&(from, to)| from..=to);
    let all: Vec<u64> = sorted(collected.numbers.iter().copied().chain(gaps).collect());
    assert_eq!(all, (1..=sent).collect::<Vec<_>>(), "every number arrives or is reported missing, once");
    let missed: u64 = collected.gaps.iter().map(|(from, to)| to - from + 1).sum();
    assert!(missed > 0, "the ring was overrun");
    assert_eq!(relay.metric("joey_gap_updates_total"), missed);
    assert_eq!(relay.metric("joey_gaps_total"), collected.gaps.len() as u64);
}

#[test]
fn an_unknown_application_is_rejected_and_announced_later() {
    let relay = Relay::start();
    let mut viewer = Viewer::connect(&relay);
    let sub = viewer.request_subscription("App", Filter::All, Start::History);
    viewer.wait_for(|received| (*received == Received::Rejected(sub, SubscribeError::NoSuchApp)).then_some(()));
    let mut producer = relay.producer("App", "w");
    producer.send_all(&frames(1, 3));
    eventually("the catalogue lists the application", || {
        viewer.next_message();
        viewer.catalogue.contains_key("App").then_some(())
    });
    relay.wait_for_accepted(3);
    let (_, subscribed) = viewer.subscribe("App", Filter::All, Start::History);
    assert_eq!(viewer.collect(&[subscribed.feed], 3).numbers, [1, 2, 3]);
}

#[test]
fn a_subscription_number_in_use_is_rejected() {
    let relay = relay_with(1, &[]);
    let mut viewer = Viewer::connect(&relay);
    let (sub, _) = viewer.subscribe("App", Filter::All, Start::Live);
    let topic = joey_shared::series::Topic { app: "App".to_owned(), filter: category("computation") };
    viewer.send(&ClientMessage::Subscribe { sub, topic, start: Start::Live });
    viewer.wait_for(|received| (*received == Received::Rejected(sub, SubscribeError::DuplicateNumber)).then_some(()));
}

/// The categories of the series in the answer to a `Describe` of `App`.
fn described(viewer: &mut Viewer) -> Vec<String> {
    viewer.send(&ClientMessage::Describe { app: "App".to_owned() });
    let mut categories = Vec::new();
    loop {
        let (entries, last) = viewer.wait_for(|received| match received {
            Received::Series(app, entries, last) if app == "App" => Some((entries.clone(), *last)),
            _ => None,
        });
        categories.extend(entries.into_iter().map(|entry| entry.key.category));
        if last {
            break;
        }
    }
    categories.sort_unstable();
    categories
}

#[test]
fn describe_lists_every_series_once() {
    let relay = relay_with(40, &[]);
    let mut viewer = Viewer::connect(&relay);
    let all = ["computation", "else", "node-ingress-egress", "start-to-end"];
    assert_eq!(described(&mut viewer), all);
    // A second request returns only new series.
    assert!(described(&mut viewer).is_empty());
    let mut producer = relay.producer("App", "late");
    producer.send(&Frame::new("App", "new", ["p", "late", "n"], THEN_S).with(&[1]));
    relay.wait_for_accepted(41);
    assert_eq!(described(&mut viewer), ["new"]);
    assert_eq!(described(&mut Viewer::connect(&relay)).len(), 5);
}

#[test]
fn repeated_describe_requests_cost_little() {
    let relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    for number in 0..2_000 {
        producer.send(&Frame::new("App", "computation", ["p", "w", &format!("{number:0>100}")], THEN_S).with(&[1]));
    }
    relay.wait_for_accepted(2_000);
    let mut viewer = Viewer::connect(&relay);
    let sent = || relay.metric("joey_sent_bytes_total");
    let before = sent();
    assert_eq!(described(&mut viewer).len(), 2_000);
    let once = sent() - before;
    assert!(once > 200_000, "{once}");
    for _ in 0..50 {
        assert!(described(&mut viewer).is_empty());
    }
    let again = sent() - before - once;
    assert!(again < once / 10, "{again} bytes after {once}");
}

#[test]
fn the_catalogue_lists_connected_disconnected_and_returned_workers() {
    let relay = Relay::start();
    let mut viewer = Viewer::connect(&relay);
    // A join is enough: a worker is listed before its first histogram.
    let first = relay.producer("App", "w:1 @*");
    viewer.wait_for_worker("App", "w:1 @*", |worker| worker.connected && worker.reconnects == 0);
    // A worker with two connections is disconnected once both are closed.
    let mut second = relay.producer("App", "w:1 @*");
    second.send(&Frame::new("App", "computation", ["p", "w:1 @*", "n"], THEN_S).with(&[1]));
    // The relay has read the join once it has accepted the frame that follows.
    eventually_is("frames", &1, || relay.metric("joey_frames_accepted_total"));
    first.finish();
    let other = relay.producer("App", "w2");
    viewer.wait_for_worker("App", "w2", |worker| worker.connected);
    viewer.wait_for_worker("App", "w:1 @*", |worker| worker.connected);
    second.finish();
    viewer.wait_for_worker("App", "w:1 @*", |worker| !worker.connected && worker.since_ns > 0);
    let _back = relay.producer("App", "w:1 @*");
    viewer.wait_for_worker("App", "w:1 @*", |worker| worker.connected && worker.reconnects == 1);
    viewer.wait_for_worker("App", "w2", |worker| worker.connected);
    drop(other);
    // A payload without a join also announces its worker.
    let mut silent = joey_tests::Producer::connect(relay.ingest);
    silent.send(&Frame::new("App", "computation", ["p", "w3", "n"], THEN_S).with(&[1]));
    viewer.wait_for_worker("App", "w3", |worker| worker.connected);
    viewer.wait_for_worker("App", "w2", |worker| !worker.connected);
    // A viewer that connects later receives the same.
    let mut late = Viewer::connect(&relay);
    late.wait_for_worker("App", "w:1 @*", |worker| worker.connected && worker.reconnects == 1);
}

#[test]
fn garbage_from_a_viewer_closes_only_that_viewer() {
    let relay = relay_with(4, &[]);
    let mut neighbour = Viewer::connect(&relay);
    let feed = neighbour.subscribe("App", Filter::All, Start::History).1.feed;
    let check = |message: Message, code: u16| {
        let mut viewer = Viewer::connect(&relay);
        viewer.send_raw(message.clone());
        assert_eq!(viewer.wait_for_close(), code, "{:?}…", message.into_data().get(..20));
    };
    check(Message::from("subscribe please"), 1003);
    check(Message::from(vec![0xff; 100]), 1008);
    check(Message::from(Vec::new()), 1008);
    // A valid message followed by a byte.
    let mut trailing = ClientMessage::Unsubscribe { sub: 1 }.encode();
    trailing.push(0);
    check(Message::from(trailing), 1008);
    check(Message::from(vec![0; CLIENT_BYTES_MAX + 1]), 1009);
    relay.producer("App", "w").send_all(&frames(5, 4));
    assert_eq!(neighbour.collect(&[feed], 8).numbers, (1..=8).collect::<Vec<_>>());
}

#[test]
fn a_foreign_origin_cannot_connect() {
    let relay = Relay::start_with(&["--origin", "https://ui.example"]);
    let own = format!("http://{}", relay.http);
    for allowed in [own.as_str(), "https://ui.example"] {
        assert!(open(relay.http, &[("Origin", allowed)]).is_ok(), "{allowed}");
    }
    assert!(open(relay.http, &[]).is_ok(), "a program sends no origin");
    for rejected in
        ["https://evil.example", "null", "https://ui.example.evil.net", "http://ui.example", "http://127.0.0.1"]
    {
        assert_eq!(open(relay.http, &[("Origin", rejected)]).err(), Some(403), "{rejected}");
    }
    assert_eq!(open(relay.http, &[("Origin", &own), ("Origin", "https://evil.example")]).err(), Some(403));
}

#[test]
fn stopping_closes_viewers_with_restart_and_exits_with_zero() {
    let mut relay = relay_with(4, &[]);
    let mut viewers = [Viewer::connect(&relay), Viewer::connect(&relay)];
    viewers[0].subscribe("App", Filter::All, Start::History);
    let producer = relay.producer("App", "w");
    relay.signal("TERM");
    for viewer in &mut viewers {
        assert_eq!(viewer.wait_for_close(), 1012);
    }
    producer.wait_for_close();
    assert_eq!(relay.wait().code(), Some(0));
    assert!(
        relay.log().contains(r#""message":"stopped""#) && relay.log().contains(r#""graceful":true"#),
        "{}",
        relay.log()
    );
}

#[test]
fn a_viewer_that_does_not_read_does_not_delay_the_shutdown() {
    let mut relay = relay_with(4, &[]);
    let mut viewer = Viewer::connect(&relay);
    viewer.subscribe("App", Filter::All, Start::History);
    relay.signal("TERM");
    // It never answers the close frame.
    assert_eq!(relay.wait().code(), Some(0));
    assert_eq!(viewer.wait_for_close(), 1012);
}

#[test]
fn an_application_that_returns_after_it_was_forgotten_starts_a_new_log() {
    let relay = Relay::start_with(&["--forget-secs", "1"]);
    let mut producer = relay.producer("App", "w");
    producer.send_all(&frames(1, 10));
    relay.wait_for_accepted(10);
    let mut viewer = Viewer::connect(&relay);
    let epoch = viewer.subscribe("App", Filter::All, Start::Live).1.epoch;
    drop((producer, viewer));
    eventually_is("applications", &0, || relay.metric("joey_apps"));
    let mut producer = relay.producer("App", "w");
    producer.send_all(&frames(1, 3));
    relay.wait_for_accepted(13);
    let mut viewer = Viewer::connect(&relay);
    let (_, subscribed) = viewer.subscribe("App", Filter::All, Start::After { epoch, seq: 2 });
    // Either a returning viewer has never seen these sequence numbers, or the epoch is new.
    let is_new = subscribed.epoch != epoch || subscribed.head > 10;
    assert!(is_new, "sequence numbers were reused: {subscribed:?} in the epoch {epoch}");
    assert_eq!(viewer.collect(&[subscribed.feed], subscribed.head).numbers.len(), 3);
}

/// Memory that a relay has allocated, in KiB.
fn memory_kib(relay: &Relay) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", relay.process_id())).expect("Linux has it");
    // Not its share of the program's own pages, which grows when the relay of another test ends.
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("it has this line");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}

#[test]
fn one_more_viewer_needs_less_than_16_kib() {
    const MANY: usize = 200;
    let relay = relay_with(8, &["--per-address", "0"]);
    let mut viewers = Vec::new();
    let mut come = || {
        for _ in 0..MANY {
            let mut viewer = Viewer::connect(&relay);
            viewer.subscribe("App", Filter::All, Start::Live);
            viewers.push(viewer);
        }
        memory_kib(&relay)
    };
    // The difference excludes memory that the first viewers allocate once.
    let (some, more) = (come(), come());
    assert_eq!(relay.metric("joey_viewers"), 2 * MANY as u64);
    let each_kib = more.saturating_sub(some) / MANY as u64;
    assert!((1..16).contains(&each_kib), "{each_kib} KiB for each viewer");
}
