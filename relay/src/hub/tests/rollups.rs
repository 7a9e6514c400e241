//! Rollups of ten seconds: no count is lost or doubled, and a gap is reported if the rollup is gone.

use joey_shared::viewer::Viewer as Client;

use super::*;
use crate::net::ws_frame::WsFrame;

/// The relevant parts of one message.
#[derive(Debug, PartialEq, Eq)]
enum Received {
    Batch(u64, u64),
    /// Range, and number of events.
    Rollup(u64, u64, u128),
}

fn received(read: &Read) -> Vec<Received> {
    let received = |bytes: &WsFrame| match ServerMessage::decode(bytes).unwrap() {
        ServerMessage::Batch { head, .. } => Received::Batch(head.from, head.to),
        ServerMessage::Rollup { head, updates } => {
            let counts = head.read(updates).map(|item| item.unwrap().histogram.count());
            Received::Rollup(head.from, head.to, counts.sum())
        }
        other => panic!("{other:?}"),
    };
    read.batches.iter().map(received).collect()
}

/// Publishes one update for each second of the range, each in its own batch.
fn seconds(hub: &Hub, seconds: std::ops::Range<u64>) {
    let app = hub.app("app").unwrap();
    for second in seconds {
        hub.publish(&app, &data_point("a", COMPUTATION, second), second * S).unwrap();
        hub.cut_all(second * S);
    }
}

#[test]
fn a_slow_viewer_gets_rollups_from_the_next_boundary() {
    let hub = hub(Config::default());
    seconds(&hub, 1_000..1_004);
    let viewer = registered_viewer(&hub);
    let (mut slow, _) = viewer.subscribe(1, &topic(Filter::All), None, Start::History, 1_004 * S).unwrap();
    seconds(&hub, 1_004..1_036);
    let read = slow.read(usize::MAX, 1_036 * S);
    assert_eq!(read.gap, None);
    let mut expected: Vec<Received> = (1..=10).map(|seq| Received::Batch(seq, seq)).collect();
    expected.push(Received::Rollup(11, 20, 10));
    // The span from 1020 to 1030 is over. Its end is less than ten seconds old, but its start is older.
    expected.push(Received::Rollup(21, 30, 10));
    expected.extend((31..=36).map(|seq| Received::Batch(seq, seq)));
    assert_eq!(received(&read), expected);
    // The rollup is created once: another late viewer gets the same bytes.
    let bytes = hub.gauges(0).ring_bytes;
    let (mut other, _) = viewer.subscribe(2, &topic(Filter::All), None, Start::Live, 1_004 * S).unwrap();
    other.next = 11;
    other.no_rollups_through = 0;
    assert_eq!(other.read(1, 1_036 * S).batches[0].as_ptr(), read.batches[10].as_ptr());
    assert_eq!(hub.gauges(0).ring_bytes, bytes);
}

#[test]
fn history_is_sent_as_single_updates() {
    let hub = hub(Config::default());
    seconds(&hub, 1_000..1_060);
    let viewer = registered_viewer(&hub);
    let (mut history, _) = viewer.subscribe(1, &topic(Filter::All), None, Start::History, 1_060 * S).unwrap();
    assert!(
        received(&history.read(usize::MAX, 1_060 * S)).iter().all(|message| matches!(message, Received::Batch(..)))
    );
}

#[test]
fn evicted_batches_remain_as_rollups() {
    let config = Config { ring: Duration::from_secs(20), rollups: Duration::from_secs(100), ..Config::default() };
    let hub = hub(config);
    for second in 1_000..1_200 {
        seconds(&hub, second..second + 1);
        hub.evict_old(second * S);
    }
    let viewer = registered_viewer(&hub);
    for filter in [Filter::All, only("a"), only("nobody")] {
        let counted = |start| {
            let (mut all, subscribed) = viewer.subscribe(1, &topic(filter.clone()), None, start, 1_200 * S).unwrap();
            let read = all.read(usize::MAX, 1_200 * S);
            assert!(read.gap.is_none() && all.position() == 201);
            let received = received(&read);
            let rollups = received.iter().filter(|message| matches!(message, Received::Rollup(..))).count();
            let events: u128 =
                read.batches.iter().flat_map(|bytes| updates_of(bytes)).map(|item| item.histogram.count()).sum();
            (
                subscribed.next,
                subscribed.missing,
                rollups,
                if filter == only("nobody") { 201 - u128::from(subscribed.next) } else { events },
            )
        };
        // 20 s of ring buffer, 15 s of slack, and the rest of the ten-second span.
        assert_eq!(counted(Start::History), (161, 0, 0, 40));
        assert_eq!(counted(Start::Recent { span_ns: 60 * S }), (121, 0, 4, 80));
        if filter != only("nobody") {
            assert_eq!(counted(Start::Recent { span_ns: 20 * S }), (166, 0, 0, 35));
        }
        assert_eq!(counted(Start::Recent { span_ns: u64::MAX }), (81, 0, 8, 120));
        // The number is inside a rollup. The rest of that rollup cannot be separated from the updates that are already
        // known.
        assert_eq!(counted(Start::After { epoch: 7, seq: 104 }), (111, 6, 5, 90));
        assert_eq!(counted(Start::After { epoch: 7, seq: 110 }), (111, 0, 5, 90));
        assert_eq!(counted(Start::After { epoch: 7, seq: 3 }), (81, 77, 8, 120));
        assert_eq!(counted(Start::After { epoch: 6, seq: 190 }), (81, 0, 8, 120));
    }
    hub.evict_old(4_000 * S);
    let (_, subscribed) = viewer.subscribe(2, &topic(Filter::All), None, Start::History, 4_000 * S).unwrap();
    assert_eq!((subscribed.next, hub.gauges(0).ring_bytes), (201, 0));
}

