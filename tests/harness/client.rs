//! The command line as a shell runs it: words in; lines and an exit code out.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::relay::program;
use super::{eventually, eventually_is};

/// What a finished program left.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// What the surroundings may say to a client, and tests must not hear.
const ENVIRONMENT: [&str; 4] = ["JOEY_RELAY", "JOEY_TOKEN", "JOEY_TOKEN_FILE", "JOEY_CA"];

/// The program with these words, in no surroundings.
fn command(words: &[&str]) -> Command {
    let mut command = Command::new(program());
    ENVIRONMENT.iter().for_each(|variable| _ = command.env_remove(variable));
    command.args(words).stdin(Stdio::null());
    command
}

/// Runs `joey` with these words to its end.
///
/// # Panics
/// When it does not run or a signal ends it.
#[must_use]
pub fn joey(words: &[&str]) -> Finished {
    joey_in(words, &[])
}

/// Runs `joey` with these words in these surroundings to its end.
///
/// # Panics
/// When it does not run or a signal ends it.
#[must_use]
pub fn joey_in(words: &[&str], environment: &[(&str, &str)]) -> Finished {
    let done = command(words).envs(environment.iter().copied()).output();
    let done = done.expect("the program runs");
    let [out, err] = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).expect("it writes UTF-8"));
    Finished { code: done.status.code().expect("it ends by itself"), out, err }
}

/// `joey tap` in the background.
#[derive(Debug)]
pub struct Tap {
    folder: TempDir,
    child: Child,
}

impl Tap {
    /// Starts `joey tap --json` with more words. It is at work once it says so: see [`Tap::follows`].
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(words: &[&str]) -> Self {
        let folder = TempDir::new().expect("there is room for its lines");
        let file = |name| File::create(folder.path().join(name)).expect("there is room for its lines");
        let child = command(&["tap", "--json"])
            .args(words)
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

    /// What it has printed so far.
    ///
    /// # Panics
    /// When a line is not JSON.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        let text = self.read("out");
        // The last line may still be on its way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    /// What it has said on standard error.
    #[must_use]
    pub fn complaints(&self) -> String {
        self.read("err")
    }

    /// The minimum of each update printed, in order. Tests number their frames with it.
    #[must_use]
    pub fn numbers(&self) -> Vec<u64> {
        self.lines().iter().map(|line| line["min_ns"].as_u64().unwrap_or(u64::MAX)).collect()
    }

    /// Waits until exactly these numbered updates were printed.
    pub fn prints(&self, numbers: impl IntoIterator<Item = u64>) {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        eventually_is("updates printed", &numbers, || self.numbers());
    }

    /// Waits until `subscriptions` were made in all since the relay began: then this one follows.
    pub fn follows(&self, relay: &super::Relay, subscriptions: u64) {
        eventually("the tap follows", || (relay.metric("joey_subscriptions_total") >= subscriptions).then_some(()));
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the tap's complaints\n{}", self.complaints());
        }
    }
}
