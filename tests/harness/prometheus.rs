//! Runs Prometheus as a child process that scrapes a relay once per second.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{TIMEOUT, eventually};

/// One Prometheus. Dropping it kills it.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    _folder: TempDir,
    child: Child,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes `/metrics/views` of the relay at `relay`: native histograms with the label
    /// `job="native"`, and classic ones with `job="classic"`.
    ///
    /// # Panics
    /// If it is missing or does not start.
    #[must_use]
    pub fn start(relay: SocketAddr) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be written");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        drop(listener);
        let job = |name: &str, more: &str| {
            format!(
                "- job_name: {name}\n  metrics_path: /metrics/views\n{more}  static_configs: [{{targets: ['{relay}']}}]\n"
            )
        };
        let (native, classic) = (job("native", ""), job("classic", "  params: {format: [classic]}\n"));
        let text = format!("global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{native}{classic}");
        let config = folder.path().join("prometheus.yml");
        std::fs::write(&config, text).expect("a temporary folder can be written");
        let program = std::env::var_os("PROMETHEUS").map_or_else(|| PathBuf::from("prometheus"), PathBuf::from);
        let argument = |name: &str, value: &str| format!("--{name}={value}");
        let mut child = Command::new(&program)
            .arg(argument("config.file", &config.display().to_string()))
            .arg(argument("storage.tsdb.path", &folder.path().join("data").display().to_string()))
            .arg(argument("web.listen-address", &address.to_string()))
            .arg("--enable-feature=native-histograms")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; run `cargo xtask setup`, or set PROMETHEUS", program.display())
            });
        eventually("Prometheus listens", || {
            let ended = child.try_wait().expect("Prometheus belongs to this test");
            assert!(ended.is_none(), "Prometheus exited: {ended:?}");
            TcpStream::connect(address).ok()
        });
        Self { address, _folder: folder, child }
    }

    /// The value of a query with one result; `None` if it has no result.
    ///
    /// # Panics
    /// If it has several, or Prometheus rejects the query.
    #[must_use]
    pub fn query(&self, query: &str) -> Option<f64> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let (status, body) = get(self.address, &format!("/api/v1/query?query={encoded}"));
        if status == 503 {
            // It is still starting.
            return None;
        }
        let answer: Value = serde_json::from_str(&body).expect("it answers with JSON");
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let results = answer["data"]["result"].as_array().expect("a query has a list of results");
        assert!(results.len() <= 1, "{query}: {answer}");
        results.first().map(|result| {
            let value = result["value"][1].as_str().expect("a value is text");
            value.parse().expect("a value is a number")
        })
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status and the body of the answer to a GET request.
pub(super) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(TIMEOUT)).expect("the socket is open");
    // HTTP/1.0 has no chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("an answer has a status"), body.to_owned())
}
