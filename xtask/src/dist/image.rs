//! The container image of a release: the static program and nothing else. `buildah` builds it without a daemon.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use xshell::{Cmd, cmd};

use super::{
    Release, packages,
    programs::{self, Target},
};
use crate::{checkout::on_path, setup};

/// The certificate authorities of Debian's `ca-certificates`.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The time within which a relay in a container is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Builds the image for `target` with the program that was built before, as an archive that `docker load` and `podman load` read.
///
/// # Errors
/// `buildah` or the certificate authorities cannot be installed, or the image cannot be built.
pub(super) fn build(release: &Release<'_>, target: &Target, program: &Path) -> Result<()> {
    let Some(architecture) = target.image else { return Ok(()) };
    for (package, is_missing) in
        [("buildah", on_path(&["buildah"]).is_none()), ("ca-certificates", !Path::new(AUTHORITIES).is_file())]
    {
        if is_missing {
            println!("setup: installing Debian's {package}");
            setup::debian(release.here, &[package])?;
        }
    }
    let context = release.work.join("image");
    packages::remove(&context)?;
    fs::create_dir_all(&context)?;
    fs::copy(program, context.join("joey"))?;
    fs::copy(AUTHORITIES, context.join("ca-certificates.crt"))?;
    let (file, tag) = (release.here.root.join("packaging/docker/Dockerfile.release"), tag(release, architecture));
    let time = &release.time;
    // The image is the same for the same commit: without the time of the build, and without the name of a cached layer.
    let options = ["--isolation", "chroot", "--format", "oci", "--no-cache", "--quiet", "--arch", architecture];
    buildah(release, &["bud"])
        .args(options)
        .args(["--timestamp", time, "--tag", &tag, "--file"])
        .arg(file)
        .arg(&context)
        .run()?;
    let layout = layout(release, architecture);
    packages::remove(&layout)?;
    let destination = format!("oci:{}:{}", layout.display(), release.version);
    buildah(release, &["push", "--quiet", &tag, &destination]).run()?;
    packages::tar_content(release, &layout, &name(release, architecture))?;
    Ok(())
}

/// Starts the relay of the image in a container, and waits until it is ready.
pub(super) fn check(release: &Release<'_>, target: &Target) -> Result<()> {
    let Some(architecture) = target.image.filter(|_| programs::runs_here(target)) else { return Ok(()) };
    let layout = layout(release, architecture);
    ensure!(layout.is_dir(), "there is no {}", layout.display());
    let image = format!("oci:{}:{}", layout.display(), release.version);
    let container = buildah(release, &["from", &image]).read()?;
    let checked = is_ready(release, &container);
    buildah(release, &["rm", &container]).ignore_stdout().run()?;
    checked?;
    println!("the relay in the image for {architecture} is ready");
    Ok(())
}

fn is_ready(release: &Release<'_>, container: &str) -> Result<()> {
    let printed = run_in(release, container, &["--version"]).read()?;
    ensure!(printed.starts_with(&format!("joey {}", release.version)), "the image prints {printed:?}");
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let http = address.to_string();
    let arguments = ["serve", "--http", &http, "--ingest", "127.0.0.1:0", "--otlp-http", "off", "--otlp-grpc", "off"];
    // A container of this kind has the network of the machine.
    let mut command = Command::from(run_in(release, container, &arguments));
    let mut relay = command.stdout(Stdio::null()).spawn().context("buildah does not start")?;
    let ready = wait_until_ready(&mut relay, address);
    // `buildah` passes the signal on.
    let id = relay.id().to_string();
    cmd!(release.here.shell, "kill -TERM {id}").quiet().ignore_status().run()?;
    relay.wait()?;
    ready
}

fn wait_until_ready(relay: &mut Child, address: SocketAddr) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < READY_TIMEOUT {
        if let Ok(true) = answers(address) {
            return Ok(());
        }
        if let Some(status) = relay.try_wait()? {
            bail!("the relay in the container has ended: {status}");
        }
        sleep(Duration::from_millis(100));
    }
    bail!("the relay in the container is not ready after {READY_TIMEOUT:?}")
}

fn answers(address: SocketAddr) -> Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// Runs the image's program with these arguments, as the image's user.
fn run_in<'a>(release: &'a Release<'_>, container: &str, arguments: &[&str]) -> Cmd<'a> {
    buildah(release, &["run", "--isolation", "chroot", container, "--", "/usr/bin/joey"]).args(arguments)
}

/// `buildah` with images and containers in the folder of the release, so that nothing stays on the machine.
fn buildah<'a>(release: &'a Release<'_>, arguments: &[&str]) -> Cmd<'a> {
    let (root, run) = (release.work.join("containers"), release.work.join("containers-run"));
    cmd!(release.here.shell, "buildah --storage-driver vfs --root {root} --runroot {run} {arguments...}").quiet()
}

fn name(release: &Release<'_>, architecture: &str) -> String {
    format!("joey-{}-image-{architecture}", release.version)
}

fn tag(release: &Release<'_>, architecture: &str) -> String {
    format!("joey:{}-{architecture}", release.version)
}

fn layout(release: &Release<'_>, architecture: &str) -> PathBuf {
    release.work.join(name(release, architecture))
}
