//! Tests a viewer against scripted messages of a relay.

mod lossy;
mod several;

use super::*;
use crate::histogram::Histogram;
use crate::series::{COMPUTATION, Filter};
use crate::store::Gap;
use crate::wire::{BatchHead, Hello, ObjectiveCounts, ObjectiveEntry, SubscribeError, Subscribed, UpdatesWriter};
use std::string::ToString;
use std::vec;

const S: u64 = 1_000_000_000;

fn topic(filter: Filter) -> Topic {
    Topic { app: "app".to_string(), filter }
}

fn entry() -> SeriesEntry {
    let [category, pipeline, worker, name] = [COMPUTATION, "p", "w", "n"].map(ToString::to_string);
    SeriesEntry::new(4, 1, SeriesKey { category, pipeline, worker, name })
}

fn hello(epoch: u64) -> Vec<u8> {
    let hello = Hello {
        version: VERSION,
        release: "test",
        epoch,
        now_ns: 1_000 * S,
        ring_ns: 300 * S,
        series_retention_ns: 300 * S,
        demo: false,
        ingest_port: 5001,
    };
    ServerMessage::Hello(hello).encode()
}

fn series_message(epoch: u64) -> Vec<u8> {
    ServerMessage::Series { app: "app".to_string(), epoch, series: vec![entry()], last: true }.encode()
}

fn subscribed(sub: u32, epoch: u64, next: u64, head: u64, missing: u64) -> Vec<u8> {
    ServerMessage::Subscribed(Subscribed { sub, feed: sub + 10, epoch, next, head, missing }).encode()
}

/// A batch of the range `from..=to` with one event for each of `seqs`.
fn batch(feed: u32, from: u64, to: u64, seqs: &[u64]) -> Vec<u8> {
    let head = BatchHead { feed, from, to, cut_ns: 1_000 * S + to, end_ns: 1_000 * S, period_ns: S, series: vec![] };
    let mut writer = UpdatesWriter::new(&head);
    for &seq in seqs {
        let mut histogram = Histogram::default();
        histogram.record(seq);
        writer.push(&Update { seq, series: 4, period_ns: S, end_ns: 1_000 * S, offset_ns: 0, histogram });
    }
    ServerMessage::Batch { head, updates: writer.finish() }.encode()
}

/// Delivers `messages` and returns the sequence numbers of the new updates.
fn deliver(viewer: &mut Viewer, messages: &[Vec<u8>]) -> Vec<u64> {
    let mut received = vec![];
    for message in messages {
        viewer.receive(message, 0, |incoming| received.push(incoming.update.seq)).unwrap();
    }
    received
}

fn sent_commands(viewer: &mut Viewer) -> Vec<ClientMessage> {
    viewer.outgoing().iter().map(|bytes| ClientMessage::decode(bytes).unwrap()).collect()
}

#[test]
fn resumes_from_the_last_position_after_a_reconnect() {
    let mut viewer = Viewer::default();
    viewer.subscribe(topic(Filter::All), Start::History);
    assert!(sent_commands(&mut viewer).is_empty());
    viewer.connected();
    let all = topic(Filter::All);
    assert_eq!(
        sent_commands(&mut viewer),
        [ClientMessage::Subscribe { sub: 1, topic: all.clone(), start: Start::History }]
    );
    assert_eq!(
        deliver(&mut viewer, &[hello(9), series_message(9), subscribed(1, 9, 1, 5, 0), batch(11, 1, 3, &[1, 2, 3])]),
        [1, 2, 3]
    );
    assert!(!viewer.is_caught_up());
    viewer.disconnected();
    viewer.connected();
    assert_eq!(
        sent_commands(&mut viewer),
        [ClientMessage::Subscribe { sub: 1, topic: all, start: Start::After { epoch: 9, seq: 3 } }]
    );
    // The relay may send some updates again.
    assert_eq!(deliver(&mut viewer, &[subscribed(1, 9, 4, 5, 0), batch(11, 2, 5, &[2, 3, 4, 5])]), [4, 5]);
    assert!(viewer.is_caught_up());
    assert_eq!((viewer.missing(), viewer.app("app").unwrap().gaps()), (0, &[][..]));
}

