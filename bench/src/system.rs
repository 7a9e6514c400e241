//! The systems under test, the relay and its peers, and how to start each.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, iter};

use anyhow::{Context as _, Result};

/// A system that delivers updates from producers to viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// The relay.
    Joey,
    /// uWebSockets, inside Bun.
    Uws,
    /// A broadcast channel of tokio behind axum's WebSocket.
    Axum,
    /// NATS with viewers over WebSocket.
    Nats,
    /// The nginx module nchan.
    Nchan,
    /// Mosquitto: MQTT with viewers over WebSocket.
    Mosquitto,
    /// The npm package of this name.
    Ws,
    /// Reads everything and discards it.
    Floor,
}

/// All systems with viewers.
pub(crate) const ALL: [System; 7] =
    [System::Joey, System::Uws, System::Axum, System::Nats, System::Nchan, System::Mosquitto, System::Ws];
/// The systems with topics below an application.
pub(crate) const CHOOSING: [System; 4] = [System::Joey, System::Uws, System::Nats, System::Mosquitto];

impl System {
    /// Its name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Joey => "joey",
            Self::Uws => "uWebSockets (Bun)",
            Self::Axum => "axum broadcast",
            Self::Nats => "NATS",
            Self::Nchan => "nchan (nginx)",
            Self::Mosquitto => "Mosquitto",
            Self::Ws => "ws (Node)",
            Self::Floor => "read and drop",
        }
    }

    /// Whether producers have a separate port.
    pub(crate) const fn has_own_ingest(self) -> bool {
        matches!(self, Self::Joey | Self::Nats | Self::Mosquitto)
    }

    /// Whether it is installed.
    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::Joey | Self::Axum | Self::Floor => true,
            Self::Uws => bun().is_some(),
            Self::Ws => node_modules().is_some() && program("node").is_some(),
            Self::Nats => program("nats-server").is_some(),
            Self::Mosquitto => program("mosquitto").is_some(),
            Self::Nchan => program("nginx").is_some() && Path::new(NCHAN).exists(),
        }
    }

    /// Its version, as it reports it.
    pub(crate) fn version(self) -> Option<String> {
        let (mut command, lead) = match self {
            Self::Joey => (command(joey().ok()?, &["--version"]), "joey "),
            Self::Uws => (command(bun()?, &["--version"]), ""),
            Self::Ws => {
                let text = fs::read_to_string(node_modules()?.join("ws/package.json")).ok()?;
                let (_, rest) = text.split_once("\"version\": \"")?;
                return rest.split('"').next().map(str::to_owned);
            }
            Self::Nats => (command(program("nats-server")?, &["--version"]), "nats-server: v"),
            Self::Mosquitto => (command(program("mosquitto")?, &["-h"]), "mosquitto version "),
            Self::Nchan => (command("dpkg-query".into(), &["-W", "-f=${Version}", "libnginx-mod-nchan"]), ""),
            Self::Axum | Self::Floor => return None,
        };
        let output = String::from_utf8(command.output().ok()?.stdout).ok()?;
        output.lines().next()?.strip_prefix(lead).map(str::to_owned)
    }

    /// The command that starts it in the foreground, with further `arguments`. Files that it needs are written to
    /// `folder`.
    pub(crate) fn command(
        self,
        ingest: SocketAddr,
        viewers: SocketAddr,
        folder: &Path,
        arguments: &[&str],
    ) -> Result<Command> {
        let port = viewers.port().to_string();
        let script = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name);
        let configured = |name: &str| -> Result<PathBuf> {
            let (ingest_port, folder_name) = (ingest.port().to_string(), folder.display().to_string());
            let text = fs::read_to_string(script(name))?
                .replace("INGEST_PORT", &ingest_port)
                .replace("VIEWERS_PORT", &port)
                .replace("INGEST", &ingest.to_string())
                .replace("VIEWERS", &viewers.to_string())
                .replace("FOLDER", &folder_name);
            fs::write(folder.join(name), text)?;
            Ok(folder.join(name))
        };
        let needed = |name: &str| program(name).with_context(|| format!("{name} is not installed"));
        Ok(match self {
            Self::Joey => {
                let mut command = command(joey()?, &["serve", "--log-level", "error", "--per-address", "0"]);
                command.args(["--viewers", "19000", "--ingest", &ingest.to_string(), "--http", &viewers.to_string()]);
                command.args(arguments);
                command
            }
            Self::Uws => {
                let mut command = Command::new(bun().context("bun is not installed")?);
                command.arg(script("uws.js")).arg(port);
                command
            }
            Self::Ws => {
                let mut command = Command::new("node");
                command.arg(script("ws.js")).arg(port).env("NODE_PATH", node_modules().context("ws is not installed")?);
                command
            }
            Self::Nats => {
                let mut command = Command::new(needed("nats-server")?);
                command.arg("-c").arg(configured("nats.conf")?);
                command
            }
            Self::Mosquitto => {
                let mut command = Command::new(needed("mosquitto")?);
                command.arg("-c").arg(configured("mosquitto.conf")?);
                command
            }
            Self::Nchan => {
                let mut command = Command::new(needed("nginx")?);
                command.arg("-p").arg(folder).arg("-c").arg(configured("nchan.conf")?);
                command
            }
            Self::Axum | Self::Floor => {
                let mut command = Command::new(env::current_exe()?);
                command.arg(if self == Self::Axum { "serve-axum" } else { "serve-floor" }).arg(port);
                command
            }
        })
    }
}

/// Reports which of `systems` are missing, and returns the others.
pub(crate) fn installed(systems: &[System]) -> Vec<System> {
    let (here, missing): (Vec<System>, Vec<System>) = systems.iter().partition(|system| system.is_installed());
    for system in missing {
        println!("LEFT OUT: {} is not installed (cargo xtask bench --install-peers)", system.name());
    }
    here
}

/// Path of nchan in Debian's nginx.
const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

fn command(program: PathBuf, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn joey() -> Result<PathBuf> {
    Ok(env::var_os("JOEY_BIN").context("JOEY_BIN is not set")?.into())
}

fn bun() -> Option<PathBuf> {
    Some(node_modules()?.join("bun/bin/bun.exe")).filter(|file| file.exists())
}

/// The folder into which `cargo xtask bench --install-peers` installs npm packages.
fn node_modules() -> Option<PathBuf> {
    Some(PathBuf::from(env::var_os("JOEY_PEERS")?).join("node_modules")).filter(|folder| folder.exists())
}

/// A program on `PATH`, or in `/usr/sbin`, which only root's `PATH` contains on Debian.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut files = env::split_paths(&path).chain(iter::once("/usr/sbin".into())).map(|folder| folder.join(name));
    files.find(|file| file.is_file())
}
