//! More connections than there may be, and connections that say nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use joey_tests::ledger::{check_books, numbered, send};
use joey_tests::viewer::{narrow, open_over};
use joey_tests::{PATIENCE, Relay, Viewer, eventually, eventually_is};

use super::begun;

fn silent(to: SocketAddr) -> TcpStream {
    TcpStream::connect(to).expect("the kernel takes connections")
}

/// Waits until the relay ends a connection, whatever it says before.
fn ends(mut stream: TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("the socket is open");
    let mut buffer = [0; 1_024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("still open: {error}"),
        }
    }
}

#[test]
fn without_descriptors_newcomers_are_turned_away_and_those_inside_go_on() {
    let relay = Relay::start_in(&["sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""], &[]);
    let (mut producer, mut witness) = begun(&relay);
    let crowd: Vec<TcpStream> = (0..100).map(|_| silent(relay.http)).collect();
    for number in 2..=200 {
        producer.send(&numbered("App", "w", number));
    }
    witness.reads_all(200);
    // Those for whom there was no place get an end, not silence.
    let (_, late) = crowd.split_at(70);
    late.iter().for_each(|stream| ends(stream.try_clone().expect("the socket is open")));
    drop(crowd);
    let mut newcomer = eventually("there is room again", || {
        let stream = silent(relay.http);
        // Turned away, it would end within the handshake.
        std::panic::catch_unwind(|| open_over(stream, relay.http, &[]).ok().map(Viewer::over)).ok().flatten()
    });
    let turned_away = "joey_connections_closed_total{reason=\"connection_fd_limit\"}";
    assert!(relay.metric(turned_away) > 0);
    newcomer.wait_for(|heard| matches!(heard, joey_tests::Heard::Catalogue(..)).then_some(()));
    check_books(&relay, 200, 0);
}

#[test]
fn one_address_cannot_take_all_places() {
    let relay = Relay::start_with(&["--per-address", "20"]);
    let crowd: Vec<TcpStream> = (0..60).map(|_| narrow(relay.http, Some([127, 0, 0, 9]))).collect();
    let turned_away = || relay.metric("joey_connections_closed_total{reason=\"connection_address_limit\"}");
    eventually_is("connections turned away", &40, turned_away);
    crowd.into_iter().skip(20).for_each(ends);
    let (mut producer, mut witness) = begun(&relay);
    send(&mut producer, "App", "w", 2..=50);
    witness.reads_all(50);
    check_books(&relay, 50, 0);
}

#[test]
fn connections_that_say_nothing_or_never_finish_are_ended() {
    let relay = Relay::start();
    let (mut producer, mut witness) = begun(&relay);
    let beginnings: [&str; 6] = [
        "",
        "GET /ws HTTP/1.1\r\nHost: x\r\nX-",
        "GET /ws HT",
        "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nslow",
        "POST /ws HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsl",
        // A request that was answered, and then silence.
        "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    let mut idle = Vec::new();
    for beginning in beginnings.iter().cycle().take(60) {
        let mut stream = silent(relay.http);
        stream.write_all(beginning.as_bytes()).expect("the relay listens");
        idle.push(stream);
    }
    send(&mut producer, "App", "w", 2..=100);
    witness.reads_to(100);
    idle.into_iter().for_each(ends);
    witness.check(&(1..=100).collect::<Vec<_>>());
    assert_eq!(relay.metric("joey_viewers"), 1);
    check_books(&relay, 100, 0);
}
