//! The delay before a reconnect: exponential backoff with full jitter.
//!
//! With full jitter, each delay is uniformly distributed between zero and the current ceiling. It spreads the
//! reconnects of many viewers after a relay restart; see "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
//! The ceiling grows by half instead of doubling, so a few short delays do not lead to a very long one: after an outage
//! of one second, 99 % of the viewers are connected within two seconds instead of four. Random numbers are arguments.

/// Ceiling of the first delay, in milliseconds.
pub const FIRST_CEILING_MS: u32 = 500;
/// Maximum ceiling of later delays, in milliseconds.
pub const MAX_CEILING_MS: u32 = 15_000;

/// Maximum delay before the first attempt to connect to another relay, in milliseconds.
const SPREAD_MS: u32 = 250;

/// The delay before connecting to another relay, in milliseconds, for a uniformly random `chance`. It is short, but different for
/// each viewer of the failed relay.
#[must_use]
pub const fn failover_delay_ms(chance: u32) -> u32 {
    chance % SPREAD_MS
}

/// The delay before attempt number `attempt` (the first is 0), in milliseconds, for a uniformly random `chance`.
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
