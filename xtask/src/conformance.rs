//! Checks that our WebSocket conforms to RFC 6455: runs Autobahn's cases against an echo program with the relay's own
//! limits.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::{checkout::Checkout, setup};

/// Excluded: messages beyond our limits (9), and compression, which we do not offer (12, 13).
const EXCLUDED: [&str; 6] = ["-x", "9.*", "-x", "12.*", "-x", "13.*"];

/// Fails if any case fails.
pub(crate) fn check(here: &Checkout) -> Result<()> {
    let sh = &here.shell;
    let kosoku = setup::kosoku(here)?;
    cmd!(sh, "cargo build --package joey --example echo").run()?;
    let echo = Command::new(here.target.join("debug/examples/echo")).stdout(Stdio::piped()).spawn()?;
    let mut echo = KillOnDrop(echo);
    let mut address = String::new();
    BufReader::new(echo.0.stdout.take().context("it is piped")?).read_line(&mut address)?;
    let (address, reports) = (address.trim(), here.target.join("conformance"));
    let program = kosoku.join("bin/kosoku");
    cmd!(sh, "python3 {program} --outdir {reports} --parallelism 2 {EXCLUDED...} {address}")
        .env("PYTHONPATH", kosoku)
        .run()
        .with_context(|| format!("a case failed; the reports are in {}", reports.display()))
}

/// A program that is killed when this is dropped.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
