//! `wasm-bindgen` at the version of our lockfile; Trunk finds it on `PATH`.
//!
//! One line of what it writes is said in another way, which Trunk's minifier understands: it gives up at
//! `export { name as default }` and would leave the whole file as it is.

use std::io;
use std::path::PathBuf;

use wasm_bindgen_cli::wasm_bindgen::run_cli_with_args;

/// The last line for browsers, and the same in other words.
const EXPORT: &str = "export { initSync, __wbg_init as default };";
const SAME: &str = "export { initSync };\nexport default __wbg_init;";

fn main() {
    let done = run_cli_with_args(std::env::args_os()).map_err(|error| format!("{error:?}"));
    let done = done.and_then(|()| rewrite().map_err(|error| error.to_string()));
    if let Err(error) = done {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

/// Rewrites every script in the folder that was written to; none where no folder was named.
fn rewrite() -> io::Result<()> {
    let Some(folder) = out_dir() else { return Ok(()) };
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "js") {
            let script = std::fs::read_to_string(&path)?;
            std::fs::write(&path, script.replace(EXPORT, SAME))?;
        }
    }
    Ok(())
}

/// The value of `--out-dir`.
fn out_dir() -> Option<PathBuf> {
    let mut words = std::env::args();
    while let Some(word) = words.next() {
        if word == "--out-dir" {
            return words.next().map(PathBuf::from);
        }
        if let Some(folder) = word.strip_prefix("--out-dir=") {
            return Some(folder.into());
        }
    }
    None
}
