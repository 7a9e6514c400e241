//! Paths in this checkout. Cargo is queried, because its configuration may put `target/` anywhere.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// The checkout, and a shell in its root.
pub(crate) struct Checkout {
    pub(crate) shell: Shell,
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// The browser bundle that Trunk builds.
    pub(crate) dist: PathBuf,
    /// The release build of the relay.
    pub(crate) joey: PathBuf,
}

impl Checkout {
    pub(crate) fn find() -> Result<Self> {
        // Cargo sets the variable at run time; its value at compile time would be wrong in a checkout that was moved.
        let xtask = env::var_os("CARGO_MANIFEST_DIR").context("start this as `cargo xtask`")?;
        let root = Path::new(&xtask).parent().context("xtask/ has no parent folder")?.to_owned();
        let shell = Shell::new()?;
        shell.change_dir(&root);
        let metadata = cmd!(shell, "cargo metadata --no-deps --format-version 1").quiet().read()?;
        let target = target_directory(&metadata).context("no target directory in cargo metadata")?;
        Ok(Self {
            dist: root.join("dist"),
            joey: target.join("release").join(format!("joey{}", env::consts::EXE_SUFFIX)),
            shell,
            root,
            target,
        })
    }
}

/// The first of these programs that is on `PATH`.
pub(crate) fn on_path(programs: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    programs.iter().find_map(|program| {
        env::split_paths(&path)
            .map(|folder| folder.join(format!("{program}{}", env::consts::EXE_SUFFIX)))
            .find(|file| file.is_file())
    })
}

/// `PATH` with `folder` in front.
pub(crate) fn before_path(folder: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths([folder.to_owned()].into_iter().chain(env::split_paths(&path)))
        .with_context(|| format!("{} cannot be added to PATH", folder.display()))
}

/// Reads one field without a JSON parser. Only the backslashes of a Windows path are escaped there.
fn target_directory(metadata: &str) -> Option<PathBuf> {
    let (_, value) = metadata.split_once(r#""target_directory":""#)?;
    let (path, _) = value.split_once('"')?;
    Some(path.replace(r"\\", r"\").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_directory_is_read_from_the_metadata() {
        let metadata = r#"{"packages":[],"target_directory":"/work/joey/target","version":1}"#;
        assert_eq!(target_directory(metadata), Some("/work/joey/target".into()));
    }

    #[test]
    fn only_programs_on_path_are_found() {
        assert!(on_path(&["no-such-program", "cargo"]).is_some_and(|cargo| cargo.is_absolute()));
        assert_eq!(on_path(&["no-such-program"]), None);
    }
}
