//! The watcher inside a relay: an optional viewer of the relay's own logs, with the stores and the rules of `joey watch`.
//!
//! It reads and evaluates on a thread for blocking work, so it delays no producer and no viewer, and it pauses at least
//! four times as long as it works. Its memory is bounded by the number of views.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use joey_shared::objective::Verdict;
use joey_shared::store::{AppStore, Applied, WINDOW_SECONDS};
use joey_shared::view::ViewKey;
use joey_shared::window::{SECONDS_MAX, SLOT_NS};
use joey_shared::wire::{
    OBJECTIVE_VIEWS_MAX, ObjectiveCounts, ObjectiveEntry, ObjectiveState, ObjectiveView, SeriesEntry, Start,
};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::alert::Holds;
use super::evaluation::{Evaluation, Evaluator};
use super::notify::{Event, Notifier};
use crate::config::WatchConfig;
use crate::export::{Followed, Follower};
use crate::hub::Hub;
use crate::rule::{Rule, read_rules};

/// Interval of evaluations, if one takes at most a quarter of it.
const INTERVAL: Duration = Duration::from_secs(1);
/// The pause between two evaluations is at least this many times as long as an evaluation.
const PAUSE_SHARE: u32 = 4;
/// Minimum time between two announcements in which only values have changed, in ns: 5 s. Changes of states are announced at once.
const VALUES_NS: u64 = 5_000_000_000;
/// Maximum number of views, those of all applications together: about 150 MB. Updates of further ones are dropped and counted.
const VIEWS_MAX: usize = 2_000;
/// How much longer than the relay the watcher retains an unused series, in ns: 1 min.
const SERIES_SLACK_NS: u64 = 60_000_000_000;

/// Watches objectives until the relay stops.
#[derive(Debug)]
pub struct WatchService {
    rules: watch::Receiver<Vec<Rule>>,
    notifier: Notifier,
    config: WatchConfig,
}

/// Replaces the rules of a running watcher.
#[derive(Debug)]
pub struct WatchRules(watch::Sender<Vec<Rule>>);

impl WatchRules {
    /// Watches these rules from now on.
    pub(crate) fn replace(&self, rules: Vec<Rule>) {
        self.0.send_if_modified(|current| {
            let is_changed = *current != rules;
            *current = rules;
            is_changed
        });
    }
}

impl WatchService {
    /// Reads the objectives and prepares everyone who is told of changes, within a runtime.
    ///
    /// # Errors
    /// Fails if a file cannot be read or has a line that is not an objective.
    pub fn new(config: WatchConfig, hub: &Hub) -> anyhow::Result<(Self, WatchRules)> {
        let (sender, rules) = watch::channel(read_rules(&config.files)?);
        let counters = &hub.counters().objectives;
        let warn = |problem: std::fmt::Arguments<'_>| tracing::warn!("{problem}");
        let mut notifier = Notifier::counted(
            warn,
            counters.objective_notifications.clone(),
            counters.objective_notifications_failed.clone(),
        );
        config.commands.iter().for_each(|command| notifier.add_command(command.clone()));
        for address in &config.webhooks {
            notifier.add_webhook(address.clone(), config.format, config.ca.as_deref())?;
        }
        Ok((Self { rules, notifier, config }, WatchRules(sender)))
    }

    /// Watches until `stop`, and then delivers what is queued.
    pub async fn run(self, hub: Arc<Hub>, stop: CancellationToken) {
        let Self { mut rules, notifier, config } = self;
        let holds = Holds { missed: config.missed_for.as_secs(), met: config.met_for.as_secs() };
        let evaluator = Evaluator::new(rules.borrow_and_update().clone(), config.burns, holds);
        tracing::info!(objectives = evaluator.rules().len(), "watching");
        let mut watcher = Watcher::new(hub.clone(), evaluator);
        let mut pause = INTERVAL;
        while stop.run_until_cancelled(sleep(pause)).await.is_some() {
            if rules.has_changed().is_ok_and(|is_changed| is_changed) {
                watcher.set_rules(rules.borrow_and_update().clone());
            }
            let started = Instant::now();
            let turn = tokio::task::spawn_blocking(move || {
                let events = watcher.turn(watcher.hub.config().now_ns());
                (watcher, events)
            });
            let events;
            (watcher, events) = match turn.await {
                Ok(done) => done,
                Err(error) => {
                    // Viewers must not take the last states for current ones.
                    hub.announce_objectives(BTreeMap::new());
                    match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_) => return,
                    }
                }
            };
            for event in events {
                let Event { app, view, objective, value, .. } = &event;
                tracing::info!(app, view, objective, value, "objective {}", event.state());
                notifier.send(&event);
            }
            pause = INTERVAL.max(started.elapsed() * PAUSE_SHARE);
        }
        notifier.finish().await;
    }
}

