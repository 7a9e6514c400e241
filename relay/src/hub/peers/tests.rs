//! Two hubs that exchange messages: a replica equals its origin, in whatever order and however often messages arrive.

use std::time::Duration;

use joey_shared::series::{COMPUTATION, Filter};
use joey_shared::viewer::Viewer as Client;
use joey_shared::wire::{ClientMessage, Start};

use super::super::tests::{NOW, S, data_point, hub, named, only, publish, registered_viewer, topic};
use super::*;
use crate::config::Config;

/// A relay with producers, epoch 7, and a relay in its cluster, epoch 1,007.
fn pair() -> (Arc<Hub>, Arc<Hub>) {
    (hub(Config::default()), near())
}

fn near() -> Arc<Hub> {
    let nats = vec!["nats://127.0.0.1".parse().unwrap()];
    Arc::new(Hub::new(Config { nats, ..Config::default() }, 1_007))
}

/// Announces the logs of `far` to `near`, and updates the replica.
fn replicate(far: &Hub, near: &Hub) {
    near.update_remote_logs(1, far.own_logs());
    let after = near.replica_head("app", 7).unwrap_or(0);
    for message in far.history("app", 7, after).unwrap() {
        near.apply_to_replica("app", 7, &message).unwrap();
    }
    near.mark_replica_ready("app", 7);
}

/// A client of `hub` that subscribes to `filters`. Returns the numbers of the updates in the order of arrival, and the
/// client.
fn subscribe_all(hub: &Arc<Hub>, filters: &[Filter], now_ns: u64) -> (Vec<u64>, Client) {
    let viewer = registered_viewer(hub);
    let mut client = Client::new(3_600);
    client.connected();
    for filter in filters {
        client.subscribe(topic(filter.clone()), Start::Recent { span_ns: 3_600 * S });
    }
    let mut seen = vec![];
    loop {
        let commands = client.outgoing();
        if commands.is_empty() {
            return (seen, client);
        }
        for bytes in commands {
            let mut answers = vec![];
            match ClientMessage::decode(&bytes).unwrap() {
                ClientMessage::Subscribe { sub, topic, .. } => {
                    answers.push(
                        ServerMessage::Logs { app: topic.app.clone(), epochs: hub.log_epochs(&topic.app) }.encode(),
                    );
                    let reason = joey_shared::wire::SubscribeError::SeveralLogs;
                    answers.push(ServerMessage::SubscribeFailed { sub, reason }.encode());
                }
                ClientMessage::SubscribeLog { sub, epoch, topic, start } => {
                    assert_eq!(hub.log_state("app", epoch), LogState::Available);
                    let (mut subscription, subscribed) =
                        viewer.subscribe(sub, &topic, Some(epoch), start, now_ns).unwrap();
                    let names = subscription.app().series_messages(&topic.filter);
                    answers.extend(names.iter().map(|frame| frame.to_vec()));
                    answers.push(ServerMessage::Subscribed(subscribed).encode());
                    answers.extend(subscription.read(usize::MAX, now_ns).batches.iter().map(|bytes| bytes.to_vec()));
                }
                other => panic!("{other:?}"),
            }
            for answer in answers {
                client.receive(&answer, 0, |incoming| seen.push(incoming.update.seq)).unwrap();
            }
        }
    }
}

fn count(client: &mut Client) -> u128 {
    let store = client.app_mut("app").unwrap();
    let at = store.find(&joey_shared::view::ViewKey::computation("n")).unwrap();
    store.histogram(at).count()
}

#[test]
fn a_replica_copies_the_origin_and_continues_with_live_batches() {
    let (far, near) = pair();
    publish(&far, &["a", "b", "a"], NOW);
    far.add_remote_interest("app", u64::MAX);
    let mut peer_batches = far.take_peer_batches().unwrap();
    replicate(&far, &near);
    publish(&far, &["b", "c"], NOW);
    let live = peer_batches.try_recv().unwrap();
    assert_eq!((live.app.as_str(), live.epoch), ("app", 7));
    assert_eq!(near.apply_to_replica("app", 7, &live.bytes), Ok(ApplyOutcome::Applied));
    assert_eq!(near.apply_to_replica("app", 7, &live.bytes), Ok(ApplyOutcome::Duplicate));
    assert_eq!(near.replica_head("app", 7), Some(5));
    let (seen, mut client) = subscribe_all(&near, &[Filter::All], NOW);
    assert_eq!((seen, count(&mut client), client.missing()), (vec![1, 2, 3, 4, 5], 5, 0));
    let (seen, _) = subscribe_all(&near, &[only("a")], NOW);
    assert_eq!(seen, [1, 3]);
    // The interest of the other relay has expired.
    far.add_remote_interest("app", 1);
    far.evict_old(NOW);
    assert!(peer_batches.try_recv().is_err());
}

