//! Runs the command line as a shell does: takes arguments; returns lines and an exit code.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::relay::program;
use super::{eventually, eventually_is};

/// Result of a program that has exited.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// Environment variables that clients read; tests remove them.
const ENVIRONMENT: [&str; 5] = ["JOEY_RELAY", "JOEY_PIPE_RELAY", "JOEY_TOKEN", "JOEY_TOKEN_FILE", "JOEY_CA"];

/// The program with these arguments, without those environment variables.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    ENVIRONMENT.iter().for_each(|variable| _ = command.env_remove(variable));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs `joey` with these arguments until it exits.
///
/// # Panics
/// If it does not run or a signal ends it.
#[must_use]
pub fn joey(arguments: &[&str]) -> Finished {
    joey_with_env(arguments, &[])
}

/// Runs `joey` with these arguments and environment variables until it exits.
///
/// # Panics
/// If it does not run or a signal ends it.
#[must_use]
pub fn joey_with_env(arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    let done = command(arguments).envs(environment.iter().copied()).output();
    finished(done.expect("the program runs"))
}

fn finished(done: Output) -> Finished {
    let [out, err] = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).expect("it writes UTF-8"));
    Finished { code: done.status.code().expect("it ends by itself"), out, err }
}

/// Runs `joey` with these arguments and this standard input until it exits.
///
/// # Panics
/// If it does not run or a signal ends it.
#[must_use]
pub fn joey_with_input(arguments: &[&str], input: &str) -> Finished {
    let mut command = command(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    // It may exit before it has read everything.
    let _ = child.stdin.take().expect("it is a pipe").write_all(input.as_bytes());
    finished(child.wait_with_output().expect("it belongs to this test"))
}

/// `joey tap` in the background.
#[derive(Debug)]
pub struct Tap {
    folder: TempDir,
    child: Child,
}

impl Tap {
    /// Starts `joey tap --json` with more arguments. [`Tap::wait_until_subscribed`] waits until it has subscribed.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("its output can be written");
        let file = |name| File::create(folder.path().join(name)).expect("its output can be written");
        let child = command(&["tap", "--json"])
            .args(arguments)
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .expect("the program runs");
        Self { folder, child }
    }

    fn read(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        std::fs::read_to_string(path).expect("it writes UTF-8")
    }

    /// Lines that it has printed so far.
    ///
    /// # Panics
    /// If a line is not JSON.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        let text = self.read("out");
        // The last line may be incomplete.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    /// Everything that it has written to standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.read("err")
    }

    /// The minimum of each printed update, in order. Tests number their frames with it.
    #[must_use]
    pub fn numbers(&self) -> Vec<u64> {
        self.lines().iter().map(|line| line["min_ns"].as_u64().unwrap_or(u64::MAX)).collect()
    }

    /// Waits until exactly the updates with these numbers have been printed.
    pub fn wait_until_printed(&self, numbers: impl IntoIterator<Item = u64>) {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        eventually_is("updates printed", &numbers, || self.numbers());
    }

    /// Waits until the relay has counted `subscriptions` since its start, which includes this one.
    pub fn wait_until_subscribed(&self, relay: &super::Relay, subscriptions: u64) {
        eventually("the tap subscribes", || (relay.metric("joey_subscriptions_total") >= subscriptions).then_some(()));
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- standard error of the tap\n{}", self.stderr());
        }
    }
}
