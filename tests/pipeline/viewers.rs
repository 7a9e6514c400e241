//! Viewers: what they may subscribe to, that each update comes once, what they are told when something is missing, and how
//! a WebSocket ends.

use joey_shared::series::Filter;
use joey_shared::wire::{CLIENT_BYTES_MAX, ClientMessage, Start, SubscribeError};
use joey_tests::viewer::{Heard, category, open, series};
use joey_tests::{Frame, Relay, Viewer, eventually, eventually_is};
use tokio_tungstenite::tungstenite::Message;

const THEN_S: u64 = 1_700_000_000;

/// Frames of several categories, numbered from `from` on in the order of the log.
fn frames(from: u64, count: u64) -> Vec<Frame> {
    let one = |number: u64| {
        let category = ["computation", "start-to-end", "node-ingress-egress", "else"][(number % 4) as usize];
        Frame::new("App", category, ["p", "w", "n"], THEN_S + 2 * number).with(&[number])
    };
    (from..from + count).map(one).collect()
}

/// A relay that holds frames 1 to `count` of `App`.
fn relay_with(count: u64, words: &[&str]) -> Relay {
    let relay = Relay::start_with(words);
    relay.producer("App", "w").send_all(&frames(1, count));
    relay.accepts(count);
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
        let (_, subscribed) = viewer.follow("App", filter.clone(), Start::History);
        assert_eq!((subscribed.next, subscribed.missing), (1, 0), "{filter:?}");
        let collected = viewer.collect(&[subscribed.feed], subscribed.head);
        assert_eq!(collected.numbers, expected, "{filter:?}");
        let values = collected.updates.iter().map(|update| update.histogram.min_ns);
        assert!(values.eq(expected), "each number came with its own histogram");
    };
    check(Filter::All, (1..=40).collect());
    check(category("start-to-end"), every_fourth(40, 1));
    check(series("node-ingress-egress", "p", "w", "n"), every_fourth(40, 2));
}

#[test]
fn subscriptions_come_and_go_on_one_socket() {
    let relay = relay_with(8, &[]);
    let mut producer = relay.producer("App", "w");
    let mut viewer = Viewer::connect(&relay);
    let (_, start_to_end) = viewer.follow("App", category("start-to-end"), Start::Live);
    producer.send_all(&frames(9, 8));
    assert_eq!(viewer.collect(&[start_to_end.feed], 13).numbers, [9, 13]);
    let (sub, other) = viewer.follow("App", category("else"), Start::Live);
    producer.send_all(&frames(17, 8));
    let both = viewer.collect(&[start_to_end.feed, other.feed], 21);
    assert_eq!(sorted(both.numbers), [17, 19, 21, 23]);
    viewer.say(&ClientMessage::Unsubscribe { sub });
    // The relay reads in order: once the next subscription is answered, the other is over.
    let (_, all) = viewer.follow("App", series("computation", "p", "w", "n"), Start::Live);
    producer.send_all(&frames(25, 8));
    let rest = viewer.collect(&[start_to_end.feed, all.feed], 29);
    assert!(rest.numbers.iter().all(|number| number % 4 != 3), "{:?}", rest.numbers);
    assert!([25, 28, 29].iter().all(|number| rest.numbers.contains(number)), "{:?}", rest.numbers);
}

#[test]
fn what_is_new_is_handed_out_on_the_spot_to_whoever_has_everything_else() {
    const ROUNDS: u64 = 20;
    let relay = relay_with(4, &[]);
    let mut producer = relay.producer("App", "w");
    let mut viewers: Vec<Viewer> = (0..3).map(|_| Viewer::connect(&relay)).collect();
    // The last one follows two topics of which neither has all of the other: its own task puts them together.
    let mut feeds: Vec<Vec<u32>> = Vec::new();
    for (at, viewer) in viewers.iter_mut().enumerate() {
        let filters = if at < 2 { vec![Filter::All] } else { vec![category("else"), category("computation")] };
        feeds.push(filters.into_iter().map(|filter| viewer.follow("App", filter, Start::History).1.feed).collect());
    }
    let mut seen = [(); 3].map(|()| Vec::new());
    for round in 0..=ROUNDS {
        if round > 0 {
            producer.send_all(&frames(1 + 4 * round, 4));
        }
        let last = 4 * (round + 1);
        for ((viewer, feeds), seen) in viewers.iter_mut().zip(&feeds).zip(&mut seen) {
            seen.extend(viewer.collect(feeds, last).numbers);
        }
    }
    let all: Vec<u64> = (1..=4 * (ROUNDS + 1)).collect();
    let parts: Vec<u64> = all.iter().copied().filter(|number| matches!(number % 4, 0 | 3)).collect();
    let [first, second, third] = seen.map(sorted);
    assert_eq!((&first, &second, third), (&all, &all, parts));
    // A viewer's task may be on its way to standing by when a batch is cut, so not all of them are.
    let on_the_spot = relay.metric("joey_sent_messages_direct_total");
    assert!((ROUNDS..=2 * ROUNDS).contains(&on_the_spot), "{on_the_spot} messages");
}

