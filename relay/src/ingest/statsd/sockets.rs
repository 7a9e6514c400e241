//! The sockets that StatsD packets arrive on.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use socket2::{Domain, Socket, Type};
use tokio::net::{UdpSocket, UnixDatagram};

use crate::config::Statsd;

/// Maximum size of a packet, in bytes: the largest that UDP can carry.
pub(super) const PACKET_BYTES_MAX: usize = 65_507;
/// Requested size of the kernel's buffer: 4 MiB, about 3,000 full packets. The kernel may grant less
/// (`net.core.rmem_max`).
const KERNEL_BUFFER_BYTES: usize = 4 << 20;
/// Permissions of the Unix socket: every user of this machine may send, as over UDP on loopback.
const SOCKET_MODE: u32 = 0o722;

/// The open sockets. Each may be absent.
#[derive(Debug)]
pub struct Sockets {
    udp: Option<UdpSocket>,
    unix: Option<BoundPath>,
}

/// What a socket returns.
pub(super) enum Received {
    /// A packet of this length from this address; `None` for the Unix socket.
    Packet(usize, Option<IpAddr>),
    /// No packet has arrived.
    Nothing,
    /// The socket has failed.
    Error,
}

impl Sockets {
    /// Opens the configured sockets, if any.
    ///
    /// # Errors
    /// Fails if a socket cannot be opened, for example because another process uses its address.
    pub fn bind(config: &Statsd) -> anyhow::Result<Self> {
        let udp = config
            .udp
            .map(|address| bind_udp(address).with_context(|| format!("cannot receive StatsD over UDP on {address}")));
        let unix = config.socket.as_deref().map(|path| {
            BoundPath::bind(path)
                .with_context(|| format!("cannot receive StatsD on the Unix socket {}", path.display()))
        });
        Ok(Self { udp: udp.transpose()?, unix: unix.transpose()? })
    }

    /// Whether no socket is configured.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.udp.is_none() && self.unix.is_none()
    }

    /// The UDP address, with the port that was selected if port 0 was configured.
    #[must_use]
    pub fn udp_addr(&self) -> Option<SocketAddr> {
        self.udp.as_ref()?.local_addr().ok()
    }

    /// Waits until a packet may have arrived.
    pub(super) async fn readable(&self) {
        let udp = async {
            match &self.udp {
                Some(socket) => _ = socket.readable().await,
                None => std::future::pending().await,
            }
        };
        let unix = async {
            match &self.unix {
                Some(bound) => _ = bound.socket.readable().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = udp => {}
            () = unix => {}
        }
    }

    /// Reads one packet if there is one.
    pub(super) fn try_receive(&self, buffer: &mut [u8]) -> Received {
        let udp = self.udp.as_ref().map(|socket| {
            let packet = socket.try_recv_from(buffer);
            packet.map(|(length, peer)| (length, Some(peer.ip().to_canonical())))
        });
        if let Some(received) = udp.and_then(received) {
            return received;
        }
        let unix = self.unix.as_ref().map(|bound| bound.socket.try_recv_from(buffer).map(|(length, _)| (length, None)));
        unix.and_then(received).unwrap_or(Received::Nothing)
    }

    /// Number of packets that the kernel has dropped because its buffer for the UDP socket was full. 0 if it is
    /// unknown.
    pub(super) fn packets_dropped(&self) -> u64 {
        self.udp.as_ref().and_then(|socket| kernel_drops(socket.as_raw_fd())).unwrap_or(0)
    }
}

fn received(packet: std::io::Result<(usize, Option<IpAddr>)>) -> Option<Received> {
    match packet {
        Ok((length, peer)) => Some(Received::Packet(length, peer)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => {
            tracing::debug!(%error, "cannot read StatsD");
            Some(Received::Error)
        }
    }
}

fn bind_udp(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    // A smaller buffer works too.
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// The drop counter of a UDP socket of this process, from the tables of `/proc/net` (Linux only).
fn kernel_drops(descriptor: RawFd) -> Option<u64> {
    let inode = fs::metadata(format!("/proc/self/fd/{descriptor}")).ok()?.ino().to_string();
    ["/proc/net/udp", "/proc/net/udp6"].iter().find_map(|table| {
        BufReader::new(fs::File::open(table).ok()?).lines().map_while(Result::ok).find_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            // The columns after the inode are `ref pointer drops`.
            (fields.nth(9)? == inode).then(|| fields.nth(2)?.parse().ok())?
        })
    })
}

/// A Unix datagram socket. Dropping it removes its file.
#[derive(Debug)]
struct BoundPath {
    socket: UnixDatagram,
    path: PathBuf,
}

impl BoundPath {
    fn bind(path: &Path) -> std::io::Result<Self> {
        let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
        if is_socket {
            // A process that was killed leaves the file behind. Nobody receives on it then.
            let refused = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
            let probe = std::os::unix::net::UnixDatagram::unbound()?;
            if probe.connect(path).is_err_and(refused) {
                fs::remove_file(path)?;
            }
        }
        let bound = Self { socket: UnixDatagram::bind(path)?, path: path.to_owned() };
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
        Ok(bound)
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_that_the_kernel_drops_are_counted() {
        let config = Statsd { udp: "127.0.0.1:0".parse().ok(), ..Statsd::default() };
        let sockets = Sockets::bind(&config).unwrap();
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = sockets.udp_addr().unwrap();
        let sent: u64 = 40_000;
        for _ in 0..sent {
            client.send_to(&[b'x'; 1_000], address).unwrap();
        }
        let mut buffer = vec![0; PACKET_BYTES_MAX + 1];
        sockets.readable().await;
        let mut received = 0;
        while let Received::Packet(length, peer) = sockets.try_receive(&mut buffer) {
            assert_eq!((length, peer), (1_000, Some([127, 0, 0, 1].into())));
            received += 1;
        }
        assert!(received < sent, "the buffer is smaller than what was sent");
        assert_eq!(sockets.packets_dropped(), sent - received);
    }

    #[tokio::test]
    async fn a_unix_socket_replaces_the_file_of_a_dead_process_only() {
        let folder = std::env::temp_dir().join(format!("joey-statsd-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("socket");
        let config = Statsd { socket: Some(path.clone()), ..Statsd::default() };
        drop(std::os::unix::net::UnixDatagram::bind(&path).unwrap());
        let sockets = Sockets::bind(&config).unwrap();
        let error = Sockets::bind(&config).unwrap_err();
        assert!(format!("{error:#}").contains("in use"), "{error:#}");
        let client = std::os::unix::net::UnixDatagram::unbound().unwrap();
        client.send_to(b"a:1|c", &path).unwrap();
        sockets.readable().await;
        assert!(matches!(sockets.try_receive(&mut [0; 100]), Received::Packet(5, None)));
        drop(sockets);
        assert!(!path.exists());
        fs::write(&path, "a file").unwrap();
        Sockets::bind(&config).unwrap_err();
        fs::remove_dir_all(folder).unwrap();
    }
}
