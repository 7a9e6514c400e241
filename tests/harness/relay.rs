//! Runs `joey serve` as a child process: the real program, on free ports, with its log in a file.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::{Producer, TIMEOUT, checkout, eventually, eventually_is, joey};

/// The program under test: `JOEY_BIN`, or the workspace's own, which is built once.
///
/// # Panics
/// If it cannot be built.
#[must_use]
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(program) = std::env::var_os("JOEY_BIN") {
            return PathBuf::from(program);
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo).args(["build", "--quiet", "-p", "joey"]).current_dir(checkout()).status();
        assert!(built.expect("cargo runs").success(), "the relay does not build");
        // Test programs are in `target/debug/deps`.
        let own = std::env::current_exe().expect("a test knows its program");
        own.ancestors().nth(2).expect("a test's program is in a folder of the target folder").join("joey")
    })
}

/// A `joey serve` process, which can be restarted on the same ports.
#[derive(Debug)]
pub struct Relay {
    folder: TempDir,
    wrapper: Vec<String>,
    arguments: Vec<String>,
    child: Child,
    /// Address that producers connect to.
    pub ingest: SocketAddr,
    /// Address that viewers connect to.
    pub http: SocketAddr,
    /// Address for OTLP over HTTP.
    pub otlp_http: SocketAddr,
    /// Address for OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
}

/// The addresses of all ports, in the order of [`PORTS`].
type Addresses = [SocketAddr; 4];

/// The ports: each one's field in the log, and its option.
const PORTS: [(&str, &str); 4] =
    [("ingest", "--ingest"), ("http", "--http"), ("otlp_http", "--otlp-http"), ("otlp_grpc", "--otlp-grpc")];

impl Relay {
    /// Starts a relay on free ports.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a relay on free ports with more arguments.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::start_in(&[], arguments)
    }

    /// Starts a relay through another program, such as `sh -c`, whose arguments come first.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_in(wrapper: &[&str], arguments: &[&str]) -> Self {
        let wrapper: Vec<String> = wrapper.iter().map(|argument| (*argument).to_owned()).collect();
        let folder = TempDir::new().expect("a log can be written");
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let child = spawn(folder.path(), &wrapper, &arguments, [any; 4]);
        // If it never listens, it is killed when this is dropped.
        let mut relay =
            Self { folder, wrapper, arguments, child, ingest: any, http: any, otlp_http: any, otlp_grpc: any };
        [relay.ingest, relay.http, relay.otlp_http, relay.otlp_grpc] =
            eventually("the relay listens", || listening(relay.folder.path(), &mut relay.child));
        relay
    }

    /// Starts a relay on free ports that writes its log to `stderr`. [`Relay::log`] is empty then.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_with_stderr(arguments: &[&str], stderr: impl Into<Stdio>) -> Self {
        let folder = TempDir::new().expect("a log can be written");
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let addresses = free_ports();
        let [ingest, http, otlp_http, otlp_grpc] = addresses;
        let child = command(folder.path(), &[], &arguments, addresses).stderr(stderr).spawn().expect("it runs");
        let mut relay = Self { folder, wrapper: Vec::new(), arguments, child, ingest, http, otlp_http, otlp_grpc };
        eventually("the relay listens", || {
            let status = relay.child.try_wait().expect("the relay belongs to this test");
            assert!(status.is_none(), "the relay ended with {status:?}");
            (TcpStream::connect(ingest).is_ok() && TcpStream::connect(http).is_ok()).then_some(())
        });
        relay
    }

    /// Kills the relay as a crash would: at once, without closing its connections.
    pub fn kill(&mut self) {
        self.child.kill().expect("the relay belongs to this test");
        self.child.wait().expect("the relay belongs to this test");
    }

    /// Starts it again on the same ports.
    pub fn restart_on_same_ports(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let own = [self.ingest, self.http, self.otlp_http, self.otlp_grpc];
        eventually("the relay is back on its ports", || {
            self.child = spawn(self.folder.path(), &self.wrapper, &self.arguments, own);
            // If another process briefly holds a port, this run exits and the next one tries again.
            let start = Instant::now();
            loop {
                if let Some(addresses) = listening(self.folder.path(), &mut self.child) {
                    assert_eq!(addresses, own);
                    return Some(());
                }
                if self.child.try_wait().expect("the relay belongs to this test").is_some() {
                    return None;
                }
                assert!(start.elapsed() < TIMEOUT, "the relay does not listen");
                sleep(Duration::from_millis(2));
            }
        });
    }

    /// Starts it again on the same ports with more arguments, such as its own address.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self.restart_on_same_ports();
    }

    /// Sends a signal, such as `TERM` or `STOP`.
    ///
    /// # Panics
    /// If there is no shell.
    pub fn signal(&self, name: &str) {
        // Every shell has a built-in `kill`; the program of that name may be missing.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(sent.expect("there is a shell").success());
    }

    /// Id of its process while it runs.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program exits.
    ///
    /// # Panics
    /// If it does not exit.
    #[must_use]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the relay exits", || self.child.try_wait().expect("the relay belongs to this test"))
    }

    /// Everything that it has logged.
    ///
    /// # Panics
    /// If the log is gone.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("the log belongs to this test")
    }

    /// The UDP address of StatsD, which the relay was started with `--statsd` for.
    #[must_use]
    pub fn statsd(&self) -> SocketAddr {
        eventually("the relay listens for StatsD", || {
            let log = self.log();
            let events = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut events = events.filter(|event| event["fields"]["message"] == "listening for StatsD");
            events.find_map(|event| event["fields"]["statsd"].as_str()?.parse().ok())
        })
    }

    /// A connected producer.
    #[must_use]
    pub fn producer(&self, app: &str, worker: &str) -> Producer {
        Producer::connect_and_join(self.ingest, app, worker)
    }

    /// Response to a plain HTTP GET request: status, head and body.
    ///
    /// # Panics
    /// If nothing answers.
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, String, String) {
        self.get_with_headers(path, "")
    }

    /// Does the same with more header lines, each with its line end.
    #[must_use]
    pub fn get_with_headers(&self, path: &str, lines: &str) -> (u16, String, String) {
        self.request("GET", path, lines)
    }

    /// Does the same with another method.
    ///
    /// # Panics
    /// If nothing answers.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, lines: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.http).expect("the relay listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("the socket is open");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{lines}\r\n", self.http);
        // The relay answers a request that is far too long before its end.
        let _ = stream.write_all(request.as_bytes());
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        assert!(read.is_ok() || !bytes.is_empty(), "the relay answers");
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("an answer has a status"), head.to_owned(), body.to_owned())
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.get("/metrics").2
    }

    /// One metric of `/metrics` by its full name with labels; 0 if it is absent.
    ///
    /// # Panics
    /// If it is not a whole number.
    #[must_use]
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("metrics are whole numbers"))
    }

    /// Number of frames rejected for `reason`.
    #[must_use]
    pub fn rejected(&self, reason: &str) -> u64 {
        self.metric(&format!("joey_frames_rejected_total{{reason=\"{reason}\"}}"))
    }

    /// Number of frames accepted, and number of frames rejected for any reason.
    ///
    /// # Panics
    /// If a metric is not a whole number.
    #[must_use]
    pub fn frame_counts(&self) -> (u64, u64) {
        let metrics = self.metrics();
        let sum = |name: &str| {
            let metrics = metrics.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
            metrics.map(|(_, value)| value.parse::<u64>().expect("metrics are whole numbers")).sum()
        };
        (sum("joey_frames_accepted_total"), sum("joey_frames_rejected_total{"))
    }

    /// Number of connections that the relay closed for `reason`.
    #[must_use]
    pub fn closed(&self, reason: &str) -> u64 {
        self.metric(&format!("joey_connections_closed_total{{reason=\"{reason}\"}}"))
    }

    /// Waits until this many frames have been accepted in total.
    pub fn wait_for_accepted(&self, frames: u64) {
        let accepted = eventually(&format!("{frames} frames accepted"), || {
            Some(self.metric("joey_frames_accepted_total")).filter(|accepted| *accepted >= frames)
        });
        assert_eq!(accepted, frames, "more frames were accepted than sent");
    }

    /// Waits until the log contains `text`. The relay counts an event before it logs it.
    pub fn wait_for_log(&self, text: &str) {
        eventually(text, || self.log().contains(text).then_some(()));
    }

    /// Waits until the relay has found this many relays, including itself.
    pub fn wait_for_relays(&self, relays: u64) {
        eventually_is("relays", &relays, || self.metric("joey_cluster_relays"));
    }

    /// Output of `joey stats APP --json --once` over `window`.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn stats_over(&self, app: &str, window: &str) -> Value {
        let address = self.http.to_string();
        let done = joey(&["stats", app, "--json", "--once", "--relay", &address, "--window", window]);
        assert_eq!(done.code, 0, "{}", done.err);
        serde_json::from_str(&done.out).expect("it prints JSON")
    }

    /// Output of `joey stats APP --json --once` over five minutes.
    #[must_use]
    pub fn stats(&self, app: &str) -> Value {
        self.stats_over(app, "5m")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the relay's log\n{}", self.log());
        }
    }
}

