//! The HTTP stream that replaces a WebSocket: a response without an end, and requests that carry commands. Written by
//! hand from the description.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::TIMEOUT;

/// An open stream.
#[derive(Debug)]
pub struct Stream {
    answer: BufReader<TcpStream>,
    http: SocketAddr,
    /// Its id.
    pub id: String,
    /// The head of the response, in lower case.
    pub head: String,
    /// Bytes received but not read yet.
    bytes: Vec<u8>,
}

/// A message prefixed with its length.
#[must_use]
pub fn record(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("it is no whole gigabyte");
    [&length.to_le_bytes(), message].concat()
}

impl Stream {
    /// Opens a stream; `lines` are more header lines, each with its line end.
    ///
    /// # Errors
    /// The status, if the relay rejects the request.
    pub fn open(http: SocketAddr, lines: &str) -> Result<Self, u16> {
        Self::open_over(TcpStream::connect(http).expect("the relay listens"), http, lines)
    }

    /// Opens a stream over an existing connection.
    ///
    /// # Errors
    /// The status, if the relay rejects the request.
    ///
    /// # Panics
    /// If nothing answers, or the response is not a stream that begins with its id.
    pub fn open_over(stream: TcpStream, http: SocketAddr, lines: &str) -> Result<Self, u16> {
        let mut answer = BufReader::new(sent(stream, &request(http, "/stream", lines, &[])));
        let (status, head) = head(&mut answer);
        if status != 200 {
            return Err(status);
        }
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        let mut stream = Self { answer, http, id: String::new(), head, bytes: Vec::new() };
        let (mark, opened) = stream.record().expect("the first record comes");
        assert_eq!((mark, &opened[..2]), (0x80, &[0, 0][..]), "the first record is a notice");
        stream.id = String::from_utf8(opened[2..].to_vec()).expect("an id is text");
        Ok(stream)
    }

    /// The next message, or the close code; 1006 if there was none.
    ///
    /// # Errors
    /// At the end.
    ///
    /// # Panics
    /// If nothing arrives, or something that is not a record.
    pub fn read(&mut self) -> Result<Vec<u8>, u16> {
        match self.record().ok_or(1006_u16)? {
            (0, message) => Ok(message),
            (_, notice) => {
                assert_eq!(self.record(), None, "nothing follows the end");
                Err(u16::from_le_bytes([notice[0], notice[1]]))
            }
        }
    }

    /// One record: the top bit of its length, and its bytes. `None` at the end of the response.
    fn record(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.taken(4)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3] & 0x7f]);
        Some((head[3] & 0x80, self.taken(usize::try_from(length).expect("it fits"))?))
    }

    fn taken(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.bytes.len() < length {
            let chunk = chunk(&mut self.answer)?;
            self.bytes.extend(chunk);
        }
        let rest = self.bytes.split_off(length);
        Some(std::mem::replace(&mut self.bytes, rest))
    }

    /// Sends commands over a separate connection; returns the status of the response.
    #[must_use]
    pub fn command(&self, body: &[u8]) -> u16 {
        post(self.http, &format!("/stream/{}", self.id), "", body).0
    }
}

/// Response to a `POST` request: the status, and the head in lower case.
///
/// # Panics
/// If nothing answers.
#[must_use]
pub fn post(http: SocketAddr, path: &str, lines: &str, body: &[u8]) -> (u16, String) {
    let stream = TcpStream::connect(http).expect("the relay listens");
    head(&mut BufReader::new(sent(stream, &request(http, path, lines, body))))
}

/// Response to a `POST` request with `Connection: close`: the status, and the whole response.
///
/// # Panics
/// If nothing answers.
#[must_use]
pub fn post_and_read(http: SocketAddr, path: &str, lines: &str, body: &[u8]) -> (u16, String) {
    let stream = TcpStream::connect(http).expect("the relay listens");
    let mut stream = BufReader::new(sent(stream, &request(http, path, lines, body)));
    let (status, head) = head(&mut stream);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the relay answers");
    (status, format!("{head}{}", String::from_utf8_lossy(&answer)))
}

fn request(http: SocketAddr, path: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let length = match lines.contains("chunked") {
        true => String::new(),
        false => format!("Content-Length: {}\r\n", body.len()),
    };
    let head = format!("POST {path} HTTP/1.1\r\nHost: {http}\r\n{length}{lines}\r\n");
    [head.as_bytes(), body].concat()
}

fn sent(mut stream: TcpStream, request: &[u8]) -> TcpStream {
    stream.set_read_timeout(Some(TIMEOUT)).expect("the socket is open");
    // The relay answers a request that is too long before its end.
    let _ = stream.write_all(request);
    stream
}

/// The head of a response: its status, and the whole head in lower case.
fn head(answer: &mut BufReader<TcpStream>) -> (u16, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(answer.read_line(&mut head).expect("the relay answers"), 0, "half an answer: {head}");
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("an answer has a status"), head.to_lowercase())
}

/// One chunk of a body; `None` at its end, whether graceful or not.
fn chunk(answer: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = String::new();
    match answer.read_line(&mut line) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the relay stopped sending"),
        read => read.ok().filter(|&length| length > 0)?,
    };
    let length = usize::from_str_radix(line.trim_end(), 16).expect("a chunk has a length");
    let mut bytes = vec![0; length + 2];
    answer.read_exact(&mut bytes).ok()?;
    bytes.truncate(length);
    (length > 0).then_some(bytes)
}
