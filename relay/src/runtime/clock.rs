//! The relay's monotonic clock: it starts at the wall-clock time and cannot be set afterwards.
//!
//! The relay measures ages, evictions and arrival times with [`monotonic_ns`]. So no count changes if a person or a time service
//! sets the wall clock. [`wall_clock_offset_ns`] is the difference between the two, for the log and for viewers.

use std::sync::OnceLock;

/// The wall clock in ns since the Unix epoch. For times agreed with others, such as the expiry of a token.
#[must_use]
pub fn wall_ns() -> u64 {
    nanos(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default())
}

/// The relay's time in ns since the Unix epoch: the wall clock at the first call, plus the time elapsed since then.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let Origin { wall_ns, elapsed_ns } = *origin();
    wall_ns.saturating_add(self::elapsed_ns().saturating_sub(elapsed_ns))
}

/// How far the wall clock is ahead of [`monotonic_ns`], in ns: the sum of all steps since the start. A few microseconds if nobody
/// has set the wall clock.
#[must_use]
pub fn wall_clock_offset_ns() -> i64 {
    wall_ns().wrapping_sub(monotonic_ns()).cast_signed()
}

/// Both clocks, read at the same time.
struct Origin {
    wall_ns: u64,
    elapsed_ns: u64,
}

fn origin() -> &'static Origin {
    static ORIGIN: OnceLock<Origin> = OnceLock::new();
    ORIGIN.get_or_init(|| Origin { wall_ns: wall_ns(), elapsed_ns: elapsed_ns() })
}

/// Time since a fixed point, in ns. Unlike `std::time::Instant` it includes time in suspend. Otherwise all workers
/// would appear to be ahead after a laptop wakes up.
#[cfg(target_os = "linux")]
fn elapsed_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    nanos(std::time::Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0)))
}

/// Time since the first call, in ns.
#[cfg(not(target_os = "linux"))]
fn elapsed_ns() -> u64 {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    nanos(START.get_or_init(std::time::Instant::now).elapsed())
}

/// `span` in ns, saturating.
pub(crate) fn nanos(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_agree_unless_the_wall_clock_is_set() {
        let before = monotonic_ns();
        assert!(monotonic_ns() >= before);
        assert!(wall_clock_offset_ns().unsigned_abs() < 1_000_000_000);
    }
}