/// Ports of this machine that are free at the moment.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn free_ports<const N: usize>() -> [SocketAddr; N] {
    let any = [0; N].map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("there are free ports"));
    any.map(|listener| listener.local_addr().expect("it has a port"))
}

fn spawn(folder: &Path, wrapper: &[String], arguments: &[String], addresses: Addresses) -> Child {
    command(folder, wrapper, arguments, addresses).spawn().expect("the program runs")
}

fn command(folder: &Path, wrapper: &[String], arguments: &[String], addresses: Addresses) -> Command {
    let log = File::create(folder.join("log")).expect("a log can be written");
    let mut command = match wrapper {
        [] => Command::new(program()),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program());
            command
        }
    };
    command.arg("serve");
    for ((_, option), address) in PORTS.iter().zip(addresses) {
        // The test may have set it.
        if !arguments.iter().any(|argument| argument == option) {
            command.args([*option, &address.to_string()]);
        }
    }
    command
        .args(["--log-format", "json"])
        .args(arguments)
        // The environment must not influence the test.
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command
}

/// The addresses in the log, once they are logged.
fn listening(folder: &Path, child: &mut Child) -> Option<Addresses> {
    let log = std::fs::read_to_string(folder.join("log")).ok()?;
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    // A port that is off has no address.
    let none = SocketAddr::from(([0; 4], 0));
    let address = |event: &Value, field: &str| event["fields"][field].as_str()?.parse().ok();
    let addresses = |event: Value| Some(PORTS.map(|(field, _)| address(&event, field).unwrap_or(none)));
    let found = events.filter(|event| event["fields"]["message"] == "listening").find_map(addresses);
    if found.is_none()
        && let Ok(Some(status)) = child.try_wait()
        && !log.contains("cannot listen")
    {
        panic!("the relay ended with {status}:\n{log}");
    }
    found
}
