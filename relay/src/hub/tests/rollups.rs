//! Ten seconds added up: no count lost, none twice, and named where even a sum is gone.

use joey_shared::viewer::Viewer as Client;

use super::*;
use crate::net::ws_frame::WsFrame;

/// One message, reduced to what matters here.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Single(u64, u64),
    /// Stretch, and how many events it counts.
    Sum(u64, u64, u128),
}

fn pieces(read: &Read) -> Vec<Piece> {
    let piece = |bytes: &WsFrame| match ServerMessage::decode(bytes).unwrap() {
        ServerMessage::Batch { head, .. } => Piece::Single(head.from, head.to),
        ServerMessage::Sum { head, updates } => {
            let counts = head.read(updates).map(|item| item.unwrap().histogram.count());
            Piece::Sum(head.from, head.to, counts.sum())
        }
        other => panic!("{other:?}"),
    };
    read.batches.iter().map(piece).collect()
}

/// One update each second from second `from` on, each in a batch of its own.
fn seconds(hub: &Hub, seconds: std::ops::Range<u64>) {
    let app = hub.app("app").unwrap();
    for second in seconds {
        hub.publish(&app, &metrics("a", COMPUTATION, second), second * S).unwrap();
        hub.cut_all(second * S);
    }
}

#[test]
fn a_late_viewer_gets_sums_from_the_next_boundary_on_and_is_up_to_date_at_the_end() {
    let hub = hub(Config::default());
    seconds(&hub, 1_000..1_004);
    let viewer = entered(&hub);
    let (mut slow, _) = viewer.subscribe(1, &topic(Filter::All), None, Start::History, 1_004 * S).unwrap();
    seconds(&hub, 1_004..1_036);
    let read = slow.read(usize::MAX, 1_036 * S);
    assert_eq!(read.gap, None);
    let mut expected: Vec<Piece> = (1..=10).map(|seq| Piece::Single(seq, seq)).collect();
    expected.push(Piece::Sum(11, 20, 10));
    // The span of 1020 to 1030 is over, but its end is not ten seconds old; its beginning is.
    expected.push(Piece::Sum(21, 30, 10));
    expected.extend((31..=36).map(|seq| Piece::Single(seq, seq)));
    assert_eq!(pieces(&read), expected);
    // Made once: another one that is as late gets the very bytes.
    let bytes = hub.gauges(0).ring_bytes;
    let (mut other, _) = viewer.subscribe(2, &topic(Filter::All), None, Start::Live, 1_004 * S).unwrap();
    other.next = 11;
    other.single_through = 0;
    assert_eq!(other.read(1, 1_036 * S).batches[0].as_ptr(), read.batches[10].as_ptr());
    assert_eq!(hub.gauges(0).ring_bytes, bytes);
}

#[test]
fn whoever_asks_for_history_gets_single_updates_however_old() {
    let hub = hub(Config::default());
    seconds(&hub, 1_000..1_060);
    let viewer = entered(&hub);
    let (mut history, _) = viewer.subscribe(1, &topic(Filter::All), None, Start::History, 1_060 * S).unwrap();
    assert!(pieces(&history.read(usize::MAX, 1_060 * S)).iter().all(|piece| matches!(piece, Piece::Single(..))));
}

