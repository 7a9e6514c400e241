//! Origins that are gone: what is held of their logs is known and fetched everywhere, and forgotten in the end.

use super::*;

/// The catalogue of a node: names of applications, series, workers that are connected.
fn catalogue(air: &Air, at: usize) -> Vec<(String, u32, usize)> {
    let (_, entries, _) = air.hub(at).catalogue_since(0);
    let up = |entry: &joey_shared::wire::AppEntry| entry.workers.iter().filter(|worker| worker.connected).count();
    entries.iter().map(|entry| (entry.app.clone(), entry.series, up(entry))).collect()
}

fn app(connected: usize) -> Vec<(String, u32, usize)> {
    vec![("App".to_owned(), 3, connected)]
}

/// Nodes of which 0 writes a log that those of `watching` hold.
fn watched(nodes: usize, seed: u64, watching: std::ops::Range<usize>) -> (Air, LogId, Vec<Want>) {
    let mut air = Air::with(nodes, seed);
    let wants = watching.clone().map(|at| air.want(at, "App")).collect();
    let known = air.hub(0).app("App").unwrap();
    air.hub(0).worker_joined(&known, "w", now());
    air.publish(0, "App", 10);
    air.run(3 * S);
    let log = air.log_of(0, "App");
    watching.for_each(|at| air.check(at, &log, 10));
    (air, log, wants)
}

#[test]
fn whoever_comes_when_the_origin_is_gone_gets_its_log_from_a_holder() {
    let (mut air, log, wants) = watched(4, 21, 1..2);
    air.part(0);
    air.run(20 * S);
    assert_eq!(air.hub(2).counters().cluster.relays.get(), 3, "the origin is forgotten");
    (1..4).for_each(|at| assert_eq!(catalogue(&air, at), app(0), "node {at} knows of it"));
    let _second = air.want(2, "App");
    air.run_until("it comes", |air| air.is_whole(2, &log, 10));
    air.check(2, &log, 10);
    assert_eq!(air.hub(2).logs_of("App"), [log.epoch]);
    // Who brought it leaves, and it goes on from hand to hand.
    drop(wants);
    air.part(1);
    air.run(20 * S);
    let _third = air.want(3, "App");
    air.run_until("it comes from the second", |air| air.is_whole(3, &log, 10));
    air.check(3, &log, 10);
}

#[test]
fn the_last_copy_waits_for_a_viewer_as_long_as_one_would_want_it() {
    let (mut air, log, wants) = watched(3, 22, 1..2);
    air.part(0);
    air.run(12 * S);
    drop(wants);
    air.run(100 * S);
    let late = air.want(2, "App");
    air.run_until("it comes", |air| air.is_whole(2, &log, 10));
    drop(late);
    air.run(300 * S);
    (1..3).for_each(|at| assert_eq!(air.hub(at).replica_head("App", log.epoch), None, "node {at} has let it go"));
    air.run(20 * S);
    (1..3).for_each(|at| assert_eq!(catalogue(&air, at), [], "node {at}"));
}

#[test]
fn what_nobody_continues_is_forgotten_however_many_hold_it() {
    let (mut air, log, _wants) = watched(4, 23, 1..3);
    air.part(0);
    air.run(300 * S);
    assert_eq!((catalogue(&air, 1), catalogue(&air, 3)), (app(0), app(0)), "two hold it and tell the third");
    // A newcomer does not begin to count anew.
    let _late = air.want(3, "App");
    air.run(150 * S);
    for at in 1..4 {
        assert_eq!(air.hub(at).replica_head("App", log.epoch), None, "node {at}");
        assert_eq!(catalogue(&air, at), [], "node {at}");
    }
    let before = air.said.len();
    air.run(60 * S);
    assert!(!air.said[before..].iter().any(|(_, place)| matches!(place, Place::Holders(_) | Place::Relay(_))));
}

