//! A library that sets the wall clock of one process, for the tests that change clocks. An installed one is used,
//! otherwise Debian's package.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};

use super::apt;
use crate::checkout::Checkout;

/// The library to preload into the relay.
pub(crate) fn find_or_install(here: &Checkout) -> Result<PathBuf> {
    if let Some(library) = find() {
        return Ok(library);
    }
    let by_hand = "the tests that change clocks need libfaketime: install it, or set FAKETIME_LIB";
    println!("setup: installing Debian's libfaketime for the tests that change clocks");
    apt::install(&here.shell, &["libfaketime"]).context(by_hand)?;
    find().context(by_hand)
}

fn find() -> Option<PathBuf> {
    let set = env::var_os("FAKETIME_LIB").map(PathBuf::from).filter(|file| file.is_file());
    let debian = || {
        let machine = env::consts::ARCH;
        let library = PathBuf::from(format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"));
        library.is_file().then_some(library)
    };
    set.or_else(debian)
}
