//! Who is told of a change: a command and webhooks. They have their own tasks, so a slow one delays no evaluation.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use prometheus_client::metrics::counter::Counter;
use rustls::ClientConfig;
use serde_json::{Number, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::auth::tls;
use crate::config::{WebhookFormat, WebhookUrl};
use crate::net::post::post;

/// Events that wait for a command or a webhook. Further ones are dropped, with a line on standard error.
const EVENTS_QUEUED: usize = 256;
/// Maximum time for an attempt to call a webhook.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before further attempts to call a webhook.
const RETRY_PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];
/// Interval at which Alertmanager is sent alerts again. It takes those that it is not sent again for resolved.
const RESEND_INTERVAL: Duration = Duration::from_secs(60);
/// How long Alertmanager keeps an alert that is not sent again, in ns: three intervals.
const ALERT_LIFETIME_NS: u64 = 180_000_000_000;
/// Maximum time to deliver what is queued at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// A change of one requirement in one view.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// Whether the requirement is missed now. Otherwise it is met again.
    pub(crate) is_missed: bool,
    pub(crate) app: String,
    pub(crate) objective: String,
    pub(crate) view: String,
    /// The measured value, for people.
    pub(crate) value: String,
    pub(crate) count: u128,
    /// When it was evaluated, in ns since the Unix epoch.
    pub(crate) time_ns: u64,
    /// When it began to be missed.
    pub(crate) since_ns: u64,
}

impl Event {
    /// `missed` or `met`.
    pub(crate) const fn state(&self) -> &'static str {
        if self.is_missed { "missed" } else { "met" }
    }

    pub(crate) fn as_json(&self) -> Value {
        json!({
            "state": self.state(),
            "app": self.app,
            "objective": self.objective,
            "view": self.view,
            "value": self.value,
            "count": Number::from_u128(self.count).map_or(Value::Null, Value::Number),
            "time": rfc3339(self.time_ns),
            "since": rfc3339(self.since_ns),
        })
    }

    /// An alert of Alertmanager. The labels identify it.
    fn as_alert(&self, now_ns: u64) -> Value {
        let end_ns = if self.is_missed { now_ns.saturating_add(ALERT_LIFETIME_NS) } else { self.time_ns };
        json!({
            "labels": {
                "alertname": "JoeyObjectiveMissed",
                "app": self.app,
                "view": self.view,
                "objective": self.objective,
            },
            "annotations": {
                "summary": format!("{}: {} misses {}", self.app, self.view, self.objective),
                "value": self.value,
            },
            "startsAt": rfc3339(self.since_ns),
            "endsAt": rfc3339(end_ns),
        })
    }
}

/// A time as text: `2026-11-28T17:50:00.000Z`.
fn rfc3339(ns: u64) -> String {
    let (days, ms) = (ns / 86_400_000_000_000, ns / 1_000_000 % 86_400_000);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

/// The date of the day with this number since the Unix epoch.
fn date(days: u64) -> (u64, u64, u64) {
    // Years begin in March, so that the leap day is the last one (Hinnant, "chrono-compatible low-level date algorithms").
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day - (153 * shifted + 2) / 5 + 1)
}

