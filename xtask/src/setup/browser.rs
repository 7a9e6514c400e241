//! Chromium and its driver, for the tests only. Installed programs are used; otherwise Debian's packages are installed,
//! because unlike the downloads of browser test tools they come from the machine's own distribution.

use std::{env, path::PathBuf};

use super::apt;
use crate::checkout::{Checkout, on_path};
use anyhow::{Context, Result};

/// A Chrome or Chromium, and a ChromeDriver of the same version.
pub(crate) struct Browser {
    pub(crate) chrome: PathBuf,
    pub(crate) driver: PathBuf,
}

/// Finds or installs the browser for the tests.
pub(crate) fn find_or_install(here: &Checkout) -> Result<Browser> {
    if let Some(browser) = find() {
        return Ok(browser);
    }
    let by_hand = "the browser tests need Chromium and ChromeDriver: install them, or set CHROME and CHROMEDRIVER";
    println!("setup: installing Debian's Chromium and ChromeDriver for the browser tests");
    apt::install(&here.shell, &["chromium", "chromium-driver", "fonts-dejavu-core"]).context(by_hand)?;
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
