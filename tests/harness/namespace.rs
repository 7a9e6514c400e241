//! A second machine as far as the kernel's network is concerned: a network namespace with virtual links to the host's,
//! each of which can be taken down. Unlike with [`proxy`](super::proxy), no kernel answers for the other end of a link
//! that is down.
//!
//! This needs root and the program `ip`. Without them there is no namespace, and the test reports that it was skipped.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// A namespace. Dropping it removes it and its links; processes in it have to exit first.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    links: u8,
}

/// A virtual link between the host and the namespace.
#[derive(Debug)]
pub struct VirtualLink {
    namespace: String,
    far: String,
    /// The address of the far end.
    pub address: Ipv4Addr,
}

impl Namespace {
    /// Creates a namespace. If the machine does not allow it, prints the reason to standard error and returns `None`.
    #[must_use]
    pub fn try_new() -> Option<Self> {
        let name = format!("joey{}", std::process::id());
        match ip(&["netns", "add", &name]) {
            Ok(()) => {
                let namespace = Self { name, links: 0 };
                namespace.run(&["link", "set", "lo", "up"]);
                Some(namespace)
            }
            Err(why) => {
                // Written directly, because the test harness captures the output of a test that passes.
                let line = format!("SKIPPED: a test needs a network namespace and cannot create one: {why}\n");
                let _ = std::io::stderr().write_all(line.as_bytes());
                None
            }
        }
    }

    /// Adds one more link.
    ///
    /// # Panics
    /// If the kernel rejects it.
    pub fn add_link(&mut self) -> VirtualLink {
        let (near, far) = (format!("{}n{}", self.name, self.links), format!("{}f{}", self.name, self.links));
        // Tests that run at the same time are separate processes.
        let net = u8::try_from(std::process::id() % 250).expect("it is small");
        let host = self.links * 4;
        self.links += 1;
        let address = |host: u8| Ipv4Addr::new(10, 77, net, host);
        let with_mask = |host: u8| format!("{}/30", address(host));
        let added = ip(&["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &self.name])
            .and_then(|()| ip(&["addr", "add", &with_mask(host + 1), "dev", &near]))
            .and_then(|()| ip(&["link", "set", &near, "up"]));
        added.expect("a link can be added");
        self.run(&["addr", "add", &with_mask(host + 2), "dev", &far]);
        self.run(&["link", "set", &far, "up"]);
        VirtualLink { namespace: self.name.clone(), far, address: address(host + 2) }
    }

    /// The command line that precedes a program that is to run in the namespace.
    #[must_use]
    pub fn wrapper(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    fn run(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.name], arguments].concat()).expect("the namespace belongs to this test");
    }
}

impl VirtualLink {
    /// Takes the link down: what is sent is lost without an error.
    pub fn take_down(&self) {
        self.set("down");
    }

    /// Takes the link up again.
    pub fn bring_up(&self) {
        self.set("up");
    }

    fn set(&self, state: &str) {
        ip(&["-n", &self.namespace, "link", "set", &self.far, state]).expect("the link belongs to this test");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let done =
        Command::new("ip").args(arguments).stdin(Stdio::null()).output().map_err(|error| format!("ip: {error}"))?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    if done.status.success() { Ok(()) } else { Err(format!("ip {}: {}", arguments.join(" "), stderr.trim())) }
}
