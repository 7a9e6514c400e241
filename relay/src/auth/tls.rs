//! Encryption: what this relay shows of itself, and whom its command-line clients believe.
//!
//! Both ends name `ring` as their cryptography instead of relying on a default of the process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::TlsFiles;

/// How long the handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// Reads a certificate.
pub(super) fn server(files: &TlsFiles) -> anyhow::Result<Arc<ServerConfig>> {
    let certificates = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("cannot use the private key {}", files.key.display()))?;
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let config = config.with_no_client_auth().with_single_cert(certificates, key);
    let mut config = config.with_context(|| format!("cannot use the certificate {}", files.cert.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What a client believes: the authorities of this machine, and the one in the file `ca`.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub fn client(ca: Option<&Path>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    // A machine may have none, or some that nobody can read.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in ca.map(certificates).transpose()?.into_iter().flatten() {
        roots.add(certificate)?;
    }
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Shakes hands over `stream`; nothing where the other end does not, in time.
pub async fn accept(config: Arc<ServerConfig>, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    let handshake = TlsAcceptor::from(config).accept(stream);
    tokio::time::timeout(HANDSHAKE_DEADLINE, handshake).await.ok()?.ok()
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let cannot = || format!("cannot use the certificate {}", file.display());
    let found = CertificateDer::pem_file_iter(file).with_context(cannot)?;
    let found = found.collect::<Result<Vec<_>, _>>().with_context(cannot)?;
    anyhow::ensure!(!found.is_empty(), "{}: there is none in it", cannot());
    Ok(found)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
