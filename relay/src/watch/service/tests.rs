//! The watcher on a hub: what it announces, its limits, and logs that end and begin again.

use joey_shared::histogram::{Grid, Histogram};
use joey_shared::series::{COMPUTATION, Provenance, Source};
use joey_shared::wire::ServerMessage;

use super::*;
use crate::config::Config;
use crate::data_point::DataPoint;
use crate::rule::parse_rule;

const S: u64 = 1_000_000_000;
const OBJECTIVE: &str = "computation/*: p99 < 10ms over 5s";

struct Test {
    hub: Arc<Hub>,
    watcher: Watcher,
    now_ns: u64,
}

impl Test {
    fn new(rules: &[&str], missed: u64) -> Self {
        let hub = Arc::new(Hub::new(Config::default(), 7));
        let rules = rules.iter().map(|rule| parse_rule(rule).unwrap()).collect();
        let evaluator = Evaluator::new(rules, Vec::new(), Holds { missed, met: 0 });
        let now_ns = hub.config().now_ns() / S * S;
        Self { watcher: Watcher::new(hub.clone(), evaluator), hub, now_ns }
    }

    /// Publishes a second of events with this duration, which ends now.
    fn publish(&self, app: &str, name: &str, duration_ns: u64) {
        let mut histogram = Histogram::with_sum(Grid::FINEST);
        histogram.record_many(duration_ns, 100);
        let point = DataPoint {
            app,
            name,
            category: COMPUTATION,
            worker: "w",
            pipeline: "p",
            id: 0,
            provenance: Provenance::exact(Source::Emit),
            histogram,
            period_ns: S,
            end_ns: self.now_ns,
        };
        self.hub.publish(&self.hub.app(app).unwrap(), &point, self.now_ns).unwrap();
        self.hub.cut_all(self.now_ns);
    }

    /// Publishes, evaluates a second later, and returns the changes as `state view`.
    fn second(&mut self, duration_ns: u64) -> Vec<String> {
        self.now_ns += S;
        self.publish("App", "Check", duration_ns);
        self.turn()
    }

    fn turn(&mut self) -> Vec<String> {
        let events = self.watcher.turn(self.now_ns);
        events.iter().map(|event| format!("{} {}", event.state(), event.view)).collect()
    }

    /// What viewers of `App` are told: objective, state, and for how many seconds it has been so.
    fn announced(&self) -> Vec<(String, ObjectiveState, u64)> {
        let Some(announced) = self.hub.objectives_of("App") else { return Vec::new() };
        let Ok(ServerMessage::Objectives { objectives, .. }) = ServerMessage::decode(&announced.frame) else {
            panic!("the message can be decoded")
        };
        let of_entry = |entry: ObjectiveEntry| {
            let views = entry.views.into_iter();
            views.map(move |view| (entry.objective.clone(), view.state, (self.now_ns - view.since_ns) / S))
        };
        objectives.into_iter().flat_map(of_entry).collect()
    }

    fn states(&self) -> Vec<(ObjectiveState, u64)> {
        self.announced().into_iter().map(|(_, state, seconds)| (state, seconds)).collect()
    }
}

#[test]
fn a_miss_is_pending_until_it_lasts_and_changes_are_announced_at_once() {
    let mut test = Test::new(&[OBJECTIVE], 2);
    assert_eq!(test.second(1_000), [] as [&str; 0]);
    assert_eq!(test.states(), [(ObjectiveState::Met, 0)]);
    let version = test.hub.objectives_version();
    assert_eq!(test.second(1_000), [] as [&str; 0]);
    assert_eq!(test.hub.objectives_version(), version, "nothing has changed");
    assert_eq!(test.second(100_000_000), [] as [&str; 0]);
    assert_eq!(test.states(), [(ObjectiveState::Pending, 0)]);
    test.second(100_000_000);
    assert_eq!(test.second(100_000_000), ["missed computation/Check"]);
    assert_eq!(test.states(), [(ObjectiveState::Missed, 2)], "it began when it was pending");
    let changes: Vec<String> = (0..6).flat_map(|_| test.second(1_000)).collect();
    assert_eq!(changes, ["met computation/Check"]);
    assert_eq!(test.states()[0].0, ObjectiveState::Met);
}

#[test]
fn other_rules_are_evaluated_with_the_history_and_those_that_stay_keep_their_state() {
    let mut test = Test::new(&[OBJECTIVE], 0);
    test.second(100_000_000);
    assert_eq!(test.states(), [(ObjectiveState::Missed, 0)]);
    test.now_ns += S;
    let other = "computation/Check: throughput > 1/s over 10s";
    let rules = [OBJECTIVE, other].map(|rule| parse_rule(rule).unwrap());
    test.watcher.set_rules(rules.to_vec());
    test.now_ns += S;
    assert_eq!(test.turn(), [] as [&str; 0], "it is not told again");
    let expected = [(OBJECTIVE.to_owned(), ObjectiveState::Missed, 2), (other.to_owned(), ObjectiveState::Met, 0)];
    assert_eq!(test.announced(), expected);
    test.watcher.set_rules(rules[1..].to_vec());
    assert_eq!(test.turn(), ["met computation/Check"], "nobody watches it any more");
    assert_eq!(test.announced().len(), 1);
}

#[test]
fn a_forgotten_application_has_no_objectives_and_its_new_log_is_watched() {
    let mut test = Test::new(&[OBJECTIVE], 0);
    assert_eq!(test.second(100_000_000), ["missed computation/Check"]);
    test.now_ns += 100 * S;
    test.turn();
    test.hub.evict_old(test.now_ns + 10_000 * S);
    assert!(test.hub.own_app("App").is_none(), "a silent application is not kept for the watcher");
    assert_eq!(test.turn(), ["met computation/Check"]);
    assert_eq!(test.announced(), []);
    test.now_ns += 10_000 * S;
    assert_eq!(test.second(100_000_000), ["missed computation/Check"]);
    assert_eq!(test.states(), [(ObjectiveState::Missed, 0)]);
}

#[test]
fn only_views_with_an_objective_are_kept_and_their_number_is_limited() {
    let mut test = Test::new(&["computation/x*: p99 < 10ms over 5s"], 0);
    test.publish("App", "Check", 1_000);
    test.turn();
    assert!(test.watcher.stores.is_empty(), "no objective is for it");
    // Each has a view of its own and a total.
    for number in 0..VIEWS_MAX / 2 + 5 {
        test.publish("App", &format!("x{number}"), 1_000);
    }
    test.turn();
    let views: usize = test.watcher.stores.values().map(|store| store.views().len()).sum();
    let counters = &test.hub.counters().objectives;
    assert_eq!((views, counters.objective_updates_dropped.get()), (VIEWS_MAX, 5));
    let Some(announced) = test.hub.objectives_of("App") else { panic!("they are announced") };
    let Ok(ServerMessage::Objectives { objectives, .. }) = ServerMessage::decode(&announced.frame) else {
        panic!("the message can be decoded")
    };
    assert_eq!((objectives[0].views.len(), objectives[0].counts.met as usize), (OBJECTIVE_VIEWS_MAX, VIEWS_MAX / 2));
}
