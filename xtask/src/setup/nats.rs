//! The NATS server, for the tests of relay clusters. An installed one is used, otherwise Debian's package.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};

use super::apt;
use crate::checkout::{Checkout, on_path};

/// Finds or installs the server for the tests.
pub(crate) fn find_or_install(here: &Checkout) -> Result<PathBuf> {
    if let Some(server) = find() {
        return Ok(server);
    }
    let by_hand = "the cluster tests need nats-server: install it, or set NATS_SERVER";
    println!("setup: installing Debian's nats-server for the cluster tests");
    apt::install(&here.shell, &["nats-server"]).context(by_hand)?;
    find().context(by_hand)
}

fn find() -> Option<PathBuf> {
    let set = env::var_os("NATS_SERVER").map(PathBuf::from).filter(|file| file.is_file());
    // Debian installs it in a folder that only root's PATH contains.
    let debian = PathBuf::from("/usr/sbin/nats-server");
    set.or_else(|| on_path(&["nats-server"])).or_else(|| debian.is_file().then_some(debian))
}