/// What the watcher has read, and what it has announced.
#[derive(Debug)]
struct Watcher {
    hub: Arc<Hub>,
    evaluator: Evaluator,
    /// For each series that a rule is for: whether it is counted.
    follower: Option<Follower<Option<bool>>>,
    stores: BTreeMap<String, AppStore>,
    /// The state of each objective in each view, and since when, in ns since the Unix epoch by the relay's clock. By
    /// application, text of the objective, and view.
    states: BTreeMap<(String, String, ViewKey), (ObjectiveState, u64)>,
    announced_ns: u64,
}

impl Watcher {
    const fn new(hub: Arc<Hub>, evaluator: Evaluator) -> Self {
        Self { hub, evaluator, follower: None, stores: BTreeMap::new(), states: BTreeMap::new(), announced_ns: 0 }
    }

    /// Watches other rules. What they need is read again from the history.
    fn set_rules(&mut self, rules: Vec<Rule>) {
        self.evaluator.set_rules(rules);
        self.follower = None;
        self.stores.clear();
    }

    /// Reads what is new, evaluates everything, and announces it, at `now_ns` by the relay's clock. Returns what changed.
    fn turn(&mut self, now_ns: u64) -> Vec<Event> {
        self.read(now_ns);
        let mut evaluations = Vec::new();
        for (app, store) in &mut self.stores {
            store.advance(now_ns);
            evaluations.extend(self.evaluator.evaluate(app, store));
        }
        let mut events = self.evaluator.changes(&evaluations, now_ns);
        self.announce(&evaluations, now_ns);
        // Others have the time of the wall clock.
        let (step_ns, _) = self.hub.wall_clock();
        for event in &mut events {
            event.time_ns = event.time_ns.saturating_add_signed(step_ns);
            event.since_ns = event.since_ns.saturating_add_signed(step_ns);
        }
        events
    }

    /// Reads the new updates of all applications of this relay into the stores.
    fn read(&mut self, now_ns: u64) {
        let Self { hub, evaluator, follower, stores, .. } = self;
        let seconds = evaluator.seconds();
        if follower.is_none() {
            let span_ns = seconds.max(WINDOW_SECONDS) * SLOT_NS;
            *follower = Follower::starting_at(hub, Start::Recent { span_ns });
        }
        let Some(follower) = follower else { return };
        let dropped = &hub.counters().objectives.objective_updates_dropped;
        let rules = evaluator.rules();
        let stores = RefCell::new(stores);
        let resolve = |app: &str, epoch: u64, series: &SeriesEntry| {
            if !views_of(series).any(|view| rules.iter().any(|rule| rule.matches(&view))) {
                return None;
            }
            let mut stores = stores.borrow_mut();
            let total: usize = stores.values().map(|store| store.views().len()).sum();
            let is_known = |store: &AppStore| views_of(series).all(|view| store.find(&view).is_some());
            let has_room = total < VIEWS_MAX || stores.get(app).is_some_and(is_known);
            if has_room {
                let store = stores.entry(app.to_owned()).or_insert_with(|| AppStore::new(seconds));
                store.announce(epoch, std::slice::from_ref(series));
            }
            Some(has_room)
        };
        follower.read(now_ns, resolve, |is_counted, followed| {
            let &Followed { app, epoch, cut_ns, is_rollup, update } = followed;
            let Some(is_counted) = is_counted else { return };
            let mut stores = stores.borrow_mut();
            let store = stores.get_mut(app).filter(|_| *is_counted);
            let applied = match store {
                Some(store) if is_rollup => store.add(epoch, update, cut_ns),
                Some(store) => store.apply(epoch, update, cut_ns),
                None => Applied::UnknownSeries,
            };
            if applied == Applied::UnknownSeries {
                dropped.inc();
            }
        });
        let retention_ns = hub.series_retention_ns().max(SECONDS_MAX * SLOT_NS).saturating_add(SERIES_SLACK_NS);
        let stores = stores.into_inner();
        stores.retain(|app, _| hub.own_app(app).is_some());
        stores.values_mut().for_each(|store| {
            store.expire_series(retention_ns);
        });
    }

