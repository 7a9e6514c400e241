//! The relay's own clock: the wall clock at the start of the process, and from there on a clock that cannot be set.
//!
//! Ages, evictions and the times of arrival are measured by [`steady_ns`]. Somebody who sets the wall clock, or a time
//! service that corrects it, then changes no count. By how much the wall clock has been set since is known
//! ([`wall_step_ns`]), so that it can be logged and shown.

use std::sync::OnceLock;

/// The wall clock in ns since the Unix epoch. For what is agreed on with others in wall-clock time, such as the end of a token.
#[must_use]
pub fn wall_ns() -> u64 {
    nanos(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default())
}

/// The relay's time in ns since the Unix epoch: the wall clock when this was first called, plus what has elapsed since.
#[must_use]
pub fn steady_ns() -> u64 {
    let Origin { wall_ns, elapsed_ns } = *origin();
    wall_ns.saturating_add(self::elapsed_ns().saturating_sub(elapsed_ns))
}

/// By how much the wall clock is ahead of [`steady_ns`], in ns: what it has been set forward since the start, less what it has
/// been set back. A few microseconds where nobody has set it.
#[must_use]
pub fn wall_step_ns() -> i64 {
    wall_ns().wrapping_sub(steady_ns()).cast_signed()
}

/// Both clocks at one moment.
struct Origin {
    wall_ns: u64,
    elapsed_ns: u64,
}

fn origin() -> &'static Origin {
    static ORIGIN: OnceLock<Origin> = OnceLock::new();
    ORIGIN.get_or_init(|| Origin { wall_ns: wall_ns(), elapsed_ns: elapsed_ns() })
}

/// Time since some fixed moment, in ns. It goes on while the machine is suspended, which `std::time::Instant` does not: a
/// laptop that wakes up must not find all its workers ahead of it.
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

/// A span in ns; the longest that fits where it is longer.
pub(crate) fn nanos(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_agree_while_nobody_sets_one() {
        let before = steady_ns();
        assert!(steady_ns() >= before);
        assert!(wall_step_ns().unsigned_abs() < 1_000_000_000);
    }
}
