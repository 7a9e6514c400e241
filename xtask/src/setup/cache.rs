//! The folder for tools, outside the checkout, so that a fresh clone or `cargo clean` does not rebuild them. Each tool
//! has a folder named after its version, which is created atomically.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf, absolute},
};

use anyhow::{Context, Result, ensure};
use xshell::Shell;

/// `$JOEY_TOOLS_DIR`, else `$XDG_CACHE_HOME/joey-tools`, else `~/.cache/joey-tools`.
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(crate) fn open(sh: &Shell) -> Result<Self> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = set("JOEY_TOOLS_DIR")
            .or_else(|| Some(set("XDG_CACHE_HOME")?.join("joey-tools")))
            .or_else(|| Some(env::home_dir()?.join(".cache").join("joey-tools")))
            .context("no home directory; set JOEY_TOOLS_DIR to a folder for tools")?;
        let folder = absolute(folder)?;
        sh.create_dir(&folder)?;
        Ok(Self { folder })
    }

    /// The path of `name` in the cache, whether it exists or not.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder `name`, created by `build` if it is missing or unusable. `build` receives a working folder, which is
    /// kept after a failure so that the next attempt can continue, and a folder for the result.
    pub(crate) fn folder(
        &self,
        name: &str,
        is_usable: impl Fn(&Path) -> bool,
        build: impl FnOnce(&Path, &Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let wanted = self.folder.join(name);
        if is_usable(&wanted) {
            return Ok(wanted);
        }
        let lock = File::create(self.folder.join("lock"))?;
        lock.lock()?;
        // Another checkout may have built it while this one waited.
        if is_usable(&wanted) {
            return Ok(wanted);
        }
        let work = self.folder.join("build").join(name);
        let result = work.join("result");
        remove(&result)?;
        fs::create_dir_all(&result)?;
        build(&work, &result)?;
        ensure!(is_usable(&result), "{name} was built but does not run; see {}", work.display());
        remove(&wanted)?;
        fs::rename(&result, &wanted)?;
        remove(&work)?;
        Ok(wanted)
    }
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds `tool` in a fresh cache with each of `builds` in turn. A build writes its text into a file, or fails if
    /// it is `None`.
    fn check(test: &str, builds: &[Option<&str>], expected: &str) {
        let folder = env::temp_dir().join(format!("joey-xtask-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let cache = Cache { folder: folder.clone() };
        let is_usable = |folder: &Path| fs::read_to_string(folder.join("tool")).is_ok_and(|text| !text.is_empty());
        for build in builds {
            let _ = cache.folder("tool-1", is_usable, |_, result| {
                fs::write(result.join("tool"), build.unwrap_or_default())?;
                ensure!(build.is_some(), "interrupted");
                Ok(())
            });
        }
        assert_eq!(fs::read_to_string(folder.join("tool-1/tool")).unwrap(), expected);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_working_tool_is_not_rebuilt() {
        check("kept", &[Some("first"), Some("second")], "first");
    }

    #[test]
    fn an_interrupted_build_leaves_nothing_behind() {
        check("interrupted", &[None, Some("second")], "second");
    }

    #[test]
    fn a_tool_that_does_not_run_is_rebuilt() {
        check("unsound", &[Some(""), Some("second")], "second");
    }
}
