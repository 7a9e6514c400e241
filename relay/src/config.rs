//! All addresses, limits and defaults of the relay.
//!
//! A flag takes precedence over an environment variable, the variable over the TOML file, and the file over the default. All
//! options are read before a port is opened.

mod byte_size;
mod exposure;
mod listen;
mod nats_url;
mod options;
mod statsd;
mod tokens;
mod watch;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use joey_shared::address;
use joey_shared::series::check_name;
use joey_shared::wire::RELAYS_MAX;

pub use self::byte_size::ByteSize;
pub use self::exposure::check_exposure;
pub use self::listen::{Listen, ListenOption};
pub use self::nats_url::NatsUrl;
pub(crate) use self::options::parse_host_port;
pub use self::options::{Options, read_file};
pub use self::statsd::{Statsd, StatsdUnit};
pub use self::tokens::{ClaimName, Jwks, JwksSource, TokenRules};
pub use self::watch::{Span, WatchConfig, WebhookFormat, WebhookUrl};
use crate::runtime::clock;

/// The default audience of tokens.
pub(crate) const DEFAULT_AUDIENCE: &str = "joey";

/// Smallest accepted size of the journal, in bytes. It consists of several segments, and one must hold a state.
const JOURNAL_BYTES_MIN: u64 = 1 << 20;

/// The attributes of OpenTelemetry's semantic conventions that name an operation. They have few values, unlike addresses and
/// identifiers.
pub const OTLP_ATTRIBUTES: [&str; 9] = [
    "http.request.method",
    "http.route",
    "rpc.service",
    "rpc.method",
    "db.operation.name",
    "db.collection.name",
    "db.system.name",
    "messaging.operation.name",
    "messaging.destination.name",
];

/// The files of a TLS certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// The options of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Its directory.
    pub dir: PathBuf,
    /// Maximum size in bytes, except for one record. The oldest segment is deleted first.
    pub bytes_max: u64,
    /// Whether each write is synchronized with the disk before it counts as written, so that it survives a power failure.
    pub is_synced: bool,
}

