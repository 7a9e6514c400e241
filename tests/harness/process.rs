//! Resource use of a process, from `/proc`.

use std::fs::read_to_string;

/// Clock ticks per second, the same on all current Linux systems.
pub const TICKS_PER_SEC: f64 = 100.0;

/// User and system CPU time of a process, in s; `None` if the process does not exist.
#[must_use]
pub fn cpu_secs(process: u32) -> Option<f64> {
    let stat = read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses can contain any character. User and system time are fields 14 and 15.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11).map_while(|field| field.parse::<f64>().ok());
    Some((fields.next()? + fields.next()?) / TICKS_PER_SEC)
}

/// Memory of a process in MB of 2^20 bytes: the line `field`, such as `VmRSS:`, of `file` in the process's folder.
/// `None` if the process does not exist.
#[must_use]
pub fn memory_mb(process: u32, file: &str, field: &str) -> Option<f64> {
    let lines = read_to_string(format!("/proc/{process}/{file}")).ok()?;
    let kb = lines.lines().find_map(|line| line.strip_prefix(field))?;
    kb.trim().trim_end_matches(" kB").trim().parse::<f64>().ok().map(|kb| kb / 1024.0)
}
