//! Makes a folder equal to another one and writes only the files that differ. Trunk writes every file each time, and a relay that
//! embeds them would be linked again although nothing has changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Makes `folder` equal to `wanted`.
pub(crate) fn renew(folder: &Path, wanted: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for file in files(folder)? {
        if !wanted.join(&file).exists() {
            fs::remove_file(folder.join(file))?;
        }
    }
    for file in files(wanted)? {
        let (old, new) = (folder.join(&file), fs::read(wanted.join(&file))?);
        if !fs::read(&old).is_ok_and(|old| old == new) {
            fs::create_dir_all(old.parent().context("a file is in a folder")?)?;
            fs::write(old, new)?;
        }
    }
    Ok(())
}

/// All files below `folder`, by their paths from there, in order.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("cannot read {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
    }

    #[test]
    fn only_what_differs_is_written() {
        let root = std::env::temp_dir().join(format!("joey-xtask-renew-{}", std::process::id()));
        let (dist, built) = (root.join("dist"), root.join("built"));
        fill(&dist, &[("index.html", "old"), ("app-1.js", "gone"), ("same.css", "same"), ("snippets/gone.js", "")]);
        fill(&built, &[("index.html", "new"), ("app-2.js", "fresh"), ("same.css", "same"), ("snippets/a/b.js", "b")]);
        let before = fs::metadata(dist.join("same.css")).unwrap().modified().unwrap();

        renew(&dist, &built).unwrap();

        assert_eq!(files(&dist).unwrap(), ["app-2.js", "index.html", "same.css", "snippets/a/b.js"].map(PathBuf::from));
        assert_eq!(fs::read_to_string(dist.join("index.html")).unwrap(), "new");
        assert_eq!(fs::metadata(dist.join("same.css")).unwrap().modified().unwrap(), before);
        fs::remove_dir_all(root).unwrap();
    }
}