/// The resolved configuration of one relay.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on for producers. Default: 127.0.0.1:5001, the port in every Wallaroo guide.
    pub ingest: SocketAddr,
    /// Address to listen on for viewers. Default: 127.0.0.1:4000.
    pub http: SocketAddr,
    /// Where to listen for OTLP over HTTP. Default: 127.0.0.1:4318, if it is free.
    pub otlp_http: Listen,
    /// Where to listen for OTLP over gRPC. Default: 127.0.0.1:4317, if it is free.
    pub otlp_grpc: Listen,
    /// Directory of the built page. Default: the embedded page.
    pub ui_dir: Option<PathBuf>,
    /// Origins that may connect in addition to the relay's own, as `scheme://host[:port]`.
    pub origins: Vec<String>,
    /// Relay addresses announced to viewers as fallbacks. Default: none.
    pub advertise: Vec<String>,
    /// Files of the keys that sign viewers' tokens. Default: none, so viewers need no token.
    pub token_keys: Vec<PathBuf>,
    /// Required audience of tokens. Default: `joey`.
    pub token_audience: String,
    /// Key set of an identity provider, which signs viewers' tokens. Default: none.
    pub jwks: Option<Jwks>,
    /// What tokens must claim besides the audience, and how their claims are read.
    pub token_rules: TokenRules,
    /// Networks that producers may connect from. Default: any.
    pub producers_allow: Option<Vec<String>>,
    /// Certificate for HTTP connections. Default: none, so they are not encrypted.
    pub tls: Option<TlsFiles>,
    /// Whether producers must connect over TLS too. Default: no.
    pub ingest_tls: bool,
    /// Whether the relay may listen beyond loopback without access control. Default: no.
    pub insecure_open: bool,
    /// NATS servers through which relays share data. Default: none, so this relay is not clustered.
    pub nats: Vec<NatsUrl>,
    /// Credentials file for NATS. Default: the credentials in the addresses, if any.
    pub nats_creds: Option<PathBuf>,
    /// Certificate authority to trust for NATS servers. Default: the machine's authorities.
    pub nats_ca: Option<PathBuf>,
    /// Prefix of NATS subjects. Default: `joey`.
    pub nats_prefix: String,
    /// Whether this relay runs simulated producers.
    pub demo: bool,
    /// Age at which batches leave the ring buffers. Default: 300 s, the longest window of the original page.
    pub ring: Duration,
    /// Age at which the rollups of old batches are evicted. Default: 1 h, the longest window of the page. Zero disables rollups.
    pub rollups: Duration,
    /// Maximum bytes of history over all applications. The oldest batch of the largest history is evicted first. Default: 64 MiB.
    pub ring_bytes_max: u64,
    /// The journal, which is off by default.
    pub journal: Option<JournalConfig>,
    /// Maximum time that an update waits for its batch to be cut. With few viewers, or after a pause, it waits less.
    /// Default: 50 ms, which is invisible beside a period of 2 s.
    pub batch_delay: Duration,
    /// Maximum size of a producer frame. Default: 16 KiB, ten times a real one. A longer frame closes the connection.
    pub frame_bytes_max: usize,
    /// Maximum number of applications. Default: 1,000. Frames of more applications are rejected and counted.
    pub apps_max: usize,
    /// Maximum number of series in one application. Default: 10,000. Frames of more series are rejected and counted.
    pub series_per_app_max: usize,
    /// Maximum number of series in total. Default: 50,000. Frames of more series are rejected and counted.
    pub series_max: usize,
    /// Maximum number of workers listed for one application: 1,000. The worker that left longest ago is evicted first.
    pub workers_per_app_max: usize,
    /// Maximum number of connected viewers. Default: 10,000. The next one is closed with a reason.
    pub viewers_max: usize,
    /// Maximum number of producer connections. Default: 1,000. The next one is closed and counted.
    pub producers_max: usize,
    /// Maximum frames per second from one producer connection, with bursts of ten times as many. Default: 20,000, a hundred times
    /// what a large worker sends. More frames are rejected and counted while the connection stays open.
    pub frames_per_sec_max: NonZeroU32,
    /// Maximum connections from one address to each port. Default: 256. 0 means unlimited, for a proxy on the same machine.
    pub per_address_max: usize,
    /// Maximum subscriptions of one viewer: 1,000. The next one is rejected.
    pub subscriptions_max: usize,
    /// Attributes whose values name OpenTelemetry series. Default: [`OTLP_ATTRIBUTES`].
    pub otlp_attributes: Vec<String>,
    /// Maximum number of names that attributes add to one OpenTelemetry instrument of one application. Default: 200. The rest are
    /// added to one series and counted.
    pub otlp_attribute_sets_max: usize,
    /// Time after which an application without producers and viewers is forgotten. Default: 1 h.
    pub forget_after: Duration,
    /// Maximum time from the first byte of a frame to its last: 10 s.
    pub frame_timeout: Duration,
    /// Interval of heartbeats to a viewer that receives nothing else: 5 s.
    pub heartbeat: Duration,
    /// Maximum time that a viewer may read nothing while data is waiting: 30 s.
    pub stall_timeout: Duration,
    /// Maximum time that shutdown waits for producers, and then for viewers: 5 s.
    pub shutdown_timeout: Duration,
    /// Patterns of the views at `/metrics/views`. Default: none, so it does not exist.
    pub metrics_views: Vec<String>,
    /// The objectives that the relay watches itself. Default: none.
    pub watch: Option<WatchConfig>,
    /// StatsD, which is off by default.
    pub statsd: Statsd,
    /// Whether the relay shows measurements of itself as an application. Default: no.
    pub self_metrics: bool,
    /// The relay's monotonic clock in ns since the Unix epoch. A simulation has its own.
    pub clock: fn() -> u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ingest: SocketAddr::from(([127, 0, 0, 1], 5001)),
            http: SocketAddr::from(([127, 0, 0, 1], 4000)),
            otlp_http: Listen::IfFree(SocketAddr::from(([127, 0, 0, 1], 4318))),
            otlp_grpc: Listen::IfFree(SocketAddr::from(([127, 0, 0, 1], 4317))),
            ui_dir: None,
            origins: Vec::new(),
            advertise: Vec::new(),
            token_keys: Vec::new(),
            token_audience: DEFAULT_AUDIENCE.to_owned(),
            jwks: None,
            token_rules: TokenRules::default(),
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
            rollups: Duration::from_secs(3_600),
            ring_bytes_max: 64 << 20,
            journal: None,
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
            otlp_attributes: OTLP_ATTRIBUTES.map(str::to_owned).to_vec(),
            otlp_attribute_sets_max: 200,
            forget_after: Duration::from_secs(3_600),
            frame_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(5),
            metrics_views: Vec::new(),
            watch: None,
            statsd: Statsd::default(),
            self_metrics: false,
            clock: clock::monotonic_ns,
        }
    }
}

