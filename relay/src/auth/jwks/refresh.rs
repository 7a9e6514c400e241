//! Keeps the key set of an identity provider current: fetches it at the start, when it is old, and when a token names a key that
//! it lacks. While it cannot be fetched, the last keys stay in force.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::fetch::{Fetched, fetch};
use crate::auth::Auth;
use crate::config::{Jwks, JwksSource};
use crate::metrics::Counters;
use crate::runtime::clock::wall_ns;

/// Minimum time between two requests. Any client can send tokens with unknown key ids.
const INTERVAL_MIN: Duration = Duration::from_secs(10);
/// Time after which keys are fetched again, unless the provider's answer says otherwise.
const AGE: Duration = Duration::from_secs(15 * 60);
/// Range of the age that a provider may ask for: a removed key must not stay valid for days.
const AGE_RANGE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));
/// Time after which a file is read again. A container's mounted file changes without a signal.
const FILE_AGE: Duration = Duration::from_secs(60);
/// Maximum time between attempts while the provider fails.
const RETRY_MAX: Duration = Duration::from_secs(120);
/// How long a client waits for a key that its token names.
const WAIT: Duration = Duration::from_secs(6);

/// The state of fetching.
#[derive(Debug, Default)]
pub struct Refresh {
    wanted: Notify,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Number of ended attempts.
    attempts: u64,
    is_running: bool,
    has_failed: bool,
    /// No attempt is made before.
    earliest: Option<Instant>,
}

impl Refresh {
    /// Whether the last attempt has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.progress.borrow().has_failed
    }

    /// Makes the next attempt as soon as it is due.
    pub(in crate::auth) fn request(&self) {
        self.wanted.notify_one();
    }

    /// Waits until the next attempt has ended, or is not due yet.
    async fn next_attempt(&self) {
        let mut progress = self.progress.subscribe();
        let seen = *progress.borrow_and_update();
        if !seen.is_running && seen.earliest.is_some_and(|earliest| Instant::now() < earliest) {
            return;
        }
        if !seen.is_running {
            self.request();
        }
        timeout(WAIT, progress.wait_for(|progress| progress.attempts > seen.attempts)).await.ok();
    }
}

impl Auth {
    /// If `token` may be signed with a key that the identity provider has published recently, waits up to 6 s until the keys have
    /// been fetched again. Returns at once if they have just been.
    pub async fn fetch_key_of(&self, token: &str) {
        if self.policy().lacks_key_of(token) {
            self.refresh().next_attempt().await;
        }
    }
}

/// Fetches the keys until `stop` is cancelled.
pub async fn run(auth: Arc<Auth>, counters: Counters, stop: CancellationToken) {
    stop.run_until_cancelled(keep_current(&auth, &counters)).await;
}

async fn keep_current(auth: &Auth, counters: &Counters) {
    let mut policy = auth.watch();
    let refresh = auth.refresh();
    let mut failures = 0;
    loop {
        let jwks = policy.borrow_and_update().jwks().cloned();
        let Some(jwks) = jwks else {
            refresh.progress.send_modify(|progress| progress.has_failed = false);
            if policy.changed().await.is_err() {
                return;
            }
            continue;
        };
        refresh.progress.send_modify(|progress| progress.is_running = true);
        let fetched = fetch(&jwks).await;
        let now = Instant::now();
        let has_failed = fetched.is_err();
        failures = if has_failed { failures + 1 } else { 0 };
        let next = now + apply(auth, counters, &jwks, fetched, failures);
        refresh.progress.send_modify(|progress| {
            let earliest = Some(now + INTERVAL_MIN);
            *progress = Progress { attempts: progress.attempts + 1, is_running: false, has_failed, earliest };
        });
        // Its own changes of the policy are not a reason to fetch again.
        let is_changed = |policy: &Arc<crate::auth::AuthPolicy>| policy.jwks() != Some(&jwks);
        tokio::select! {
            () = sleep_until(next) => {}
            () = refresh.wanted.notified() => sleep_until(now + INTERVAL_MIN).await,
            is_open = async { policy.wait_for(is_changed).await.is_ok() } => if !is_open { return },
        }
    }
}

/// Puts fetched keys into force. Returns the time until the next attempt.
fn apply(auth: &Auth, counters: &Counters, jwks: &Jwks, fetched: anyhow::Result<Fetched>, failures: u32) -> Duration {
    counters.jwks.fetches.inc();
    match fetched {
        Ok(Fetched { keys, max_age }) => {
            counters.jwks.fetched_timestamp_seconds.set(wall_ns() as f64 / 1e9);
            let (count, described) = (keys.len(), keys.describe());
            counters.jwks.keys.set(i64::try_from(count).unwrap_or(i64::MAX));
            let skipped = keys.skipped().to_vec();
            // The first keys of a file are in force already.
            if auth.replace_provider(jwks, keys) || counters.jwks.fetches.get() == 1 {
                tracing::info!(source = %jwks.source, count, keys = described, "token keys of the identity provider");
                for why in skipped {
                    tracing::warn!(source = %jwks.source, "a key of the identity provider is ignored: {why}");
                }
            } else if failures == 0 && auth.refresh().has_failed() {
                tracing::info!(source = %jwks.source, count, "the identity provider is back, with the same token keys");
            }
            match jwks.source {
                JwksSource::File(_) => FILE_AGE,
                JwksSource::Url(_) => max_age.map_or(AGE, |age| age.clamp(AGE_RANGE.0, AGE_RANGE.1)),
            }
        }
        Err(error) => {
            counters.jwks.failures.inc();
            let kept = auth.policy().provider_keys();
            let consequence = if kept == 0 {
                "viewers with its tokens cannot connect".to_owned()
            } else {
                format!("the last {kept} keys stay in force")
            };
            let wait = (INTERVAL_MIN * 2_u32.saturating_pow(failures.saturating_sub(1))).min(RETRY_MAX);
            tracing::warn!(retry_s = wait.as_secs(), "token keys: {error:#}; {consequence}");
            wait
        }
    }
}
