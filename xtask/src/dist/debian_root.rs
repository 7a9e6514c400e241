//! A clean Debian 12 in a folder, with systemd as its process 1, for the test of the package.

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::{Result, ensure};
use xshell::cmd;

use super::packages::remove;
use crate::{
    checkout::{Checkout, on_path},
    setup::{self, Cache},
};

/// Packages besides Debian's minimal system. `curl` and `procps` are for the test.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,adduser,ca-certificates,curl,procps";
/// The time within which the test ends, in s.
const TIMEOUT_SECS: &str = "600";

/// Runs `packaging/test/lifecycle.sh` with these two packages in a fresh copy of the system, in namespaces of its own. Needs root.
pub(super) fn run_lifecycle(here: &Checkout, work: &Path, old: &Path, new: &Path) -> Result<()> {
    let sh = &here.shell;
    ensure!(setup::is_root(sh), "the test of the package starts a systemd: run it as root");
    let system = work.join("root");
    remove(&system)?;
    let clean = clean_system(here)?;
    cmd!(sh, "cp --archive {clean} {system}").run()?;
    let test = system.join("test");
    fs::create_dir(&test)?;
    let scripts = here.root.join("packaging/test");
    fs::copy(scripts.join("lifecycle.sh"), test.join("lifecycle.sh"))?;
    fs::copy(old, test.join("old.deb"))?;
    fs::copy(new, test.join("new.deb"))?;
    let units = system.join("etc/systemd/system");
    fs::copy(scripts.join("joey-test.service"), units.join("joey-test.service"))?;
    let wanted = units.join("default.target.wants");
    fs::create_dir_all(&wanted)?;
    symlink("../joey-test.service", wanted.join("joey-test.service"))?;
    let (boot, namespaces) = (
        scripts.join("boot.sh"),
        ["--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--cgroup"],
    );
    // The system stops itself, which is a failure for `unshare`.
    cmd!(sh, "timeout {TIMEOUT_SECS} unshare {namespaces...} sh {boot} {system}").ignore_status().run()?;
    let log = fs::read_to_string(test.join("log")).unwrap_or_default();
    print!("{log}");
    ensure!(test.join("passed").exists(), "the test of the package failed; its system is in {}", system.display());
    remove(&system)
}

/// The folder of a system that nobody has used.
fn clean_system(here: &Checkout) -> Result<std::path::PathBuf> {
    let sh = &here.shell;
    if on_path(&["debootstrap"]).is_none() {
        println!("setup: installing Debian's debootstrap");
        setup::debian(here, &["debootstrap"])?;
    }
    Cache::open(sh)?.folder(
        "debian-12-2",
        |folder| folder.join("lib/systemd/systemd").exists(),
        |_, result| {
            println!("setup: installing a minimal Debian 12 in a folder, once, two minutes");
            let include = format!("--include={PACKAGES}");
            Ok(cmd!(sh, "debootstrap --variant=minbase {include} bookworm {result}").quiet().run()?)
        },
    )
}