#[test]
fn a_jump_between_ranges_is_a_gap_but_a_missing_number_within_one_is_not() {
    let mut viewer = Viewer::default();
    viewer.connected();
    viewer.subscribe(topic(Filter::Category(COMPUTATION.to_string())), Start::History);
    deliver(
        &mut viewer,
        &[hello(9), series_message(9), subscribed(1, 9, 1, 0, 0), batch(11, 1, 10, &[3, 7]), batch(11, 11, 20, &[20])],
    );
    assert_eq!(viewer.missing(), 0);
    sent_commands(&mut viewer);
    assert_eq!(deliver(&mut viewer, &[batch(11, 31, 40, &[33])]), []);
    let category = topic(Filter::Category(COMPUTATION.to_string()));
    let start = Start::After { epoch: 9, seq: 20 };
    let again = [ClientMessage::Unsubscribe { sub: 1 }, ClientMessage::Subscribe { sub: 1, topic: category, start }];
    assert_eq!(sent_commands(&mut viewer), again);
    assert_eq!(deliver(&mut viewer, &[subscribed(1, 9, 31, 40, 10), batch(11, 31, 40, &[33])]), [33]);
    assert_eq!(viewer.missing(), 10);
    let gap = Gap { from_ns: 1_000 * S + 20, to_ns: 1_000 * S + 40, updates: Some(10), relay: 0 };
    assert_eq!(viewer.app("app").unwrap().gaps(), [gap]);
    deliver(&mut viewer, &[ServerMessage::Gap { feed: 11, from: 41, to: 50 }.encode(), batch(11, 51, 51, &[51])]);
    assert_eq!((viewer.missing(), viewer.app("app").unwrap().gaps().len()), (20, 2));
}

#[test]
fn a_lost_tail_is_requested_once() {
    let mut viewer = Viewer::default();
    viewer.connected();
    viewer.subscribe(topic(Filter::All), Start::History);
    deliver(&mut viewer, &[hello(9), series_message(9), subscribed(1, 9, 1, 0, 0), batch(11, 1, 3, &[1, 2, 3])]);
    let heartbeat = |last| ServerMessage::Heartbeat { now_ns: 1_000 * S, sent: vec![(11, last)] }.encode();
    sent_commands(&mut viewer);
    deliver(&mut viewer, &[heartbeat(3)]);
    assert!(sent_commands(&mut viewer).is_empty());
    deliver(&mut viewer, &[heartbeat(5)]);
    assert_eq!(sent_commands(&mut viewer).len(), 2);
    assert_eq!(deliver(&mut viewer, &[subscribed(1, 9, 4, 5, 0), batch(11, 4, 5, &[4, 5]), heartbeat(5)]), [4, 5]);
    assert_eq!((viewer.missing(), sent_commands(&mut viewer).len()), (0, 0));
    // Updates that do not arrive after the second request are missing.
    deliver(&mut viewer, &[heartbeat(9), subscribed(1, 9, 6, 9, 0), heartbeat(9), batch(11, 10, 10, &[10])]);
    assert_eq!(viewer.missing(), 4);
}

#[test]
fn overlapping_subscriptions_count_once() {
    let mut viewer = Viewer::default();
    viewer.connected();
    viewer.subscribe(topic(Filter::All), Start::History);
    viewer.subscribe(topic(Filter::Category(COMPUTATION.to_string())), Start::History);
    deliver(&mut viewer, &[hello(9), series_message(9), subscribed(1, 9, 1, 3, 0), subscribed(2, 9, 1, 3, 0)]);
    assert_eq!(deliver(&mut viewer, &[batch(12, 1, 2, &[1, 2]), batch(11, 1, 3, &[1, 2, 3])]), [1, 2, 3]);
    assert_eq!(viewer.app_mut("app").unwrap().histogram(0).count(), 3);
    // The wider topic also moves the position of the narrower one.
    assert!(viewer.is_caught_up());
    assert_eq!(deliver(&mut viewer, &[batch(12, 3, 5, &[3, 5])]), [5]);
    assert_eq!(viewer.missing(), 0);
}

#[test]
fn after_a_relay_restart_the_new_log_is_read_from_its_start_and_a_gap_is_recorded() {
    let mut viewer = Viewer::default();
    viewer.connected();
    viewer.subscribe(topic(Filter::All), Start::Live);
    deliver(&mut viewer, &[hello(9), series_message(9), subscribed(1, 9, 100, 99, 0), batch(11, 100, 100, &[100])]);
    viewer.disconnected();
    viewer.connected();
    let received =
        deliver(&mut viewer, &[hello(10), series_message(10), subscribed(1, 10, 1, 2, 0), batch(11, 1, 2, &[1, 2])]);
    assert_eq!(received, [1, 2]);
    assert_eq!(viewer.app("app").unwrap().gaps()[0].updates, None);
}

#[test]
fn waits_for_an_application_that_does_not_exist_yet() {
    let mut viewer = Viewer::default();
    viewer.connected();
    viewer.subscribe(topic(Filter::All), Start::History);
    deliver(
        &mut viewer,
        &[hello(9), ServerMessage::SubscribeFailed { sub: 1, reason: SubscribeError::NoSuchApp }.encode()],
    );
    assert!(viewer.is_waiting() && sent_commands(&mut viewer).len() == 1);
    let apps = vec![AppEntry { app: "app".to_string(), ..AppEntry::default() }];
    deliver(&mut viewer, &[ServerMessage::Catalogue { full: false, apps, last: true }.encode()]);
    assert!(!viewer.is_waiting());
    assert!(matches!(sent_commands(&mut viewer)[..], [ClientMessage::Subscribe { sub: 1, .. }]));
}

