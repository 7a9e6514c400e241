//! Archives, Debian packages and the checksums.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use xshell::cmd;

use super::{Release, programs::Target};
use crate::{
    checkout::{before_path, on_path},
    setup::{
        self,
        crates::{CARGO_DEB, find_or_install},
    },
};

/// The shells with completions, and the usual name of each one's file.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "joey.bash"), ("zsh", "_joey"), ("fish", "joey.fish")];

/// Writes man pages and completions with `program`, which runs on this machine. Returns their folder.
pub(super) fn documents(release: &Release<'_>, program: &Path) -> Result<PathBuf> {
    let sh = &release.here.shell;
    let folder = release.work.join("share");
    remove(&folder)?;
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    sh.create_dir(&man)?;
    sh.create_dir(&completions)?;
    cmd!(sh, "{program} man {man}").run()?;
    for (shell, name) in COMPLETIONS {
        let script = cmd!(sh, "{program} completions {shell}").quiet().read()?;
        sh.write_file(completions.join(name), script + "\n")?;
    }
    Ok(folder)
}

/// Packs the program with everything that an installation by hand needs.
pub(super) fn archive(release: &Release<'_>, target: &Target, program: &Path, documents: &Path) -> Result<()> {
    let root = &release.here.root;
    let name = format!("joey-{}-{}", release.version, target.triple);
    let folder = release.work.join(&name);
    remove(&folder)?;
    fs::create_dir_all(folder.join("systemd"))?;
    fs::copy(program, folder.join("joey"))?;
    for file in ["LICENSE", "README.md", "CHANGELOG.md", "packaging/joey.toml"] {
        let source = root.join(file);
        fs::copy(&source, folder.join(source.file_name().context("it is a file")?))?;
    }
    for (source, name) in [
        (root.join("packaging/systemd"), "systemd"),
        (root.join("packaging/systemd/sockets"), "systemd"),
        (documents.join("man"), "man"),
        (documents.join("completions"), "completions"),
    ] {
        copy_files(&source, &folder.join(name))?;
    }
    tar(release, &release.work, &name)
}

/// Packs `parent/name` as `name.tar.gz`, with the time of the commit and without the names of users.
pub(super) fn tar(release: &Release<'_>, parent: &Path, name: &str) -> Result<()> {
    tar_files(release, parent, name, &[name.to_owned()])
}

/// Packs what is in `folder` in the same way, without the folder itself.
pub(super) fn tar_content(release: &Release<'_>, folder: &Path, name: &str) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().into_string().ok().context("its names are ASCII")?);
    }
    names.sort();
    tar_files(release, folder, name, &names)
}

fn tar_files(release: &Release<'_>, folder: &Path, name: &str, files: &[String]) -> Result<()> {
    let sh = &release.here.shell;
    let (plain, time) = (release.file(&format!("{name}.tar")), &release.time);
    let fixed = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu", "--mode=u=rwX,go=rX"];
    cmd!(sh, "tar {fixed...} --mtime=@{time} --directory {folder} --create --file {plain} {files...}").run()?;
    Ok(cmd!(sh, "gzip -9 -n -f {plain}").run()?)
}

/// Builds the Debian package from the program that was built before.
pub(super) fn deb(release: &Release<'_>, target: &Target, documents: &Path) -> Result<()> {
    let packaged = deb_with(release, target, documents, "1", &release.folder)?;
    ensure!(packaged.is_file(), "cargo-deb did not write {}", packaged.display());
    Ok(())
}

/// Builds the package with this Debian revision in `folder`.
pub(super) fn deb_with(
    release: &Release<'_>,
    target: &Target,
    documents: &Path,
    revision: &str,
    folder: &Path,
) -> Result<PathBuf> {
    let sh = &release.here.shell;
    if on_path(&["dpkg-shlibdeps"]).is_none() {
        setup::debian(release.here, &["dpkg-dev"])?;
    }
    let share = release.work.join(target.triple).join("dist/share");
    remove(&share)?;
    for name in ["man", "completions"] {
        copy_files(&documents.join(name), &share.join(name))?;
    }
    let pages = fs::read_dir(share.join("man"))?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    cmd!(sh, "gzip -9 -n {pages...}").quiet().run()?;
    let path = before_path(&find_or_install(release.here, CARGO_DEB)?)?;
    let architecture = target.debian.context("there is no package for this target")?;
    let version = format!("{}-{revision}", release.version);
    let output = folder.join(format!("joey_{version}_{architecture}.deb"));
    let (manifest, triple) = (release.here.root.join("relay/Cargo.toml"), target.triple);
    // The lzma in a program of the profile `dev` takes minutes; the program `xz` takes seconds.
    let options = ["--no-build", "--no-strip", "--profile", "dist", "--locked", "--compress-system"];
    cmd!(
        sh,
        "cargo deb {options...} --manifest-path {manifest} --target {triple} --deb-version {version} --output {output}"
    )
    .env("PATH", path)
    .env("CARGO_TARGET_DIR", &release.work)
    .env("SOURCE_DATE_EPOCH", &release.time)
    .run()?;
    Ok(output)
}

/// Writes `SHA256SUMS`, which `sha256sum --check` reads.
pub(super) fn checksums(release: &Release<'_>) -> Result<()> {
    let sh = &release.here.shell;
    let files = files(release)?;
    let names: Vec<&str> = files.iter().filter_map(|file| file.file_name()?.to_str()).collect();
    let _folder = sh.push_dir(&release.folder);
    let sums = cmd!(sh, "sha256sum --binary -- {names...}").quiet().read()?;
    Ok(sh.write_file("SHA256SUMS", sums + "\n")?)
}

/// The files of the release, in order.
pub(super) fn files(release: &Release<'_>) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(&release.folder)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Removes a folder if it exists.
pub(super) fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// Copies all files of a folder without its subfolders.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().context("it is a file")?))?;
        }
    }
    Ok(())
}
