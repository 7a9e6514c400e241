//! An OpenID Connect provider, whose tokens the end-to-end tests send to the relay.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::npm;
use crate::checkout::Checkout;

/// The folder of the package.
pub(crate) fn find_or_install(here: &Checkout) -> Result<PathBuf> {
    // The last release line for the Node of Debian 12.
    let script = npm::script(here, "oidc-provider", "8.8.1", "lib/index.js", "the tests of tokens")?;
    let folder = script.parent().and_then(|lib| lib.parent()).context("the script is in a folder of the package")?;
    Ok(folder.to_path_buf())
}