#[test]
fn a_replica_accepts_series_numbers_with_gaps() {
    let (far, near) = pair();
    publish(&far, &["a", "b"], NOW);
    replicate(&far, &near);
    far.add_remote_interest("app", u64::MAX);
    let mut peer_batches = far.take_peer_batches().unwrap();
    let later = NOW + far.series_retention_ns();
    publish(&far, &["a"], later);
    far.evict_old(later);
    publish(&far, &["c", "b"], later);
    assert_eq!(
        named(&far.own_app("app").unwrap(), &Filter::All).iter().map(|entry| entry.number).collect::<Vec<_>>(),
        [0, 2, 3]
    );
    while let Ok(live) = peer_batches.try_recv() {
        assert_eq!(near.apply_to_replica("app", 7, &live.bytes), Ok(ApplyOutcome::Applied));
    }
    let (seen, mut client) = subscribe_all(&near, &[only("b"), Filter::All], later);
    assert_eq!((seen.len(), count(&mut client), client.missing()), (5, 3, 0), "two updates are older than the window");
    // A relay that joins later only receives the numbers with gaps.
    let other = self::near();
    replicate(&far, &other);
    let (seen, mut client) = subscribe_all(&other, &[only("b"), Filter::All], later);
    assert_eq!((seen.len(), count(&mut client), client.missing()), (3, 3, 0));
}

#[test]
fn a_lost_batch_is_a_gap_until_history_fills_it() {
    let (far, near) = pair();
    publish(&far, &["a"], NOW);
    replicate(&far, &near);
    far.add_remote_interest("app", u64::MAX);
    let mut peer_batches = far.take_peer_batches().unwrap();
    publish(&far, &["a", "a"], NOW);
    publish(&far, &["new"], NOW);
    let (_lost, late) = (peer_batches.try_recv().unwrap(), peer_batches.try_recv().unwrap());
    assert_eq!(near.apply_to_replica("app", 7, &late.bytes), Ok(ApplyOutcome::Gap { from: 2, to: 3 }));
    replicate(&far, &near);
    assert_eq!(near.apply_to_replica("app", 7, &late.bytes), Ok(ApplyOutcome::Duplicate));
    assert_eq!(subscribe_all(&near, &[Filter::All], NOW).0, [1, 2, 3, 4]);
}

#[test]
fn viewers_see_an_application_on_two_relays_as_one() {
    let (far, near) = pair();
    publish(&far, &["a", "b"], NOW);
    publish(&near, &["b", "c"], NOW);
    replicate(&far, &near);
    let (seen, mut client) = subscribe_all(&near, &[Filter::All, only("b")], NOW);
    assert_eq!((seen.len(), count(&mut client), client.missing()), (4, 4, 0));
    assert!(client.is_caught_up() && !client.is_waiting());
    let (full, entries, _) = near.catalogue_since(0);
    assert!(full && entries.len() == 1 && entries[0].series == 4);
    near.remove_remote_logs(1, None);
    assert_eq!(near.catalogue_since(0).1[0].series, 2);
    // The replica stays until it is dropped.
    assert_eq!(near.log_epochs("app"), [7, 1_007]);
    near.drop_replica("app", 7);
    assert_eq!((near.log_epochs("app"), near.gauges(0).series), (vec![1_007], 2));
}

