//! `wasm-bindgen` at the version of our lockfile; Trunk finds it on `PATH`.
//!
//! What it writes is said in fewer words, because every visitor of the page has to fetch them:
//!
//! - Each function that the program takes from the browser has a name that ends in 16 random digits, once in the program and
//!   once in the script. Nobody reads them and nothing compresses them: short ones are 6 KB less of the gzipped bundle.
//! - A program that was stripped of its functions' names gets some back for glue, and notes about who built it: 1 KB.
//! - Trunk's minifier gives up at `export { name as default }` and would leave the whole script as it is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use walrus::Module;
use wasm_bindgen_cli::wasm_bindgen::run_cli_with_args;

/// The last line for browsers, and the same in other words.
const EXPORT: &str = "export { initSync, __wbg_init as default };";
const SAME: &str = "export { initSync };\nexport default __wbg_init;";

fn main() -> Result<()> {
    run_cli_with_args(std::env::args_os())?;
    // Nothing is written where no folder is named.
    let Some(folder) = out_dir() else { return Ok(()) };
    for entry in fs::read_dir(folder)? {
        let program = entry?.path();
        if let Some(stem) = program.to_str().and_then(|program| program.strip_suffix("_bg.wasm")) {
            shorten(Path::new(&format!("{stem}.js")), &program)?;
        }
    }
    Ok(())
}

/// Rewrites a script and its program in fewer words.
fn shorten(script: &Path, program: &Path) -> Result<()> {
    let mut module = Module::from_file(program)?;
    let named = module.funcs.iter().filter(|function| function.name.is_some()).count();
    if 2 * named < module.funcs.iter().count() {
        module.funcs.iter_mut().for_each(|function| function.name = None);
        module.producers.clear();
        let notes: Vec<_> = module.customs.iter().map(|(id, _)| id).collect();
        for note in notes {
            module.customs.delete(note);
        }
    }
    let mut text = fs::read_to_string(script)?.replace(EXPORT, SAME);
    for (at, import) in module.imports.iter_mut().enumerate() {
        let short = format!("i{at}");
        text = text.replace(&import.name, &short);
        import.name = short;
    }
    module.emit_wasm_file(program)?;
    Ok(fs::write(script, text)?)
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
