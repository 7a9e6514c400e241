//! TLS: the relay's certificate, and the authorities that command-line clients trust.
//!
//! Both ends select the crypto provider `ring` explicitly instead of relying on the process default.

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

/// Maximum duration of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the relay's certificate and key.
pub(super) fn server_config(files: &TlsFiles) -> anyhow::Result<Arc<ServerConfig>> {
    let certificates = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("cannot use the private key {}", files.key.display()))?;
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let config = config.with_no_client_auth().with_single_cert(certificates, key);
    let mut config = config.with_context(|| format!("cannot use the certificate {}", files.cert.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The same configuration for a port that also accepts HTTP/2, which gRPC uses.
#[must_use]
pub fn with_http2(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Builds the configuration of a client that trusts this machine's authorities and the one in the file `ca`.
///
/// # Errors
/// Fails if the file cannot be read or contains no certificate.
pub fn client_config(ca: Option<&Path>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    // A machine may have no authorities, or some that cannot be read.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in ca.map(certificates).transpose()?.into_iter().flatten() {
        roots.add(certificate)?;
    }
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Performs the TLS handshake over `stream`. Returns `None` if it fails or takes too long.
pub async fn accept(config: Arc<ServerConfig>, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    let handshake = TlsAcceptor::from(config).accept(stream);
    tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await.ok()?.ok()
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let cannot_use = || format!("cannot use the certificate {}", file.display());
    let found = CertificateDer::pem_file_iter(file).with_context(cannot_use)?;
    let found = found.collect::<Result<Vec<_>, _>>().with_context(cannot_use)?;
    anyhow::ensure!(!found.is_empty(), "{}: the file contains none", cannot_use());
    Ok(found)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
