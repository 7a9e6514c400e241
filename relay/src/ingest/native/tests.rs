//! A producer and a relay that exchange messages over a pipe in memory.

use joey_shared::emit::{Series, preamble, write_entry};
use joey_shared::wire::Blob;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use super::*;
use crate::config::Config;

const S: u64 = 1_000_000_000;
const SESSION: Session = [7; 16];

/// A relay without ports.
struct Relay {
    hub: Arc<Hub>,
    auth: Arc<Auth>,
    sessions: Arc<Sessions>,
    stop: CancellationToken,
}

/// One connection to it.
struct Client {
    stream: DuplexStream,
    task: JoinHandle<()>,
}

/// A reply, in a form that owns its text.
type Answer = String;

impl Relay {
    fn new(config: Config) -> Self {
        let auth = Auth::new(&config).unwrap();
        let hub = Arc::new(Hub::new(config, 7));
        Self { hub, auth, sessions: Arc::default(), stop: CancellationToken::new() }
    }

    fn connect(&self) -> Client {
        let (stream, theirs) = tokio::io::duplex(1 << 16);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let producer = Producer::new(self.hub.clone(), self.auth.clone(), self.sessions.clone(), peer);
        let stop = self.stop.clone();
        let task = tokio::spawn(async move { producer.serve(theirs, Buffer::default(), &stop).await });
        Client { stream, task }
    }

    /// Connects and joins. Returns the last sequence number that the relay knows.
    async fn join(&self) -> (Client, u64) {
        let mut client = self.connect();
        client.send(&preamble()).await;
        client.send(&hello("App", None)).await;
        let welcome = client.answer().await;
        let last_seq = welcome.split(['{', ':', ',']).nth(2).unwrap().trim().parse().unwrap();
        (client, last_seq)
    }

    fn accepted(&self) -> u64 {
        self.hub.counters().frames_accepted.get()
    }

    fn rejected(&self) -> String {
        crate::metrics::text_of(&self.hub.counters().frames_rejected)
    }
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next reply.
    async fn answer(&mut self) -> Answer {
        let length = self.stream.read_u32_le().await.unwrap();
        let mut body = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut body).await.unwrap();
        format!("{:?}", Reply::decode(&body).unwrap())
    }

    async fn closed(mut self) -> bool {
        let closed = self.stream.read(&mut [0]).await.unwrap() == 0;
        drop(self.stream);
        self.task.await.unwrap();
        closed
    }
}

fn hello(app: &str, token: Option<&str>) -> Vec<u8> {
    Message::Hello(Hello { session: SESSION, app, worker: "w", origin: Origin::Emit, token }).to_frame()
}

fn series(number: u32, name: &str) -> Vec<u8> {
    let (category, pipeline, id) = ("computation", "", 0);
    let (is_approximate, is_sampled, has_extremes) = (false, false, true);
    Message::Series(Series { number, id, category, pipeline, name, is_approximate, is_sampled, has_extremes })
        .to_frame()
}

fn data_of(seq: u64, period_ns: u64, numbers: &[u32]) -> Vec<u8> {
    let mut blob = Vec::new();
    for number in numbers {
        let mut histogram = Histogram::with_sum(joey_shared::histogram::Grid::FINEST);
        histogram.record_many(1_000_000, 3);
        write_entry(&mut blob, *number, &histogram);
    }
    let end_ns = crate::runtime::clock::monotonic_ns();
    Message::Data(Data { seq, period_ns, end_ns, entries: Blob(&blob) }).to_frame()
}

fn data(seq: u64, numbers: &[u32]) -> Vec<u8> {
    data_of(seq, S, numbers)
}

#[tokio::test]
async fn data_is_acknowledged_once_it_is_in_the_log() {
    let relay = Relay::new(Config::default());
    let (mut client, last_seq) = relay.join().await;
    assert_eq!(last_seq, 0);
    for seq in 1..=3 {
        client.send(&[series(2 * seq - 2, "a"), series(2 * seq - 1, "b")].concat()).await;
        client.send(&data(seq.into(), &[2 * seq - 2, 2 * seq - 1])).await;
        assert_eq!(client.answer().await, format!("Ack {{ seq: {seq} }}"));
        assert_eq!(relay.accepted(), u64::from(2 * seq));
    }
    // The same names are the same series.
    assert_eq!(relay.hub.gauges(0).series, 2);
}