#[test]
fn overlapping_subscriptions_bring_each_update_once() {
    let relay = relay_with(4, &[]);
    let mut producer = relay.producer("App", "w");
    let mut viewer = Viewer::connect(&relay);
    let (_, narrow) = viewer.follow("App", category("computation"), Start::Live);
    let (wide, all) = viewer.follow("App", Filter::All, Start::Live);
    let (_, one) = viewer.follow("App", series("start-to-end", "p", "w", "n"), Start::Live);
    let (again, _) = viewer.follow("App", Filter::All, Start::Live);
    for round in 0..5 {
        producer.send_all(&frames(5 + 20 * round, 20));
        let last = 24 + 20 * round;
        assert_eq!(viewer.collect(&[all.feed], last).numbers, (last - 19..=last).collect::<Vec<_>>());
    }
    // Without the wide ones, the narrow ones go on where those had come to.
    viewer.say(&ClientMessage::Unsubscribe { sub: wide });
    viewer.say(&ClientMessage::Unsubscribe { sub: again });
    let (_, other) = viewer.follow("App", category("else"), Start::Live);
    producer.send_all(&frames(105, 40));
    let numbers = viewer.collect(&[narrow.feed, one.feed, other.feed], 141).numbers;
    let expected: Vec<u64> = (105..=141).filter(|number| number % 4 != 2).collect();
    let came: Vec<u64> = sorted(numbers).into_iter().filter(|&number| number <= 141).collect();
    assert_eq!(came, expected);
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

#[test]
fn batches_are_the_same_bytes_for_every_viewer_of_a_topic() {
    let relay = relay_with(4, &[]);
    let mut viewers: Vec<(Viewer, u32)> = (0..3)
        .map(|_| {
            let mut viewer = Viewer::connect(&relay);
            let feed = viewer.follow("App", category("computation"), Start::History).1.feed;
            (viewer, feed)
        })
        .collect();
    let mut producer = relay.producer("App", "w");
    for round in 0..5 {
        producer.send_all(&frames(5 + 40 * round, 40));
        relay.accepts(44 + 40 * round);
    }
    let mut bytes = viewers.iter_mut().map(|(viewer, feed)| viewer.collect(&[*feed], 204).batches);
    let first = bytes.next().unwrap();
    assert!(!first.is_empty());
    assert!(bytes.all(|other| other == first));
}

#[test]
fn a_viewer_resumes_after_the_stamp_that_it_has() {
    let relay = relay_with(40, &[]);
    let epoch = Viewer::connect(&relay).follow("App", Filter::All, Start::Live).1.epoch;
    let check = |start: Start, expected: Vec<u64>, missing: u64| {
        let mut viewer = Viewer::connect(&relay);
        let (_, subscribed) = viewer.follow("App", Filter::All, start);
        assert_eq!((subscribed.head, subscribed.missing), (40, missing), "{start:?}");
        let mut numbers = Vec::new();
        if subscribed.next <= subscribed.head {
            numbers = viewer.collect(&[subscribed.feed], 40).numbers;
        }
        // A batch is never cut up: it may begin before the number that was asked for, never after it.
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
fn what_the_ring_no_longer_holds_is_named_on_return() {
    let relay = relay_with(40, &["--ring-bytes", "1"]);
    let mut viewer = Viewer::connect(&relay);
    let epoch = viewer.follow("App", Filter::All, Start::Live).1.epoch;
    eventually_is("bytes of history", &0, || relay.metric("joey_ring_bytes"));
    for filter in [Filter::All, category("computation"), series("start-to-end", "p", "w", "n")] {
        let mut viewer = Viewer::connect(&relay);
        let (_, subscribed) = viewer.follow("App", filter.clone(), Start::After { epoch, seq: 10 });
        assert_eq!((subscribed.next, subscribed.missing), (41, 30), "{filter:?}");
    }
    assert_eq!((relay.metric("joey_gaps_total"), relay.metric("joey_gap_updates_total")), (3, 90));
}

#[test]
fn a_viewer_that_reads_too_slowly_is_told_exactly_what_it_missed() {
    let relay = Relay::start_with(&["--ring-bytes", "300000"]);
    // Dense histograms of large counts, which take ten bytes a bin.
    let mut chance = fastrand::Rng::with_seed(9);
    let mut dense = |number: u64| {
        let bins: Vec<(usize, u64)> = (0..65).map(|bin| (bin, chance.u64(1 << 60..))).collect();
        Frame::new("App", "computation", ["p", "w", "n"], THEN_S + number % 100).with_bins(&bins, 1, u64::MAX)
    };
    let mut producer = relay.producer("App", "w");
    producer.send(&dense(0));
    relay.accepts(1);
    let mut sleeper = Viewer::connect(&relay);
    let mut reader = Viewer::connect(&relay);
    let asleep = sleeper.follow("App", Filter::All, Start::History).1.feed;
    let awake = reader.follow("App", Filter::All, Start::History).1.feed;
    // More than any kernel's buffers hold, while one viewer reads nothing.
    let (mut sent, mut read) = (1, Vec::new());
    while sent < 20_001 {
        let frames: Vec<Frame> = (0..200).map(|_| dense(sent)).collect();
        producer.send_all(&frames);
        sent += 200;
        relay.accepts(sent);
        let collected = reader.collect(&[awake], sent);
        assert_eq!(collected.gaps, [], "a viewer that reads misses nothing");
        read.extend(collected.numbers);
    }
    assert_eq!(read, (1..=sent).collect::<Vec<_>>());
    let collected = sleeper.collect(&[asleep], sent);
    let gaps = collected.gaps.iter().flat_map(|&(from, to)| from..=to);
    let all: Vec<u64> = sorted(collected.numbers.iter().copied().chain(gaps).collect());
    assert_eq!(all, (1..=sent).collect::<Vec<_>>(), "every number came or was named as missing, once");
    let missed: u64 = collected.gaps.iter().map(|(from, to)| to - from + 1).sum();
    assert!(missed > 0, "the ring was overrun");
    assert_eq!(relay.metric("joey_gap_updates_total"), missed);
    assert_eq!(relay.metric("joey_gaps_total"), collected.gaps.len() as u64);
}

#[test]
fn an_application_that_does_not_exist_is_refused_and_then_announced() {
    let relay = Relay::start();
    let mut viewer = Viewer::connect(&relay);
    let sub = viewer.ask("App", Filter::All, Start::History);
    viewer.wait_for(|heard| (*heard == Heard::Refused(sub, SubscribeError::NoSuchApp)).then_some(()));
    let mut producer = relay.producer("App", "w");
    producer.send_all(&frames(1, 3));
    eventually("the catalogue names the application", || {
        viewer.take();
        viewer.catalogue.contains_key("App").then_some(())
    });
    relay.accepts(3);
    let (_, subscribed) = viewer.follow("App", Filter::All, Start::History);
    assert_eq!(viewer.collect(&[subscribed.feed], 3).numbers, [1, 2, 3]);
}

#[test]
fn a_number_in_use_is_refused() {
    let relay = relay_with(1, &[]);
    let mut viewer = Viewer::connect(&relay);
    let (sub, _) = viewer.follow("App", Filter::All, Start::Live);
    let topic = joey_shared::series::Topic { app: "App".to_owned(), filter: category("computation") };
    viewer.say(&ClientMessage::Subscribe { sub, topic, start: Start::Live });
    viewer.wait_for(|heard| (*heard == Heard::Refused(sub, SubscribeError::DuplicateNumber)).then_some(()));
}

/// The categories of the series that the answer to a `Describe` of `App` names.
fn described(viewer: &mut Viewer) -> Vec<String> {
    viewer.say(&ClientMessage::Describe { app: "App".to_owned() });
    let mut categories = Vec::new();
    loop {
        let (entries, last) = viewer.wait_for(|heard| match heard {
            Heard::Series(app, entries, last) if app == "App" => Some((entries.clone(), *last)),
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
fn describe_names_every_series_once() {
    let relay = relay_with(40, &[]);
    let mut viewer = Viewer::connect(&relay);
    let all = ["computation", "else", "node-ingress-egress", "start-to-end"];
    assert_eq!(described(&mut viewer), all);
    // Whoever asks again is told what is new, and nothing is said twice.
    assert!(described(&mut viewer).is_empty());
    let mut producer = relay.producer("App", "late");
    producer.send(&Frame::new("App", "new", ["p", "late", "n"], THEN_S).with(&[1]));
    relay.accepts(41);
    assert_eq!(described(&mut viewer), ["new"]);
    assert_eq!(described(&mut Viewer::connect(&relay)).len(), 5);
}

#[test]
fn asking_again_and_again_for_the_names_of_an_application_costs_next_to_nothing() {
    let relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    for number in 0..2_000 {
        producer.send(&Frame::new("App", "computation", ["p", "w", &format!("{number:0>100}")], THEN_S).with(&[1]));
    }
    relay.accepts(2_000);
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
fn the_catalogue_knows_which_workers_are_connected_gone_and_back() {
    let relay = Relay::start();
    let mut viewer = Viewer::connect(&relay);
    // A join alone is enough: a worker is there before its first histogram.
    let first = relay.producer("App", "w:1 @*");
    viewer.wait_for_worker("App", "w:1 @*", |worker| worker.connected && worker.returns == 0);
    // Two connections of one worker: it is gone when both are.
    let mut second = relay.producer("App", "w:1 @*");
    second.send(&Frame::new("App", "computation", ["p", "w:1 @*", "n"], THEN_S).with(&[1]));
    // Its join has been read when what came behind it is there.
    eventually_is("frames", &1, || relay.metric("joey_frames_accepted_total"));
    first.finish();
    let other = relay.producer("App", "w2");
    viewer.wait_for_worker("App", "w2", |worker| worker.connected);
    viewer.wait_for_worker("App", "w:1 @*", |worker| worker.connected);
    second.finish();
    viewer.wait_for_worker("App", "w:1 @*", |worker| !worker.connected && worker.since_ns > 0);
    let _back = relay.producer("App", "w:1 @*");
    viewer.wait_for_worker("App", "w:1 @*", |worker| worker.connected && worker.returns == 1);
    viewer.wait_for_worker("App", "w2", |worker| worker.connected);
    drop(other);
    // A payload before any join speaks for its worker too.
    let mut silent = joey_tests::Producer::connect(relay.ingest);
    silent.send(&Frame::new("App", "computation", ["p", "w3", "n"], THEN_S).with(&[1]));
    viewer.wait_for_worker("App", "w3", |worker| worker.connected);
    viewer.wait_for_worker("App", "w2", |worker| !worker.connected);
    // Who comes later is told the same.
    let mut late = Viewer::connect(&relay);
    late.wait_for_worker("App", "w:1 @*", |worker| worker.connected && worker.returns == 1);
}

#[test]
fn garbage_from_a_viewer_closes_that_viewer_only() {
    let relay = relay_with(4, &[]);
    let mut neighbour = Viewer::connect(&relay);
    let feed = neighbour.follow("App", Filter::All, Start::History).1.feed;
    let check = |message: Message, code: u16| {
        let mut viewer = Viewer::connect(&relay);
        viewer.say_raw(message.clone());
        assert_eq!(viewer.closes(), code, "{:?}…", message.into_data().get(..20));
    };
    check(Message::from("subscribe please"), 1003);
    check(Message::from(vec![0xff; 100]), 1008);
    check(Message::from(Vec::new()), 1008);
    // A sound message and a byte behind it.
    let mut trailing = ClientMessage::Unsubscribe { sub: 1 }.encode();
    trailing.push(0);
    check(Message::from(trailing), 1008);
    check(Message::from(vec![0; CLIENT_BYTES_MAX + 1]), 1009);
    relay.producer("App", "w").send_all(&frames(5, 4));
    assert_eq!(neighbour.collect(&[feed], 8).numbers, (1..=8).collect::<Vec<_>>());
}

#[test]
fn pages_of_another_site_may_not_connect() {
    let relay = Relay::start_with(&["--origin", "https://ui.example"]);
    let own = format!("http://{}", relay.http);
    for allowed in [own.as_str(), "https://ui.example"] {
        assert!(open(relay.http, &[("Origin", allowed)]).is_ok(), "{allowed}");
    }
    assert!(open(relay.http, &[]).is_ok(), "a program is no page");
    for refused in
        ["https://evil.example", "null", "https://ui.example.evil.net", "http://ui.example", "http://127.0.0.1"]
    {
        assert_eq!(open(relay.http, &[("Origin", refused)]).err(), Some(403), "{refused}");
    }
    assert_eq!(open(relay.http, &[("Origin", &own), ("Origin", "https://evil.example")]).err(), Some(403));
}

#[test]
fn stopping_tells_viewers_to_come_back_and_exits_with_zero() {
    let mut relay = relay_with(4, &[]);
    let mut viewers = [Viewer::connect(&relay), Viewer::connect(&relay)];
    viewers[0].follow("App", Filter::All, Start::History);
    let producer = relay.producer("App", "w");
    relay.signal("TERM");
    for viewer in &mut viewers {
        assert_eq!(viewer.closes(), 1012);
    }
    producer.is_cut_off();
    assert_eq!(relay.wait().code(), Some(0));
    assert!(
        relay.log().contains(r#""message":"stopped""#) && relay.log().contains(r#""graceful":true"#),
        "{}",
        relay.log()
    );
}

#[test]
fn a_viewer_that_takes_nothing_does_not_hold_up_the_end() {
    let mut relay = relay_with(4, &[]);
    let mut viewer = Viewer::connect(&relay);
    viewer.follow("App", Filter::All, Start::History);
    relay.signal("TERM");
    // It never answers the close frame.
    assert_eq!(relay.wait().code(), Some(0));
    assert_eq!(viewer.closes(), 1012);
}

#[test]
fn an_application_that_was_forgotten_and_returns_is_told_apart_from_its_past() {
    let relay = Relay::start_with(&["--forget-secs", "1"]);
    relay.producer("App", "w").send_all(&frames(1, 10));
    relay.accepts(10);
    let mut viewer = Viewer::connect(&relay);
    let epoch = viewer.follow("App", Filter::All, Start::Live).1.epoch;
    drop(viewer);
    eventually_is("applications", &0, || relay.metric("joey_apps"));
    relay.producer("App", "w").send_all(&frames(1, 3));
    relay.accepts(13);
    let mut viewer = Viewer::connect(&relay);
    let (_, subscribed) = viewer.follow("App", Filter::All, Start::After { epoch, seq: 2 });
    // Either these are numbers that a returning viewer has never seen, or the epoch is another one.
    let is_new = subscribed.epoch != epoch || subscribed.head > 10;
    assert!(is_new, "numbers were given twice: {subscribed:?} in the epoch {epoch}");
    assert_eq!(viewer.collect(&[subscribed.feed], subscribed.head).numbers.len(), 3);
}

/// Memory of a relay in KiB: its own pages, and its share of those that it shares (PSS).
fn memory_kib(relay: &Relay) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", relay.process())).expect("Linux has it");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("it says so");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}

#[test]
fn a_viewer_more_takes_less_than_16_kib() {
    const MANY: usize = 200;
    let relay = relay_with(8, &["--per-address", "0"]);
    let mut viewers = Vec::new();
    let mut come = || {
        for _ in 0..MANY {
            let mut viewer = Viewer::connect(&relay);
            viewer.follow("App", Filter::All, Start::Live);
            viewers.push(viewer);
        }
        memory_kib(&relay)
    };
    // The difference leaves out what the first ones bring about once for all.
    let (some, more) = (come(), come());
    assert_eq!(relay.metric("joey_viewers"), 2 * MANY as u64);
    let each_kib = more.saturating_sub(some) / MANY as u64;
    assert!((1..16).contains(&each_kib), "{each_kib} KiB for each viewer");
}
