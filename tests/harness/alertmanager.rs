//! Runs Alertmanager as a child process that passes alerts on to a webhook.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{eventually, prometheus};

/// One Alertmanager. Dropping it kills it.
#[derive(Debug)]
pub struct Alertmanager {
    address: SocketAddr,
    _folder: TempDir,
    child: Child,
}

impl Alertmanager {
    /// Starts an Alertmanager that tells `webhook` of each alert at once, also that it is resolved.
    ///
    /// # Panics
    /// If it is missing or does not start.
    #[must_use]
    pub fn start(webhook: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be written");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        drop(listener);
        let config = folder.path().join("alertmanager.yml");
        let text = format!(
            "route: {{receiver: test, group_by: ['...'], group_wait: 0s, group_interval: 1s}}\n\
             receivers: [{{name: test, webhook_configs: [{{url: '{webhook}'}}]}}]\n"
        );
        std::fs::write(&config, text).expect("a temporary folder can be written");
        let program =
            std::env::var_os("ALERTMANAGER").map_or_else(|| PathBuf::from("prometheus-alertmanager"), PathBuf::from);
        let mut child = Command::new(&program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            // Without a cluster, it has no other port.
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; run `cargo xtask setup`, or set ALERTMANAGER", program.display())
            });
        eventually("Alertmanager listens", || {
            let ended = child.try_wait().expect("Alertmanager belongs to this test");
            assert!(ended.is_none(), "Alertmanager exited: {ended:?}");
            TcpStream::connect(address).ok()
        });
        Self { address, _folder: folder, child }
    }

    /// The address for new alerts.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/api/v2/alerts", self.address)
    }

    /// The alerts that are not resolved; `None` while it starts.
    ///
    /// # Panics
    /// If it does not answer with a list.
    #[must_use]
    pub fn alerts(&self) -> Option<Vec<Value>> {
        let (status, body) = prometheus::get(self.address, "/api/v2/alerts");
        (status == 200).then(|| serde_json::from_str(&body).expect("alerts are a list"))
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
