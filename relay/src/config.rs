//! Every address, limit and default of the relay, in one place.
//!
//! A value comes from the first of: a flag, an environment variable, the TOML file, the default. All of it is read before
//! a port is opened.

mod exposure;
mod nats_url;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use joey_shared::address;
use joey_shared::wire::RELAYS_MAX;
use serde::Deserialize;

pub use self::exposure::check_exposure;
pub use self::nats_url::NatsUrl;
use crate::runtime::clock;

/// Whom tokens are for, unless something else was agreed.
pub(crate) const AUDIENCE: &str = "joey";

/// What may be set, each as a flag, as an environment variable and in the file.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where producers connect (Wallaroo's `--metrics`) [default: 127.0.0.1:5001]
    #[arg(long, env = "JOEY_INGEST", value_name = "ADDR")]
    pub ingest: Option<SocketAddr>,
    /// Where viewers and browsers connect [default: 127.0.0.1:4000]
    #[arg(long, env = "JOEY_HTTP", value_name = "ADDR")]
    pub http: Option<SocketAddr>,
    /// Serve the page from this directory instead of the built-in one
    #[arg(long, env = "JOEY_UI_DIR", value_name = "DIR")]
    pub ui_dir: Option<PathBuf>,
    /// Pages from this origin may connect too, for example `https://ui.example.com` or `https://*.example.com`; repeatable
    #[arg(long = "origin", env = "JOEY_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub origins: Option<Vec<String>>,
    /// Tell viewers that they may come here too should this relay be gone, for example wss://relay.example; repeatable, this
    /// relay's own public address among them
    #[arg(long, env = "JOEY_ADVERTISE", value_name = "URL", value_delimiter = ',')]
    pub advertise: Option<Vec<String>>,
    /// Viewers need a token that this key has signed: a file with a secret of 32 bytes or more (HS256), or an Ed25519 key in
    /// PEM (EdDSA); repeatable while one key takes another's place
    #[arg(long = "token-key", env = "JOEY_TOKEN_KEY", value_name = "FILE", value_delimiter = ',', value_parser = trimmed_path)]
    pub token_keys: Option<Vec<PathBuf>>,
    /// Whom tokens must be for, their claim `aud` [default: joey]
    #[arg(long, env = "JOEY_TOKEN_AUDIENCE", value_name = "NAME")]
    pub token_audience: Option<String>,
    /// Only producers in these networks may send, for example 10.0.0.0/8,192.0.2.7
    #[arg(long, env = "JOEY_PRODUCERS_ALLOW", value_name = "CIDR,…", value_delimiter = ',')]
    pub producers_allow: Option<Vec<String>>,
    /// Encrypt the viewers' port with this certificate, in PEM
    #[arg(long, env = "JOEY_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, env = "JOEY_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Encrypt the producers' port too (no Wallaroo worker can; a tunnel in front of it can)
    #[arg(long, env = "JOEY_INGEST_TLS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub ingest_tls: Option<bool>,
    /// Listen beyond loopback although anybody who reaches the ports may then send and watch
    #[arg(long, env = "JOEY_INSECURE_OPEN", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub insecure_open: Option<bool>,
    /// Share what comes in with other relays through this NATS server, for example nats://10.1.0.7, tls://user:pass@host:4222,
    /// nats://token@host; repeatable, for the servers of a cluster
    #[arg(long, env = "JOEY_NATS", value_name = "URL,…", value_delimiter = ',', hide_env_values = true)]
    pub nats: Option<Vec<NatsUrl>>,
    /// Show NATS the credentials in this file, as `nsc` writes them, or the seed of an nkey
    #[arg(long, env = "JOEY_NATS_CREDS", value_name = "FILE")]
    pub nats_creds: Option<PathBuf>,
    /// Believe NATS servers that this authority vouches for, and no others: a certificate in PEM
    #[arg(long, env = "JOEY_NATS_CA", value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,
    /// What the NATS subjects of these relays begin with; relays of another prefix are another installation [default: joey]
    #[arg(long, env = "JOEY_NATS_PREFIX", value_name = "NAME")]
    pub nats_prefix: Option<String>,
    /// How many seconds of history to keep [default: 300]
    #[arg(long, env = "JOEY_RING_SECS", value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub ring_secs: Option<u64>,
    /// How many seconds of sums over ten seconds to keep behind that, for long windows and slow viewers; 0 is none [default: 3600]
    #[arg(long, env = "JOEY_SUM_SECS", value_name = "N", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub sum_secs: Option<u64>,
    /// How many bytes of history to keep, over all applications [default: 67108864]
    #[arg(long, env = "JOEY_RING_BYTES", value_name = "N")]
    pub ring_bytes: Option<u64>,
    /// How long an update may wait for company before it is sent, in ms; it waits less for few viewers and after a pause [default: 50]
    #[arg(long, env = "JOEY_BATCH_MS", value_name = "N", value_parser = clap::value_parser!(u64).range(0..=1_000))]
    pub batch_ms: Option<u64>,
    /// Longest producer frame in bytes [default: 16384]
    #[arg(long, env = "JOEY_FRAME_BYTES", value_name = "N", value_parser = clap::value_parser!(u64).range(1_024..=1_048_576))]
    pub frame_bytes: Option<u64>,
    /// Most applications [default: 1000]
    #[arg(long, env = "JOEY_APPS", value_name = "N")]
    pub apps: Option<usize>,
    /// Most series in one application [default: 10000]
    #[arg(long, env = "JOEY_SERIES_PER_APP", value_name = "N")]
    pub series_per_app: Option<usize>,
    /// Most series in all [default: 50000]
    #[arg(long, env = "JOEY_SERIES", value_name = "N")]
    pub series: Option<usize>,
    /// Most viewers at once [default: 10000]
    #[arg(long, env = "JOEY_VIEWERS", value_name = "N")]
    pub viewers: Option<usize>,
    /// Most producer connections at once [default: 1000]
    #[arg(long, env = "JOEY_PRODUCERS", value_name = "N")]
    pub producers: Option<usize>,
    /// Most connections from one address, for producers and for viewers; 0 is any number [default: 256]
    #[arg(long, env = "JOEY_PER_ADDRESS", value_name = "N")]
    pub per_address: Option<usize>,
    /// Most frames a second from one producer connection; ten times as many at once [default: 20000]
    #[arg(long, env = "JOEY_FRAMES_PER_SEC", value_name = "N")]
    pub frames_per_sec: Option<NonZeroU32>,
    /// Forget an application that nobody sends or watches after this many seconds [default: 3600]
    #[arg(long, env = "JOEY_FORGET_SECS", value_name = "N")]
    pub forget_secs: Option<u64>,
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those that vouch for it, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// The settled configuration of one relay.
#[derive(Clone, Debug)]
pub struct Config {
    /// Producers' listening address. Default: 127.0.0.1:5001, the port in every Wallaroo guide.
    pub ingest: SocketAddr,
    /// Viewers' listening address. Default: 127.0.0.1:4000.
    pub http: SocketAddr,
    /// Directory of the built page; the embedded one otherwise.
    pub ui_dir: Option<PathBuf>,
    /// Origins that may connect besides the relay's own, as `scheme://host[:port]`.
    pub origins: Vec<String>,
    /// Where viewers may go, should this relay be gone. Default: they are told nothing.
    pub advertise: Vec<String>,
    /// Files of the keys that viewers' tokens are signed with. Default: none, and no viewer needs a token.
    pub token_keys: Vec<PathBuf>,
    /// Whom tokens must be for. Default: `joey`.
    pub token_audience: String,
    /// Networks that producers may send from. Default: any.
    pub producers_allow: Option<Vec<String>>,
    /// Certificate of the viewers' port. Default: none, and nothing is encrypted.
    pub tls: Option<TlsFiles>,
    /// Whether the producers' port is encrypted too. Default: no.
    pub ingest_tls: bool,
    /// Whether addresses beyond loopback are allowed without access rules. Default: no.
    pub insecure_open: bool,
    /// NATS servers through which relays share what comes in. Default: none, and this relay is alone.
    pub nats: Vec<NatsUrl>,
    /// Credentials for NATS. Default: those in the addresses, if any.
    pub nats_creds: Option<PathBuf>,
    /// The authority to believe about NATS servers. Default: those of the machine.
    pub nats_ca: Option<PathBuf>,
    /// What NATS subjects begin with. Default: `joey`.
    pub nats_prefix: String,
    /// Whether this relay makes up its own producers.
    pub demo: bool,
    /// Age at which history is dropped. Default: 300 s, the longest window of the original page.
    pub ring: Duration,
    /// Age at which the sums of what has left the ring are dropped. Default: 1 h, the longest window of the page. Zero: no sums.
    pub sums: Duration,
    /// Bytes of history over all applications, oldest of the largest dropped first. Default: 64 MiB.
    pub ring_bytes_max: u64,
    /// How long an update may wait for company; few viewers, or a pause before it, and it waits less. Default: 50 ms, invisible
    /// beside a period of two seconds.
    pub batch_delay: Duration,
    /// Longest producer frame in bytes. Default: 16 KiB, ten times a real one. A longer claim ends the connection.
    pub frame_bytes_max: usize,
    /// Applications. Default: 1,000. Frames beyond are refused and counted.
    pub apps_max: usize,
    /// Series in one application. Default: 10,000. Frames beyond are refused and counted.
    pub series_per_app_max: usize,
    /// Series in all. Default: 50,000. Frames beyond are refused and counted.
    pub series_max: usize,
    /// Workers remembered in one application: 1,000; the one gone longest makes room.
    pub workers_per_app_max: usize,
    /// Viewers at once. Default: 10,000; one more is told so and closed.
    pub viewers_max: usize,
    /// Producer connections at once. Default: 1,000; one more is closed and counted.
    pub producers_max: usize,
    /// Frames a second from one producer connection, with ten seconds' worth at once. Default: 20,000, a hundred times what a
    /// large worker sends. What exceeds it is dropped and counted while reading goes on.
    pub frames_per_sec_max: NonZeroU32,
    /// Connections from one address to each port. Default: 256; 0 is any number, for a proxy on the same machine.
    pub per_address_max: usize,
    /// Subscriptions of one viewer: 1,000; one more is refused.
    pub subscriptions_max: usize,
    /// When an application that nobody sends or watches is forgotten. Default: 1 h.
    pub forget_after: Duration,
    /// How long a frame may take from its first byte to its last: 10 s.
    pub frame_deadline: Duration,
    /// How often a viewer that hears nothing else is told that the relay lives: 5 s.
    pub heartbeat: Duration,
    /// How long a viewer may take nothing while data waits: 30 s.
    pub stall_deadline: Duration,
    /// How long stopping waits for viewers to say goodbye: 5 s.
    pub drain: Duration,
    /// The relay's clock in ns since the Unix epoch, which nobody can set. A simulation has its own.
    pub clock: fn() -> u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ingest: SocketAddr::from(([127, 0, 0, 1], 5001)),
            http: SocketAddr::from(([127, 0, 0, 1], 4000)),
            ui_dir: None,
            origins: Vec::new(),
            advertise: Vec::new(),
            token_keys: Vec::new(),
            token_audience: AUDIENCE.to_owned(),
            producers_allow: None,
            tls: None,
            ingest_tls: false,
            insecure_open: false,
            nats: Vec::new(),
            nats_creds: None,
            nats_ca: None,
            nats_prefix: "joey".to_owned(),
            demo: false,
            ring: Duration::from_secs(300),
            sums: Duration::from_secs(3_600),
            ring_bytes_max: 64 << 20,
            batch_delay: Duration::from_millis(50),
            frame_bytes_max: 16 << 10,
            apps_max: 1_000,
            series_per_app_max: 10_000,
            series_max: 50_000,
            workers_per_app_max: 1_000,
            viewers_max: 10_000,
            producers_max: 1_000,
            per_address_max: 256,
            frames_per_sec_max: at_least_one(20_000),
            subscriptions_max: 1_000,
            forget_after: Duration::from_secs(3_600),
            frame_deadline: Duration::from_secs(10),
            heartbeat: Duration::from_secs(5),
            stall_deadline: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            clock: clock::steady_ns,
        }
    }
}