    /// Announces the states to viewers, and counts them.
    fn announce(&mut self, evaluations: &[Evaluation], now_ns: u64) {
        let mut states = BTreeMap::new();
        let mut found: Vec<(&Evaluation, ObjectiveState, u64)> = Vec::new();
        for evaluation in evaluations {
            let objective = self.evaluator.rules().get(evaluation.rule).map(Rule::text).unwrap_or_default();
            let key = (evaluation.app.clone(), objective, evaluation.view.clone());
            let missed_since_ns = self.evaluator.alert(evaluation).and_then(|alert| alert.active_since_ns);
            let state = match evaluation.finding.verdict {
                _ if missed_since_ns.is_some() => ObjectiveState::Missed,
                Verdict::Missed => ObjectiveState::Pending,
                Verdict::Undecided => ObjectiveState::Undecided,
                Verdict::Met => ObjectiveState::Met,
                Verdict::NoData => ObjectiveState::NoData,
            };
            let before = self.states.get(&key).filter(|(known, _)| *known == state);
            let since_ns = missed_since_ns.or_else(|| Some(before?.1)).unwrap_or(now_ns);
            found.push((evaluation, state, since_ns));
            states.insert(key, (state, since_ns));
        }
        let is_changed = states != self.states;
        self.states = states;
        for state in ObjectiveState::ALL {
            let count = found.iter().filter(|(_, found, _)| *found == state).count();
            self.hub.counters().objectives.set(state.as_str(), count);
        }
        if is_changed || now_ns.saturating_sub(self.announced_ns) >= VALUES_NS {
            self.announced_ns = now_ns;
            self.hub.announce_objectives(self.entries(found));
        }
    }

    /// What viewers are told of each application.
    fn entries(&self, mut found: Vec<(&Evaluation, ObjectiveState, u64)>) -> BTreeMap<String, Vec<ObjectiveEntry>> {
        // The worst views come first; among equal ones, those that have been so for longest.
        found.sort_by_key(|(evaluation, state, since_ns)| (evaluation.rule, *state, *since_ns));
        let mut apps: BTreeMap<String, Vec<(usize, ObjectiveEntry)>> = BTreeMap::new();
        for (evaluation, state, since_ns) in found {
            let Evaluation { app, rule, view, finding } = evaluation;
            let entries = apps.entry(app.clone()).or_default();
            if entries.last().is_none_or(|(last, _)| last != rule) {
                let objective = self.evaluator.rules().get(*rule).map(Rule::text).unwrap_or_default();
                let entry = ObjectiveEntry { objective, counts: ObjectiveCounts::default(), views: Vec::new() };
                entries.push((*rule, entry));
            }
            if let Some((_, entry)) = entries.last_mut() {
                entry.counts.add(state);
                if entry.views.len() < OBJECTIVE_VIEWS_MAX {
                    let (view, value) = (view.clone(), finding.value.clone());
                    entry.views.push(ObjectiveView { view, state, since_ns, value });
                }
            }
        }
        let entries = apps.into_iter();
        entries.map(|(app, entries)| (app, entries.into_iter().map(|(_, entry)| entry).collect())).collect()
    }
}

/// The views of a series: its own, the total that contains it, and the total of its instance.
fn views_of(series: &SeriesEntry) -> impl Iterator<Item = ViewKey> {
    let (own, total) = ViewKey::of_series(&series.key);
    let instance_total = ViewKey::instance_total(&series.key, series.provenance.source);
    std::iter::once(own).chain(total).chain(instance_total)
}

#[cfg(test)]
mod tests;
