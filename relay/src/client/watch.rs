//! `joey watch`: evaluates requirements in windows as they slide, and tells of each that is missed or met again.
//!
//! The windows are those of the page. What happens when a verdict flaps is in `alert`, who is told in `notify`.

mod alert;
mod notify;
mod rule;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use joey_shared::objective::{Verdict, view_path};
use joey_shared::series::{Filter, Topic};
use joey_shared::store::WINDOW_SECONDS;
use joey_shared::view::ViewKey;
use joey_shared::viewer::Viewer;
use joey_shared::window::SLOT_NS;
use joey_shared::wire::Start;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use self::alert::{Alert, Change, Holds};
use self::notify::{Event, Notifier};
pub(super) use self::notify::{Format, parse_webhook};
pub(super) use self::rule::{Burn, Rule, parse_burn, parse_rule};
use super::Outcome;
use super::args::Watch;
use super::connection::Connection;
use super::output::{self, printable};
use super::snapshot;
use super::tap::{number, utc_time};
use crate::runtime::clock::wall_ns;

/// Interval of evaluations. They also follow a message, of which a relay sends one in 5 s at least.
const INTERVAL: Duration = Duration::from_secs(1);

/// Watches until a signal arrives, or evaluates once.
///
/// # Errors
/// Fails if a file cannot be read, or if the connection is lost permanently.
pub(crate) async fn run(watch: Watch) -> anyhow::Result<Outcome> {
    let mut rules = watch.slo.clone();
    for file in &watch.slo_file {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        rules.extend(rule::parse_rules(&text).with_context(|| format!("{}", file.display()))?);
    }
    anyhow::ensure!(!rules.is_empty(), "the files contain no objective");
    let seconds = rules.iter().map(|rule| rule.seconds(&watch.burn)).max().unwrap_or(WINDOW_SECONDS);
    let mut watcher = Watcher { rules, watch, seconds, alerts: BTreeMap::new() };
    let mut connection = Connection::new(&watcher.watch.target, Viewer::new(seconds));
    if watcher.watch.target.once {
        return watcher.evaluate_once(&mut connection).await;
    }
    let mut notifier = Notifier::default();
    watcher.watch.exec.iter().for_each(|command| notifier.add_command(command.clone()));
    for address in &watcher.watch.webhook {
        notifier.add_webhook(address.clone(), watcher.watch.webhook_format, watcher.watch.target.ca.as_deref())?;
    }
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut evaluated = Instant::now();
    let outcome = loop {
        tokio::select! {
            outcome = connection.step(|_| {}) => if let Err(error) = outcome { break Err(error) },
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
        }
        watcher.subscribe(&mut connection);
        if evaluated.elapsed() >= INTERVAL && connection.is_connected() && connection.viewer.is_caught_up() {
            evaluated = Instant::now();
            for event in watcher.evaluate(&mut connection) {
                output::print(&watcher.line(&event))?;
                notifier.send(&event);
            }
        }
    };
    notifier.finish().await;
    outcome.map(|()| Outcome::Done)
}

struct Watcher {
    rules: Vec<Rule>,
    watch: Watch,
    /// The longest window, in seconds.
    seconds: u64,
    /// By application, position of the rule, and view.
    alerts: BTreeMap<(String, usize, ViewKey), Alert>,
}

/// One rule in one view.
struct Evaluation {
    app: String,
    rule: usize,
    view: ViewKey,
    finding: rule::Finding,
}

impl Watcher {
    /// Subscribes to the applications to watch as they appear.
    fn subscribe(&self, connection: &mut Connection) {
        let apps = &self.watch.apps;
        let viewer = &connection.viewer;
        let known: Vec<&String> = viewer.topics().map(|topic| &topic.app).collect();
        let wanted = viewer.catalogue().keys().filter(|app| apps.is_empty() || apps.contains(app));
        let wanted: Vec<String> = wanted.filter(|app| !known.contains(app)).cloned().collect();
        for app in wanted {
            let start = Start::Recent { span_ns: self.seconds.max(WINDOW_SECONDS) * SLOT_NS };
            connection.viewer.subscribe(Topic { app, filter: Filter::All }, start);
        }
    }

    /// Evaluates every rule in every view that it is for.
    fn evaluations(&self, connection: &mut Connection) -> Vec<Evaluation> {
        let now_ns = connection.now_ns();
        connection.viewer.advance(now_ns);
        let apps: Vec<String> = connection.viewer.topics().map(|topic| topic.app.clone()).collect();
        let mut evaluations = Vec::new();
        for app in apps {
            let Some(store) = connection.viewer.app_mut(&app).filter(|store| store.clock_ns() > 0) else { continue };
            let views: Vec<(usize, ViewKey)> = store.views_by_key().map(|(at, view)| (at, view.key.clone())).collect();
            for (rule, requirement) in self.rules.iter().enumerate() {
                for (at, view) in views.iter().filter(|(_, view)| requirement.matches(view)) {
                    let finding = requirement.evaluate(store, *at, &self.watch.burn);
                    evaluations.push(Evaluation { app: app.clone(), rule, view: view.clone(), finding });
                }
            }
        }
        evaluations
    }

