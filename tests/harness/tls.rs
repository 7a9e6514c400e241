//! A certificate authority, certificates that it issues, and connections that trust only this authority.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::TIMEOUT;

/// A connection over TLS.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A certificate authority and the folder of its files.
#[derive(Debug)]
pub struct CertificateAuthority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Default for CertificateAuthority {
    fn default() -> Self {
        Self::new()
    }
}

impl CertificateAuthority {
    /// Creates an authority.
    ///
    /// # Panics
    /// If its files cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("it has no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("random numbers are available");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("the authority can sign");
        let authority = Self { folder: TempDir::new().expect("files can be written"), issuer };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    /// Path of one of its files: `ca.pem`, and `cert.pem` and `key.pem` once a certificate has been issued.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Writes a file into its folder.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("files can be written");
    }

    /// Issues a new certificate for this machine.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn issue_certificate(&self) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate().expect("random numbers are available");
        let params = CertificateParams::new(names).expect("these are names");
        let certificate = params.signed_by(&key, &self.issuer).expect("the authority can sign");
        self.write("cert.pem", &certificate.pem());
        self.write("key.pem", &key.serialize_pem());
    }

    /// Connects and trusts this authority only.
    ///
    /// # Panics
    /// If nothing listens, or the other end has no certificate of this authority.
    #[must_use]
    pub fn connect(&self, address: SocketAddr) -> TlsStream {
        self.connect_with_protocols(address, &[])
    }

    /// Does the same, and offers these protocols (ALPN), such as `h2`.
    ///
    /// # Panics
    /// If nothing listens, or the other end supports none of them.
    #[must_use]
    pub fn connect_with_protocols(&self, address: SocketAddr, protocols: &[&str]) -> TlsStream {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.path("ca.pem")).expect("it belongs to this test"))
            .expect("it is one");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("there are versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").expect("it is a name");
        let mut session = ClientConnection::new(Arc::new(config), name).expect("it is a name");
        let mut stream = TcpStream::connect(address).expect("the relay listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("the socket is open");
        while session.is_handshaking() {
            session.complete_io(&mut stream).expect("the relay shows a certificate of this authority");
        }
        StreamOwned::new(session, stream)
    }

    /// Head and body of the response to a GET request.
    ///
    /// # Panics
    /// If nothing answers.
    #[must_use]
    pub fn get(&self, address: SocketAddr, path: &str) -> String {
        let mut stream = self.connect(address);
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the relay reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("the relay answers");
        text
    }
}
