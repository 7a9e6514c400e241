//! A real OpenID Connect provider, npm's `oidc-provider`, as a child process on a free port of loopback.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{TIMEOUT, checkout, eventually};

/// One provider. Dropping it kills it.
#[derive(Debug)]
pub struct Provider {
    /// Address that it listens on.
    pub address: SocketAddr,
    child: Child,
}

impl Provider {
    /// Starts a provider that generates keys with these ids: `r…` for RS256, `e…` for ES256, `o…` for EdDSA.
    ///
    /// # Panics
    /// If it is missing or does not start.
    #[must_use]
    pub fn start(key_ids: &[&str]) -> Self {
        Self::start_at(free_address(), key_ids)
    }

    /// Starts a provider at `address`.
    ///
    /// # Panics
    /// If it is missing or does not start.
    #[must_use]
    pub fn start_at(address: SocketAddr, key_ids: &[&str]) -> Self {
        let package = std::env::var_os("OIDC_PROVIDER");
        let package = package.expect("`cargo xtask setup` installs the provider; set OIDC_PROVIDER to its folder");
        let mut child = Command::new("node")
            .arg(checkout().join("tests/harness/oidc/provider.mjs"))
            .arg(package)
            .arg(address.port().to_string())
            .args(key_ids)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs node");
        eventually("the provider listens", || {
            let ended = child.try_wait().expect("the provider belongs to this test");
            assert!(ended.is_none(), "the provider exited with {ended:?}");
            TcpStream::connect(address).ok()
        });
        Self { address, child }
    }

    /// Its issuer.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address of its key set.
    #[must_use]
    pub fn jwks(&self) -> String {
        format!("http://{}/jwks", self.address)
    }

    /// An access token for the client `rs256`, `es256` or `eddsa`, whose name is its algorithm, or for `nobody`, who
    /// may do nothing.
    ///
    /// # Panics
    /// If the provider issues none.
    #[must_use]
    pub fn token(&self, client: &str) -> String {
        let credentials = format!("{client}:{client}-secret-of-sufficient-length-for-hs256");
        let body = "grant_type=client_credentials&resource=urn:joey&scope=shop-api";
        let lines = format!(
            "Authorization: Basic {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
            STANDARD.encode(credentials),
            body.len()
        );
        let answer = self.request("POST /token", &lines, body);
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// Its key set.
    #[must_use]
    pub fn public_keys(&self) -> String {
        self.request("GET /jwks", "", "")
    }

    fn request(&self, what: &str, lines: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("the provider listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("the socket is open");
        let address = self.address;
        let request = format!("{what} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{lines}\r\n{body}");
        stream.write_all(request.as_bytes()).expect("the provider reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the provider answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        body.to_owned()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of loopback that nothing listens on.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("it is bound")
}
