//! `joey watch`: evaluates requirements in windows as they slide, and tells of each that is missed or met again.
//!
//! The windows are those of the page. How rules are evaluated and who is told is in `crate::watch`, which the relay uses too.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use joey_shared::objective::{Verdict, view_path};
use joey_shared::series::{Filter, Topic};
use joey_shared::store::WINDOW_SECONDS;
use joey_shared::viewer::Viewer;
use joey_shared::window::SLOT_NS;
use joey_shared::wire::Start;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::Outcome;
use super::args::Watch;
use super::connection::Connection;
use super::output::{self, printable};
use super::snapshot;
use super::tap::{number, utc_time};
use super::unknown_app::AbsentApps;
use crate::rule::parse_rules;
use crate::runtime::clock::wall_ns;
use crate::runtime::console;
use crate::watch::alert::Holds;
use crate::watch::evaluation::{Evaluation, Evaluator, verdict_name};
use crate::watch::notify::{Event, Notifier};

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
        rules.extend(parse_rules(&text).with_context(|| format!("{}", file.display()))?);
    }
    anyhow::ensure!(!rules.is_empty(), "the files contain no objective");
    let holds = Holds { missed: watch.missed_for.map_or(0, |hold| hold.as_secs()), met: watch.met_for.as_secs() };
    let mut watcher = Watcher { evaluator: Evaluator::new(rules, watch.burn.clone(), holds), watch };
    let mut connection = Connection::new(&watcher.watch.target, Viewer::new(watcher.evaluator.seconds()));
    if watcher.watch.target.once {
        return watcher.evaluate_once(&mut connection).await;
    }
    let mut notifier = Notifier::new(|problem| console::line(format_args!("joey: {problem}")));
    watcher.watch.exec.iter().for_each(|command| notifier.add_command(command.clone()));
    for address in &watcher.watch.webhook {
        notifier.add_webhook(address.clone(), watcher.watch.webhook_format, watcher.watch.target.ca.as_deref())?;
    }
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (mut evaluated, mut absent) = (Instant::now(), AbsentApps::default());
    let outcome = loop {
        tokio::select! {
            outcome = connection.step(|_| {}) => if let Err(error) = outcome { break Err(error) },
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
        }
        absent.tell(&watcher.watch.apps, &connection.viewer);
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
    evaluator: Evaluator,
    watch: Watch,
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
            let start = Start::Recent { span_ns: self.evaluator.seconds().max(WINDOW_SECONDS) * SLOT_NS };
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
            if let Some(store) = connection.viewer.app_mut(&app) {
                evaluations.extend(self.evaluator.evaluate(&app, store));
            }
        }
        evaluations
    }

    /// Evaluates everything and returns what changed.
    fn evaluate(&mut self, connection: &mut Connection) -> Vec<Event> {
        let evaluations = self.evaluations(connection);
        self.evaluator.changes(&evaluations, wall_ns())
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
        match (0..self.evaluator.rules().len()).find(|&rule| without(rule)) {
            Some(rule) => Ok(Outcome::NoData(format!("no data for {}", self.evaluator.rules()[rule].text()))),
            None => Ok(Outcome::Done),
        }
    }

    fn table(&self, evaluations: &[Evaluation]) -> String {
        let head = ["STATE", "APPLICATION", "VIEW", "OBJECTIVE", "VALUE", "EVENTS"].map(str::to_owned);
        let rows = evaluations.iter().map(|Evaluation { app, rule, view, finding }| {
            let view = view_path(view);
            [
                verdict_name(finding.verdict).to_owned(),
                printable(app).into_owned(),
                printable(&view).into_owned(),
                self.evaluator.rules()[*rule].text(),
                finding.value.clone(),
                finding.count.to_string(),
            ]
        });
        output::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), 4)
    }

    fn json(&self, evaluations: &[Evaluation]) -> String {
        let all = evaluations.iter().map(|Evaluation { app, rule, view, finding }| {
            json!({
                "state": verdict_name(finding.verdict),
                "app": app,
                "view": view_path(view),
                "objective": self.evaluator.rules()[*rule].text(),
                "value": finding.value,
                "count": number(finding.count),
            })
        });
        format!("{}\n", Value::from(all.collect::<Vec<_>>()))
    }
}
