//! Debian's packages.

use std::path::Path;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// The policy script that Debian's packages run before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs `packages`, as root or through sudo.
pub(crate) fn install(sh: &Shell, packages: &[&str]) -> Result<()> {
    let as_root = as_root(sh);
    // The timeout for other installations in progress is in seconds.
    let apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--option=DPkg::Lock::Timeout=300"];
    let arguments: Vec<&str> = as_root.iter().copied().chain(apt).collect();
    let (program, arguments) = arguments.split_first().context("the command is not empty")?;
    // A package list that cannot be updated may be unrelated to these packages.
    cmd!(sh, "{program} {arguments...} update").ignore_status().run()?;
    cmd!(sh, "{program} {arguments...} install --no-install-recommends {packages...}").run()?;
    Ok(())
}

/// Installs `packages` and prevents their `services` from running, now and after a reboot.
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

fn as_root_run(sh: &Shell, arguments: &[&str]) -> Result<()> {
    let arguments: Vec<&str> = as_root(sh).iter().chain(arguments).copied().collect();
    let (program, arguments) = arguments.split_first().context("the command is not empty")?;
    Ok(cmd!(sh, "{program} {arguments...}").run()?)
}

/// Prefix of a command that needs root.
pub(crate) fn as_root(sh: &Shell) -> &'static [&'static str] {
    if is_root(sh) { &[] } else { &["sudo"] }
}

/// Chromium's sandbox does not run as root, and apt does not run as another user.
pub(crate) fn is_root(sh: &Shell) -> bool {
    cmd!(sh, "id -u").quiet().read().is_ok_and(|uid| uid == "0")
}