/// Where problems are told, and how many events were delivered.
#[derive(Clone, Debug)]
struct Report {
    problem: fn(std::fmt::Arguments<'_>),
    sent: Counter,
    failed: Counter,
}

impl Report {
    fn fail(&self, problem: std::fmt::Arguments<'_>) {
        self.failed.inc();
        (self.problem)(problem);
    }
}

/// Everything that is told of changes.
#[derive(Debug)]
pub(crate) struct Notifier {
    targets: Vec<(String, mpsc::Sender<Event>, JoinHandle<()>)>,
    report: Report,
}

impl Notifier {
    /// Tells nobody yet. `problem` is called with what could not be told.
    pub(crate) fn new(problem: fn(std::fmt::Arguments<'_>)) -> Self {
        Self::counted(problem, Counter::default(), Counter::default())
    }

    /// The same, and counts for each event and each command or webhook whether it was `sent` or `failed`.
    pub(crate) fn counted(problem: fn(std::fmt::Arguments<'_>), sent: Counter, failed: Counter) -> Self {
        Self { targets: Vec::new(), report: Report { problem, sent, failed } }
    }

    /// Runs `command` with the shell for each change, one after the other.
    pub(crate) fn add_command(&mut self, command: String) {
        let (sender, events) = mpsc::channel(EVENTS_QUEUED);
        let run = tokio::spawn(run_commands(command.clone(), events, self.report.clone()));
        self.targets.push((command, sender, run));
    }

    /// Posts each change to `address`.
    ///
    /// # Errors
    /// Fails if the certificates in `ca` cannot be read.
    pub(crate) fn add_webhook(
        &mut self,
        address: WebhookUrl,
        format: WebhookFormat,
        ca: Option<&Path>,
    ) -> anyhow::Result<()> {
        let tls = (address.uri().scheme_str() == Some("https")).then(|| tls::client_config(ca)).transpose()?;
        let (sender, events) = mpsc::channel(EVENTS_QUEUED);
        let webhook = Webhook { address, format, tls, active: BTreeMap::new(), report: self.report.clone() };
        self.targets.push((webhook.name(), sender, tokio::spawn(webhook.run(events))));
        Ok(())
    }

    /// Queues an event for everyone.
    pub(crate) fn send(&self, event: &Event) {
        for (name, sender, _) in &self.targets {
            if sender.try_send(event.clone()).is_err() {
                self.report.fail(format_args!(
                    "{name} is too slow: it is not told that {} {}",
                    event.view,
                    event.state()
                ));
            }
        }
    }

    /// Delivers what is queued.
    pub(crate) async fn finish(self) {
        for (_, sender, task) in self.targets {
            drop(sender);
            let abort = task.abort_handle();
            if timeout(FLUSH_TIMEOUT, task).await.is_err() {
                abort.abort();
            }
        }
    }
}

async fn run_commands(command: String, mut events: mpsc::Receiver<Event>, report: Report) {
    while let Some(event) = events.recv().await {
        let outcome = tokio::task::spawn_blocking({
            let command = command.clone();
            move || run_command(&command, &event)
        });
        match outcome.await {
            Ok(Ok(status)) if status.success() => {
                report.sent.inc();
            }
            Ok(Ok(status)) => report.fail(format_args!("the command failed ({status}): {command}")),
            Ok(Err(error)) => report.fail(format_args!("cannot run the command: {error}")),
            Err(error) => report.fail(format_args!("cannot run the command: {error}")),
        }
    }
}

fn run_command(command: &str, event: &Event) -> io::Result<ExitStatus> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("JOEY_STATE", event.state())
        .env("JOEY_APP", &event.app)
        .env("JOEY_OBJECTIVE", &event.objective)
        .env("JOEY_VIEW", &event.view)
        .env("JOEY_VALUE", &event.value)
        .env("JOEY_COUNT", event.count.to_string())
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A command that does not read its input closes it. One event is smaller than the buffer of a pipe.
        let _ = writeln!(input, "{}", event.as_json());
    }
    child.wait()
}

struct Webhook {
    address: WebhookUrl,
    format: WebhookFormat,
    tls: Option<Arc<ClientConfig>>,
    /// What is missed, to send it again, by application, objective and view. As many as there are views and objectives.
    active: BTreeMap<[String; 3], Event>,
    report: Report,
}

impl Webhook {
    /// Its address without a path, which may contain a secret.
    fn name(&self) -> String {
        format!("the webhook at {}", self.address.host())
    }

    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let mut resend_at = Instant::now() + RESEND_INTERVAL;
        loop {
            tokio::select! {
                event = events.recv() => {
                    let Some(event) = event else { return };
                    let key = [&event.app, &event.objective, &event.view].map(Clone::clone);
                    if event.is_missed { self.active.insert(key, event.clone()) } else { self.active.remove(&key) };
                    let body = match self.format {
                        WebhookFormat::Json => event.as_json(),
                        WebhookFormat::Alertmanager => json!([event.as_alert(event.time_ns)]),
                    };
                    self.deliver(&body).await;
                }
                () = sleep_until(resend_at) => {
                    resend_at = Instant::now() + RESEND_INTERVAL;
                    let now_ns = crate::runtime::clock::wall_ns();
                    let alerts: Vec<Value> = self.active.values().map(|event| event.as_alert(now_ns)).collect();
                    if self.format == WebhookFormat::Alertmanager && !alerts.is_empty() {
                        self.deliver(&alerts.into()).await;
                    }
                }
            }
        }
    }

    /// Posts `body`, with some attempts.
    async fn deliver(&self, body: &Value) {
        let body = body.to_string();
        let mut pauses = RETRY_PAUSES.iter();
        loop {
            let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
            let answer =
                timeout(WEBHOOK_TIMEOUT, post(self.address.uri(), self.tls.as_ref(), headers, body.clone().into()));
            let reason = match answer.await {
                Ok(Ok(answer)) if answer.status().is_success() => {
                    self.report.sent.inc();
                    return;
                }
                Ok(Ok(answer)) => format!("it answers {}", answer.status()),
                Ok(Err(error)) => error,
                Err(_) => "it does not answer".to_owned(),
            };
            match pauses.next() {
                Some(&pause) => tokio::time::sleep(pause).await,
                None => {
                    self.report.fail(format_args!("{} was not told of a change: {reason}", self.name()));
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_dates() {
        for (s, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_795_888_200, "2026-11-28T17:50:00.000Z"),
        ] {
            assert_eq!(rfc3339(s * 1_000_000_000), text);
        }
    }
}
