//! The relay under a service manager: sockets that it inherits, and what it reports. The test is the service manager.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use joey_tests::relay::program;
use joey_tests::{Frame, Relay, TIMEOUT, eventually, joey_with_env};
use tempfile::TempDir;

/// Opens a listening socket for each name in `NAMES`, writes their ports to the file `PORTS`, and becomes the relay
/// with the sockets as descriptors 3, 4, …, as systemd does.
const MANAGER: &str = "
import os, socket, sys
names = os.environ['NAMES'].split(':')
sockets = [socket.create_server((os.environ.get('HOST', '127.0.0.1'), 0)) for _ in names]
with open(os.environ['PORTS'], 'w') as ports:
    ports.write(' '.join(str(s.getsockname()[1]) for s in sockets))
high = [os.dup2(s.fileno(), 100 + at) for at, s in enumerate(sockets)]
for at, descriptor in enumerate(high):
    os.dup2(descriptor, 3 + at, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=':'.join(names))
os.execv(sys.argv[1], sys.argv[1:])
";

/// The socket that the relay sends its state to.
struct Notifications {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Notifications {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("it can be bound");
        socket.set_read_timeout(Some(TIMEOUT)).expect("it is not zero");
        Self { folder, socket }
    }

    /// The variables of a process that reports here, in the form that `env` reads.
    fn variables(&self) -> String {
        format!("NOTIFY_SOCKET={}", self.folder.path().join("notify").display())
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4_096];
        let length = self.socket.recv(&mut buffer).expect("the relay reports");
        String::from_utf8(buffer[..length].to_vec()).expect("it is UTF-8")
    }
}

/// Starts a relay with an inherited socket for each of `names`. Returns their ports, too.
fn with_sockets(names: &str, arguments: &[&str]) -> (Relay, Vec<u16>) {
    let folder = TempDir::new().expect("a folder can be made");
    let ports = folder.path().join("ports");
    let variables = [format!("NAMES={names}"), format!("PORTS={}", ports.display())];
    let wrapper = ["env", &variables[0], &variables[1], "python3", "-c", MANAGER];
    let relay = Relay::start_in(&wrapper, arguments);
    let ports = fs::read_to_string(ports).expect("the manager wrote them");
    (relay, ports.split(' ').map(|port| port.parse().expect("it is a port")).collect())
}

#[test]
fn the_relay_reports_that_it_is_ready_and_that_it_stops() {
    let notifications = Notifications::new();
    let mut relay = Relay::start_in(&["env", &notifications.variables()], &[]);
    assert_eq!(notifications.next(), "READY=1\n");
    relay.signal("TERM");
    assert_eq!(notifications.next(), "STOPPING=1\n");
    assert!(relay.wait().success());
}

#[test]
fn a_running_relay_keeps_reporting_to_the_watchdog() {
    let notifications = Notifications::new();
    // In µs. The relay reports twice as often.
    let _relay = Relay::start_in(&["env", &notifications.variables(), "WATCHDOG_USEC=200000"], &[]);
    let messages: Vec<String> = std::iter::repeat_with(|| notifications.next()).take(4).collect();
    assert_eq!(messages.iter().filter(|message| *message == "READY=1\n").count(), 1, "{messages:?}");
    assert_eq!(messages.iter().filter(|message| *message == "WATCHDOG=1\n").count(), 3, "{messages:?}");
}

#[test]
fn inherited_sockets_are_assigned_by_name_and_replace_the_configured_addresses() {
    let (relay, ports) = with_sockets("otlp-grpc:ingest:http:otlp-http", &[]);
    let own = [relay.otlp_grpc, relay.ingest, relay.http, relay.otlp_http];
    assert_eq!(own.map(|address| address.port()).as_slice(), ports);
    let mut producer = relay.producer("App", "worker");
    producer.send(&Frame::new("App", "computation", ["p", "worker", "n"], 1_800_000_000).with(&[1_000]));
    relay.wait_for_accepted(1);
    assert_eq!(relay.get("/readyz").0, 200);
}

#[test]
fn ports_without_an_inherited_socket_are_opened() {
    let (relay, ports) = with_sockets("http", &[]);
    assert_eq!(ports, [relay.http.port()]);
    let _producer = relay.producer("App", "worker");
    eventually("the producer is connected", || relay.metrics().contains("joey_producers 1").then_some(()));
}

#[test]
fn an_inherited_socket_beyond_loopback_needs_access_control_like_any_other() {
    let folder = TempDir::new().expect("a folder can be made");
    let mut manager = Command::new("python3");
    manager.args(["-c", MANAGER]).arg(program()).args(["serve", "--otlp-http", "off", "--otlp-grpc", "off"]);
    manager.env("NAMES", "http").env("PORTS", folder.path().join("ports")).env("HOST", "0.0.0.0");
    let done = manager.output().expect("there is Python");
    let error = String::from_utf8(done.stderr).expect("it is UTF-8");
    assert_eq!(done.status.code(), Some(2), "{error}");
    assert!(error.contains("--insecure-open") && error.contains("0.0.0.0"), "{error}");
}

#[test]
fn a_socket_without_a_known_name_is_an_error_that_says_how_to_name_it() {
    let serve = |names| joey_with_env(&["serve"], &[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", names)]);
    let done = serve("joey.socket");
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(done.err.contains("FileDescriptorName= to http, ingest, otlp-http or otlp-grpc"), "{}", done.err);
    // Descriptor 3 is not open.
    let done = serve("http");
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(done.err.contains("cannot use the socket \"http\""), "{}", done.err);
}
