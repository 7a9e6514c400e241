//! The configuration of the relay's own watcher.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;
use clap::ValueEnum;
use serde::Deserialize;

use super::Options;
use crate::rule::{Burn, parse_span};

/// How long an objective must be met again until that is told, unless configured otherwise.
const MET_FOR: Duration = Duration::from_secs(30);

/// What the relay watches, and who is told of changes.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchConfig {
    /// The files with objectives, at least one.
    pub files: Vec<PathBuf>,
    /// Burn rates that decide about latencies in place of the objectives' own windows. Default: none.
    pub burns: Vec<Burn>,
    /// How long an objective must be missed until that is told. Default: zero.
    pub missed_for: Duration,
    /// How long it must be met again until that is told. Default: 30 s.
    pub met_for: Duration,
    /// Commands that run for each change. Default: none.
    pub commands: Vec<String>,
    /// Addresses to which each change is posted. Default: none.
    pub webhooks: Vec<WebhookUrl>,
    /// The format of what is posted. Default: JSON.
    pub format: WebhookFormat,
    /// Certificate authority to trust for the addresses. Default: the machine's authorities.
    pub ca: Option<PathBuf>,
}

impl WatchConfig {
    /// Resolves `options`, then `file`, then the defaults. `None` without files of objectives.
    ///
    /// # Errors
    /// Fails if another option of the watcher is set without such a file.
    pub(super) fn resolve(options: &Options, file: &Options) -> anyhow::Result<Option<Self>> {
        fn either<T: Clone>(options: &Options, file: &Options, get: impl Fn(&Options) -> &Option<T>) -> Option<T> {
            get(options).as_ref().or_else(|| get(file).as_ref()).cloned()
        }
        let span = |get: fn(&Options) -> &Option<Span>| either(options, file, get).map(|Span(span)| span);
        let commands = either(options, file, |options| &options.watch_exec);
        let webhooks = either(options, file, |options| &options.watch_webhook);
        let Some(files) = either(options, file, |options| &options.watch).filter(|files| !files.is_empty()) else {
            anyhow::ensure!(commands.is_none() && webhooks.is_none(), "--watch-exec and --watch-webhook need --watch");
            return Ok(None);
        };
        Ok(Some(Self {
            files,
            burns: either(options, file, |options| &options.watch_burn).unwrap_or_default(),
            missed_for: span(|options| &options.watch_missed_for).unwrap_or_default(),
            met_for: span(|options| &options.watch_met_for).unwrap_or(MET_FOR),
            commands: commands.unwrap_or_default(),
            webhooks: webhooks.unwrap_or_default(),
            format: either(options, file, |options| &options.watch_webhook_format).unwrap_or_default(),
            ca: either(options, file, |options| &options.watch_ca),
        }))
    }
}

/// A time such as `90s` or `15m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_span(text).map(Self)
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The format of what is posted to a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// One object for each change.
    #[default]
    Json,
    /// Alertmanager's API v2: the address ends with /api/v2/alerts.
    Alertmanager,
}

/// The address of a webhook. Its path, which may contain a secret, is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct WebhookUrl(Uri);

impl FromStr for WebhookUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Option<Uri> = text.trim().parse().ok();
        uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
            .map(Self)
            .ok_or_else(|| "it must be an address such as https://host/path".to_owned())
    }
}

impl TryFrom<String> for WebhookUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}", self.0.scheme_str().unwrap_or_default(), self.host())
    }
}

impl WebhookUrl {
    /// The address to post to.
    pub(crate) const fn uri(&self) -> &Uri {
        &self.0
    }

    /// Its host.
    pub(crate) fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(toml: &str) -> anyhow::Result<Option<WatchConfig>> {
        WatchConfig::resolve(&Options::default(), &toml::from_str(toml)?)
    }

    #[test]
    fn options_of_the_watcher_are_read_from_a_file_and_need_objectives() {
        let text = "watch = [\"slo\"]\nwatch_burn = [\"14.4 over 1h and 5m\"]\nwatch_missed_for = \"2m\"\n\
                    watch_webhook = [\"https://hooks.example/s3cret\"]\nwatch_webhook_format = \"alertmanager\"\n";
        let watch = resolved(text).unwrap().unwrap();
        assert_eq!((watch.missed_for, watch.met_for), (Duration::from_secs(120), MET_FOR));
        assert_eq!((watch.burns.len(), watch.format), (1, WebhookFormat::Alertmanager));
        assert!(!format!("{watch:?}").contains("s3cret"));
        assert_eq!(resolved("").unwrap(), None);
        for invalid in ["watch_exec = [\"true\"]", "watch = [\"slo\"]\nwatch_met_for = \"soon\""] {
            assert!(resolved(invalid).is_err(), "{invalid}");
        }
    }
}