#[tokio::test]
async fn data_that_arrives_again_counts_once() {
    let relay = Relay::new(Config::default());
    let (mut first, _) = relay.join().await;
    first.send(&[series(0, "a"), data(1, &[0]), data(2, &[0])].concat()).await;
    assert_eq!(first.answer().await, "Ack { seq: 1 }");
    assert_eq!(first.answer().await, "Ack { seq: 2 }");
    // The first connection is still open, as after a broken line.
    let (mut second, last_seq) = relay.join().await;
    assert_eq!(last_seq, 2);
    second.send(&[series(0, "a"), data(2, &[0]), data(3, &[0])].concat()).await;
    assert_eq!(second.answer().await, "Ack { seq: 2 }");
    assert_eq!(second.answer().await, "Ack { seq: 3 }");
    first.send(&data(3, &[0])).await;
    assert_eq!(first.answer().await, "Ack { seq: 3 }");
    assert_eq!((relay.accepted(), relay.hub.counters().data_duplicates.get()), (3, 2));
    drop((first, second));
    assert_eq!(relay.join().await.1, 3);
}

#[tokio::test]
async fn histograms_that_are_refused_are_counted_and_reported_and_do_not_affect_others() {
    let relay = Relay::new(Config { series_per_app_max: 3, ..Config::default() });
    let (mut client, _) = relay.join().await;
    client.send(&[series(0, "a"), series(1, "b\u{202e}"), data(1, &[0, 1, 2, 0, 2])].concat()).await;
    let rejected = |histograms, reason| {
        format!("Rejected {{ seq: 1, histograms: {histograms}, count: {}, reason: {reason:?} }}", 3 * histograms)
    };
    assert_eq!(client.answer().await, rejected(1, "invalid_name"));
    assert_eq!(client.answer().await, rejected(2, "unknown_series"));
    assert_eq!(client.answer().await, "Ack { seq: 1 }");
    assert_eq!(relay.accepted(), 2);
    client.send(&data_of(2, 1, &[0])).await;
    assert!(client.answer().await.contains("bad_period"));
    assert_eq!(client.answer().await, "Ack { seq: 2 }");
    for (reason, count) in [("invalid_name", 1), ("unknown_series", 2), ("bad_period", 1)] {
        assert!(relay.rejected().contains(&format!("reason=\"{reason}\"}} {count}\n")), "{}", relay.rejected());
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_decoded_costs_only_itself() {
    let relay = Relay::new(Config::default());
    let (mut client, _) = relay.join().await;
    let broken = Message::Data(Data { seq: 1, period_ns: S, end_ns: 9 * S, entries: Blob(&[0xff; 9]) }).to_frame();
    client.send(&[&series(0, "a"), &[2, 0, 0, 0, 9, 9][..], &broken, &data(2, &[0])].concat()).await;
    assert_eq!(client.answer().await, "Rejected { seq: 0, histograms: 1, count: 0, reason: \"bad_message\" }");
    assert_eq!(client.answer().await, "Rejected { seq: 1, histograms: 1, count: 0, reason: \"bad_message\" }");
    assert_eq!(client.answer().await, "Ack { seq: 1 }");
    assert_eq!(client.answer().await, "Ack { seq: 2 }");
    assert_eq!(relay.accepted(), 1);
    client.send(&[0xff; 4]).await;
    assert!(client.closed().await);
    assert!(crate::metrics::text_of(&relay.hub.counters().connections_closed).contains("frame_too_long"));
}

#[tokio::test]
async fn a_connection_that_is_not_allowed_is_refused_with_a_reason() {
    let folder = std::env::temp_dir().join(format!("joey-native-{}", std::process::id()));
    std::fs::write(&folder, "0123456789abcdef0123456789abcdef").unwrap();
    let relay = Relay::new(Config { token_keys: vec![folder.clone()], apps_max: 1, ..Config::default() });
    let expires = crate::runtime::clock::wall_ns() / S + 900;
    let mint = |apps: &str| {
        let claims = serde_json::json!({"aud": "joey", "exp": expires, "apps": [apps]});
        crate::auth::token::mint(&folder, &claims).unwrap()
    };
    let check = async |first: &[u8], expected: &str| {
        let mut client = relay.connect();
        client.send(first).await;
        let answer = client.answer().await;
        assert!(answer.contains(expected), "{answer}, expected {expected}");
        drop(client);
    };
    let with_preamble = |frame: Vec<u8>| [&preamble(), &frame[..]].concat();
    check(b"JOEY\x02", "Refused { reason: \"unsupported_version\" }").await;
    check(&with_preamble(data(1, &[0])), "Refused { reason: \"bad_message\" }").await;
    check(&with_preamble(hello("", None)), "Refused { reason: \"bad_topic\" }").await;
    check(&with_preamble(hello("a\tb", None)), "Refused { reason: \"invalid_name\" }").await;
    check(&with_preamble(hello("App", Some("x.y.z"))), "Refused { reason: \"invalid_token\" }").await;
    check(&with_preamble(hello("App", Some(&mint("Other*")))), "Refused { reason: \"forbidden_app\" }").await;
    assert_eq!(relay.hub.gauges(0).apps, 0);
    check(&with_preamble(hello("App", Some(&mint("A*")))), "Welcome").await;
    check(&with_preamble(hello("App", None)), "Welcome").await;
    check(&with_preamble(hello("Other", None)), "Refused { reason: \"app_limit\" }").await;
    std::fs::remove_file(folder).unwrap();
}

#[tokio::test]
async fn a_silent_or_half_finished_connection_is_closed() {
    let relay = Relay::new(Config { frame_timeout: Duration::from_millis(20), ..Config::default() });
    // One that is idle between two messages stays open.
    let (mut idle, _) = relay.join().await;
    let (silent, mut partial) = (relay.connect(), relay.join().await.0);
    partial.send(&[9, 0]).await;
    assert!(silent.closed().await && partial.closed().await);
    idle.send(&data(1, &[])).await;
    assert_eq!(idle.answer().await, "Ack { seq: 1 }");
}

#[tokio::test]
async fn a_stopping_relay_acknowledges_what_it_has_counted_and_closes() {
    let relay = Relay::new(Config::default());
    let (mut client, _) = relay.join().await;
    client.send(&[series(0, "a"), data(1, &[0])].concat()).await;
    assert_eq!(client.answer().await, "Ack { seq: 1 }");
    relay.stop.cancel();
    assert!(client.closed().await);
    assert!(!relay.hub.catalogue_since(0).1[0].workers[0].connected);
}

#[tokio::test]
async fn an_expired_series_receives_a_new_number_on_the_same_connection() {
    let relay = Relay::new(Config::default());
    let (mut client, _) = relay.join().await;
    client.send(&[series(0, "a"), data(1, &[0])].concat()).await;
    client.answer().await;
    let retention_ns = relay.hub.series_retention_ns();
    relay.hub.evict_old(relay.hub.config().now_ns() + retention_ns + 2 * S);
    assert_eq!(relay.hub.gauges(0).series, 0);
    client.send(&data(2, &[0])).await;
    assert_eq!(client.answer().await, "Ack { seq: 2 }");
    assert_eq!((relay.hub.gauges(0).series, relay.accepted()), (1, 2));
}

#[tokio::test]
async fn too_many_histograms_at_once_are_rejected() {
    let relay = Relay::new(Config { frames_per_sec_max: crate::config::at_least_one(1), ..Config::default() });
    let (mut client, _) = relay.join().await;
    client.send(&[series(0, "a"), data(1, &[0; 30])].concat()).await;
    assert!(client.answer().await.contains("rate_limit"));
    assert_eq!(client.answer().await, "Ack { seq: 1 }");
    assert!((10..=11).contains(&relay.accepted()), "{}", relay.accepted());
}
