//! Resource use of processes and properties of the machine, from the operating system.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::ClockId;
use nix::unistd::Pid;

/// CPU time that a process has used, in user space and in the kernel, to the nanosecond.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(pid)?)).context("the process is gone")?;
    Ok(clock.now()?.into())
}

/// Memory of a process in KiB: its private pages and its share of shared pages (PSS).
pub(crate) fn memory_kib(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss in smaps_rollup")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}

/// CPU time that all processes of the machine have used, in steps of 10 ms.
fn busy() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().context("/proc/stat is empty")?.split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>()?;
    // user, nice, system, idle, iowait, irq, softirq, steal; guest time is included in user.
    let busy: u64 =
        ticks.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks)| ticks).sum();
    Ok(Duration::from_millis(busy * 10))
}

/// How busy the machine was with other work than the measurement.
pub(crate) struct Noise {
    pids: Vec<u32>,
    began: Instant,
    busy: Duration,
    own: Duration,
}

impl Noise {
    /// Starts measuring; `pids` are the servers under test.
    pub(crate) fn start(pids: &[u32]) -> Result<Self> {
        let pids = [pids, &[std::process::id()]].concat();
        Ok(Self { own: all(&pids)?, busy: busy()?, began: Instant::now(), pids })
    }

    /// Number of cores that other processes have used since the start.
    pub(crate) fn cores(&self) -> Result<f64> {
        let own = all(&self.pids)? - self.own;
        let other = (busy()? - self.busy).saturating_sub(own);
        Ok(other.as_secs_f64() / self.began.elapsed().as_secs_f64())
    }
}

fn all(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|&pid| cpu(pid)).sum()
}

/// Two different cores for the server and the load generator. On a machine with a single core they share it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    server: usize,
    generator: usize,
}

impl Cores {
    pub(crate) fn find() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut allowed = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
        let server = allowed.next().context("no core may be used")?;
        Ok(Self { server, generator: allowed.next().unwrap_or(server) })
    }

    /// Runs `start` so that the programs and threads it starts run on the server's core.
    pub(crate) fn as_server<T>(self, start: impl FnOnce() -> T) -> Result<T> {
        pin(self.server)?;
        let started = start();
        pin(self.generator)?;
        Ok(started)
    }

    /// Moves this thread, and threads that it starts, to the generator's core.
    pub(crate) fn as_generator(self) -> Result<()> {
        pin(self.generator)
    }
}

fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Raises the limit of open files to the maximum; returns the limit.
pub(crate) fn open_files() -> Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(most)
}

/// Current date in the format of `date`.
pub(crate) fn date() -> String {
    let output = Command::new("date").args(["-u", "+%-d %B %Y"]).env("LC_ALL", "C").output();
    output.map_or_else(|_| "?".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Description of this machine in one line.
pub(crate) fn description() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("?", |(_, name)| name);
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {model}, Linux {}", kernel.trim())
}