#[test]
fn what_leaves_the_ring_stays_as_sums_for_as_long_as_they_are_kept() {
    let config = Config { ring: Duration::from_secs(20), rollups: Duration::from_secs(100), ..Config::default() };
    let hub = hub(config);
    for second in 1_000..1_200 {
        seconds(&hub, second..second + 1);
        hub.evict_old(second * S);
    }
    let viewer = entered(&hub);
    for filter in [Filter::All, only("a"), only("nobody")] {
        let counted = |start| {
            let (mut all, subscribed) = viewer.subscribe(1, &topic(filter.clone()), None, start, 1_200 * S).unwrap();
            let read = all.read(usize::MAX, 1_200 * S);
            assert!(read.gap.is_none() && all.position() == 201);
            let pieces = pieces(&read);
            let sums = pieces.iter().filter(|piece| matches!(piece, Piece::Sum(..))).count();
            let events: u128 =
                read.batches.iter().flat_map(|bytes| items(bytes)).map(|item| item.histogram.count()).sum();
            (
                subscribed.next,
                subscribed.missing,
                sums,
                if filter == only("nobody") { 201 - u128::from(subscribed.next) } else { events },
            )
        };
        // The ring: 20 s, 15 s of slack, and up to its next boundary.
        assert_eq!(counted(Start::History), (161, 0, 0, 40));
        assert_eq!(counted(Start::Back { span_ns: 60 * S }), (121, 0, 4, 80));
        if filter != only("nobody") {
            assert_eq!(counted(Start::Back { span_ns: 20 * S }), (166, 0, 0, 35));
        }
        assert_eq!(counted(Start::Back { span_ns: u64::MAX }), (81, 0, 8, 120));
        // A stamp inside a sum: what is left of that sum cannot be told apart from what is known already.
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
fn a_sum_counts_each_series_and_ten_seconds_of_period_ends_for_itself() {
    let hub = hub(Config::default());
    let app = hub.app("app").unwrap();
    for (worker, end_s) in [("a", 1_001), ("b", 1_001), ("a", 1_003), ("a", 995), ("a", 1_000), ("b", 1_009)] {
        hub.publish(&app, &metrics(worker, COMPUTATION, end_s), 1_009 * S).unwrap();
    }
    let minute = DataPoint { period_ns: 60 * S, ..metrics("a", COMPUTATION, 1_009) };
    for _ in 0..2 {
        hub.publish(&app, &minute, 1_009 * S).unwrap();
    }
    hub.cut_all(1_009 * S);
    let batches = app.log.lock().due(u64::MAX).unwrap().1;
    let sums = super::super::rollup::of(1, &batches);
    let items = items(&sums[0].frame);
    let lines: Vec<_> =
        items.iter().map(|item| (item.series, item.end_ns / S, item.period_ns / S, item.histogram.count())).collect();
    assert_eq!(lines, [(0, 1_000, 7, 2), (0, 1_003, 4, 2), (0, 1_009, 60, 2), (1, 1_009, 10, 2)]);
}

/// The updates of a batch or the items of a sum.
fn items(bytes: &[u8]) -> Vec<Update> {
    match ServerMessage::decode(bytes).unwrap() {
        ServerMessage::Batch { head, updates } | ServerMessage::Sum { head, updates } => {
            head.read(updates).map(Result::unwrap).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_was_asleep_counts_all_of_it_and_overlapping_topics_count_once() {
    let config = Config { ring: Duration::from_secs(20), ..Config::default() };
    let hub = hub(config);
    let run = |seconds_of: std::ops::Range<u64>| {
        for second in seconds_of {
            seconds(&hub, second..second + 1);
            hub.evict_old(second * S);
        }
    };
    run(1_000..1_010);
    let viewer = entered(&hub);
    let mut client = Client::new(3_600);
    let back = Start::Back { span_ns: 3_600 * S };
    client.connected();
    // Takes what every subscription that the client asks for has to give at `now_s`.
    let exchange = |client: &mut Client, now_s: u64| {
        for names in hub.own("app").unwrap().names(&Filter::All) {
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
    client.follow(topic(Filter::Category(COMPUTATION.to_owned())), back);
    exchange(&mut client, 1_010);
    assert_eq!(count(&mut client), 10);
    client.disconnected();
    run(1_010..1_900);
    client.connected();
    exchange(&mut client, 1_900);
    assert_eq!((count(&mut client), client.missing()), (900, 0));
    // The whole application: what the category has brought comes again, partly as sums of what came one by one.
    run(1_900..2_000);
    client.follow(topic(Filter::All), back);
    exchange(&mut client, 2_000);
    assert_eq!((count(&mut client), client.missing()), (1_000, 0));
    client.disconnected();
    client.connected();
    exchange(&mut client, 2_000);
    assert_eq!((count(&mut client), client.missing()), (1_000, 0));
}