#[test]
fn a_replica_takes_rollups_for_evicted_batches_and_reports_gaps() {
    let config = Config { ring: Duration::from_secs(20), ..Config::default() };
    let far = hub(config);
    let near = near();
    let run = |seconds: std::ops::Range<u64>| {
        for second in seconds {
            let app = far.app("app").unwrap();
            far.publish(&app, &data_point("a", COMPUTATION, second), second * S).unwrap();
            far.cut_all(second * S);
            far.evict_old(second * S);
        }
    };
    run(1_000..1_010);
    replicate(&far, &near);
    assert_eq!(near.replica_head("app", 7), Some(10));
    // The relays are disconnected for five minutes.
    run(1_010..1_300);
    replicate(&far, &near);
    assert_eq!(near.replica_head("app", 7), Some(300));
    for filters in [vec![Filter::All], vec![only("a")], vec![only("a"), Filter::All]] {
        let (_, mut client) = subscribe_all(&near, &filters, 1_300 * S);
        assert_eq!((count(&mut client), client.missing()), (300, 0), "{filters:?}");
    }
    // An hour later the origin has evicted everything in between.
    far.evict_old(4_880 * S);
    let app = far.app("app").unwrap();
    far.publish(&app, &data_point("a", COMPUTATION, 4_880), 4_880 * S).unwrap();
    far.cut_all(4_880 * S);
    let gap = near.apply_to_replica("app", 7, &far.history("app", 7, 0).unwrap()[1]);
    assert_eq!(gap, Ok(ApplyOutcome::Duplicate));
    replicate(&far, &near);
    assert_eq!(near.replica_head("app", 7), Some(301));
}

#[test]
fn malformed_messages_from_another_relay_are_rejected() {
    let (far, near) = pair();
    publish(&far, &["a"], NOW);
    replicate(&far, &near);
    let series = |number: u32| {
        let mut entry = far.own_app("app").unwrap().log.lock().series().entries().next().unwrap().clone();
        entry.number = number;
        entry.key.name.push('2');
        ServerMessage::Series { app: "app".to_owned(), epoch: 7, series: vec![entry], last: true }.encode()
    };
    assert_eq!(near.apply_to_replica("app", 7, b"nonsense"), Err(ReplicaError::Malformed));
    assert_eq!(
        near.apply_to_replica("app", 7, &series(0)),
        Err(ReplicaError::Malformed),
        "the number stands for another series"
    );
    assert_eq!(
        near.apply_to_replica("app", 7, &ServerMessage::Gap { feed: 0, from: 3, to: 9 }.encode()),
        Ok(ApplyOutcome::Gap { from: 2, to: 2 })
    );
    let heartbeat = ServerMessage::Heartbeat { now_ns: 0, sent: vec![] }.encode();
    assert_eq!(near.apply_to_replica("app", 7, &heartbeat), Err(ReplicaError::Malformed));
    // The relay's own log cannot be a replica.
    publish(&near, &["a"], NOW);
    assert_eq!(near.apply_to_replica("app", 1_007, &series(0)), Err(ReplicaError::Limit));
    assert_eq!(near.replica_head("app", 7), Some(1));
}

#[test]
fn interest_lingers_after_the_last_viewer() {
    let hub = Arc::new(Hub::new(Config { clock: || NOW, ..Config::default() }, 7));
    let first = hub.register_interest("app");
    let second = hub.register_interest("app");
    assert_eq!((hub.watched_apps(NOW), hub.presence()), (vec!["app".to_owned()], vec![("app".to_owned(), 2)]));
    drop((first, second));
    assert_eq!((hub.watched_apps(NOW).len(), hub.presence().len()), (1, 0));
    assert!(hub.watched_apps(NOW + INTEREST_LINGER_NS).is_empty());
}

#[test]
fn a_replica_in_use_is_dropped_after_its_last_use() {
    let (far, near) = pair();
    publish(&far, &["a"], NOW);
    replicate(&far, &near);
    // Hold references for a moment, like the sweeper.
    let held = near.all_logs();
    near.drop_replica("app", 7);
    assert_eq!(near.replica_head("app", 7), Some(1));
    near.evict_old(NOW);
    assert_eq!(near.replica_head("app", 7), Some(1), "it is still in use");
    drop(held);
    near.evict_old(NOW);
    assert_eq!((near.replica_head("app", 7), near.gauges(0).ring_bytes), (None, 0));
    // If a message arrives before the replica is dropped, the replica stays.
    replicate(&far, &near);
    let held = near.all_logs();
    near.drop_replica("app", 7);
    replicate(&far, &near);
    drop(held);
    near.evict_old(NOW);
    assert_eq!(near.replica_head("app", 7), Some(1));
}
