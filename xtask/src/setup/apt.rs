//! Debian's packages.

use std::path::Path;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// What Debian's packages ask before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs `packages`, as root or through sudo.
pub(crate) fn install(sh: &Shell, packages: &[&str]) -> Result<()> {
    let as_root = as_root(sh);
    // It waits, in seconds, for whoever else is installing something.
    let apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--option=DPkg::Lock::Timeout=300"];
    let words: Vec<&str> = as_root.iter().copied().chain(apt).collect();
    let (program, words) = words.split_first().context("there are words")?;
    // A list that cannot be renewed, perhaps somebody else's, need not be one of those that matter.
    cmd!(sh, "{program} {words...} update").ignore_status().run()?;
    cmd!(sh, "{program} {words...} install --no-install-recommends {packages...}").run()?;
    Ok(())
}

/// Installs `packages` and keeps their `services` from running, now and at every start of the machine.
pub(crate) fn install_stopped(sh: &Shell, packages: &[&str], services: &[&str]) -> Result<()> {
    let has_policy = Path::new(POLICY).exists();
    if !has_policy {
        let script = format!("printf '#!/bin/sh\\nexit 101\\n' >{POLICY} && chmod 755 {POLICY}");
        as_root_run(sh, &["sh", "-c", &script])?;
    }
    let installed = install(sh, packages);
    if !has_policy {
        as_root_run(sh, &["rm", "-f", POLICY])?;
    }
    installed?;
    if Path::new("/run/systemd/system").exists() {
        for service in services {
            as_root_run(sh, &["systemctl", "disable", "--now", service])?;
        }
    }
    Ok(())
}

fn as_root_run(sh: &Shell, words: &[&str]) -> Result<()> {
    let words: Vec<&str> = as_root(sh).iter().chain(words).copied().collect();
    let (program, words) = words.split_first().context("there are words")?;
    Ok(cmd!(sh, "{program} {words...}").run()?)
}

/// What stands before a command that only root may run.
pub(crate) fn as_root(sh: &Shell) -> &'static [&'static str] {
    if is_root(sh) { &[] } else { &["sudo"] }
}

/// Chromium refuses to run in its sandbox as root, and apt refuses to run as anybody else.
pub(crate) fn is_root(sh: &Shell) -> bool {
    cmd!(sh, "id -u").quiet().read().is_ok_and(|uid| uid == "0")
}
