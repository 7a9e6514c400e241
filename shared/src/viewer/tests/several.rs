//! Several relays that fill the same stores.

use super::*;
use crate::store::Gap;
use crate::view::ViewKey;
use proptest::prelude::*;

/// Relays 1 and 2, connected and subscribed to everything of `app`.
fn viewers() -> Viewers {
    let mut viewers = Viewers::new(300);
    for id in [1, 2] {
        viewers.add(id);
        let relay = viewers.relay_mut(id).unwrap();
        relay.connected();
        relay.subscribe(topic(Filter::All), Start::History);
    }
    viewers
}

fn send(viewers: &mut Viewers, relay: u32, messages: &[Vec<u8>]) -> Vec<u64> {
    let mut received = vec![];
    for message in messages {
        viewers.receive(relay, message, 0, |incoming| received.push(incoming.update.seq)).unwrap();
    }
    received
}

/// The messages before the first batch of a log.
fn start(epoch: u64, head: u64) -> [Vec<u8>; 3] {
    [hello(epoch), series_message(epoch), subscribed(1, epoch, 1, head, 0)]
}

fn histogram(viewers: &mut Viewers) -> Histogram {
    let store = viewers.stores_mut().get_mut("app").unwrap();
    let total = store.find(&ViewKey::computation("n")).unwrap();
    store.histogram(total)
}

fn histogram_of(durations: impl IntoIterator<Item = u64>) -> Histogram {
    let mut histogram = Histogram::default();
    durations.into_iter().for_each(|ns| histogram.record(ns));
    histogram
}

#[test]
fn different_logs_of_an_application_are_added() {
    let mut viewers = viewers();
    send(&mut viewers, 1, &start(71, 2));
    send(&mut viewers, 2, &start(72, 2));
    assert_eq!(send(&mut viewers, 1, &[batch(11, 1, 2, &[1, 2])]), [1, 2]);
    assert_eq!(send(&mut viewers, 2, &[batch(11, 1, 2, &[1, 2])]), [1, 2]);
    assert_eq!(histogram(&mut viewers), histogram_of([1, 2, 1, 2]));
}

#[test]
fn the_same_log_is_counted_once() {
    let mut viewers = viewers();
    for relay in [1, 2] {
        send(&mut viewers, relay, &start(71, 3));
    }
    assert_eq!(send(&mut viewers, 1, &[batch(11, 1, 2, &[1, 2])]), [1, 2]);
    assert_eq!(send(&mut viewers, 2, &[batch(11, 1, 3, &[1, 2, 3])]), [3]);
    assert_eq!(histogram(&mut viewers), histogram_of([1, 2, 3]));
}

#[test]
fn what_another_relay_has_sent_is_not_missing() {
    let mut viewers = viewers();
    for relay in [1, 2] {
        send(&mut viewers, relay, &start(71, 9));
    }
    send(&mut viewers, 2, &[batch(11, 1, 6, &[1, 2, 3, 4, 5, 6])]);
    send(&mut viewers, 1, &[ServerMessage::Gap { feed: 11, from: 1, to: 5 }.encode()]);
    assert_eq!(viewers.relay(1).unwrap().missing(), 0);
    send(&mut viewers, 1, &[ServerMessage::Gap { feed: 11, from: 6, to: 8 }.encode()]);
    assert_eq!((viewers.relay(1).unwrap().missing(), viewers.relay(2).unwrap().missing()), (3, 0));
    // The gap belongs to relay 1. A batch of relay 2 does not end it.
    send(&mut viewers, 2, &[batch(11, 7, 7, &[7])]);
    let open = Gap { from_ns: 0, to_ns: 0, updates: Some(3), relay: 1 };
    assert_eq!(viewers.app("app").unwrap().gaps(), [open]);
    send(&mut viewers, 1, &[batch(11, 9, 9, &[9])]);
    assert_eq!(viewers.app("app").unwrap().gaps(), [Gap { to_ns: 1_000 * S + 9, ..open }]);
}

