//! The socket of a connection: what hyper leaves open about writing to it.
//!
//! To a head that cannot be read hyper answers with a bare status. It is withheld here, so that the
//! client gets a problem instead. Also, hyper waits forever for a client that does not read its
//! answer; here it waits for at most `WRITE_TIMEOUT_SECONDS` without progress.

use super::turn::Turn;
use axum::http::StatusCode;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// A socket, and the status that was withheld.
pub struct Socket {
    stream: TcpStream,
    withheld: Option<StatusCode>,
    /// How long a client may take nothing of what is sent to it.
    patience: Duration,
    /// When it is over; set while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Whose turn it is, which depends on what comes and goes.
    turn: Arc<Turn>,
}

impl Socket {
    /// Nothing is withheld yet.
    pub fn new(stream: TcpStream, patience: Duration, turn: Arc<Turn>) -> Self {
        // An answer is one small write; waiting to fill a packet only delays it.
        let _ = stream.set_nodelay(true);
        Self { stream, withheld: None, patience, stalled: None, turn }
    }

    /// The socket, and the status of the bare answer that was withheld.
    pub fn into_parts(self) -> (TcpStream, Option<StatusCode>) {
        (self.stream, self.withheld)
    }
}

impl Socket {
    /// Passes on what a write came to, unless the client has taken nothing for too long.
    fn patiently<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            self.turn.wrote();
            return written;
        }
        let patience = self.patience;
        let over = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        over.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// The status of `bytes`, if they are an answer that hyper made: without a body, which all refusals
/// of ours have.
fn bare_refusal(bytes: &[u8]) -> Option<StatusCode> {
    let rest = bytes.strip_prefix(b"HTTP/1.1 4")?;
    let refusals = [
        StatusCode::BAD_REQUEST,
        StatusCode::URI_TOO_LONG,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    ];
    let status =
        refusals.into_iter().find(|status| rest.starts_with(&status.as_str().as_bytes()[1..]))?;
    let bare = std::str::from_utf8(rest).ok()?.to_ascii_lowercase();
    (bare.ends_with("\r\n\r\n") && bare.contains("\r\ncontent-length: 0\r\n")).then_some(status)
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.turn.read(&buffer.filled()[before..]);
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(status) = bare_refusal(bytes) {
            self.withheld = Some(status);
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.patiently(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [bytes] = parts {
            return self.poll_write(context, bytes);
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.patiently(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