#[test]
fn a_rollup_has_one_item_per_series_and_ten_seconds() {
    let hub = hub(Config::default());
    let app = hub.app("app").unwrap();
    for (worker, end_s) in [("a", 1_001), ("b", 1_001), ("a", 1_003), ("a", 995), ("a", 1_000), ("b", 1_009)] {
        hub.publish(&app, &data_point(worker, COMPUTATION, end_s), 1_009 * S).unwrap();
    }
    let minute = DataPoint { period_ns: 60 * S, ..data_point("a", COMPUTATION, 1_009) };
    for _ in 0..2 {
        hub.publish(&app, &minute, 1_009 * S).unwrap();
    }
    hub.cut_all(1_009 * S);
    let batches = app.log.lock().batches_to_roll_up(u64::MAX).unwrap().1;
    let rollups = super::super::rollup::roll_up(1, &batches);
    let items = updates_of(&rollups[0].frame);
    let lines: Vec<_> =
        items.iter().map(|item| (item.series, item.end_ns / S, item.period_ns / S, item.histogram.count())).collect();
    assert_eq!(lines, [(0, 1_000, 7, 2), (0, 1_003, 4, 2), (0, 1_009, 60, 2), (1, 1_009, 10, 2)]);
}

/// Updates of a batch, or items of a rollup.
fn updates_of(bytes: &[u8]) -> Vec<Update> {
    match ServerMessage::decode(bytes).unwrap() {
        ServerMessage::Batch { head, updates } | ServerMessage::Rollup { head, updates } => {
            head.read(updates).map(Result::unwrap).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_was_disconnected_counts_every_update_once() {
    let config = Config { ring: Duration::from_secs(20), ..Config::default() };
    let hub = hub(config);
    let run = |seconds_of: std::ops::Range<u64>| {
        for second in seconds_of {
            seconds(&hub, second..second + 1);
            hub.evict_old(second * S);
        }
    };
    run(1_000..1_010);
    let viewer = registered_viewer(&hub);
    let mut client = Client::new(3_600);
    let back = Start::Recent { span_ns: 3_600 * S };
    client.connected();
    // Delivers everything that the client's subscriptions can read at `now_s`.
    let exchange = |client: &mut Client, now_s: u64| {
        for names in hub.own_app("app").unwrap().series_messages(&Filter::All) {
            client.receive(&names, 0, |_| {}).unwrap();
        }
        for bytes in client.outgoing() {
            let ClientMessage::Subscribe { sub, topic, start } = ClientMessage::decode(&bytes).unwrap() else {
                continue;
            };
            let (mut subscription, subscribed) = viewer.subscribe(sub, &topic, None, start, now_s * S).unwrap();
            client.receive(&ServerMessage::Subscribed(subscribed).encode(), 0, |_| {}).unwrap();
            for message in subscription.read(usize::MAX, now_s * S).batches {
                client.receive(&message, 0, |_| {}).unwrap();
            }
        }
    };
    let count = |client: &mut Client| {
        let store = client.app_mut("app").unwrap();
        let at = store.find(&joey_shared::view::ViewKey::computation("n")).unwrap();
        store.histogram(at).count()
    };
    client.subscribe(topic(Filter::Category(COMPUTATION.to_owned())), back);
    exchange(&mut client, 1_010);
    assert_eq!(count(&mut client), 10);
    client.disconnected();
    run(1_010..1_900);
    client.connected();
    exchange(&mut client, 1_900);
    assert_eq!((count(&mut client), client.missing()), (900, 0));
    // The updates of the category are sent again for the whole application, partly as rollups of updates that the
    // client has.
    run(1_900..2_000);
    client.subscribe(topic(Filter::All), back);
    exchange(&mut client, 2_000);
    assert_eq!((count(&mut client), client.missing()), (1_000, 0));
    client.disconnected();
    client.connected();
    exchange(&mut client, 2_000);
    assert_eq!((count(&mut client), client.missing()), (1_000, 0));
}