#[test]
fn objectives_of_the_relay_are_replaced_and_belong_to_a_connection() {
    let entry = |met| {
        let counts = ObjectiveCounts { met, ..ObjectiveCounts::default() };
        ObjectiveEntry { objective: "*: p99 < 1ms over 1m".to_string(), counts, views: vec![] }
    };
    let message = |app: &str, objectives: &[ObjectiveEntry]| {
        ServerMessage::Objectives { app: app.to_string(), objectives: objectives.to_vec() }.encode()
    };
    let mut viewer = Viewer::default();
    viewer.subscribe(topic(Filter::All), Start::History);
    viewer.connected();
    deliver(&mut viewer, &[hello(1), message("app", &[entry(1)]), message("other", &[entry(1)])]);
    deliver(&mut viewer, &[message("app", &[entry(2)])]);
    // An application that the viewer does not know is ignored.
    assert_eq!(viewer.objectives().iter().collect::<Vec<_>>(), [(&"app".to_string(), &vec![entry(2)])]);
    deliver(&mut viewer, &[message("app", &[])]);
    assert!(viewer.objectives().is_empty());
    let apps = vec![AppEntry { app: "app".to_string(), ..AppEntry::default() }];
    let catalogue = ServerMessage::Catalogue { full: true, apps, last: true }.encode();
    deliver(&mut viewer, &[catalogue, message("app", &[entry(3)])]);
    // A recording that begins now has them.
    let mut file = crate::recording::header().to_vec();
    viewer.write_state(0, 300, &mut file);
    let mut playback = crate::recording::Playback::open(file, 300).unwrap();
    playback.advance_to_end();
    assert_eq!(playback.viewers().relays().next().unwrap().objectives(), viewer.objectives());
    assert_eq!(viewer.objectives().len(), 1);
    viewer.disconnected();
    assert!(viewer.objectives().is_empty());
}

#[test]
fn malformed_messages_are_counted_and_have_no_effect() {
    let mut viewer = Viewer::default();
    viewer.connected();
    viewer.subscribe(topic(Filter::All), Start::History);
    deliver(&mut viewer, &[hello(9), series_message(9), subscribed(1, 9, 1, 3, 0)]);
    let good = batch(11, 1, 3, &[1, 2, 3]);
    for at in 0..good.len() {
        let _ = viewer.receive(&good[..at], 0, |_| {});
    }
    assert_eq!(viewer.malformed(), good.len() as u64);
    assert_eq!(deliver(&mut viewer, &[good]), [1, 2, 3]);
}

#[test]
fn the_relay_time_advances_between_messages() {
    let mut viewer = Viewer::default();
    viewer.receive(&hello(9), 70, |_| {}).unwrap();
    assert_eq!(viewer.relay_ns(75), Some(1_000 * S + 5));
}

#[test]
fn a_narrow_topic_resumes_from_the_position_of_a_wider_one() {
    let mut viewer = Viewer::default();
    viewer.connected();
    let narrow = topic(Filter::Category(COMPUTATION.to_string()));
    viewer.subscribe(narrow.clone(), Start::History);
    deliver(&mut viewer, &[hello(9), series_message(9), subscribed(1, 9, 1, 0, 0), batch(11, 1, 2, &[1, 2])]);
    viewer.unsubscribe(&narrow);
    viewer.subscribe(topic(Filter::All), Start::History);
    deliver(&mut viewer, &[subscribed(2, 9, 1, 2, 0), batch(12, 1, 50, &[1, 2, 50])]);
    viewer.unsubscribe(&topic(Filter::All));
    sent_commands(&mut viewer);
    viewer.subscribe(narrow.clone(), Start::History);
    assert_eq!(
        sent_commands(&mut viewer),
        [ClientMessage::Subscribe { sub: 3, topic: narrow, start: Start::After { epoch: 9, seq: 50 } }]
    );
}

#[test]
fn a_forgotten_application_starts_again() {
    let mut viewer = Viewer::default();
    viewer.connected();
    viewer.subscribe(topic(Filter::All), Start::History);
    deliver(&mut viewer, &[hello(9), series_message(9), subscribed(1, 9, 1, 3, 0), batch(11, 1, 3, &[1, 2, 3])]);
    sent_commands(&mut viewer);
    viewer.forget("app");
    let all = topic(Filter::All);
    assert_eq!(
        sent_commands(&mut viewer),
        [ClientMessage::Unsubscribe { sub: 1 }, ClientMessage::Subscribe { sub: 1, topic: all, start: Start::History }]
    );
    assert!(viewer.app_mut("app").unwrap().histogram(0).is_empty());
    assert_eq!(deliver(&mut viewer, &[subscribed(1, 9, 1, 3, 0), batch(11, 1, 3, &[1, 2, 3])]), [1, 2, 3]);
    assert_eq!(viewer.missing(), 0);
}

