//! Runs `nats-server` as a child process: one server, or a cluster of three, on free ports of loopback.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{TIMEOUT, eventually};

/// One server. Dropping it kills it.
#[derive(Debug)]
pub struct Nats {
    /// Address that relays connect to.
    pub address: SocketAddr,
    /// Programs that run it, each with its arguments.
    wrapper: Vec<String>,
    arguments: Vec<String>,
    child: Child,
    /// Number of servers in the cluster.
    servers: usize,
}

impl Nats {
    /// Starts a single server.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a single server with more arguments.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::spawn(free_address(), &[], arguments.iter().map(|argument| (*argument).to_owned()).collect(), 1)
    }

    /// Starts a single server through another program, on every address of the network it runs in. It is reached from
    /// here at `ip`.
    #[must_use]
    pub fn start_in(wrapper: &[&str], ip: Ipv4Addr) -> Self {
        Self::spawn(SocketAddr::from((ip, 4222)), wrapper, Vec::new(), 1)
    }

    /// Starts three servers that form one cluster.
    #[must_use]
    pub fn cluster() -> [Self; 3] {
        let routes = [free_address(), free_address(), free_address()];
        let all = routes.map(|route| format!("nats://{route}")).join(",");
        let arguments = routes.map(|route| {
            let own = format!("nats://{route}");
            ["--cluster_name", "test", "--cluster", &own, "--routes", &all].map(str::to_owned).to_vec()
        });
        let servers = arguments.map(|arguments| Self::spawn(free_address(), &[], arguments, 3));
        servers.iter().for_each(Self::wait_for_cluster);
        servers
    }

    fn spawn(address: SocketAddr, wrapper: &[&str], arguments: Vec<String>, servers: usize) -> Self {
        let wrapper: Vec<String> = wrapper.iter().map(|argument| (*argument).to_owned()).collect();
        let mut nats = Self { address, child: child(address, &wrapper, &arguments), wrapper, arguments, servers };
        if servers == 1 {
            nats.wait_until_listening();
        }
        nats
    }

    /// Its URL as `joey serve --nats` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Kills it as a crash would.
    ///
    /// # Panics
    /// If it is not our child process.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server belongs to this test");
        self.child.wait().expect("the server belongs to this test");
    }

    /// Starts it again at the same address.
    pub fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.child = child(self.address, &self.wrapper, &self.arguments);
        self.wait_until_listening();
        self.wait_for_cluster();
    }

    /// Sends a signal, such as `STOP`.
    ///
    /// # Panics
    /// If there is no shell.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(sent.expect("there is a shell").success());
    }

    /// Waits until it listen_address. If another process took the port in between, the server exits and is started again.
    fn wait_until_listening(&mut self) {
        eventually("nats-server listens", || {
            if self.child.try_wait().expect("the server belongs to this test").is_some() {
                self.child = child(self.address, &self.wrapper, &self.arguments);
            }
            self.info()
        });
    }

    /// Waits until it has found all servers of its cluster.
    fn wait_for_cluster(&self) {
        eventually("the servers have found each other", || {
            let info = self.info()?;
            let others = info["connect_urls"].as_array().map_or(1, Vec::len);
            (others >= self.servers).then_some(())
        });
    }

    /// The INFO message that it sends to every new connection.
    fn info(&self) -> Option<Value> {
        let stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        serde_json::from_str(line.strip_prefix("INFO ")?).ok()
    }
}

/// An additional client of the server that records the messages on a subject.
#[derive(Debug)]
pub struct NatsSubscriber {
    stream: BufReader<TcpStream>,
}

impl NatsSubscriber {
    /// Subscribes to `subject`; records messages from now on.
    ///
    /// # Panics
    /// If the server rejects it.
    #[must_use]
    pub fn subscribe(nats: &Nats, subject: &str) -> Self {
        let stream = TcpStream::connect(nats.address).expect("the server listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("the socket is open");
        let mut subscriber = Self { stream: BufReader::new(stream) };
        subscriber.write(format!("CONNECT {{\"verbose\":false,\"echo\":false}}\r\nSUB {subject} 1\r\n").as_bytes());
        assert_eq!(subscriber.received(), [], "no messages yet");
        subscriber
    }

    /// Messages received since the last call: subjects and payloads.
    pub fn received(&mut self) -> Vec<(String, Vec<u8>)> {
        // The server answers in order: it sends pending messages before its pong.
        self.write(b"PING\r\n");
        let mut received = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("the server keeps sending");
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            match fields[..] {
                ["MSG", subject, _, length] => {
                    let mut payload = vec![0; length.parse::<usize>().expect("a length") + 2];
                    self.stream.read_exact(&mut payload).expect("the server keeps sending");
                    payload.truncate(payload.len() - 2);
                    received.push((subject.to_owned(), payload));
                }
                ["PONG"] => return received,
                ["PING"] => self.write(b"PONG\r\n"),
                ["INFO", ..] => {}
                _ => panic!("unexpected message of the server: {line:?}"),
            }
        }
    }

    /// Publishes a message.
    pub fn publish(&mut self, subject: &str, payload: &[u8]) {
        let head = format!("PUB {subject} {}\r\n", payload.len());
        self.write(&[head.as_bytes(), payload, b"\r\n"].concat());
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the server reads");
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn child(address: SocketAddr, wrapper: &[String], arguments: &[String]) -> Child {
    let program = std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
    let (mut command, listen_address) = match wrapper {
        [] => (Command::new(program), address.ip().to_string()),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            (command, "0.0.0.0".to_owned())
        }
    };
    let server = command
        .args(["--addr", &listen_address, "--port", &address.port().to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    server.expect("nats-server is installed; `cargo xtask setup` does that, or set NATS_SERVER")
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("it is bound")
}
