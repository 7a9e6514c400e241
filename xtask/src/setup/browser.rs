//! Chromium and its driver, for the tests only. Whatever is there is used; otherwise Debian's packages are installed,
//! because unlike the downloads of browser test tools they come from where the rest of the machine comes from.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::checkout::{Checkout, on_path};

/// A Chrome or Chromium, and a ChromeDriver of the same version.
pub(crate) struct Browser {
    pub(crate) chrome: PathBuf,
    pub(crate) driver: PathBuf,
}

/// The browser to test with.
pub(crate) fn find_or_install(here: &Checkout) -> Result<Browser> {
    if let Some(browser) = find() {
        return Ok(browser);
    }
    let by_hand = "the browser tests need Chromium and ChromeDriver: install them, or set CHROME and CHROMEDRIVER";
    println!("setup: installing Debian's Chromium and ChromeDriver for the browser tests");
    apt_install(&here.shell, &["chromium", "chromium-driver", "fonts-dejavu-core"]).context(by_hand)?;
    find().context(by_hand)
}

fn find() -> Option<Browser> {
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|file| file.is_file());
    let chromes = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    Some(Browser {
        chrome: set("CHROME").or_else(|| on_path(&chromes))?,
        driver: set("CHROMEDRIVER").or_else(|| on_path(&["chromedriver"]))?,
    })
}

pub(super) fn apt_install(sh: &Shell, packages: &[&str]) -> Result<()> {
    let as_root: &[&str] = if is_root(sh) { &[] } else { &["sudo"] };
    // It waits, in seconds, for whoever else is installing something.
    let apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--option=DPkg::Lock::Timeout=300"];
    let words: Vec<&str> = as_root.iter().copied().chain(apt).collect();
    let (program, words) = words.split_first().context("there are words")?;
    // A list that cannot be renewed, perhaps somebody else's, need not be one of those that matter.
    cmd!(sh, "{program} {words...} update").ignore_status().run()?;
    cmd!(sh, "{program} {words...} install --no-install-recommends {packages...}").run()?;
    Ok(())
}

/// Chromium refuses to run in its sandbox as root, and apt refuses to run as anybody else.
pub(crate) fn is_root(sh: &Shell) -> bool {
    cmd!(sh, "id -u").quiet().read().is_ok_and(|uid| uid == "0")
}
