//! Handles one request, for both servers: who may send it, its limits, and its decoding.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use flate2::read::MultiGzDecoder;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use prost::bytes::Buf as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::budget::{Budget, Charge};
use super::export::Export;
use super::refusal::Refusal;
use super::{Outcome, Receiver, json, weight};
use crate::auth::Auth;
use crate::auth::claims::Claims;
use crate::config::at_least_one;
use crate::hub::{Hub, Safe};
use crate::metrics::{OtlpRefusalReason, RejectReason};

/// Maximum size of a body after decompression, in bytes.
pub(super) const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;
/// Maximum memory of all requests in progress, in bytes: their bodies and what they are decoded to.
const BUDGET_BYTES: u32 = 128 << 20;
/// Bytes that are decompressed at a time.
const DECOMPRESS_BYTES: usize = 64 << 10;
/// A body of this size or less, if it is not compressed, is decoded at once. Others could delay the tasks of the same
/// thread.
const SMALL_BYTES: usize = 64 << 10;
/// Maximum number of larger requests that are decoded at the same time.
const LARGE_REQUESTS: usize = 2;
/// Maximum time for which an answer waits for the journal. A disk that hangs is noticed after a second. Exporters wait for 10 s.
const JOURNAL_WAIT_MAX: Duration = Duration::from_secs(3);
/// A connection may send the data points of this many seconds at once, as other producers may.
const BURST_SECS: NonZeroU32 = at_least_one(10);
/// Highest rate that the limiter can measure. A higher setting means no limit.
const POINTS_PER_SEC_MAX: NonZeroU32 = at_least_one(100_000_000);

/// What all connections share.
pub(super) struct Service {
    hub: Arc<Hub>,
    auth: Arc<Auth>,
    receiver: Arc<Receiver>,
    budget: Budget,
    large: Semaphore,
}

/// The connection that a request arrives on.
#[derive(Clone, Debug)]
pub(super) struct Client {
    peer: SocketAddr,
    limiter: Arc<DefaultDirectRateLimiter>,
    /// Capacity of the limiter.
    burst: NonZeroU32,
}

/// The body of a request.
pub(super) struct Payload {
    pub(super) bytes: Bytes,
    pub(super) is_gzip: bool,
    pub(super) is_json: bool,
    /// What the body uses of the budget.
    pub(super) charge: Charge,
}

/// A request that was published.
struct Published {
    outcome: Outcome,
    /// These become 1 when the journal has the data of an application.
    in_journal: Vec<Arc<Safe>>,
}

impl Service {
    pub(super) fn new(hub: Arc<Hub>, auth: Arc<Auth>, receiver: Arc<Receiver>) -> Arc<Self> {
        let (budget, large) = (Budget::new(BUDGET_BYTES), Semaphore::new(LARGE_REQUESTS));
        Arc::new(Self { hub, auth, receiver, budget, large })
    }

    pub(super) const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(super) const fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// A new connection from `peer`.
    pub(super) fn client(&self, peer: SocketAddr) -> Client {
        let points = self.hub.config().frames_per_sec_max.min(POINTS_PER_SEC_MAX);
        let burst = points.saturating_mul(BURST_SECS);
        Client { peer, burst, limiter: Arc::new(RateLimiter::direct(Quota::per_second(points).allow_burst(burst))) }
    }

    #[cfg(test)]
    pub(super) fn budget_available(&self) -> usize {
        self.budget.available()
    }

    /// A charge for a new request.
    pub(super) fn charge(&self) -> Charge {
        self.budget.charge()
    }

    /// Checks who sends a request, before its body is read. Returns what it may contain.
    pub(super) async fn admit(&self, client: &Client, headers: &HeaderMap) -> Result<Claims, Refusal> {
        if let Some(Some(token)) = self.auth.policy().needed_token(headers, client.peer.ip()) {
            self.auth.fetch_key_of(token).await;
        }
        let policy = self.auth.policy();
        if !policy.allows_producer(client.peer.ip()) {
            let message = "this network is not in --producers-allow";
            return Err(Refusal::new(OtlpRefusalReason::ForbiddenNetwork, message));
        }
        // No page is served here, so there is no origin of the relay's own.
        let is_allowed =
            |origin: &axum::http::HeaderValue| origin.to_str().is_ok_and(|origin| policy.allows_origin(origin));
        if !headers.get_all(header::ORIGIN).iter().all(is_allowed) {
            let message = "pages of this origin may not send: see --origin";
            return Err(Refusal::new(OtlpRefusalReason::ForbiddenOrigin, message));
        }
        policy.producer_claims(headers, client.peer.ip()).map_err(|_| {
            let message = "a valid token is required: OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20…";
            Refusal::new(OtlpRefusalReason::InvalidToken, message)
        })
    }

    /// Decodes and publishes a request, and waits until the journal has it, if there is one. Counts it if it is accepted; the
    /// server counts the refused ones.
    pub(super) async fn export<T: Export>(
        self: &Arc<Self>,
        client: &Client,
        claims: Claims,
        payload: Payload,
    ) -> Result<Outcome, Refusal> {
        let Published { outcome, in_journal } = self.publish::<T>(client, claims, payload).await?;
        let wait = async {
            for in_journal in in_journal {
                // The sender is in `in_journal`, so this cannot fail.
                let _ = in_journal.subscribe().wait_for(|safe| *safe > 0).await;
            }
        };
        // If it takes longer, the exporter would send everything again.
        let _ = timeout(JOURNAL_WAIT_MAX, wait).await;
        Ok(outcome)
    }

