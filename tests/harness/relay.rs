//! `joey serve` as a child process: the real program, on free ports, with its log in a file.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, Producer, checkout, eventually, eventually_is, joey};

/// The program under test: `JOEY_BIN`, or the workspace's own, built once.
///
/// # Panics
/// When it cannot be built.
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
        // Test programs are in target/debug/deps.
        let own = std::env::current_exe().expect("a test knows its program");
        own.ancestors().nth(2).expect("a test's program is in a folder of the target folder").join("joey")
    })
}

/// One run, or several on the same ports, of `joey serve`.
#[derive(Debug)]
pub struct Relay {
    folder: TempDir,
    wrapper: Vec<String>,
    words: Vec<String>,
    child: Child,
    /// Where producers connect.
    pub ingest: SocketAddr,
    /// Where viewers connect.
    pub http: SocketAddr,
}

impl Relay {
    /// Starts a relay on free ports.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a relay on free ports, with more words on its command line.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with(words: &[&str]) -> Self {
        Self::start_in(&[], words)
    }

    /// Starts a relay whose program is run by another: its words come first, such as those of `sh -c`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_in(wrapper: &[&str], words: &[&str]) -> Self {
        let wrapper: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
        let folder = TempDir::new().expect("there is room for a log");
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut child = spawn(folder.path(), &wrapper, &words, any, any);
        let (ingest, http) = eventually("the relay listens", || listening(folder.path(), &mut child));
        Self { folder, wrapper, words, child, ingest, http }
    }

    /// Starts a relay on free ports that writes its log to `stderr`, where nobody may read it: [`Relay::log`] is empty.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with_stderr(words: &[&str], stderr: impl Into<Stdio>) -> Self {
        let folder = TempDir::new().expect("there is room for a log");
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let [ingest, http] = free_ports();
        let mut child = command(folder.path(), &[], &words, ingest, http).stderr(stderr).spawn().expect("it runs");
        eventually("the relay listens", || {
            let status = child.try_wait().expect("the relay is ours");
            assert!(status.is_none(), "the relay ended with {status:?}");
            (TcpStream::connect(ingest).is_ok() && TcpStream::connect(http).is_ok()).then_some(())
        });
        Self { folder, wrapper: Vec::new(), words, child, ingest, http }
    }

    /// Ends the relay as a crash would: at once, without a word to anybody.
    pub fn kill(&mut self) {
        self.child.kill().expect("the relay is ours");
        self.child.wait().expect("the relay is ours");
    }

    /// Starts it again where it was.
    pub fn restart_on_same_ports(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        eventually("the relay is back on its ports", || {
            self.child = spawn(self.folder.path(), &self.wrapper, &self.words, self.ingest, self.http);
            // A port that somebody else has for a moment ends this run; the next one tries again.
            loop {
                if let Some(addresses) = listening(self.folder.path(), &mut self.child) {
                    assert_eq!(addresses, (self.ingest, self.http));
                    return Some(());
                }
                if self.child.try_wait().expect("the relay is ours").is_some() {
                    return None;
                }
                std::thread::yield_now();
            }
        });
    }

    /// Starts it again where it was, with more words on its command line, such as its own address.
    pub fn restart_with(&mut self, words: &[&str]) {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
        self.restart_on_same_ports();
    }

    /// Sends a signal, such as `TERM` or `STOP`.
    ///
    /// # Panics
    /// When there is no shell.
    pub fn signal(&self, name: &str) {
        // The shell's own `kill` is there on every machine; the program of that name is not.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(sent.expect("there is a shell").success());
    }

    /// The number of its process, while it runs.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the program.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the relay exits", || self.child.try_wait().expect("the relay is ours"))
    }

    /// Everything it has logged.
    ///
    /// # Panics
    /// When the log is gone.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("the log is ours")
    }

    /// A connected producer.
    #[must_use]
    pub fn producer(&self, app: &str, worker: &str) -> Producer {
        Producer::joined(self.ingest, app, worker)
    }

    /// What a plain HTTP request gives: status, head and body.
    ///
    /// # Panics
    /// When nobody answers.
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, String, String) {
        self.get_with(path, "")
    }

    /// The same with more lines in the head, each with its end.
    #[must_use]
    pub fn get_with(&self, path: &str, lines: &str) -> (u16, String, String) {
        self.ask("GET", path, lines)
    }

    /// The same with another method.
    ///
    /// # Panics
    /// When nobody answers.
    #[must_use]
    pub fn ask(&self, method: &str, path: &str, lines: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.http).expect("the relay listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("the socket is open");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{lines}\r\n", self.http);
        // A request that is far too long is answered before its end.
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

    /// One figure of `/metrics`, by its whole name with labels; 0 where it is not there yet.
    ///
    /// # Panics
    /// When it is not a whole number.
    #[must_use]
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("figures are whole numbers"))
    }

    /// Frames refused for `reason`.
    #[must_use]
    pub fn rejected(&self, reason: &str) -> u64 {
        self.metric(&format!("joey_frames_rejected_total{{reason=\"{reason}\"}}"))
    }

    /// Frames accepted, and frames refused for any reason.
    ///
    /// # Panics
    /// When a figure is not a whole number.
    #[must_use]
    pub fn counted(&self) -> (u64, u64) {
        let metrics = self.metrics();
        let sum = |name: &str| {
            let figures = metrics.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
            figures.map(|(_, value)| value.parse::<u64>().expect("figures are whole numbers")).sum()
        };
        (sum("joey_frames_accepted_total"), sum("joey_frames_rejected_total{"))
    }

    /// Connections that the relay ended for `reason`.
    #[must_use]
    pub fn closed(&self, reason: &str) -> u64 {
        self.metric(&format!("joey_connections_closed_total{{reason=\"{reason}\"}}"))
    }

    /// Waits until this many frames were accepted in all.
    pub fn accepts(&self, frames: u64) {
        eventually_is("frames accepted", &frames, || self.metric("joey_frames_accepted_total"));
    }

    /// Waits until this many relays are known, this one among them.
    pub fn knows(&self, relays: u64) {
        eventually_is("relays", &relays, || self.metric("joey_cluster_relays"));
    }

    /// `joey stats APP --json --once` over `window`.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn stats_over(&self, app: &str, window: &str) -> Value {
        let address = self.http.to_string();
        let done = joey(&["stats", app, "--json", "--once", "--relay", &address, "--window", window]);
        assert_eq!(done.code, 0, "{}", done.err);
        serde_json::from_str(&done.out).expect("it prints JSON")
    }

    /// `joey stats APP --json --once` over five minutes.
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

