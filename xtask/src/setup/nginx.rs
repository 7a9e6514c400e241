//! nginx, for the tests of a page behind a proxy. An installed one is used, otherwise Debian's package.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};

use super::apt;
use crate::checkout::{Checkout, on_path};

/// Finds or installs the proxy for the tests.
pub(crate) fn find_or_install(here: &Checkout) -> Result<PathBuf> {
    if let Some(nginx) = find() {
        return Ok(nginx);
    }
    let by_hand = "the tests of a page behind a proxy need nginx: install it, or set NGINX";
    println!("setup: installing Debian's nginx-light for the tests of a page behind a proxy");
    apt::install_stopped(&here.shell, &["nginx-light"], &["nginx"]).context(by_hand)?;
    find().context(by_hand)
}

fn find() -> Option<PathBuf> {
    let set = env::var_os("NGINX").map(PathBuf::from).filter(|file| file.is_file());
    // Debian installs it in a folder that only root's PATH contains.
    let debian = PathBuf::from("/usr/sbin/nginx");
    set.or_else(|| on_path(&["nginx"])).or_else(|| debian.is_file().then_some(debian))
}
