//! Reads a key set from its file, or with one HTTP request. Follows no redirects.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use axum::http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::KeySet;
use crate::auth::tls;
use crate::config::{Jwks, JwksSource};

/// Maximum time of a request, from the name lookup to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a key set, in bytes. Thirty keys with certificates have about 100 KB.
const BYTES_MAX: usize = 256 << 10;

/// A key set, and how long its provider allows to keep it.
#[derive(Debug)]
pub struct Fetched {
    /// The keys.
    pub keys: KeySet,
    /// The `max-age` of the answer, if it has one.
    pub max_age: Option<Duration>,
}

/// Reads the key set that `jwks` names.
///
/// # Errors
/// Fails if it cannot be read within 5 s, has more than 256 KiB, or has no usable key.
pub async fn fetch(jwks: &Jwks) -> anyhow::Result<Fetched> {
    match &jwks.source {
        JwksSource::File(path) => Ok(Fetched { keys: read_file(path)?, max_age: None }),
        JwksSource::Url(url) => {
            let fetched = tokio::time::timeout(TIMEOUT, fetch_url(url, jwks.ca.as_deref())).await;
            let fetched = fetched.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", TIMEOUT.as_secs())));
            fetched.with_context(|| format!("cannot fetch the key set {url}"))
        }
    }
}

/// Reads the key set in a file.
///
/// # Errors
/// See [`fetch`].
pub fn read_file(path: &Path) -> anyhow::Result<KeySet> {
    let cannot_use = || format!("cannot use the key set {}", path.display());
    let file = std::fs::File::open(path).with_context(cannot_use)?;
    let mut text = Vec::new();
    file.take(BYTES_MAX as u64 + 1).read_to_end(&mut text).with_context(cannot_use)?;
    anyhow::ensure!(text.len() <= BYTES_MAX, "{}: it has more than {BYTES_MAX} bytes", cannot_use());
    KeySet::parse(&text).map_err(anyhow::Error::msg).with_context(cannot_use)
}

async fn fetch_url(url: &Uri, ca: Option<&Path>) -> anyhow::Result<Fetched> {
    let is_tls = url.scheme_str() == Some("https");
    let host = url.host().context("the address has no host")?;
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((name.as_str(), port)).await.context("cannot connect")?;
    if is_tls {
        let connector = TlsConnector::from(tls::client_config(ca)?);
        let stream =
            connector.connect(ServerName::try_from(name)?, stream).await.context("the TLS handshake failed")?;
        request(url, stream).await
    } else {
        request(url, stream).await
    }
}

async fn request(url: &Uri, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> anyhow::Result<Fetched> {
    let authority = url.authority().context("the address has no host")?.as_str();
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .header(header::USER_AGENT, concat!("joey/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Body::empty())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the connection, when the answer has been read or is dropped.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.context("the server did not answer")?;
    let status = answer.status();
    if status.is_redirection() {
        let to = answer.headers().get(header::LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
        let to = to.map(|to| format!(" to {}", joey_shared::series::escape_name(to.as_bytes()))).unwrap_or_default();
        anyhow::bail!("it answers {status}{to}, and redirects are not followed");
    }
    anyhow::ensure!(status == StatusCode::OK, "it answers {status}");
    let max_age = answer.headers().get(header::CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
    let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("{error}; a key set has at most {BYTES_MAX} bytes"))?.to_bytes();
    Ok(Fetched { keys: KeySet::parse(&body).map_err(anyhow::Error::msg)?, max_age })
}

/// The `max-age` of a header `Cache-Control`.
fn max_age(value: &str) -> Option<Duration> {
    let seconds = value.split(',').find_map(|directive| {
        let (name, seconds) = directive.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| seconds.trim_matches('"').parse().ok())?
    });
    seconds.map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_an_answer_is_read_from_its_header() {
        let check = |value: &str, seconds: Option<u64>| {
            assert_eq!(max_age(value), seconds.map(Duration::from_secs), "{value}");
        };
        check("max-age=60", Some(60));
        check("public, Max-Age=\"3600\", must-revalidate", Some(3_600));
        check("no-store", None);
        check("max-age=soon", None);
        check("s-maxage=5", None);
    }
}