impl Config {
    /// The time in ns since the Unix epoch, by the relay's own clock.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        (self.clock)()
    }

    /// Whether viewers need a token.
    #[must_use]
    pub fn requires_token(&self) -> bool {
        !self.token_keys.is_empty() || self.jwks.is_some()
    }

    /// Resolves `options`, then `file`, then the defaults.
    ///
    /// # Errors
    /// Fails if a value is out of range, one option of a pair is missing, or an address beyond loopback has no access control.
    pub fn resolve(options: Options, file: Options, demo: bool) -> anyhow::Result<Self> {
        let defaults = Self::default();
        let watch = WatchConfig::resolve(&options, &file)?;
        let tls = match (options.tls_cert.or(file.tls_cert), options.tls_key.or(file.tls_key)) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            _ => anyhow::bail!("--tls-cert and --tls-key must be set together"),
        };
        let (issuer, rules) = (options.token_issuer.or(file.token_issuer), defaults.token_rules);
        let leeway = options.token_leeway_secs.or(file.token_leeway_secs);
        let claim = |name: Option<String>, file, default| ClaimName::resolve(name.or(file), default);
        let token_rules = TokenRules {
            issuer: issuer.map(|issuer| issuer.trim().to_owned()),
            leeway: leeway.map_or(rules.leeway, Duration::from_secs),
            apps: claim(options.token_apps_claim, file.token_apps_claim, rules.apps),
            categories: claim(options.token_categories_claim, file.token_categories_claim, rules.categories),
            send: claim(options.token_send_claim, file.token_send_claim, rules.send),
        };
        let bytes = |size: Option<ByteSize>| size.map(|ByteSize(bytes)| bytes);
        let jwks_ca = options.jwks_ca.or(file.jwks_ca);
        let jwks = options.jwks.or(file.jwks).map(|source| Jwks { source, ca: jwks_ca.clone() });
        let config = Self {
            watch,
            ingest: options.ingest.or(file.ingest).unwrap_or(defaults.ingest),
            http: options.http.or(file.http).unwrap_or(defaults.http),
            otlp_http: options.otlp_http.or(file.otlp_http).map_or(defaults.otlp_http, Listen::from),
            otlp_grpc: options.otlp_grpc.or(file.otlp_grpc).map_or(defaults.otlp_grpc, Listen::from),
            ui_dir: options.ui_dir.or(file.ui_dir),
            origins: trimmed(options.origins.or(file.origins).unwrap_or_default()),
            advertise: trimmed(options.advertise.or(file.advertise).unwrap_or_default()),
            token_keys: options.token_keys.or(file.token_keys).unwrap_or_default(),
            token_audience: options.token_audience.or(file.token_audience).unwrap_or(defaults.token_audience),
            jwks,
            token_rules,
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
            rollups: options.sum_secs.or(file.sum_secs).map_or(defaults.rollups, Duration::from_secs),
            ring_bytes_max: bytes(options.ring_bytes.or(file.ring_bytes)).unwrap_or(defaults.ring_bytes_max),
            journal: options.journal.or(file.journal).map(|dir| JournalConfig {
                dir,
                bytes_max: bytes(options.journal_bytes.or(file.journal_bytes)).unwrap_or(256 << 20),
                is_synced: options.journal_sync.or(file.journal_sync).unwrap_or(false),
            }),
            batch_delay: options.batch_ms.or(file.batch_ms).map_or(defaults.batch_delay, Duration::from_millis),
            frame_bytes_max: bytes(options.frame_bytes.or(file.frame_bytes))
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(defaults.frame_bytes_max),
            apps_max: options.apps.or(file.apps).unwrap_or(defaults.apps_max),
            series_per_app_max: options.series_per_app.or(file.series_per_app).unwrap_or(defaults.series_per_app_max),
            series_max: options.series.or(file.series).unwrap_or(defaults.series_max),
            viewers_max: options.viewers.or(file.viewers).unwrap_or(defaults.viewers_max),
            producers_max: options.producers.or(file.producers).unwrap_or(defaults.producers_max),
            frames_per_sec_max: options.frames_per_sec.or(file.frames_per_sec).unwrap_or(defaults.frames_per_sec_max),
            per_address_max: options.per_address.or(file.per_address).unwrap_or(defaults.per_address_max),
            otlp_attributes: options
                .otlp_attributes
                .or(file.otlp_attributes)
                .map_or(defaults.otlp_attributes, |names| {
                    trimmed(names).into_iter().filter(|name| !name.is_empty()).collect()
                }),
            otlp_attribute_sets_max: options
                .otlp_attribute_sets
                .or(file.otlp_attribute_sets)
                .unwrap_or(defaults.otlp_attribute_sets_max),
            forget_after: options.forget_secs.or(file.forget_secs).map_or(defaults.forget_after, Duration::from_secs),
            self_metrics: options.self_metrics.or(file.self_metrics).unwrap_or(false),
            metrics_views: trimmed(options.metrics_views.or(file.metrics_views).unwrap_or_default()),
            statsd: Statsd {
                udp: options.statsd.or(file.statsd),
                socket: options.statsd_socket.or(file.statsd_socket),
                app: options.statsd_app.or(file.statsd_app).unwrap_or(defaults.statsd.app),
                unit: options.statsd_unit.or(file.statsd_unit).unwrap_or_default(),
                tags: options.statsd_tags.or(file.statsd_tags).map_or(defaults.statsd.tags, trimmed),
                out: options.statsd_out.or(file.statsd_out),
                out_prefix: options.statsd_out_prefix.or(file.statsd_out_prefix).unwrap_or(defaults.statsd.out_prefix),
            },
            ..defaults
        };
        for (option, value, allowed) in [
            ("ring_secs", config.ring.as_secs(), 1..=86_400),
            ("sum_secs", config.rollups.as_secs(), 0..=86_400),
            ("token_leeway_secs", config.token_rules.leeway.as_secs(), 0..=300),
            ("batch_ms", u64::try_from(config.batch_delay.as_millis()).unwrap_or(u64::MAX), 0..=1_000),
            ("frame_bytes", config.frame_bytes_max as u64, 1_024..=1_048_576),
        ] {
            anyhow::ensure!(allowed.contains(&value), "{option} = {value} is not in {allowed:?}");
        }
        anyhow::ensure!(
            config.journal.as_ref().is_none_or(|journal| journal.bytes_max >= JOURNAL_BYTES_MIN),
            "--journal-bytes must be at least {JOURNAL_BYTES_MIN}"
        );
        for relay in &config.advertise {
            anyhow::ensure!(
                is_relay_address(relay),
                "advertise = {relay} is not an address such as wss://relay.example"
            );
        }
        anyhow::ensure!(config.advertise.len() <= RELAYS_MAX, "advertise contains more than {RELAYS_MAX} relays");
        anyhow::ensure!(!config.ingest_tls || config.tls.is_some(), "--ingest-tls needs --tls-cert and --tls-key");
        anyhow::ensure!(!config.ingest_tls || !demo, "the demo's producers do not use TLS; remove --ingest-tls");
        // A provider signs tokens for many programs, and some sign those of several issuers with the same keys.
        anyhow::ensure!(
            config.jwks.is_none() || config.token_rules.issuer.is_some(),
            "--jwks needs --token-issuer: the issuer (claim iss) of the identity provider's tokens"
        );
        anyhow::ensure!(config.jwks.is_some() || jwks_ca.is_none(), "--jwks-ca needs --jwks");
        check_nats_prefix(&config.nats_prefix)?;
        let statsd_app = &config.statsd.app;
        anyhow::ensure!(
            !statsd_app.is_empty() && check_name(statsd_app.as_bytes()).is_ok(),
            "statsd_app = {statsd_app:?} is not a valid name"
        );
        let prefix = &config.statsd.out_prefix;
        anyhow::ensure!(
            !prefix.is_empty()
                && prefix.len() <= 100
                && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
            "statsd_out_prefix = {prefix:?} must consist of letters, digits, -, _ and dots"
        );
        if let Some(out) = &config.statsd.out {
            parse_host_port(out).map_err(|reason| anyhow::anyhow!("--statsd-out {out}: {reason}"))?;
        }
        check_exposure(&config)?;
        Ok(config)
    }
}

