//! Listening sockets that the service manager opened before it started this process (systemd's socket activation).
//!
//! A socket is assigned by its name (`FileDescriptorName=` in the socket unit), never by its position, so that a unit that
//! lists its sockets in another order cannot turn the port of viewers into the port of producers.

use std::env;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, bail, ensure};
use listenfd::ListenFd;

use crate::config::{ListenOption, Options};

/// The names that a socket can have.
const NAMES: &str = "http, ingest, otlp-http or otlp-grpc";

/// The sockets that this process was started with. Each may be absent.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// For producers.
    pub ingest: Option<TcpListener>,
    /// For viewers.
    pub http: Option<TcpListener>,
    /// For OTLP over HTTP.
    pub otlp_http: Option<TcpListener>,
    /// For OTLP over gRPC.
    pub otlp_grpc: Option<TcpListener>,
}

/// What the environment says about inherited sockets. Not yet interpreted.
#[expect(missing_debug_implementations, reason = "ListenFd has none")]
pub struct Environment {
    sockets: ListenFd,
    names: Option<String>,
}

impl Environment {
    /// Reads `LISTEN_FDS` and its companions, and removes them from the environment so that no child process uses them. Must
    /// be called while this process has a single thread.
    #[must_use]
    pub fn take() -> Self {
        Self { names: env::var("LISTEN_FDNAMES").ok(), sockets: ListenFd::from_env() }
    }

    /// The sockets by their names.
    ///
    /// # Errors
    /// Fails if a socket has no name that the relay knows, two have the same name, or one is not a TCP socket.
    pub fn sockets(mut self) -> anyhow::Result<InheritedSockets> {
        let mut result = InheritedSockets::default();
        let names = assign(self.sockets.len(), self.names.as_deref())?;
        for (at, name) in names.into_iter().enumerate() {
            let socket = self
                .sockets
                .take_tcp_listener(at)
                .with_context(|| format!("cannot use the socket {name:?} that the service manager passed"))?;
            let slot = match name {
                "ingest" => &mut result.ingest,
                "http" => &mut result.http,
                "otlp-http" => &mut result.otlp_http,
                _ => &mut result.otlp_grpc,
            };
            if let Some(socket) = &socket {
                socket.set_nonblocking(true)?;
            }
            *slot = socket;
        }
        Ok(result)
    }
}

impl InheritedSockets {
    /// Replaces the addresses in `options` with those of the inherited sockets, so that everything that depends on an address,
    /// such as the rule for ports beyond loopback, applies to the real one.
    ///
    /// # Errors
    /// Fails if the operating system does not return the address of a socket.
    pub fn apply_to(&self, options: &mut Options) -> anyhow::Result<()> {
        let address = |socket: &Option<TcpListener>| -> anyhow::Result<Option<SocketAddr>> {
            Ok(socket.as_ref().map(TcpListener::local_addr).transpose()?)
        };
        options.ingest = address(&self.ingest)?.or(options.ingest);
        options.http = address(&self.http)?.or(options.http);
        options.otlp_http = address(&self.otlp_http)?.map(ListenOption::from).or(options.otlp_http);
        options.otlp_grpc = address(&self.otlp_grpc)?.map(ListenOption::from).or(options.otlp_grpc);
        Ok(())
    }
}

/// The names of `count` sockets, from the list of names that colons separate.
fn assign(count: usize, names: Option<&str>) -> anyhow::Result<Vec<&str>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let Some(names) = names else {
        bail!("the service manager passed {count} sockets without names: name them {NAMES}");
    };
    let names: Vec<&str> = names.split(':').collect();
    ensure!(names.len() == count, "the service manager passed {count} sockets and {} names", names.len());
    for (at, name) in names.iter().enumerate() {
        ensure!(
            ["http", "ingest", "otlp-http", "otlp-grpc"].contains(name),
            "the service manager passed a socket named {name:?}: set FileDescriptorName= to {NAMES}"
        );
        ensure!(!names[..at].contains(name), "the service manager passed two sockets named {name:?}");
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_assigned_by_name_only() {
        let check = |count, names, expected: Result<&[&str], &str>| match (assign(count, names), expected) {
            (Ok(assigned), Ok(expected)) => assert_eq!(assigned, expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (assigned, expected) => panic!("{assigned:?} instead of {expected:?}"),
        };
        check(0, None, Ok(&[]));
        check(0, Some("http"), Ok(&[]));
        check(2, Some("ingest:http"), Ok(&["ingest", "http"]));
        check(1, None, Err("without names"));
        check(1, Some("joey.socket"), Err("FileDescriptorName="));
        check(1, Some(""), Err("FileDescriptorName="));
        check(2, Some("http"), Err("2 sockets and 1 names"));
        check(2, Some("http:http"), Err("two sockets named \"http\""));
    }

    #[test]
    fn an_inherited_socket_replaces_the_configured_address() {
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = http.local_addr().unwrap();
        let mut options = Options { http: "0.0.0.0:4000".parse().ok(), ..Options::default() };
        InheritedSockets { http: Some(http), ..InheritedSockets::default() }.apply_to(&mut options).unwrap();
        assert_eq!((options.http, options.ingest), (Some(address), None));
    }
}
