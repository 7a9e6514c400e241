//! Limits the memory of all requests that are in progress, and reads their bodies.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::refusal::Refusal;
use crate::metrics::OtlpRefusalReason;
use crate::runtime::sync::Mutex;

/// Maximum size of a body as it is sent, in bytes: the default limit of gRPC.
pub(super) const BODY_BYTES_MAX: usize = 4 << 20;
/// Maximum time from the head of a request to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The memory that requests may use together.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Semaphore>);

/// What one request uses. Clones share it. It is returned with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Charge {
    budget: Arc<Semaphore>,
    permits: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Budget {
    /// Allows `bytes` for all requests together.
    pub(super) fn new(bytes: u32) -> Self {
        Self(Arc::new(Semaphore::new(usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS))))
    }

    /// A request that uses nothing yet.
    pub(super) fn charge(&self) -> Charge {
        Charge { budget: self.0.clone(), permits: Arc::default() }
    }

    #[cfg(test)]
    pub(super) fn available(&self) -> usize {
        self.0.available_permits()
    }
}

impl Charge {
    /// Charges `bytes` more.
    ///
    /// # Errors
    /// Fails if the requests in progress use too much together.
    pub(super) fn add(&self, bytes: usize) -> Result<(), Refusal> {
        let bytes = u32::try_from(bytes).map_err(|_| Refusal::overloaded())?;
        let more = self.budget.clone().try_acquire_many_owned(bytes).map_err(|_| Refusal::overloaded())?;
        match &mut *self.permits.lock() {
            Some(permits) => permits.merge(more),
            permits @ None => *permits = Some(more),
        }
        Ok(())
    }
}

/// The parts of `body` as they arrive, within the limits on size, time and memory.
pub(super) fn limited(body: Body, charge: Charge) -> impl Stream<Item = Result<Bytes, Refusal>> + Send + 'static {
    let deadline = Instant::now() + BODY_TIMEOUT;
    stream::try_unfold((body.into_data_stream(), 0), move |(mut body, received)| {
        let charge = charge.clone();
        async move {
            let bytes = match timeout_at(deadline, body.next()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(bytes))) => bytes,
                Ok(Some(Err(_))) => return Err(Refusal::malformed("the body is incomplete")),
                Err(_) => {
                    let message = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
                    return Err(Refusal::new(OtlpRefusalReason::Timeout, message));
                }
            };
            let received = received + bytes.len();
            // A gRPC message has a prefix of five bytes.
            if received > BODY_BYTES_MAX + 5 {
                return Err(Refusal::too_large(format!("the body is longer than {BODY_BYTES_MAX} bytes")));
            }
            charge.add(bytes.len())?;
            Ok(Some((bytes, (body, received))))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_share_a_budget_and_return_their_part() {
        let budget = Budget::new(100);
        let (first, second) = (budget.charge(), budget.charge());
        first.add(60).unwrap();
        first.add(0).unwrap();
        second.add(40).unwrap();
        assert_eq!(second.add(1).unwrap_err(), Refusal::overloaded());
        let clone = first.clone();
        drop(first);
        assert_eq!(budget.available(), 0);
        drop(clone);
        second.add(60).unwrap();
        drop(second);
        assert_eq!(budget.available(), 100);
        assert_eq!(budget.charge().add(usize::MAX).unwrap_err(), Refusal::overloaded());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_limited_in_size_time_and_memory() {
        let read = async |body: Body, budget: u32| {
            let parts: Vec<_> = limited(body, Budget::new(budget).charge()).collect().await;
            parts.into_iter().collect::<Result<Vec<Bytes>, _>>().map(|parts| parts.concat().len())
        };
        let reason = |read: Result<usize, Refusal>| read.unwrap_err().reason;
        assert_eq!(read(Body::from(vec![0; BODY_BYTES_MAX]), u32::MAX).await, Ok(BODY_BYTES_MAX));
        assert_eq!(reason(read(Body::from(vec![0; BODY_BYTES_MAX + 6]), u32::MAX).await), OtlpRefusalReason::TooLarge);
        assert_eq!(reason(read(Body::from(vec![0; 11]), 10).await), OtlpRefusalReason::Overloaded);
        let first = stream::iter([Ok::<_, std::io::Error>("first")]);
        let silent = Body::from_stream(first.chain(stream::pending()));
        assert_eq!(reason(read(silent, 10).await), OtlpRefusalReason::Timeout);
        let broken = Body::from_stream(stream::iter([Err::<&str, _>(std::io::Error::other("reset"))]));
        assert_eq!(reason(read(broken, 10).await), OtlpRefusalReason::Malformed);
    }
}