#[test]
fn an_origin_that_was_only_cut_off_takes_its_log_back() {
    let (mut air, log, _wants) = watched(3, 24, 1..2);
    let _second = air.want(2, "App");
    air.part(0);
    air.run(15 * S);
    assert_eq!(catalogue(&air, 1), app(0));
    air.publish(0, "App", 5);
    air.heal();
    air.run_until("both have the rest", |air| (1..3).all(|at| air.is_whole(at, &log, 15)));
    air.run(12 * S);
    for at in 0..3 {
        assert_eq!((catalogue(&air, at), air.hub(at).logs_of("App")), (app(1), vec![log.epoch]), "node {at}");
    }
}

#[test]
fn what_one_of_two_holders_lacks_it_gets_from_the_other() {
    let (mut air, log, _wants) = watched(3, 25, 1..3);
    air.nodes[2].side = 2;
    air.publish(0, "App", 10);
    air.run(S);
    assert!(air.is_whole(1, &log, 20) && air.is_whole(2, &log, 10));
    air.part(0);
    air.nodes[2].side = 0;
    air.nodes[2].bridge.connected();
    air.run_until("it has the rest", |air| air.is_whole(2, &log, 20));
    air.check(2, &log, 20);
}

#[test]
fn a_crowd_of_holders_has_four_who_speak() {
    let (mut air, log, _wants) = watched(9, 26, 1..9);
    air.part(0);
    air.run(40 * S);
    let before = air.heard_of_holders();
    air.run(20 * S);
    let spoken = air.heard_of_holders() - before;
    assert!((4 * 8..=4 * 11).contains(&spoken), "{spoken} times in ten beats");
    (1..9).for_each(|at| assert_eq!(air.hub(at).logs_of("App"), [log.epoch]));
}

#[test]
fn faults_of_the_engine_keep_nobody_from_what_is_held() {
    for seed in 0..10 {
        let (mut air, log, _wants) = watched(4, 100 + seed, 1..3);
        air.faults = ALL;
        air.part(0);
        air.run(20 * S);
        let _late = air.want(3, "App");
        air.run_until("it comes", |air| air.is_whole(3, &log, 10));
        air.check(3, &log, 10);
    }
}

#[test]
fn where_viewers_may_go_is_what_living_relays_say() {
    let mut air = Air::with(2, 27);
    air.nodes.push(node_at(300, &["wss://c.example"]));
    air.nodes.push(node_at(50, &["ws://d.example:1", "https://d.example"]));
    air.run(S);
    let addresses = |air: &Air, at: usize| air.hub(at).addresses();
    let (c, d) = ("wss://c.example", ["ws://d.example:1", "https://d.example"]);
    // Its own first, then others in a circle.
    assert_eq!(addresses(&air, 0), [c, d[0], d[1]]);
    assert_eq!(addresses(&air, 2), [c, d[0], d[1]]);
    assert_eq!(addresses(&air, 3), [d[0], d[1], c]);
    let version = air.hub(0).addresses_version();
    air.run(60 * S);
    assert_eq!(air.hub(0).addresses_version(), version, "what is said again is no news");
    air.part(3);
    air.run(15 * S);
    assert_eq!(addresses(&air, 0), [c]);
    assert!(air.hub(0).addresses_version() > version);
    for at in 0..20 {
        air.nodes.push(node_at(400 + at, &[&format!("ws://{at}.example")]));
    }
    air.run(S);
    assert_eq!(addresses(&air, 2).len(), joey_shared::wire::RELAYS_MAX);
    assert_eq!(addresses(&air, 2)[0], c);
}

#[test]
fn an_address_that_is_none_is_refused() {
    let long = format!("ws://{}", "a".repeat(300));
    let many = ["ws://a"; 17].map(str::to_owned).to_vec();
    for wrong in [vec![String::new()], vec!["javascript:alert(1)".into()], vec!["ws://a\nb".into()], vec![long], many] {
        let mut air = Air::with(1, 28);
        let word = Word::Reach { relay: 7, addresses: wrong.clone() };
        air.nodes[0].bridge.hear(&subjects().of(&Place::Wants), &word.encode().into(), now() - BEGIN);
        assert_eq!(air.hub(0).addresses(), [""; 0], "{wrong:?}");
        assert!(
            crate::metrics::text_of(&air.hub(0).counters().cluster.messages_rejected).contains("invalid_addresses")
        );
    }
}
