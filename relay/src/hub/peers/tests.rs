//! Two hubs that are handed each other's messages: what comes over is what was there, in whatever order and however often.

use std::time::Duration;

use joey_shared::series::{COMPUTATION, Filter};
use joey_shared::viewer::Viewer as Client;
use joey_shared::wire::{ClientMessage, Start};

use super::super::tests::{NOW, S, entered, hub, metrics, named, only, publish, topic};
use super::*;
use crate::config::Config;

/// Where producers are, and a relay that knows of it; the epochs are 7 and 1,007.
fn pair() -> (Arc<Hub>, Arc<Hub>) {
    (hub(Config::default()), near())
}

fn near() -> Arc<Hub> {
    let nats = vec!["nats://127.0.0.1".parse().unwrap()];
    Arc::new(Hub::new(Config { nats, ..Config::default() }, 1_007))
}

/// Tells `near` what `far` has, and brings the replica up to date.
fn replicate(far: &Hub, near: &Hub) {
    near.set_remote(1, far.own_logs());
    let after = near.replica_head("app", 7).unwrap_or(0);
    for message in far.history("app", 7, after).unwrap() {
        near.accept("app", 7, &message).unwrap();
    }
    near.replica_ready("app", 7);
}

/// What a client of `hub` gets that follows `filters`, as numbers of updates in order; and the client.
fn followed(hub: &Arc<Hub>, filters: &[Filter], now_ns: u64) -> (Vec<u64>, Client) {
    let viewer = entered(hub);
    let mut client = Client::new(3_600);
    client.connected();
    for filter in filters {
        client.follow(topic(filter.clone()), Start::Back { span_ns: 3_600 * S });
    }
    let mut seen = vec![];
    loop {
        let asked = client.outgoing();
        if asked.is_empty() {
            return (seen, client);
        }
        for bytes in asked {
            let mut answers = vec![];
            match ClientMessage::decode(&bytes).unwrap() {
                ClientMessage::Subscribe { sub, topic, .. } => {
                    answers
                        .push(ServerMessage::Logs { app: topic.app.clone(), epochs: hub.logs_of(&topic.app) }.encode());
                    let reason = joey_shared::wire::Refusal::SeeLogs;
                    answers.push(ServerMessage::Refused { sub, reason }.encode());
                }
                ClientMessage::SubscribeLog { sub, epoch, topic, start } => {
                    assert_eq!(hub.standing("app", epoch), Standing::Here);
                    let (mut subscription, subscribed) =
                        viewer.subscribe(sub, &topic, Some(epoch), start, now_ns).unwrap();
                    let names = subscription.of().names(&topic.filter);
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
fn a_replica_is_what_the_origin_has_and_goes_on_from_there() {
    let (far, near) = pair();
    publish(&far, &["a", "b", "a"], NOW);
    far.listen("app", u64::MAX);
    let mut outgoing = far.outgoing().unwrap();
    replicate(&far, &near);
    publish(&far, &["b", "c"], NOW);
    let live = outgoing.try_recv().unwrap();
    assert_eq!((live.app.as_str(), live.epoch), ("app", 7));
    assert_eq!(near.accept("app", 7, &live.bytes), Ok(Accepted::Taken));
    assert_eq!(near.accept("app", 7, &live.bytes), Ok(Accepted::Again));
    assert_eq!(near.replica_head("app", 7), Some(5));
    let (seen, mut client) = followed(&near, &[Filter::All], NOW);
    assert_eq!((seen, count(&mut client), client.missing()), (vec![1, 2, 3, 4, 5], 5, 0));
    let (seen, _) = followed(&near, &[only("a")], NOW);
    assert_eq!(seen, [1, 3]);
    // Nobody elsewhere listens any more.
    far.listen("app", 1);
    far.evict_old(NOW);
    assert!(outgoing.try_recv().is_err());
}

#[test]
fn a_replica_takes_numbers_with_holes_where_series_were_let_go() {
    let (far, near) = pair();
    publish(&far, &["a", "b"], NOW);
    replicate(&far, &near);
    far.listen("app", u64::MAX);
    let mut outgoing = far.outgoing().unwrap();
    let later = NOW + far.series_ns();
    publish(&far, &["a"], later);
    far.evict_old(later);
    publish(&far, &["c", "b"], later);
    assert_eq!(
        named(&far.own("app").unwrap(), &Filter::All).iter().map(|entry| entry.number).collect::<Vec<_>>(),
        [0, 2, 3]
    );
    while let Ok(live) = outgoing.try_recv() {
        assert_eq!(near.accept("app", 7, &live.bytes), Ok(Accepted::Taken));
    }
    let (seen, mut client) = followed(&near, &[only("b"), Filter::All], later);
    assert_eq!((seen.len(), count(&mut client), client.missing()), (5, 3, 0), "two are older than the window");
    // A relay that comes later hears of the holes only.
    let other = self::near();
    replicate(&far, &other);
    let (seen, mut client) = followed(&other, &[only("b"), Filter::All], later);
    assert_eq!((seen.len(), count(&mut client), client.missing()), (3, 3, 0));
}

#[test]
fn a_batch_that_was_lost_on_the_way_is_a_gap_until_history_fills_it() {
    let (far, near) = pair();
    publish(&far, &["a"], NOW);
    replicate(&far, &near);
    far.listen("app", u64::MAX);
    let mut outgoing = far.outgoing().unwrap();
    publish(&far, &["a", "a"], NOW);
    publish(&far, &["new"], NOW);
    let (_lost, late) = (outgoing.try_recv().unwrap(), outgoing.try_recv().unwrap());
    assert_eq!(near.accept("app", 7, &late.bytes), Ok(Accepted::Gap { from: 2, to: 3 }));
    replicate(&far, &near);
    assert_eq!(near.accept("app", 7, &late.bytes), Ok(Accepted::Again));
    assert_eq!(followed(&near, &[Filter::All], NOW).0, [1, 2, 3, 4]);
}

#[test]
fn an_application_in_two_relays_is_one_for_its_viewers() {
    let (far, near) = pair();
    publish(&far, &["a", "b"], NOW);
    publish(&near, &["b", "c"], NOW);
    replicate(&far, &near);
    let (seen, mut client) = followed(&near, &[Filter::All, only("b")], NOW);
    assert_eq!((seen.len(), count(&mut client), client.missing()), (4, 4, 0));
    assert!(client.is_caught_up() && !client.is_waiting());
    let (full, entries, _) = near.catalogue_since(0);
    assert!(full && entries.len() == 1 && entries[0].series == 4);
    near.drop_remote(1, None);
    assert_eq!(near.catalogue_since(0).1[0].series, 2);
    // The replica stays as long as it is wanted.
    assert_eq!(near.logs_of("app"), [7, 1_007]);
    near.drop_replica("app", 7);
    assert_eq!((near.logs_of("app"), near.gauges(0).series), (vec![1_007], 2));
}

#[test]
fn what_only_sums_remember_comes_as_sums_and_what_nobody_remembers_is_told() {
    let config = Config { ring: Duration::from_secs(20), ..Config::default() };
    let far = hub(config);
    let near = near();
    let run = |seconds: std::ops::Range<u64>| {
        for second in seconds {
            let app = far.app("app").unwrap();
            far.publish(&app, &metrics("a", COMPUTATION, second), second * S).unwrap();
            far.cut_all(second * S);
            far.evict_old(second * S);
        }
    };
    run(1_000..1_010);
    replicate(&far, &near);
    assert_eq!(near.replica_head("app", 7), Some(10));
    // The relays do not hear of one another for five minutes.
    run(1_010..1_300);
    replicate(&far, &near);
    assert_eq!(near.replica_head("app", 7), Some(300));
    for filters in [vec![Filter::All], vec![only("a")], vec![only("a"), Filter::All]] {
        let (_, mut client) = followed(&near, &filters, 1_300 * S);
        assert_eq!((count(&mut client), client.missing()), (300, 0), "{filters:?}");
    }
    // An hour later the origin has nothing of what came in between.
    far.evict_old(4_880 * S);
    let app = far.app("app").unwrap();
    far.publish(&app, &metrics("a", COMPUTATION, 4_880), 4_880 * S).unwrap();
    far.cut_all(4_880 * S);
    let gap = near.accept("app", 7, &far.history("app", 7, 0).unwrap()[1]);
    assert_eq!(gap, Ok(Accepted::Again));
    replicate(&far, &near);
    assert_eq!(near.replica_head("app", 7), Some(301));
}

#[test]
fn nonsense_from_another_relay_is_refused_and_harms_nothing() {
    let (far, near) = pair();
    publish(&far, &["a"], NOW);
    replicate(&far, &near);
    let series = |number: u32| {
        let mut entry = far.own("app").unwrap().log.lock().series().entries().next().unwrap().clone();
        entry.number = number;
        entry.key.name.push('2');
        ServerMessage::Series { app: "app".to_owned(), epoch: 7, series: vec![entry], last: true }.encode()
    };
    assert_eq!(near.accept("app", 7, b"nonsense"), Err(NotTaken::Malformed));
    assert_eq!(near.accept("app", 7, &series(0)), Err(NotTaken::Malformed), "the number stands for another series");
    assert_eq!(
        near.accept("app", 7, &ServerMessage::Gap { feed: 0, from: 3, to: 9 }.encode()),
        Ok(Accepted::Gap { from: 2, to: 2 })
    );
    let heartbeat = ServerMessage::Heartbeat { now_ns: 0, sent: vec![] }.encode();
    assert_eq!(near.accept("app", 7, &heartbeat), Err(NotTaken::Malformed));
    // Its own log is nobody else's.
    publish(&near, &["a"], NOW);
    assert_eq!(near.accept("app", 1_007, &series(0)), Err(NotTaken::Limit));
    assert_eq!(near.replica_head("app", 7), Some(1));
}

#[test]
fn what_is_wanted_lingers() {
    let hub = Arc::new(Hub::new(Config { clock: || NOW, ..Config::default() }, 7));
    let first = hub.want("app");
    let second = hub.want("app");
    assert_eq!((hub.wanted(NOW), hub.presence()), (vec!["app".to_owned()], vec![("app".to_owned(), 2)]));
    drop((first, second));
    assert_eq!((hub.wanted(NOW).len(), hub.presence().len()), (1, 0));
    assert!(hub.wanted(NOW + LINGER_NS).is_empty());
}

#[test]
fn a_replica_that_somebody_holds_at_its_end_goes_when_they_have_let_go() {
    let (far, near) = pair();
    publish(&far, &["a"], NOW);
    replicate(&far, &near);
    // As the sweeper does for a moment.
    let held = near.all_logs();
    near.drop_replica("app", 7);
    assert_eq!(near.replica_head("app", 7), Some(1));
    near.evict_old(NOW);
    assert_eq!(near.replica_head("app", 7), Some(1), "it is still held");
    drop(held);
    near.evict_old(NOW);
    assert_eq!((near.replica_head("app", 7), near.gauges(0).ring_bytes), (None, 0));
    // Wanted again before that, it stays.
    replicate(&far, &near);
    let held = near.all_logs();
    near.drop_replica("app", 7);
    replicate(&far, &near);
    drop(held);
    near.evict_old(NOW);
    assert_eq!(near.replica_head("app", 7), Some(1));
}