/// Two ports of this machine that nobody has just now.
///
/// # Panics
/// When there are none.
#[must_use]
pub fn free_ports() -> [SocketAddr; 2] {
    let any = [0; 2].map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("there are free ports"));
    any.map(|listener| listener.local_addr().expect("it has a port"))
}

fn spawn(folder: &Path, wrapper: &[String], words: &[String], ingest: SocketAddr, http: SocketAddr) -> Child {
    command(folder, wrapper, words, ingest, http).spawn().expect("the program runs")
}

fn command(folder: &Path, wrapper: &[String], words: &[String], ingest: SocketAddr, http: SocketAddr) -> Command {
    let log = File::create(folder.join("log")).expect("there is room for a log");
    let mut command = match wrapper {
        [] => Command::new(program()),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program());
            command
        }
    };
    command
        .arg("serve")
        .args(["--ingest", &ingest.to_string(), "--http", &http.to_string(), "--log-format", "json"])
        .args(words)
        // What the surroundings set is not part of the test.
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command
}

/// The addresses in the log, once they are there.
fn listening(folder: &Path, child: &mut Child) -> Option<(SocketAddr, SocketAddr)> {
    let log = std::fs::read_to_string(folder.join("log")).ok()?;
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let address = |event: &Value, field: &str| event["fields"][field].as_str()?.parse().ok();
    let found = events
        .filter(|event| event["fields"]["message"] == "listening")
        .find_map(|event| Some((address(&event, "ingest")?, address(&event, "http")?)));
    if found.is_none()
        && let Ok(Some(status)) = child.try_wait()
        && !log.contains("cannot listen")
    {
        panic!("the relay ended with {status}:\n{log}");
    }
    found
}
