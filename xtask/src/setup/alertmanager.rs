//! Alertmanager, for the tests of alerts. An installed one is used, otherwise Debian's package.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};

use super::apt;
use crate::checkout::{Checkout, on_path};

/// The package, its service and its program.
const DEBIAN: &str = "prometheus-alertmanager";

/// Finds or installs the server for the tests.
pub(crate) fn find_or_install(here: &Checkout) -> Result<PathBuf> {
    if let Some(alertmanager) = find() {
        return Ok(alertmanager);
    }
    let by_hand = "the tests of alerts need Alertmanager: install it, or set ALERTMANAGER";
    println!("setup: installing Debian's {DEBIAN} for the tests of alerts");
    apt::install_stopped(&here.shell, &[DEBIAN], &[DEBIAN]).context(by_hand)?;
    find().context(by_hand)
}

fn find() -> Option<PathBuf> {
    let set = env::var_os("ALERTMANAGER").map(PathBuf::from).filter(|file| file.is_file());
    set.or_else(|| on_path(&[DEBIAN, "alertmanager"]))
}