impl Config {
    /// The time in ns since the Unix epoch, by the relay's own clock.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        (self.clock)()
    }

    /// Settles `options`, with `file` behind them and the defaults behind that.
    ///
    /// # Errors
    /// When a value is out of its range, half of a pair is missing, or an address is not loopback and nothing says who may
    /// come in there.
    pub fn settle(options: Options, file: Options, demo: bool) -> anyhow::Result<Self> {
        let defaults = Self::default();
        let tls = match (options.tls_cert.or(file.tls_cert), options.tls_key.or(file.tls_key)) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            _ => anyhow::bail!("tls_cert and tls_key go together"),
        };
        let config = Self {
            ingest: options.ingest.or(file.ingest).unwrap_or(defaults.ingest),
            http: options.http.or(file.http).unwrap_or(defaults.http),
            ui_dir: options.ui_dir.or(file.ui_dir),
            origins: trimmed(options.origins.or(file.origins).unwrap_or_default()),
            advertise: trimmed(options.advertise.or(file.advertise).unwrap_or_default()),
            token_keys: options.token_keys.or(file.token_keys).unwrap_or_default(),
            token_audience: options.token_audience.or(file.token_audience).unwrap_or(defaults.token_audience),
            producers_allow: options.producers_allow.or(file.producers_allow).map(trimmed),
            tls,
            ingest_tls: options.ingest_tls.or(file.ingest_tls).unwrap_or(false),
            insecure_open: options.insecure_open.or(file.insecure_open).unwrap_or(false),
            nats: options.nats.or(file.nats).unwrap_or_default(),
            nats_creds: options.nats_creds.or(file.nats_creds),
            nats_ca: options.nats_ca.or(file.nats_ca),
            nats_prefix: options.nats_prefix.or(file.nats_prefix).unwrap_or(defaults.nats_prefix),
            demo,
            ring: options.ring_secs.or(file.ring_secs).map_or(defaults.ring, Duration::from_secs),
            sums: options.sum_secs.or(file.sum_secs).map_or(defaults.sums, Duration::from_secs),
            ring_bytes_max: options.ring_bytes.or(file.ring_bytes).unwrap_or(defaults.ring_bytes_max),
            batch_delay: options.batch_ms.or(file.batch_ms).map_or(defaults.batch_delay, Duration::from_millis),
            frame_bytes_max: options
                .frame_bytes
                .or(file.frame_bytes)
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(defaults.frame_bytes_max),
            apps_max: options.apps.or(file.apps).unwrap_or(defaults.apps_max),
            series_per_app_max: options.series_per_app.or(file.series_per_app).unwrap_or(defaults.series_per_app_max),
            series_max: options.series.or(file.series).unwrap_or(defaults.series_max),
            viewers_max: options.viewers.or(file.viewers).unwrap_or(defaults.viewers_max),
            producers_max: options.producers.or(file.producers).unwrap_or(defaults.producers_max),
            frames_per_sec_max: options.frames_per_sec.or(file.frames_per_sec).unwrap_or(defaults.frames_per_sec_max),
            per_address_max: options.per_address.or(file.per_address).unwrap_or(defaults.per_address_max),
            forget_after: options.forget_secs.or(file.forget_secs).map_or(defaults.forget_after, Duration::from_secs),
            ..defaults
        };
        for (option, value, allowed) in [
            ("ring_secs", config.ring.as_secs(), 1..=86_400),
            ("sum_secs", config.sums.as_secs(), 0..=86_400),
            ("batch_ms", u64::try_from(config.batch_delay.as_millis()).unwrap_or(u64::MAX), 0..=1_000),
            ("frame_bytes", config.frame_bytes_max as u64, 1_024..=1_048_576),
        ] {
            anyhow::ensure!(allowed.contains(&value), "{option} = {value} is not in {allowed:?}");
        }
        for relay in &config.advertise {
            anyhow::ensure!(check_address(relay), "advertise = {relay} is not an address such as wss://relay.example");
        }
        anyhow::ensure!(config.advertise.len() <= RELAYS_MAX, "advertise names more than {RELAYS_MAX} relays");
        anyhow::ensure!(!config.ingest_tls || config.tls.is_some(), "ingest_tls needs tls_cert and tls_key");
        anyhow::ensure!(!config.ingest_tls || !demo, "made-up producers do not encrypt; leave ingest_tls out");
        check_nats_prefix(&config.nats_prefix)?;
        check_exposure(&config)?;
        Ok(config)
    }
}

