//! How long to wait before the next attempt to connect: exponential with full jitter.
//!
//! Full jitter (each delay uniform between nothing and the current ceiling) spreads the return of many viewers after a
//! relay restarts; see "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. Chance is an argument.

/// Ceiling of the first delay in milliseconds.
pub const FIRST_MS: u32 = 500;
/// Ceiling of every later delay in milliseconds.
pub const LONGEST_MS: u32 = 15_000;

/// The delay in milliseconds before attempt number `attempt` (the first is 0), for a uniformly random `chance`.
///
/// ```
/// use joey_shared::backoff::delay_ms;
/// assert_eq!([0, 1, 2, 99].map(|attempt| delay_ms(attempt, u32::MAX)), [499, 999, 1999, 14_999]);
/// assert_eq!(delay_ms(7, 0), 0);
/// ```
#[must_use]
pub const fn delay_ms(attempt: u32, chance: u32) -> u32 {
    let doubled = FIRST_MS.saturating_mul(1 << if attempt < 16 { attempt } else { 16 });
    let ceiling = if doubled < LONGEST_MS { doubled } else { LONGEST_MS };
    ((ceiling as u64 * chance as u64) >> 32) as u32
}
