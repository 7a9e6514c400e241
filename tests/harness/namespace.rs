//! Another machine, as far as the kernel's network is concerned: a network namespace with wires to ours, each of which can be
//! pulled out. Unlike [`proxy`](super::proxy), nobody answers for what is behind a pulled wire.
//!
//! It takes root and the program `ip`. Where these are missing there is none, and whoever wanted one says so.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// A namespace. Dropping it removes it and its wires; what runs in it has to end first.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    wires: u8,
}

/// A wire between here and there.
#[derive(Debug)]
pub struct Wire {
    namespace: String,
    far: String,
    /// The address of the other end.
    pub there: Ipv4Addr,
}

impl Namespace {
    /// A new one, or `None`, with a line on standard error that says why, where the machine does not allow it.
    #[must_use]
    pub fn try_new() -> Option<Self> {
        let name = format!("joey{}", std::process::id());
        match ip(&["netns", "add", &name]) {
            Ok(()) => {
                let namespace = Self { name, wires: 0 };
                namespace.run(&["link", "set", "lo", "up"]);
                Some(namespace)
            }
            Err(why) => {
                // Past what the test harness holds back of a test that passes.
                let line = format!("SKIPPED: a test wants a network namespace, and there is none: {why}\n");
                let _ = std::io::stderr().write_all(line.as_bytes());
                None
            }
        }
    }

    /// Lays one more wire.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn wire(&mut self) -> Wire {
        let (near, far) = (format!("{}n{}", self.name, self.wires), format!("{}f{}", self.name, self.wires));
        // Tests that run at once are processes of their own.
        let net = u8::try_from(std::process::id() % 250).expect("it is small");
        let host = self.wires * 4;
        self.wires += 1;
        let address = |host: u8| Ipv4Addr::new(10, 77, net, host);
        let with_mask = |host: u8| format!("{}/30", address(host));
        let laid = ip(&["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &self.name])
            .and_then(|()| ip(&["addr", "add", &with_mask(host + 1), "dev", &near]))
            .and_then(|()| ip(&["link", "set", &near, "up"]));
        laid.expect("a wire can be laid");
        self.run(&["addr", "add", &with_mask(host + 2), "dev", &far]);
        self.run(&["link", "set", &far, "up"]);
        Wire { namespace: self.name.clone(), far, there: address(host + 2) }
    }

    /// The words before those of a program that is to run in it.
    #[must_use]
    pub fn wrapper(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    fn run(&self, words: &[&str]) {
        ip(&[&["-n", &self.name], words].concat()).expect("the namespace is ours");
    }
}

impl Wire {
    /// Pulls it out: what is sent is lost, and nobody says so.
    pub fn pull(&self) {
        self.set("down");
    }

    /// Plugs it in again.
    pub fn plug(&self) {
        self.set("up");
    }

    fn set(&self, state: &str) {
        ip(&["-n", &self.namespace, "link", "set", &self.far, state]).expect("the wire is ours");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(words: &[&str]) -> Result<(), String> {
    let done = Command::new("ip").args(words).stdin(Stdio::null()).output().map_err(|error| format!("ip: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() { Ok(()) } else { Err(format!("ip {}: {}", words.join(" "), said.trim())) }
}
