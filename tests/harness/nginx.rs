//! Runs nginx as a child process, in front of a relay on a free port of loopback.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::eventually;

/// One nginx. Dropping it kills it.
#[derive(Debug)]
pub struct Nginx {
    /// Address that it listens on.
    pub address: SocketAddr,
    _folder: TempDir,
    child: Child,
}

impl Nginx {
    /// Starts an nginx whose `server` block contains `locations`.
    ///
    /// # Panics
    /// If it is missing or does not start.
    #[must_use]
    pub fn start(locations: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be written");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        drop(listener);
        let at = folder.path().display();
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {at}/{name};\n"))
            .collect();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log {at}/error;\nevents {{}}\n\
             http {{\naccess_log off;\n{paths}server {{\nlisten {address};\n{locations}\n}}\n}}\n"
        );
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, text).expect("a temporary folder can be written");
        let program = std::env::var_os("NGINX").map_or_else(|| PathBuf::from("/usr/sbin/nginx"), PathBuf::from);
        let mut child = Command::new(&program)
            .arg("-c")
            .arg(&config)
            .arg("-p")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`, or set NGINX", program.display()));
        eventually("nginx listens", || {
            let ended = child.try_wait().expect("nginx belongs to this test");
            let errors = std::fs::read_to_string(folder.path().join("error")).unwrap_or_default();
            assert!(ended.is_none(), "nginx exited: {errors}");
            TcpStream::connect(address).ok()
        });
        Self { address, _folder: folder, child }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
