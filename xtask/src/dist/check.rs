//! Checks of the built release: its checksums, the programs on their architectures, the life of the Debian package
//! under systemd, the rights of the unit, and the manifests.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use xshell::cmd;

use super::{
    Release, debian_root, image, packages,
    programs::{self, TARGETS},
};
use crate::{
    checkout::{Checkout, on_path},
    setup,
};

/// The exposure that `systemd-analyze security` may find at most, in tenths: it calls up to 2.0 "OK" and 10.0 "UNSAFE".
const EXPOSURE_MAX: &str = "20";

/// Checks everything that `cargo xtask dist` has built.
pub(super) fn packages(release: &Release<'_>) -> Result<()> {
    let sh = &release.here.shell;
    ensure!(release.file("SHA256SUMS").is_file(), "there is no release; run `cargo xtask dist` first");
    {
        let _folder = sh.push_dir(&release.folder);
        cmd!(sh, "sha256sum --check --strict SHA256SUMS").run()?;
    }
    for target in &TARGETS {
        let name = format!("joey-{}-{}", release.version, target.triple);
        if release.file(&format!("{name}.tar.gz")).is_file() {
            program_runs(release, target.triple, &release.work.join(&name).join("joey"), programs::runs_here(target))?;
            image::check(release, target)?;
        }
    }
    units(release.here, &release.work)?;
    let Some(target) = TARGETS.iter().find(|target| programs::runs_here(target) && target.debian.is_some()) else {
        println!("skipped the Debian package: there is none for this machine");
        return Ok(());
    };
    let name = format!("joey-{}-{}", release.version, target.triple);
    manifests(release.here, &release.work.join(name).join("joey"))?;
    let documents = release.work.join("share");
    let old = packages::deb_with(release, target, &documents, "1", &release.work)?;
    let new = packages::deb_with(release, target, &documents, "2", &release.work)?;
    debian_root::run_lifecycle(release.here, &release.work, &old, &new)
}

/// Starts the program, under emulation if it is for another architecture.
fn program_runs(release: &Release<'_>, triple: &str, program: &Path, is_native: bool) -> Result<()> {
    let sh = &release.here.shell;
    let version = format!("joey {}", release.version);
    let printed = if is_native {
        cmd!(sh, "{program} --version").read()?
    } else {
        if on_path(&["qemu-aarch64-static"]).is_none() {
            println!("setup: installing Debian's qemu-user-static");
            setup::debian(release.here, &["qemu-user-static"])?;
        }
        // The folder of the C library for this architecture.
        cmd!(sh, "qemu-aarch64-static -L /usr/aarch64-linux-gnu {program} --version").read()?
    };
    ensure!(printed.starts_with(&version), "{triple} prints {printed:?} instead of {version}");
    if triple.ends_with("musl") {
        let headers = cmd!(sh, "readelf --program-headers --wide {program}").quiet().read()?;
        ensure!(!headers.contains("INTERP"), "{triple} is not static");
    }
    let sections = cmd!(sh, "readelf --section-headers --wide {program}").quiet().read()?;
    ensure!(!sections.contains(".symtab") && !sections.contains(".debug_"), "{triple} is not stripped");
    for (name, path) in
        [("the checkout", release.here.root.as_os_str()), ("the target folder", release.work.as_os_str())]
    {
        let bytes = fs::read(program)?;
        let contains = bytes.windows(path.len()).any(|window| window == path.as_encoded_bytes());
        ensure!(!contains, "{triple} contains the path of {name}, {}", path.display());
    }
    println!("{triple}: {printed}");
    Ok(())
}

/// Checks the units: their syntax, and that the service has few rights.
fn units(here: &Checkout, work: &Path) -> Result<()> {
    let sh = &here.shell;
    if on_path(&["systemd-analyze"]).is_none() {
        println!("setup: installing Debian's systemd");
        setup::debian(here, &["systemd"])?;
    }
    // `verify` wants the program and the manual to exist, which only the package installs.
    let folder = work.join("units");
    packages::remove(&folder)?;
    fs::create_dir_all(&folder)?;
    let names = ["joey.service", "sockets/joey-http.socket", "sockets/joey-ingest.socket"];
    for path in names.map(|name| here.root.join("packaging/systemd").join(name)) {
        let text = fs::read_to_string(&path)?.replace("/usr/bin/joey", "/bin/true");
        let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("Documentation=")).collect();
        fs::write(folder.join(path.file_name().context("it is a file")?), text.join("\n") + "\n")?;
    }
    let service = folder.join("joey.service");
    let units: Vec<_> =
        ["joey.service", "joey-http.socket", "joey-ingest.socket"].iter().map(|name| folder.join(name)).collect();
    cmd!(sh, "systemd-analyze verify --man=no --recursive-errors=no {units...}").run()?;
    cmd!(sh, "systemd-analyze security --offline=true --no-pager --threshold={EXPOSURE_MAX} {service}")
        .ignore_stdout()
        .run()
        .context("the unit gives the service more rights than the limit allows")
}

/// Checks the files for containers and Kubernetes against their schemas, and starts `program` with the options in them.
pub(crate) fn manifests(here: &Checkout, program: &Path) -> Result<()> {
    let python = setup::manifest_schemas(here)?;
    let (sh, script) = (&here.shell, here.root.join("packaging/test/manifests.py"));
    Ok(cmd!(sh, "{python} {script}").env("JOEY_BIN", program).run()?)
}