    /// Evaluates everything and returns what changed.
    fn evaluate(&mut self, connection: &mut Connection) -> Vec<Event> {
        let holds =
            Holds { missed: self.watch.missed_for.map_or(0, |hold| hold.as_secs()), met: self.watch.met_for.as_secs() };
        let (mut events, mut alerts, time_ns) = (Vec::new(), BTreeMap::new(), wall_ns());
        for Evaluation { app, rule, view, finding } in self.evaluations(connection) {
            let key = (app, rule, view);
            let mut alert = self.alerts.remove(&key).unwrap_or_default();
            let since_ns = alert.active_since_ns;
            let change = alert.update(finding.verdict, time_ns, holds);
            if let Some(change) = change {
                let since_ns = alert.active_since_ns.or(since_ns).unwrap_or(time_ns);
                let (value, count) = (finding.value, finding.count);
                events.push(self.event(&key, change, value, count, (time_ns, since_ns)));
            }
            alerts.insert(key, alert);
        }
        // A view that has expired misses nothing any more.
        for (key, alert) in std::mem::replace(&mut self.alerts, alerts) {
            if let Some(since_ns) = alert.active_since_ns {
                events.push(self.event(&key, Change::Met, "the view is gone".to_owned(), 0, (time_ns, since_ns)));
            }
        }
        events
    }

    fn event(
        &self,
        (app, rule, view): &(String, usize, ViewKey),
        change: Change,
        value: String,
        count: u128,
        (time_ns, since_ns): (u64, u64),
    ) -> Event {
        let objective = self.rules.get(*rule).map(Rule::text).unwrap_or_default();
        let (app, view, is_missed) = (app.clone(), view_path(view), change == Change::Missed);
        Event { is_missed, app, objective, view, value, count, time_ns, since_ns }
    }

    /// The line that tells of a change.
    fn line(&self, event: &Event) -> String {
        if self.watch.json {
            return format!("{}\n", event.as_json());
        }
        let Event { app, objective, view, value, count, time_ns, .. } = event;
        let (app, view, state) = (printable(app), printable(view), event.state());
        format!("{} {state:<6} {app} {view} | {objective} | {value}, {count} events\n", utc_time(*time_ns))
    }

    /// Waits for the history, and prints the verdict for each view.
    async fn evaluate_once(&self, connection: &mut Connection) -> anyhow::Result<Outcome> {
        let caught_up = async {
            while !connection.viewer.has_catalogue() {
                connection.step(|_| {}).await?;
            }
            self.subscribe(connection);
            snapshot::receive_history(connection).await
        };
        snapshot::within_history_timeout(caught_up).await?;
        let evaluations = self.evaluations(connection);
        output::print(&if self.watch.json { self.json(&evaluations) } else { self.table(&evaluations) })?;
        let number = |verdict| evaluations.iter().filter(|evaluation| evaluation.finding.verdict == verdict).count();
        let (missed, undecided) = (number(Verdict::Missed), number(Verdict::Undecided));
        if missed > 0 {
            return Ok(Outcome::Missed(format!("{missed} of {} objectives are missed", evaluations.len())));
        }
        if undecided > 0 {
            return Ok(Outcome::NoData(format!(
                "{undecided} objectives cannot be decided: the threshold is inside a bin"
            )));
        }
        let without = |rule: usize| {
            !evaluations.iter().any(|evaluation| evaluation.rule == rule && evaluation.finding.verdict == Verdict::Met)
        };
        match (0..self.rules.len()).find(|&rule| without(rule)) {
            Some(rule) => Ok(Outcome::NoData(format!("no data for {}", self.rules[rule].text()))),
            None => Ok(Outcome::Done),
        }
    }

    fn table(&self, evaluations: &[Evaluation]) -> String {
        let head = ["STATE", "APPLICATION", "VIEW", "OBJECTIVE", "VALUE", "EVENTS"].map(str::to_owned);
        let rows = evaluations.iter().map(|Evaluation { app, rule, view, finding }| {
            let view = view_path(view);
            [
                name(finding.verdict).to_owned(),
                printable(app).into_owned(),
                printable(&view).into_owned(),
                self.rules[*rule].text(),
                finding.value.clone(),
                finding.count.to_string(),
            ]
        });
        output::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), 4)
    }

    fn json(&self, evaluations: &[Evaluation]) -> String {
        let all = evaluations.iter().map(|Evaluation { app, rule, view, finding }| {
            json!({
                "state": name(finding.verdict),
                "app": app,
                "view": view_path(view),
                "objective": self.rules[*rule].text(),
                "value": finding.value,
                "count": number(finding.count),
            })
        });
        format!("{}\n", Value::from(all.collect::<Vec<_>>()))
    }
}

const fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "missed",
        Verdict::Undecided => "undecided",
        Verdict::NoData => "no data",
    }
}
