//! How long to wait before the next attempt to connect: exponential with full jitter.
//!
//! Full jitter (each delay uniform between nothing and the current ceiling) spreads the return of many viewers after a
//! relay restarts; see "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. The ceiling grows by half and is not
//! doubled: after an outage of a second, 99 of 100 viewers are then back within two seconds and not four, because a few short
//! delays in a row no longer earn a very long one. Chance is an argument.

/// Ceiling of the first delay in milliseconds.
pub const FIRST_CEILING_MS: u32 = 500;
/// Ceiling of every later delay in milliseconds.
pub const MAX_CEILING_MS: u32 = 15_000;

/// Most that the first attempt at another relay waits, in milliseconds.
const SPREAD_MS: u32 = 250;

/// The delay in milliseconds before going to another relay, for a uniformly random `chance`: short, but not the same for all
/// viewers of a relay that is lost.
#[must_use]
pub const fn failover_delay_ms(chance: u32) -> u32 {
    chance % SPREAD_MS
}

/// The delay in milliseconds before attempt number `attempt` (the first is 0), for a uniformly random `chance`.
///
/// ```
/// use joey_shared::backoff::delay_ms;
/// assert_eq!([0, 1, 2, 99].map(|attempt| delay_ms(attempt, u32::MAX)), [499, 749, 1124, 14_999]);
/// assert_eq!(delay_ms(7, 0), 0);
/// ```
#[must_use]
pub const fn delay_ms(attempt: u32, chance: u32) -> u32 {
    let (mut ceiling, mut step) = (FIRST_CEILING_MS, 0);
    while step < attempt && ceiling < MAX_CEILING_MS {
        ceiling += ceiling / 2;
        step += 1;
    }
    let ceiling = if ceiling < MAX_CEILING_MS { ceiling } else { MAX_CEILING_MS };
    ((ceiling as u64 * chance as u64) >> 32) as u32
}
