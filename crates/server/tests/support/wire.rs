//! A connection on which a test writes what it wants, when it wants.

use super::{EVENTUALLY, Server};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An open connection.
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug)]
pub struct Heard {
    /// The status.
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    /// The body; null when it is no JSON.
    pub body: Value,
}

impl Heard {
    /// Checks that this is a problem with this status and code, and gives it.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        let told = (self.status, self.body["code"].as_str());
        assert_eq!(told, (status, Some(code)), "{}\n{:#}", self.head, self.body);
        assert!(
            self.head.contains("\r\ncontent-type: application/problem+json\r\n"),
            "{}",
            self.head
        );
        assert!(self.head.contains("\r\nx-request-id: "), "{}", self.head);
        assert!(self.head.contains("\r\nx-content-type-options: nosniff\r\n"), "{}", self.head);
        assert!(self.head.contains("\r\ncache-control: no-store\r\n"), "{}", self.head);
        assert_eq!(self.body["status"], status);
        let id = self.body["request_id"].as_str().expect("an id").to_lowercase();
        assert!(self.head.contains(&format!("\r\nx-request-id: {id}\r\n")), "{}", self.head);
        self.body
    }
}

impl Wire {
    /// Connects to the server.
    pub async fn open(server: &Server) -> Self {
        let address = server.url.trim_start_matches("http://").to_owned();
        Self::over(TcpStream::connect(address).await.expect("connects"))
    }

    /// Connects with a small buffer for what comes, so that who does not read is noticed soon.
    pub async fn narrow(server: &Server) -> Self {
        let address = server.url.trim_start_matches("http://").parse().expect("an address");
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4_096).expect("a socket");
        Self::over(socket.connect(address).await.expect("connects"))
    }

    /// Speaks over an open connection.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket");
        Self { stream, read: Vec::new() }
    }

    /// Sends these bytes. That the other end has closed is noticed by what it says, not here.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Waits for an answer and reads it whole; `None` when the connection ends without one.
    pub async fn hear(&mut self) -> Option<Heard> {
        let heard = tokio::time::timeout(EVENTUALLY, self.hear_whole()).await;
        heard.expect("an answer, or the end of the connection")
    }

    /// [`Self::hear`], when there must be an answer.
    pub async fn heard(&mut self) -> Heard {
        self.hear().await.expect("an answer")
    }

    /// Whether nothing comes for a while.
    pub async fn is_silent_for(&mut self, while_: Duration) -> bool {
        self.read.is_empty() && tokio::time::timeout(while_, self.more()).await.is_err()
    }

    /// Whether the connection ends without another byte.
    pub async fn ends(&mut self) -> bool {
        let ended = tokio::time::timeout(EVENTUALLY, self.more()).await.expect("it ends or speaks");
        ended == 0 && self.read.is_empty()
    }

    /// Reads what there is; 0 at the end of the connection.
    async fn more(&mut self) -> usize {
        let mut part = vec![0; 16 * 1024];
        // A reset is an end, too.
        let length = self.stream.read(&mut part).await.unwrap_or(0);
        self.read.extend_from_slice(&part[..length]);
        length
    }

    async fn hear_whole(&mut self) -> Option<Heard> {
        let head_end = loop {
            if let Some(at) = self.read.windows(4).position(|part| part == b"\r\n\r\n") {
                break at + 4;
            }
            if self.more().await == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.read[..head_end]).to_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length =
            head.split_once("\r\ncontent-length: ").and_then(|(_, rest)| rest.split("\r\n").next());
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        while self.read.len() < head_end + length {
            if self.more().await == 0 {
                return None;
            }
        }
        let body = serde_json::from_slice(&self.read[head_end..head_end + length]);
        self.read.drain(..head_end + length);
        Some(Heard { status, head, body: body.unwrap_or(Value::Null) })
    }
}

/// A POST with this body, by this client, as bytes.
pub fn post(client: &super::Client, path: &str, body: &Value) -> String {
    let body = body.to_string();
    format!("{}{}\r\n\r\n{body}", head(client, path), body.len())
}

/// The head of a POST up to the value of its `Content-Length`.
pub fn head(client: &super::Client, path: &str) -> String {
    let token = client.token.as_deref().unwrap_or_default();
    let authorization = match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}\r\n"),
    };
    format!(
        "POST /api/v1{path} HTTP/1.1\r\nHost: x\r\n{authorization}\
         Content-Type: application/json\r\nContent-Length: "
    )
}
