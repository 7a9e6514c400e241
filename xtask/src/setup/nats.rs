//! NATS' server, for the tests of relays that share what they take in. Whatever is there is used, otherwise Debian's package.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};

use super::apt;
use crate::checkout::{Checkout, on_path};

/// The server to test with.
pub(crate) fn find_or_install(here: &Checkout) -> Result<PathBuf> {
    if let Some(server) = find() {
        return Ok(server);
    }
    let by_hand = "the tests of several relays need nats-server: install it, or set NATS_SERVER";
    println!("setup: installing Debian's nats-server for the tests of several relays");
    apt::install(&here.shell, &["nats-server"]).context(by_hand)?;
    find().context(by_hand)
}

fn find() -> Option<PathBuf> {
    let set = env::var_os("NATS_SERVER").map(PathBuf::from).filter(|file| file.is_file());
    // Debian keeps it where only root's PATH leads.
    let debian = PathBuf::from("/usr/sbin/nats-server");
    set.or_else(|| on_path(&["nats-server"])).or_else(|| debian.is_file().then_some(debian))
}
