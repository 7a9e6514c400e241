//! Logs of dead origins: every relay lists and fetches the remaining replicas, and they expire in the end.

use super::*;

/// Catalogue of a node: names of applications, numbers of series, numbers of connected workers.
fn catalogue(network: &Network, at: usize) -> Vec<(String, u32, usize)> {
    let (_, entries, _) = network.hub(at).catalogue_since(0);
    let up = |entry: &joey_shared::wire::AppEntry| entry.workers.iter().filter(|worker| worker.connected).count();
    entries.iter().map(|entry| (entry.app.clone(), entry.series, up(entry))).collect()
}

fn app(connected: usize) -> Vec<(String, u32, usize)> {
    vec![("App".to_owned(), 3, connected)]
}

/// Nodes of which node 0 is the origin of a log and the nodes of `watching` have replicas.
fn watched(nodes: usize, seed: u64, watching: std::ops::Range<usize>) -> (Network, LogId, Vec<Interest>) {
    let mut network = Network::with(nodes, seed);
    let interests = watching.clone().map(|at| network.register_interest(at, "App")).collect();
    let known = network.hub(0).app("App").unwrap();
    network.hub(0).worker_joined(&known, "w", now());
    network.publish(0, "App", 10);
    network.run(3 * S);
    let log = network.log_of(0, "App");
    watching.for_each(|at| network.check(at, &log, 10));
    (network, log, interests)
}

#[test]
fn a_new_viewer_gets_an_ownerless_log_from_a_replica() {
    let (mut network, log, interests) = watched(4, 21, 1..2);
    network.isolate(0);
    network.run(20 * S);
    assert_eq!(network.hub(2).counters().cluster.relays.get(), 3, "the origin is removed");
    (1..4).for_each(|at| assert_eq!(catalogue(&network, at), app(0), "node {at} lists it"));
    let _second = network.register_interest(2, "App");
    network.run_until("the log arrives", |network| network.is_complete(2, &log, 10));
    network.check(2, &log, 10);
    assert_eq!(network.hub(2).log_epochs("App"), [log.epoch]);
    // The relay that delivered it leaves, and the new replica serves the next one.
    drop(interests);
    network.isolate(1);
    network.run(20 * S);
    let _third = network.register_interest(3, "App");
    network.run_until("the log arrives from the second replica", |network| network.is_complete(3, &log, 10));
    network.check(3, &log, 10);
}

#[test]
fn the_last_replica_is_retained_for_later_viewers() {
    let (mut network, log, interests) = watched(3, 22, 1..2);
    network.isolate(0);
    network.run(12 * S);
    drop(interests);
    network.run(100 * S);
    let late = network.register_interest(2, "App");
    network.run_until("the log arrives", |network| network.is_complete(2, &log, 10));
    drop(late);
    network.run(300 * S);
    (1..3).for_each(|at| assert_eq!(network.hub(at).replica_head("App", log.epoch), None, "node {at} has dropped it"));
    network.run(20 * S);
    (1..3).for_each(|at| assert_eq!(catalogue(&network, at), [], "node {at}"));
}

#[test]
fn an_ownerless_log_expires_on_all_relays() {
    let (mut network, log, _interests) = watched(4, 23, 1..3);
    network.isolate(0);
    network.run(300 * S);
    assert_eq!(
        (catalogue(&network, 1), catalogue(&network, 3)),
        (app(0), app(0)),
        "two have replicas, and the third lists the log"
    );
    // A new replica does not restart the expiry time.
    let _late = network.register_interest(3, "App");
    network.run(150 * S);
    for at in 1..4 {
        assert_eq!(network.hub(at).replica_head("App", log.epoch), None, "node {at}");
        assert_eq!(catalogue(&network, at), [], "node {at}");
    }
    let before = network.sent.len();
    network.run(60 * S);
    assert!(
        !network.sent[before..]
            .iter()
            .any(|(_, kind)| matches!(kind, SubjectKind::LogReplicas(_) | SubjectKind::Relay(_)))
    );
}