    async fn publish<T: Export>(
        self: &Arc<Self>,
        client: &Client,
        claims: Claims,
        payload: Payload,
    ) -> Result<Published, Refusal> {
        if !payload.is_gzip && payload.bytes.len() <= SMALL_BYTES {
            return self.handle::<T>(client, &claims, payload);
        }
        let _permit = self.large.acquire().await.map_err(|_| Refusal::overloaded())?;
        let (service, client) = (self.clone(), client.clone());
        let handled = tokio::task::spawn_blocking(move || service.handle::<T>(&client, &claims, payload)).await;
        handled.unwrap_or_else(|error| {
            if !error.is_panic() {
                // The relay is stopping.
                return Err(Refusal::overloaded());
            }
            self.hub.counters().task_panics.inc();
            // Not an answer after which the sender would try again.
            Err(Refusal::malformed("the relay cannot handle this request"))
        })
    }

    fn handle<T: Export>(&self, client: &Client, claims: &Claims, payload: Payload) -> Result<Published, Refusal> {
        let _timer = self.hub.timings().ingest.start();
        let mut request: T = decode(payload)?;
        let counters = self.hub.counters();
        let points = request.points();
        if let Err(refusal) = client.check_rate(points) {
            counters.reject_many(RejectReason::RateLimit, points as u64);
            return Err(refusal);
        }
        let mut apps = BTreeMap::new();
        request.retain_apps(|app| *apps.entry(app.to_owned()).or_insert_with(|| claims.allow_sending(app)));
        let allowed = request.points();
        let mut outcome = request.publish(&self.receiver, self.hub.config().now_ns());
        let forbidden = points.saturating_sub(allowed);
        if forbidden > 0 {
            counters.reject_many(RejectReason::OtlpForbiddenApp, forbidden as u64);
            outcome.rejected = outcome.rejected.saturating_add(i64::try_from(forbidden).unwrap_or(i64::MAX));
            let separator = if outcome.message.is_empty() { "" } else { "; " };
            let reason = RejectReason::OtlpForbiddenApp.as_str();
            outcome.message = format!(
                "the token does not allow to send for their application ({reason}): {forbidden}{separator}{}",
                outcome.message
            );
        }
        counters.otlp_requests.inc();
        counters.otlp_points.inc_by((points as u64).saturating_sub(outcome.rejected.unsigned_abs()));
        let in_journal = apps.keys().filter_map(|app| self.hub.mark_end(app)).collect();
        Ok(Published { outcome, in_journal })
    }
}

impl Client {
    /// Checks the rate of data points. A request with more than the limiter can hold requires all that it can hold.
    fn check_rate(&self, points: usize) -> Result<(), Refusal> {
        let points = u32::try_from(points).unwrap_or(u32::MAX).min(self.burst.get());
        let Some(points) = NonZeroU32::new(points) else { return Ok(()) };
        let Ok(Err(later)) = self.limiter.check_n(points) else { return Ok(()) };
        let wait = later.wait_time_from(DefaultClock::default().now());
        let message = "more data points per second than --frames-per-sec allows";
        let retry_after = Some(wait.max(Duration::from_secs(1)));
        Err(Refusal { retry_after, ..Refusal::new(OtlpRefusalReason::RateLimit, message) })
    }
}

/// Decompresses and decodes a body.
fn decode<T: Export>(payload: Payload) -> Result<T, Refusal> {
    let Payload { mut bytes, is_gzip, is_json, charge } = payload;
    if is_gzip {
        bytes = decompress(&bytes, &charge)?.into();
    }
    let weight = if is_json { Some(weight::of_json(&bytes)) } else { weight::of_protobuf(T::ROOT, &bytes) };
    let weight = weight.ok_or_else(|| Refusal::malformed("the body is not a protobuf message of this type"))?;
    if weight > BUDGET_BYTES as usize / 2 {
        return Err(Refusal::too_large("the body contains too many messages: send it in several requests"));
    }
    charge.add(weight)?;
    if is_json {
        return from_json(&bytes);
    }
    T::decode(bytes.chunk()).map_err(|error| Refusal::malformed(format!("the body is not valid protobuf: {error}")))
}

fn from_json<T: Export>(bytes: &[u8]) -> Result<T, Refusal> {
    let decoded = json::decode::<T>(bytes);
    let (request, with_data) =
        decoded.map_err(|error| Refusal::malformed(format!("the body is not a request in JSON: {error}")))?;
    if request.metrics_with_data() < with_data {
        return Err(Refusal::malformed("the body has a metric whose data cannot be decoded"));
    }
    Ok(request)
}

fn decompress(bytes: &[u8], charge: &Charge) -> Result<Vec<u8>, Refusal> {
    let mut decoder = MultiGzDecoder::new(bytes);
    let mut decompressed = Vec::new();
    loop {
        let part = decoder.by_ref().take(DECOMPRESS_BYTES as u64).read_to_end(&mut decompressed);
        match part.map_err(|error| Refusal::malformed(format!("the body is not valid gzip: {error}")))? {
            0 => return Ok(decompressed),
            part => charge.add(part)?,
        }
        if decompressed.len() > DECOMPRESSED_BYTES_MAX {
            let message = format!("the body has more than {DECOMPRESSED_BYTES_MAX} bytes after decompression");
            return Err(Refusal::too_large(message));
        }
    }
}
