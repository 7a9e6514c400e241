//! Installs the systems that the relay is compared with: those from npm into the tools folder, those from Debian for
//! the whole machine. A system that cannot be installed is reported and left out of the benchmarks.

use std::path::Path;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::{Cache, apt};
use crate::checkout::{Checkout, on_path};

/// Peers from npm, in the versions that `docs/benchmarks.md` uses.
const NPM: [&str; 2] = ["bun@1.4.4", "ws@8.23.0"];
/// Peers from Debian: the package, a file that it installs, and the service that it would start.
const DEBIAN: [(&str, &str, &str); 4] = [
    ("nats-server", "/usr/sbin/nats-server", "nats-server"),
    ("mosquitto", "/usr/sbin/mosquitto", "mosquitto"),
    ("nginx-light", "/usr/sbin/nginx", "nginx"),
    ("libnginx-mod-nchan", "/usr/lib/nginx/modules/ngx_nchan_module.so", "nginx"),
];

/// Installs all that are missing.
pub(crate) fn install(here: &Checkout) -> Result<()> {
    let sh = &here.shell;
    let folder = Cache::open(sh)?.path("peers");
    for (from, outcome) in [("npm", from_npm(sh, &folder)), ("Debian", from_debian(sh))] {
        if let Err(error) = outcome {
            println!("LEFT OUT: peers from {from}: {error:#}");
        }
    }
    Ok(())
}

fn from_npm(sh: &Shell, folder: &Path) -> Result<()> {
    on_path(&["npm"]).context("npm is not installed; Debian's package npm has it")?;
    sh.create_dir(folder)?;
    cmd!(sh, "npm install --no-audit --no-fund --prefix {folder} {NPM...}").run()?;
    println!("{} are in {}", NPM.join(" and "), folder.display());
    Ok(())
}

fn from_debian(sh: &Shell) -> Result<()> {
    let missing: Vec<_> = DEBIAN.into_iter().filter(|(_, file, _)| !Path::new(file).exists()).collect();
    let packages: Vec<&str> = missing.iter().map(|(package, ..)| *package).collect();
    if packages.is_empty() {
        println!("Debian's are all installed");
        return Ok(());
    }
    let by_hand = format!("this needs Debian's apt-get, and root or sudo: apt-get install {}", packages.join(" "));
    for program in ["apt-get"].iter().chain(apt::as_root(sh)) {
        on_path(&[program]).with_context(|| by_hand.clone())?;
    }
    // The benchmarks start a peer when they measure it.
    let services: Vec<&str> = missing.iter().map(|(.., service)| *service).collect();
    apt::install_stopped(sh, &packages, &services).context(by_hand)?;
    println!("{} are installed, and none was started", packages.join(", "));
    Ok(())
}
