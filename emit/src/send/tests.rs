//! The sender against a relay that is made by hand, so that it answers or closes at chosen times.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use joey_shared::emit::{Message, Reply, entries, preamble};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A relay with one connection at a time.
struct Relay {
    listener: TcpListener,
}

/// An accepted connection.
struct Accepted {
    stream: TcpStream,
    session: [u8; 16],
}

impl Relay {
    fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Accepts a connection and reads its first message.
    fn accept(&self) -> Accepted {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut accepted = Accepted { stream, session: [0; 16] };
        let mut start = [0; 5];
        accepted.stream.read_exact(&mut start).unwrap();
        assert_eq!(start, preamble());
        let body = accepted.body();
        let Message::Hello(hello) = Message::decode(&body).unwrap() else { panic!("not a hello") };
        assert_eq!((hello.app, hello.worker, hello.token), ("App", "w", Some("a.b.c")));
        accepted.session = hello.session;
        accepted
    }

    /// Accepts a connection, and answers that everything up to `last_seq` has arrived.
    fn welcome(&self, last_seq: u64) -> Accepted {
        let mut accepted = self.accept();
        accepted.reply(Reply::Welcome { last_seq, frame_bytes_max: 16_384 });
        accepted
    }
}

impl Accepted {
    fn reply(&mut self, reply: Reply<'_>) {
        self.stream.write_all(&reply.to_frame()).unwrap();
    }

    fn body(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        self.stream.read_exact(&mut body).unwrap();
        body
    }

    /// The next message: the name of a series, or the number of data and the numbers of its series.
    fn message(&mut self) -> String {
        let body = self.body();
        match Message::decode(&body).unwrap() {
            Message::Series(series) => format!("{} {}", series.number, series.name),
            Message::Data(data) => {
                let series: Vec<u32> = entries(data.entries).map(|entry| entry.unwrap().0).collect();
                format!("#{} {series:?}", data.seq)
            }
            Message::Hello(_) => panic!("a second hello"),
        }
    }
}

fn sender(relays: &[&Relay]) -> Sender {
    let relays = relays.iter().map(|relay| relay.address().to_string()).collect();
    let flush_timeout = Duration::ZERO;
    let token = Some("a.b.c".to_owned());
    Sender::start(SendConfig { relays, token, flush_timeout, ..SendConfig::new("App", "w") }).unwrap()
}

fn send(sender: &Sender, name: &str) {
    let mut histogram = Histogram::default();
    histogram.record_many(1_000, 3);
    sender.send(1_000_000_000, 2_000_000_000, [(SeriesName::exact("computation", "", name), histogram)]);
}

fn wait_for(sender: &Sender, what: impl Fn(&Stats) -> bool) -> Stats {
    let start = Instant::now();
    loop {
        let stats = sender.stats();
        if what(&stats) {
            return stats;
        }
        assert!(start.elapsed() < TIMEOUT, "{stats:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn data_without_an_acknowledgement_is_sent_again_on_the_next_connection() {
    let relay = Relay::start();
    let sender = sender(&[&relay]);
    for name in ["a", "b", "a"] {
        send(&sender, name);
    }
    let mut first = relay.welcome(0);
    for expected in ["0 a", "#1 [0]", "1 b", "#2 [1]", "#3 [0]"] {
        assert_eq!(first.message(), expected);
    }
    first.reply(Reply::Ack { seq: 1 });
    wait_for(&sender, |stats| stats.acknowledged.histograms == 1);
    let session = first.session;
    drop(first);
    // The relay has received the second message, but its acknowledgement was lost.
    let mut second = relay.welcome(2);
    assert_eq!(second.session, session);
    for expected in ["0 a", "1 b", "#3 [0]"] {
        assert_eq!(second.message(), expected);
    }
    send(&sender, "c");
    assert_eq!([second.message(), second.message()], ["2 c", "#4 [2]"]);
    second.reply(Reply::Rejected { seq: 4, histograms: 1, count: 3, reason: "series_limit" });
    second.reply(Reply::Ack { seq: 4 });
    assert!(sender.flush(TIMEOUT));
    let stats = sender.stats();
    assert_eq!((stats.recorded, stats.acknowledged), (Totals { histograms: 4, durations: 12 }, stats.recorded));
    assert_eq!(stats.rejected, [("series_limit".to_owned(), Totals { histograms: 1, durations: 3 })]);
    assert_eq!((stats.dropped, stats.connections, stats.is_connected), (Totals::default(), 2, true));
}

#[test]
fn a_refused_sender_keeps_its_data_and_tries_again() {
    let relay = Relay::start();
    let sender = sender(&[&relay]);
    send(&sender, "a");
    relay.accept().reply(Reply::Refused { reason: "invalid_token" });
    let stats = wait_for(&sender, |stats| stats.last_error.is_some());
    assert_eq!(stats.last_error.as_deref(), Some("the relay refuses: invalid_token"));
    assert_eq!((stats.connections, stats.acknowledged), (0, Totals::default()));
    let mut accepted = relay.welcome(0);
    assert_eq!([accepted.message(), accepted.message()], ["0 a", "#1 [0]"]);
}

#[test]
fn the_next_relay_is_used_if_one_fails() {
    let (first, second) = (Relay::start(), Relay::start());
    let sender = sender(&[&first, &second]);
    send(&sender, "a");
    // Not a relay.
    first.accept().stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    let error = wait_for(&sender, |stats| stats.last_error.is_some()).last_error.unwrap_or_default();
    let expected = format!("{} does not speak Joey's ingest protocol; name the port for producers", first.address());
    assert!(error.starts_with(&expected), "{error}");
    let mut accepted = second.welcome(0);
    assert_eq!([accepted.message(), accepted.message()], ["0 a", "#1 [0]"]);
    accepted.reply(Reply::Ack { seq: 1 });
    assert!(sender.flush(TIMEOUT));
}

#[test]
fn without_an_answer_neither_sending_nor_dropping_blocks() {
    let relay = Relay::start();
    let sender = sender(&[&relay]);
    // It does not answer.
    let mut accepted = relay.accept();
    send(&sender, "a");
    assert!(!sender.flush(Duration::from_millis(1)));
    drop(sender);
    assert_eq!(accepted.stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn the_last_period_is_sent_when_the_periodic_sender_is_dropped() {
    let relay = Relay::start();
    let config = SendConfig {
        relays: vec![relay.address().to_string()],
        token: Some("a.b.c".to_owned()),
        flush_timeout: TIMEOUT,
        ..SendConfig::new("App", "w")
    };
    let mut histogram = Histogram::default();
    histogram.record(7);
    let mut once = Some((SeriesName::exact("computation", "", "a"), histogram));
    let sender = PeriodicSender::start(config, Duration::from_secs(3_600), move || once.take().into_iter().collect());
    let relay = thread::spawn(move || {
        let mut accepted = relay.welcome(0);
        let received = [accepted.message(), accepted.message()];
        accepted.reply(Reply::Ack { seq: 1 });
        received
    });
    drop(sender.unwrap());
    assert_eq!(relay.join().unwrap(), ["0 a", "#1 [0]"]);
}