#[test]
fn a_removed_relay_takes_its_data_along_and_the_others_send_theirs_again() {
    let mut viewers = viewers();
    send(&mut viewers, 1, &start(71, 1));
    send(&mut viewers, 2, &start(72, 1));
    send(&mut viewers, 1, &[batch(11, 1, 1, &[1])]);
    send(&mut viewers, 2, &[batch(11, 1, 1, &[1])]);
    let _ = viewers.relay_mut(2).unwrap().outgoing();
    viewers.remove(1);
    let sent: Vec<_> = viewers.relay_mut(2).unwrap().outgoing();
    let sent: Vec<_> = sent.iter().map(|bytes| ClientMessage::decode(bytes).unwrap()).collect();
    let again = ClientMessage::Subscribe { sub: 1, topic: topic(Filter::All), start: Start::History };
    assert_eq!(sent, [ClientMessage::Unsubscribe { sub: 1 }, again]);
    send(&mut viewers, 2, &[subscribed(1, 72, 1, 1, 0), batch(11, 1, 1, &[1])]);
    assert_eq!(histogram(&mut viewers), histogram_of([1]));
    assert_eq!(send(&mut viewers, 1, &[batch(11, 1, 1, &[1])]), [0; 0]);
}

#[test]
fn an_application_stays_while_one_relay_has_it() {
    let mut viewers = viewers();
    let catalogue = |apps: &[&str]| {
        let apps = apps.iter().map(|app| AppEntry { app: (*app).to_string(), ..AppEntry::default() }).collect();
        ServerMessage::Catalogue { full: true, apps, last: true }.encode()
    };
    for relay in [1, 2] {
        send(&mut viewers, relay, &start(70 + u64::from(relay), 1));
        send(&mut viewers, relay, &[batch(11, 1, 1, &[1]), catalogue(&["app"])]);
        viewers.relay_mut(relay).unwrap().unsubscribe(&topic(Filter::All));
    }
    send(&mut viewers, 1, &[catalogue(&[])]);
    assert_eq!(histogram(&mut viewers), histogram_of([1, 1]));
    send(&mut viewers, 2, &[catalogue(&[])]);
    assert!(viewers.app("app").is_none());
}

#[test]
fn the_clock_of_an_application_is_the_latest_of_its_relays() {
    let mut viewers = viewers();
    let heartbeat = |now_ns| ServerMessage::Heartbeat { now_ns, sent: vec![] }.encode();
    send(&mut viewers, 1, &[heartbeat(1_000 * S)]);
    assert_eq!(viewers.app_relay_ns("app", 0), Some(1_000 * S));
    send(&mut viewers, 2, &[heartbeat(1_030 * S)]);
    assert_eq!(viewers.app_relay_ns("app", S), Some(1_031 * S));
    let apps = vec![AppEntry { app: "app".to_string(), ..AppEntry::default() }];
    send(&mut viewers, 1, &[ServerMessage::Catalogue { full: true, apps, last: true }.encode()]);
    assert_eq!(viewers.app_relay_ns("app", S), Some(1_001 * S));
}

proptest! {
    /// Two relays send parts of two logs, each in batches of any length. Whatever the order, each update counts once.
    #[test]
    fn the_merged_histogram_is_that_of_all_raw_values(
        lengths in prop::collection::vec((1..3_u32, 0..2_usize, 1..6_u64), 1..40),
    ) {
        let mut viewers = viewers();
        for relay in [1, 2] {
            let log = |sub: u32, epoch| [series_message(epoch), subscribed(sub, epoch, 1, 99, 0)];
            let subscriber = viewers.relay_mut(relay).unwrap();
            subscriber.subscribe_log(topic(Filter::All), Start::History, Some(71));
            subscriber.subscribe_log(topic(Filter::All), Start::History, Some(72));
            let logs = ServerMessage::Logs { app: "app".to_string(), epochs: vec![71, 72] }.encode();
            send(&mut viewers, relay, &[hello(u64::from(relay)), logs]);
            send(&mut viewers, relay, &log(2, 71));
            send(&mut viewers, relay, &log(3, 72));
        }
        let mut next = [[1_u64; 2]; 2];
        for (relay, log, length) in lengths {
            let from = &mut next[relay as usize - 1][log];
            let seqs: Vec<u64> = (*from..*from + length).collect();
            *from += length;
            send(&mut viewers, relay, &[batch([12, 13][log], seqs[0], seqs[seqs.len() - 1], &seqs)]);
        }
        let raw = (0..2).flat_map(|log| 1..next[0][log].max(next[1][log]));
        prop_assert_eq!(histogram(&mut viewers), histogram_of(raw));
    }
}
