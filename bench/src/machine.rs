//! What the operating system says about processes and about itself.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::ClockId;
use nix::unistd::Pid;

/// The CPU time that a process has used, in user space and in the kernel, to the nanosecond.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(pid)?)).context("the process is gone")?;
    Ok(clock.now()?.into())
}

/// Memory of a process in KiB: its own pages, and its share of those that it shares (PSS).
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
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is in user already.
    let busy: u64 =
        ticks.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks)| ticks).sum();
    Ok(Duration::from_millis(busy * 10))
}

/// How busy the machine was with other things than the measurement.
pub(crate) struct Noise {
    pids: Vec<u32>,
    began: Instant,
    busy: Duration,
    own: Duration,
}

impl Noise {
    /// Begins to listen; `pids` are the servers that are measured.
    pub(crate) fn listen(pids: &[u32]) -> Result<Self> {
        let pids = [pids, &[std::process::id()]].concat();
        Ok(Self { own: all(&pids)?, busy: busy()?, began: Instant::now(), pids })
    }

    /// How many cores other processes used meanwhile.
    pub(crate) fn cores(&self) -> Result<f64> {
        let own = all(&self.pids)? - self.own;
        let other = (busy()? - self.busy).saturating_sub(own);
        Ok(other.as_secs_f64() / self.began.elapsed().as_secs_f64())
    }
}

fn all(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|&pid| cpu(pid)).sum()
}

/// Two cores that server and generator do not share. On a machine with a single one they share it.
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

    /// What this thread starts from now on, programs and threads, runs where servers run.
    pub(crate) fn as_server<T>(self, start: impl FnOnce() -> T) -> Result<T> {
        pin(self.server)?;
        let started = start();
        pin(self.generator)?;
        Ok(started)
    }

    /// This thread and those that it starts run where the generator runs.
    pub(crate) fn as_generator(self) -> Result<()> {
        pin(self.generator)
    }
}

fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// As many open files as the machine allows; gives how many.
pub(crate) fn open_files() -> Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(most)
}

/// The day, as `date` says it.
pub(crate) fn date() -> String {
    let said = Command::new("date").args(["-u", "+%-d %B %Y"]).env("LC_ALL", "C").output();
    said.map_or_else(|_| "?".to_owned(), |said| String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// What this machine is, in one line.
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