#[test]
fn an_origin_that_reconnects_owns_its_log_again() {
    let (mut network, log, _interests) = watched(3, 24, 1..2);
    let _second = network.register_interest(2, "App");
    network.isolate(0);
    network.run(15 * S);
    assert_eq!(catalogue(&network, 1), app(0));
    network.publish(0, "App", 5);
    network.reconnect_all();
    network.run_until("both are complete", |network| (1..3).all(|at| network.is_complete(at, &log, 15)));
    network.run(12 * S);
    for at in 0..3 {
        assert_eq!(
            (catalogue(&network, at), network.hub(at).log_epochs("App")),
            (app(1), vec![log.epoch]),
            "node {at}"
        );
    }
}

#[test]
fn an_incomplete_replica_is_completed_from_another_replica() {
    let (mut network, log, _interests) = watched(3, 25, 1..3);
    network.nodes[2].partition = 2;
    network.publish(0, "App", 10);
    network.run(S);
    assert!(network.is_complete(1, &log, 20) && network.is_complete(2, &log, 10));
    network.isolate(0);
    network.nodes[2].partition = 0;
    network.nodes[2].bridge.connected();
    network.run_until("the replica is complete", |network| network.is_complete(2, &log, 20));
    network.check(2, &log, 20);
}

#[test]
fn at_most_four_replicas_are_announced() {
    let (mut network, log, _interests) = watched(9, 26, 1..9);
    network.isolate(0);
    network.run(40 * S);
    let before = network.replica_announcements();
    network.run(20 * S);
    let spoken = network.replica_announcements() - before;
    assert!((4 * 8..=4 * 11).contains(&spoken), "{spoken} times in ten intervals");
    (1..9).for_each(|at| assert_eq!(network.hub(at).log_epochs("App"), [log.epoch]));
}

#[test]
fn ownerless_logs_are_fetched_despite_network_faults() {
    for seed in 0..10 {
        let (mut network, log, _interests) = watched(4, 100 + seed, 1..3);
        network.faults = ALL;
        network.isolate(0);
        network.run(20 * S);
        let _late = network.register_interest(3, "App");
        network.run_until("the log arrives", |network| network.is_complete(3, &log, 10));
        network.check(3, &log, 10);
    }
}

#[test]
fn viewers_get_the_addresses_of_live_relays() {
    let mut network = Network::with(2, 27);
    network.nodes.push(node_at(300, &["wss://c.example"]));
    network.nodes.push(node_at(50, &["ws://d.example:1", "https://d.example"]));
    network.run(S);
    let addresses = |network: &Network, at: usize| network.hub(at).addresses();
    let (c, d) = ("wss://c.example", ["ws://d.example:1", "https://d.example"]);
    // Own addresses first, then those of the other relays in circular order.
    assert_eq!(addresses(&network, 0), [c, d[0], d[1]]);
    assert_eq!(addresses(&network, 2), [c, d[0], d[1]]);
    assert_eq!(addresses(&network, 3), [d[0], d[1], c]);
    let version = network.hub(0).addresses_version();
    network.run(60 * S);
    assert_eq!(network.hub(0).addresses_version(), version, "a repeated announcement changes nothing");
    network.isolate(3);
    network.run(15 * S);
    assert_eq!(addresses(&network, 0), [c]);
    assert!(network.hub(0).addresses_version() > version);
    for at in 0..20 {
        network.nodes.push(node_at(400 + at, &[&format!("ws://{at}.example")]));
    }
    network.run(S);
    assert_eq!(addresses(&network, 2).len(), joey_shared::wire::RELAYS_MAX);
    assert_eq!(addresses(&network, 2)[0], c);
}

#[test]
fn invalid_addresses_are_rejected() {
    let long = format!("ws://{}", "a".repeat(300));
    let many = ["ws://a"; 17].map(str::to_owned).to_vec();
    for wrong in [vec![String::new()], vec!["javascript:alert(1)".into()], vec!["ws://a\nb".into()], vec![long], many] {
        let mut network = Network::with(1, 28);
        let message = ClusterMessage::Addresses { relay: 7, addresses: wrong.clone() };
        network.nodes[0].bridge.receive(
            &subjects().subject(&SubjectKind::Interest),
            &message.encode().into(),
            now() - BEGIN,
        );
        assert_eq!(network.hub(0).addresses(), [""; 0], "{wrong:?}");
        assert!(
            crate::metrics::text_of(&network.hub(0).counters().cluster.messages_rejected).contains("invalid_addresses")
        );
    }
}