/// Whether viewers may be sent to `relay`: a complete address in ASCII that the page and the command line can use.
pub(crate) fn check_address(relay: &str) -> bool {
    relay.is_ascii() && address::is_whole(relay) && address::websocket(relay, false).is_some()
}

/// Checks what NATS subjects are to begin with.
///
/// # Errors
/// When a subject cannot begin so.
fn check_nats_prefix(prefix: &str) -> anyhow::Result<()> {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    anyhow::ensure!(
        prefix.len() <= 100 && prefix.split('.').all(is_word),
        "nats_prefix = {prefix:?}: letters, digits, - and _, in words with dots between"
    );
    Ok(())
}

/// The entries of a list, without the spaces that people write after commas.
pub(crate) fn trimmed(list: Vec<String>) -> Vec<String> {
    list.iter().map(|entry| entry.trim().to_owned()).collect()
}

/// An entry of a list of files.
fn trimmed_path(entry: &str) -> Result<PathBuf, Infallible> {
    Ok(PathBuf::from(entry.trim()))
}

/// `number`, or 1 for 0: a rate that a constant can hold.
pub(crate) const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// Reads the TOML file at `path`.
///
/// # Errors
/// When it cannot be read, or holds something that is not an option.
pub fn read_file(path: &Path) -> anyhow::Result<Options> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("cannot use {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let file: Options = toml::from_str("ring_secs = 60\nbatch_ms = 10\norigins = [\"https://a.example\"]").unwrap();
        let flags = Options { batch_ms: Some(20), ..Options::default() };
        let config = Config::settle(flags, file, false).unwrap();
        assert_eq!((config.ring.as_secs(), config.batch_delay.as_millis(), config.http.port()), (60, 20, 4000));
        assert_eq!(config.origins, ["https://a.example"]);
    }

    #[test]
    fn spaces_around_the_entries_of_a_list_mean_nothing() {
        let file = "producers_allow = [' 10.0.0.0/8 ']\nnats = [' NATS://a.example', 'b.example ']";
        let origins = Some(vec!["https://a.example".to_owned(), " https://b.example".to_owned()]);
        let advertise = Some(vec![" WSS://a.example ".to_owned()]);
        let flags = Options { origins, advertise, ..Options::default() };
        let config = Config::settle(flags, toml::from_str(file).unwrap(), false).unwrap();
        assert_eq!(config.origins, ["https://a.example", "https://b.example"]);
        assert_eq!(config.advertise, ["WSS://a.example"]);
        assert_eq!(config.producers_allow.as_deref(), Some(["10.0.0.0/8".to_owned()].as_slice()));
        assert_eq!(format!("{:?}", config.nats), "[nats://a.example:4222, nats://b.example:4222]");
    }

    #[test]
    fn a_nats_prefix_is_words() {
        for prefix in ["", ".", "a.", ".a", "a..b", "a b", "a.*", ">", "ä", "a\n"] {
            assert!(check_nats_prefix(prefix).is_err(), "{prefix:?}");
        }
        assert!(check_nats_prefix("team-1.joey").is_ok());
    }

    #[test]
    fn a_misspelt_option_is_an_error() {
        assert!(toml::from_str::<Options>("ring_sec = 60").unwrap_err().to_string().contains("ring_sec"));
    }

    #[test]
    fn beyond_loopback_needs_a_word() {
        let open = |insecure_open| {
            let flags = Options { http: "0.0.0.0:4000".parse().ok(), insecure_open, ..Options::default() };
            Config::settle(flags, Options::default(), false)
        };
        assert!(open(None).unwrap_err().to_string().contains("--insecure-open"));
        assert!(open(Some(true)).is_ok());
    }

    #[test]
    fn half_a_certificate_is_an_error() {
        let settle = |file: &str| Config::settle(Options::default(), toml::from_str(file).unwrap(), false);
        assert!(settle("tls_cert = 'cert.pem'").is_err() && settle("tls_key = 'key.pem'").is_err());
        assert!(settle("ingest_tls = true").is_err());
        let whole = settle("tls_cert = 'cert.pem'\ntls_key = 'key.pem'\ningest_tls = true").unwrap();
        assert_eq!(whole.tls, Some(TlsFiles { cert: "cert.pem".into(), key: "key.pem".into() }));
    }
}
