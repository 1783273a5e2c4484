//! The socket of a connection, which keeps back what hyper says of its own accord.
//!
//! To a head that cannot be read hyper answers with a bare status. It is withheld here, so that the
//! client can be told as a problem what is wrong.

use axum::http::StatusCode;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A socket, and the status that was withheld.
pub struct Socket {
    stream: TcpStream,
    withheld: Option<StatusCode>,
}

impl Socket {
    /// Nothing is withheld yet.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, withheld: None }
    }

    /// The socket, and the status of the bare answer that was withheld.
    pub fn into_parts(self) -> (TcpStream, Option<StatusCode>) {
        (self.stream, self.withheld)
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
        Pin::new(&mut self.stream).poll_read(context, buffer)
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
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [bytes] = parts {
            return self.poll_write(context, bytes);
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
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
