//! `nats-server` as a child process: one, or three that are one cluster, on free ports of loopback.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{PATIENCE, eventually};

/// One server. Dropping it ends it.
#[derive(Debug)]
pub struct Nats {
    /// Where relays connect.
    pub address: SocketAddr,
    /// Programs that run it, each with its words.
    wrapper: Vec<String>,
    words: Vec<String>,
    child: Child,
    /// How many servers there are together.
    servers: usize,
}

impl Nats {
    /// A server alone.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server alone, with more words on its command line.
    #[must_use]
    pub fn start_with(words: &[&str]) -> Self {
        Self::spawn(free_address(), &[], words.iter().map(|word| (*word).to_owned()).collect(), 1)
    }

    /// A server alone that another program runs, on every address of where it runs, and seen from here at `ip`.
    #[must_use]
    pub fn start_in(wrapper: &[&str], ip: Ipv4Addr) -> Self {
        Self::spawn(SocketAddr::from((ip, 4222)), wrapper, Vec::new(), 1)
    }

    /// Three servers that are one cluster.
    #[must_use]
    pub fn cluster() -> [Self; 3] {
        let routes = [free_address(), free_address(), free_address()];
        let all = routes.map(|route| format!("nats://{route}")).join(",");
        let words = routes.map(|route| {
            let own = format!("nats://{route}");
            ["--cluster_name", "test", "--cluster", &own, "--routes", &all].map(str::to_owned).to_vec()
        });
        let servers = words.map(|words| Self::spawn(free_address(), &[], words, 3));
        servers.iter().for_each(Self::waits);
        servers
    }

    fn spawn(address: SocketAddr, wrapper: &[&str], words: Vec<String>, servers: usize) -> Self {
        let wrapper: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
        let mut nats = Self { address, child: child(address, &wrapper, &words), wrapper, words, servers };
        if servers == 1 {
            nats.comes_up();
        }
        nats
    }

    /// Its address as `joey serve --nats` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Ends it as a crash would.
    ///
    /// # Panics
    /// When it is not ours.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server is ours");
        self.child.wait().expect("the server is ours");
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.child = child(self.address, &self.wrapper, &self.words);
        self.comes_up();
        self.waits();
    }

    /// Sends a signal, such as `STOP`.
    ///
    /// # Panics
    /// When there is no shell.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(sent.expect("there is a shell").success());
    }

    /// Waits until it listens; a port that somebody else took in between ends it, and then it is tried again.
    fn comes_up(&mut self) {
        eventually("nats-server listens", || {
            if self.child.try_wait().expect("the server is ours").is_some() {
                self.child = child(self.address, &self.wrapper, &self.words);
            }
            self.info()
        });
    }

    /// Waits until it knows all servers of its cluster.
    fn waits(&self) {
        eventually("the servers have found each other", || {
            let info = self.info()?;
            let others = info["connect_urls"].as_array().map_or(1, Vec::len);
            (others >= self.servers).then_some(())
        });
    }

    /// What it says first to whoever connects.
    fn info(&self) -> Option<Value> {
        let stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        serde_json::from_str(line.strip_prefix("INFO ")?).ok()
    }
}

/// Somebody else at the server, who hears what is said there.
#[derive(Debug)]
pub struct Ear {
    stream: BufReader<TcpStream>,
}

impl Ear {
    /// Listens to `subject`; what is said from now on is heard.
    ///
    /// # Panics
    /// When the server does not take it.
    #[must_use]
    pub fn at(nats: &Nats, subject: &str) -> Self {
        let stream = TcpStream::connect(nats.address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("the socket is open");
        let mut ear = Self { stream: BufReader::new(stream) };
        ear.write(format!("CONNECT {{\"verbose\":false,\"echo\":false}}\r\nSUB {subject} 1\r\n").as_bytes());
        assert_eq!(ear.so_far(), [], "nothing was said before");
        ear
    }

    /// What was said since it was asked last: subjects and payloads.
    pub fn so_far(&mut self) -> Vec<(String, Vec<u8>)> {
        // The server answers in order: what it had for us comes before its pong.
        self.write(b"PING\r\n");
        let mut heard = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("the server goes on");
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words[..] {
                ["MSG", subject, _, length] => {
                    let mut payload = vec![0; length.parse::<usize>().expect("a length") + 2];
                    self.stream.read_exact(&mut payload).expect("the server goes on");
                    payload.truncate(payload.len() - 2);
                    heard.push((subject.to_owned(), payload));
                }
                ["PONG"] => return heard,
                ["PING"] => self.write(b"PONG\r\n"),
                ["INFO", ..] => {}
                _ => panic!("the server says {line:?}"),
            }
        }
    }

    /// Says something.
    pub fn say(&mut self, subject: &str, payload: &[u8]) {
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

fn child(address: SocketAddr, wrapper: &[String], words: &[String]) -> Child {
    let program = std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
    let (mut command, listens) = match wrapper {
        [] => (Command::new(program), address.ip().to_string()),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            (command, "0.0.0.0".to_owned())
        }
    };
    let server = command
        .args(["--addr", &listens, "--port", &address.port().to_string()])
        .args(words)
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