#[test]
fn changing_names_do_not_fill_the_memory_and_other_series_stay_correct() {
    let mut viewer = Viewer::default();
    viewer.connected();
    viewer.subscribe(topic(Filter::All), Start::History);
    deliver(&mut viewer, &[hello(7), series_message(7), subscribed(1, 7, 1, 0, 0)]);
    let mut seq = 0;
    for hour in 0..50_u32 {
        // Series 4 continues. Ten others are sent once.
        let renamed = |at: u32| {
            let mut entry = SeriesEntry { number: 100 + 10 * hour + at, ..entry() };
            entry.key.worker = std::format!("w{hour}-{at}");
            entry
        };
        let series: Vec<SeriesEntry> = (0..10).map(renamed).collect();
        let numbers: Vec<u32> = series.iter().map(|entry| entry.number).chain([4]).collect();
        let now_ns = (1_000 + 4_000 * u64::from(hour)) * S;
        let (from, to) = (seq + 1, seq + numbers.len() as u64);
        let head = BatchHead { feed: 11, from, to, cut_ns: now_ns, end_ns: now_ns, period_ns: S, series };
        let mut writer = UpdatesWriter::new(&head);
        for series in numbers {
            seq += 1;
            let mut histogram = Histogram::default();
            histogram.record(seq);
            writer.push(&Update { seq, series, period_ns: S, end_ns: now_ns, offset_ns: 0, histogram });
        }
        assert_eq!(deliver(&mut viewer, &[ServerMessage::Batch { head, updates: writer.finish() }.encode()]).len(), 11);
        assert!(viewer.series("app").count() <= 41, "{}", viewer.series("app").count());
        let store = viewer.app_mut("app").unwrap();
        assert!(store.views().len() <= 42, "{}", store.views().len());
        // Each view is found at its position and has the right count.
        let keys: Vec<crate::view::ViewKey> = store.views().iter().map(|view| view.key.clone()).collect();
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(store.find(key), Some(at));
        }
        let own = store.find(&crate::view::ViewKey::of_series(&entry().key).0).unwrap();
        let total = store.find(&crate::view::ViewKey::computation("n")).unwrap();
        assert_eq!((store.histogram(own).count(), store.histogram(total).count()), (1, 11));
    }
    assert_eq!((viewer.missing(), viewer.malformed()), (0, 0));
}

#[test]
fn a_view_stays_for_the_longest_window_even_if_the_relay_retains_less() {
    let mut viewer = Viewer::default();
    viewer.connected();
    viewer.subscribe(topic(Filter::All), Start::History);
    let mut other = entry();
    (other.number, other.key.worker) = (5, "other".to_string());
    let announced = vec![entry(), other.clone()];
    let series = ServerMessage::Series { app: "app".to_string(), epoch: 7, series: announced, last: true }.encode();
    deliver(&mut viewer, &[hello(7), series, subscribed(1, 7, 1, 0, 0)]);
    let own = crate::view::ViewKey::of_series(&other.key).0;
    for at in 0..20_u64 {
        let now_ns = (1_000 + 500 * at) * S;
        let head = BatchHead {
            feed: 11,
            from: at + 1,
            to: at + 1,
            cut_ns: now_ns,
            end_ns: now_ns,
            period_ns: S,
            series: vec![],
        };
        let mut writer = UpdatesWriter::new(&head);
        let mut histogram = Histogram::default();
        histogram.record(7);
        let series = if at == 0 { other.number } else { 4 };
        writer.push(&Update { seq: at + 1, series, period_ns: S, end_ns: now_ns, offset_ns: 0, histogram });
        deliver(&mut viewer, &[ServerMessage::Batch { head, updates: writer.finish() }.encode()]);
        let is_known = viewer.app("app").unwrap().find(&own).is_some();
        assert!(is_known || at > 7, "the view expired after {} s", 500 * at);
        assert!(!is_known || at < 19, "the view is still there after {} s", 500 * at);
    }
}

#[test]
fn an_update_of_an_unannounced_series_is_missing() {
    let mut viewer = Viewer::default();
    viewer.connected();
    viewer.subscribe(topic(Filter::All), Start::History);
    deliver(&mut viewer, &[hello(7), subscribed(1, 7, 1, 0, 0), batch(11, 1, 2, &[1, 2])]);
    assert_eq!((viewer.missing(), viewer.malformed()), (2, 0));
    assert_eq!(viewer.app("app").unwrap().gaps().len(), 1);
}
