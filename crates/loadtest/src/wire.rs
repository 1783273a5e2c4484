//! One kept-alive connection, and requests over it, one at a time.
//!
//! The connection is driven by whoever waits for the answer, not by a task of its own: an answer
//! wakes one task, once. A connection that broke is opened again by the next request; a request is never
//! sent twice, since whether the first had an effect is what the proof wants to know.

use crate::target::Target;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::header::{CONNECTION, HeaderMap, RETRY_AFTER};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};

/// What the body of every request is.
pub type Body = Full<Bytes>;

/// Bodies beyond this are no answers of the API.
const BODY_BYTES_MAX: usize = 16 << 20;

/// The head of an answer. Its body is in [`Wire::body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Whole seconds of `Retry-After`, if it is there and can be read.
    pub retry_after_seconds: Option<u32>,
    /// Whether it says `Idempotent-Replayed`.
    pub replayed: bool,
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// No connection: nothing was sent.
    Refused,
    /// The connection ended before the answer did.
    Reset,
    /// Nothing within the bound.
    TimedOut,
    /// Not HTTP, or far too long.
    Nonsense,
}

impl Silence {
    /// As it is counted among the answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::TimedOut => "timed out",
            Self::Nonsense => "nonsense",
        }
    }
}

struct Open {
    sender: SendRequest<Body>,
    connection: Pin<Box<Connection<TokioIo<TcpStream>, Body>>>,
}

/// A connection to the target, open or to be opened.
pub struct Wire {
    target: Arc<Target>,
    patience: Duration,
    open: Option<Open>,
    /// Set back only when it rings, so that a request costs no timer.
    watchdog: Pin<Box<Sleep>>,
    /// The body of the latest answer.
    pub body: Vec<u8>,
}

impl Wire {
    /// A connection that is not yet open; no request waits longer than `patience`.
    pub fn new(target: Arc<Target>, patience: Duration) -> Self {
        let watchdog = Box::pin(sleep(patience));
        Self { target, patience, open: None, watchdog, body: Vec::with_capacity(1_024) }
    }

    /// Opens the connection unless it is open.
    pub async fn connect(&mut self) -> Result<(), Silence> {
        if self.open.as_ref().is_some_and(|open| !open.sender.is_closed()) {
            return Ok(());
        }
        let dialled = timeout(self.patience, TcpStream::connect(&self.target.dial)).await;
        let stream = dialled.map_err(|_| Silence::Refused)?.map_err(|_| Silence::Refused)?;
        // A request is one small segment, and nothing follows that would be worth waiting for.
        let _ = stream.set_nodelay(true);
        // Head and body are small: one buffer is cheaper than a list of two.
        let (sender, connection) = Builder::new()
            .writev(false)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Silence::Refused)?;
        self.open = Some(Open { sender, connection: Box::pin(connection) });
        Ok(())
    }

    /// Sends a request and reads the whole answer.
    pub async fn call(&mut self, request: Request<Body>) -> Result<Answer, Silence> {
        self.connect().await?;
        match self.converse(request).await {
            Ok((answer, ends)) => {
                if ends {
                    self.open = None;
                }
                Ok(answer)
            }
            Err(silence) => {
                self.open = None;
                Err(silence)
            }
        }
    }

    /// The answer, and whether the connection ends with it.
    async fn converse(&mut self, request: Request<Body>) -> Result<(Answer, bool), Silence> {
        let Self { open, body, watchdog, patience, .. } = self;
        let Open { sender, connection } = open.as_mut().ok_or(Silence::Refused)?;
        let started = Instant::now();
        let mut exchange = pin!(exchange(sender, body, request));
        let mut over = false;
        let heard = poll_fn(|cx| {
            if let Poll::Ready(heard) = exchange.as_mut().poll(cx) {
                return Poll::Ready(heard);
            }
            if !over {
                over = connection.as_mut().poll(cx).is_ready();
            }
            if let Poll::Ready(heard) = exchange.as_mut().poll(cx) {
                return Poll::Ready(heard);
            }
            if over {
                return Poll::Ready(Err(Silence::Reset));
            }
            while watchdog.as_mut().poll(cx).is_ready() {
                if started.elapsed() >= *patience {
                    return Poll::Ready(Err(Silence::TimedOut));
                }
                watchdog.as_mut().reset(started + *patience);
            }
            Poll::Pending
        })
        .await;
        heard.map(|(answer, close)| (answer, close || over))
    }
}

/// The answer, and whether it said that the connection ends.
async fn exchange(
    sender: &mut SendRequest<Body>,
    body: &mut Vec<u8>,
    request: Request<Body>,
) -> Result<(Answer, bool), Silence> {
    body.clear();
    sender.ready().await.map_err(|error| silence(&error))?;
    let (head, mut incoming) =
        sender.send_request(request).await.map_err(|error| silence(&error))?.into_parts();
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame.map_err(|error| silence(&error))?.into_data() {
            if body.len() + data.len() > BODY_BYTES_MAX {
                return Err(Silence::Nonsense);
            }
            body.extend_from_slice(&data);
        }
    }
    let close = head.headers.get(CONNECTION).is_some_and(|value| value == "close");
    let answer = Answer {
        status: head.status.as_u16(),
        retry_after_seconds: retry_after(&head.headers),
        replayed: head.headers.get("idempotent-replayed").is_some_and(|value| value == "true"),
    };
    Ok((answer, close))
}

fn silence(error: &hyper::Error) -> Silence {
    if error.is_parse() { Silence::Nonsense } else { Silence::Reset }
}

fn retry_after(headers: &HeaderMap) -> Option<u32> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}