/// Whether `relay` is a complete address in ASCII that the page and the command line can connect to.
pub(crate) fn is_relay_address(relay: &str) -> bool {
    relay.is_ascii() && address::has_scheme(relay) && address::websocket(relay, false).is_some()
}

/// Checks the prefix of NATS subjects.
///
/// # Errors
/// Fails if a subject cannot begin with it.
fn check_nats_prefix(prefix: &str) -> anyhow::Result<()> {
    let is_token = |token: &str| {
        !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    anyhow::ensure!(
        prefix.len() <= 100 && prefix.split('.').all(is_token),
        "nats_prefix = {prefix:?} must consist of letters, digits, - and _, with dots between non-empty parts"
    );
    Ok(())
}

/// Trims the entries of a list, because people write spaces after commas.
pub(crate) fn trimmed(list: Vec<String>) -> Vec<String> {
    list.iter().map(|entry| entry.trim().to_owned()).collect()
}

/// `number`, or 1 if it is 0. For rates in constants.
pub(crate) const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_override_the_file_and_the_file_overrides_defaults() {
        let file: Options = toml::from_str("ring_secs = 60\nbatch_ms = 10\norigins = [\"https://a.example\"]").unwrap();
        let flags = Options { batch_ms: Some(20), ..Options::default() };
        let config = Config::resolve(flags, file, false).unwrap();
        assert_eq!((config.ring.as_secs(), config.batch_delay.as_millis(), config.http.port()), (60, 20, 4000));
        assert_eq!(config.origins, ["https://a.example"]);
    }

    #[test]
    fn spaces_around_list_entries_are_ignored() {
        let file = "producers_allow = [' 10.0.0.0/8 ']\nnats = [' NATS://a.example', 'b.example ']";
        let origins = Some(vec!["https://a.example".to_owned(), " https://b.example".to_owned()]);
        let advertise = Some(vec![" WSS://a.example ".to_owned()]);
        let flags = Options { origins, advertise, ..Options::default() };
        let config = Config::resolve(flags, toml::from_str(file).unwrap(), false).unwrap();
        assert_eq!(config.origins, ["https://a.example", "https://b.example"]);
        assert_eq!(config.advertise, ["WSS://a.example"]);
        assert_eq!(config.producers_allow.as_deref(), Some(["10.0.0.0/8".to_owned()].as_slice()));
        assert_eq!(format!("{:?}", config.nats), "[nats://a.example:4222, nats://b.example:4222]");
    }

    #[test]
    fn a_nats_prefix_must_be_valid_in_a_subject() {
        for prefix in ["", ".", "a.", ".a", "a..b", "a b", "a.*", ">", "ä", "a\n"] {
            assert!(check_nats_prefix(prefix).is_err(), "{prefix:?}");
        }
        assert!(check_nats_prefix("team-1.joey").is_ok());
    }

    #[test]
    fn the_attributes_that_name_otlp_series_can_be_replaced() {
        let resolve = |file: &str| {
            Config::resolve(Options::default(), toml::from_str(file).unwrap(), false).unwrap().otlp_attributes
        };
        assert_eq!(resolve(""), OTLP_ATTRIBUTES);
        assert_eq!(resolve("otlp_attributes = ['http.route', ' tenant ']"), ["http.route", "tenant"]);
        assert_eq!(resolve("otlp_attributes = ['']"), [""; 0]);
    }

    #[test]
    fn sizes_have_units_and_limits() {
        let resolve = |file: &str| Config::resolve(Options::default(), toml::from_str(file)?, false);
        let config = resolve("ring_bytes = '64M'\nframe_bytes = 2048\njournal = 'a'\njournal_bytes = '2G'").unwrap();
        let journal_bytes = config.journal.map(|journal| journal.bytes_max);
        assert_eq!((config.ring_bytes_max, config.frame_bytes_max), (64_000_000, 2_048));
        assert_eq!(journal_bytes, Some(2_000_000_000));
        for invalid in ["ring_bytes = '64MB'", "frame_bytes = '2M'", "journal = 'a'\njournal_bytes = '1k'"] {
            assert!(resolve(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn a_misspelled_option_is_an_error() {
        assert!(toml::from_str::<Options>("ring_sec = 60").unwrap_err().to_string().contains("ring_sec"));
    }

    #[test]
    fn listening_beyond_loopback_requires_insecure_open() {
        let open = |insecure_open| {
            let flags = Options { http: "0.0.0.0:4000".parse().ok(), insecure_open, ..Options::default() };
            Config::resolve(flags, Options::default(), false)
        };
        assert!(open(None).unwrap_err().to_string().contains("--insecure-open"));
        assert!(open(Some(true)).is_ok());
    }

    #[test]
    fn a_certificate_without_its_key_is_an_error() {
        let resolve = |file: &str| Config::resolve(Options::default(), toml::from_str(file).unwrap(), false);
        assert!(resolve("tls_cert = 'cert.pem'").is_err() && resolve("tls_key = 'key.pem'").is_err());
        assert!(resolve("ingest_tls = true").is_err());
        let whole = resolve("tls_cert = 'cert.pem'\ntls_key = 'key.pem'\ningest_tls = true").unwrap();
        assert_eq!(whole.tls, Some(TlsFiles { cert: "cert.pem".into(), key: "key.pem".into() }));
    }
}
