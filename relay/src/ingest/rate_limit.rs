//! The frame rate limit of one producer's connection.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::at_least_one;
use crate::metrics::RejectReason;

/// Burst limit: a producer may send the frames of this many seconds at once, for example after it has waited for the relay.
const BURST_SECS: NonZeroU32 = at_least_one(10);
/// Frames requested from the rate limiter at once, because one request takes longer than decoding a frame.
const FRAMES_PER_PERMIT: NonZeroU32 = at_least_one(32);
/// Highest frame rate that the limiter can measure. A higher setting means no limit.
const FRAMES_PER_SEC_MAX: NonZeroU32 = at_least_one(100_000_000);

/// The frame rate limit of one producer.
#[derive(Debug)]
pub(super) struct FrameRateLimit {
    limiter: DefaultDirectRateLimiter,
    /// Frames that the limiter has already allowed.
    allowed: u32,
}

impl FrameRateLimit {
    /// Allows `frames_per_sec` frames a second.
    pub(super) fn new(frames_per_sec: NonZeroU32) -> Self {
        let frames = frames_per_sec.min(FRAMES_PER_SEC_MAX);
        let burst = frames.saturating_mul(BURST_SECS);
        Self { limiter: RateLimiter::direct(Quota::per_second(frames).allow_burst(burst)), allowed: 0 }
    }

    /// Checks one frame against the limit.
    pub(super) fn check(&mut self) -> Result<(), RejectReason> {
        if self.allowed == 0 {
            self.allowed = match self.limiter.check_n(FRAMES_PER_PERMIT) {
                Ok(Ok(())) => FRAMES_PER_PERMIT.get(),
                _ => u32::from(self.limiter.check().is_ok()),
            };
        }
        self.allowed = self.allowed.checked_sub(1).ok_or(RejectReason::RateLimit)?;
        Ok(())
    }
}
