//! More connections than allowed, and connections that send nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use joey_tests::delivery::{check_frame_counts, numbered, send};
use joey_tests::viewer::{connect_with_small_buffer, open_over};
use joey_tests::{Relay, TIMEOUT, Viewer, eventually, eventually_is};

use super::start_producer;

fn connect(to: SocketAddr) -> TcpStream {
    TcpStream::connect(to).expect("the kernel accepts connections")
}

/// Waits until the relay closes a connection, ignoring what it sends before.
fn wait_until_closed(mut stream: TcpStream) {
    stream.set_read_timeout(Some(TIMEOUT)).expect("the socket is open");
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
fn without_file_descriptors_new_connections_are_rejected_and_old_ones_continue() {
    let relay = Relay::start_in(&["sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""], &[]);
    let (mut producer, mut checked) = start_producer(&relay);
    let connections: Vec<TcpStream> = (0..100).map(|_| connect(relay.http)).collect();
    for number in 2..=200 {
        producer.send(&numbered("App", "w", number));
    }
    checked.read_and_check(200);
    // Rejected connections are closed, not left open in silence.
    let (_, late) = connections.split_at(70);
    late.iter().for_each(|stream| wait_until_closed(stream.try_clone().expect("the socket is open")));
    drop(connections);
    let mut newcomer = eventually("a connection is accepted again", || {
        let stream = connect(relay.http);
        // If rejected, the connection would end during the handshake.
        std::panic::catch_unwind(|| open_over(stream, relay.http, &[]).ok().map(Viewer::over)).ok().flatten()
    });
    let rejected = "joey_connections_closed_total{reason=\"connection_fd_limit\"}";
    // The closed connections may still have descriptors.
    let count = eventually("metrics are served", || std::panic::catch_unwind(|| relay.metric(rejected)).ok());
    assert!(count > 0);
    newcomer.wait_for(|received| matches!(received, joey_tests::Received::Catalogue(..)).then_some(()));
    check_frame_counts(&relay, 200, 0);
}

#[test]
fn one_address_cannot_use_all_connections() {
    let relay = Relay::start_with(&["--per-address", "20"]);
    let connections: Vec<TcpStream> =
        (0..60).map(|_| connect_with_small_buffer(relay.http, Some([127, 0, 0, 9]))).collect();
    let rejected = || relay.metric("joey_connections_closed_total{reason=\"connection_address_limit\"}");
    eventually_is("connections rejected", &40, rejected);
    connections.into_iter().skip(20).for_each(wait_until_closed);
    let (mut producer, mut checked) = start_producer(&relay);
    send(&mut producer, "App", "w", 2..=50);
    checked.read_and_check(50);
    check_frame_counts(&relay, 50, 0);
}

#[test]
fn silent_and_unfinished_connections_are_closed() {
    let relay = Relay::start();
    let (mut producer, mut checked) = start_producer(&relay);
    let beginnings: [&str; 6] = [
        "",
        "GET /ws HTTP/1.1\r\nHost: x\r\nX-",
        "GET /ws HT",
        "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nslow",
        "POST /ws HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsl",
        // A request that was answered, followed by silence.
        "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    let mut idle = Vec::new();
    for beginning in beginnings.iter().cycle().take(60) {
        let mut stream = connect(relay.http);
        stream.write_all(beginning.as_bytes()).expect("the relay listens");
        idle.push(stream);
    }
    send(&mut producer, "App", "w", 2..=100);
    checked.read_to(100);
    idle.into_iter().for_each(wait_until_closed);
    checked.check(&(1..=100).collect::<Vec<_>>());
    assert_eq!(relay.metric("joey_viewers"), 1);
    check_frame_counts(&relay, 100, 0);
}
