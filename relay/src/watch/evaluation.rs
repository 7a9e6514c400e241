//! Evaluates rules in the views of applications, and finds what changed since the last time.

use std::collections::BTreeMap;

use joey_shared::objective::{Verdict, view_path};
use joey_shared::store::{AppStore, WINDOW_SECONDS};
use joey_shared::view::ViewKey;

use super::alert::{Alert, Change, Holds};
use super::notify::Event;
use crate::rule::{Burn, Finding, Rule};

/// The rules, and which of them are missed.
#[derive(Debug)]
pub(crate) struct Evaluator {
    rules: Vec<Rule>,
    burns: Vec<Burn>,
    holds: Holds,
    /// By application, text of the rule, and view.
    alerts: BTreeMap<(String, String, ViewKey), Alert>,
}

/// One rule in one view.
#[derive(Debug)]
pub(crate) struct Evaluation {
    pub(crate) app: String,
    /// The index of the rule.
    pub(crate) rule: usize,
    pub(crate) view: ViewKey,
    pub(crate) finding: Finding,
}

impl Evaluator {
    pub(crate) const fn new(rules: Vec<Rule>, burns: Vec<Burn>, holds: Holds) -> Self {
        Self { rules, burns, holds, alerts: BTreeMap::new() }
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Evaluates other rules from now on. Those that stay keep their state.
    pub(crate) fn set_rules(&mut self, rules: Vec<Rule>) {
        self.rules = rules;
    }

    /// The longest window that a rule needs, in seconds.
    pub(crate) fn seconds(&self) -> u64 {
        self.rules.iter().map(|rule| rule.seconds(&self.burns)).max().unwrap_or(WINDOW_SECONDS)
    }

    /// Evaluates every rule in every view of `app` that it is for.
    pub(crate) fn evaluate(&self, app: &str, store: &mut AppStore) -> Vec<Evaluation> {
        if store.clock_ns() == 0 {
            return Vec::new();
        }
        let views: Vec<(usize, ViewKey)> = store.views_by_key().map(|(at, view)| (at, view.key.clone())).collect();
        let mut evaluations = Vec::new();
        for (rule, requirement) in self.rules.iter().enumerate() {
            for (at, view) in views.iter().filter(|(_, view)| requirement.matches(view)) {
                let finding = requirement.evaluate(store, *at, &self.burns);
                evaluations.push(Evaluation { app: app.to_owned(), rule, view: view.clone(), finding });
            }
        }
        evaluations
    }

    /// Takes all evaluations at `time_ns` and returns what changed. What is not among them any more misses nothing.
    pub(crate) fn changes(&mut self, evaluations: &[Evaluation], time_ns: u64) -> Vec<Event> {
        let (mut events, mut alerts) = (Vec::new(), BTreeMap::new());
        for Evaluation { app, rule, view, finding } in evaluations {
            let objective = self.rules.get(*rule).map(Rule::text).unwrap_or_default();
            let key = (app.clone(), objective, view.clone());
            let mut alert = self.alerts.remove(&key).unwrap_or_default();
            let since_ns = alert.active_since_ns;
            if let Some(change) = alert.update(finding.verdict, time_ns, self.holds) {
                let since_ns = alert.active_since_ns.or(since_ns).unwrap_or(time_ns);
                events.push(event(&key, change, finding.value.clone(), finding.count, (time_ns, since_ns)));
            }
            alerts.insert(key, alert);
        }
        for (key, alert) in std::mem::replace(&mut self.alerts, alerts) {
            if let Some(since_ns) = alert.active_since_ns {
                events.push(event(&key, Change::Met, "the view is gone".to_owned(), 0, (time_ns, since_ns)));
            }
        }
        events
    }

    /// The state of an evaluated rule in a view. `None` before the first call of [`changes`](Self::changes) with it.
    pub(crate) fn alert(&self, evaluation: &Evaluation) -> Option<&Alert> {
        let Evaluation { app, rule, view, .. } = evaluation;
        self.alerts.get(&(app.clone(), self.rules.get(*rule)?.text(), view.clone()))
    }
}

fn event(
    (app, objective, view): &(String, String, ViewKey),
    change: Change,
    value: String,
    count: u128,
    (time_ns, since_ns): (u64, u64),
) -> Event {
    let (app, objective, view) = (app.clone(), objective.clone(), view_path(view));
    Event { is_missed: change == Change::Missed, app, objective, view, value, count, time_ns, since_ns }
}

/// The verdict in words.
pub(crate) const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "missed",
        Verdict::Undecided => "undecided",
        Verdict::NoData => "no data",
    }
}
