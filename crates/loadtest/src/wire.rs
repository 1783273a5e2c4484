//! One kept-alive connection, and requests over it, one at a time.
//!
//! The connection is driven by the task that waits for the answer, not by a task of its own: an
//! answer wakes one task, once. A connection that broke is opened again by the next request; a
//! request is never sent twice, since whether the first had an effect is what the proof wants to
//! know.

use crate::pulse::Asked;
use crate::target::Target;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::header::{CONNECTION, DATE, HeaderMap, HeaderName, RETRY_AFTER};
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

/// A request that waits looks so often whether it is still to wait.
const LOOK_UP: Duration = Duration::from_secs(1);

/// Bodies beyond this are no answers of the API.
const BODY_BYTES_MAX: usize = 16 << 20;

/// The head of an answer. Its body is in [`Wire::body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Seconds of `Retry-After`, if it is there and can be read.
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
    /// When the latest request was sent.
    pub sent_at: Instant,
    /// The body of the latest answer.
    pub body: Vec<u8>,
}

impl Wire {
    /// A connection that is not yet open; no request waits longer than `patience`.
    pub fn new(target: Arc<Target>, patience: Duration) -> Self {
        let watchdog = Box::pin(sleep(patience.min(LOOK_UP)));
        let (sent_at, body) = (Instant::now(), Vec::with_capacity(1_024));
        Self { target, patience, open: None, watchdog, sent_at, body }
    }

    /// Opens the connection unless it is open.
    pub async fn connect(&mut self) -> Result<(), Silence> {
        if let Some(open) = &mut self.open {
            // A server may end a connection that was idle. Nobody was driving it, so this is when that
            // is noticed: before anything is sent.
            let is_over = poll_fn(|cx| Poll::Ready(open.connection.as_mut().poll(cx).is_ready()));
            if !is_over.await && !open.sender.is_closed() {
                return Ok(());
            }
            self.open = None;
        }
        let dialled = tokio::select! {
            dialled = timeout(self.patience, TcpStream::connect(&self.target.dial)) => dialled,
            () = self.target.pulse.over() => return Err(Silence::Refused),
        };
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
        let asked = Asked::now(&self.target.pulse);
        let heard = match self.connect().await {
            Ok(()) => self.converse(request).await,
            Err(silence) => Err(silence),
        };
        match heard {
            Ok((answer, ends)) => {
                asked.answered(answer.status);
                if ends {
                    self.open = None;
                }
                Ok(answer)
            }
            Err(silence) => {
                asked.was_silence();
                self.open = None;
                Err(silence)
            }
        }
    }

    /// The answer, and whether the connection ends with it.
    async fn converse(&mut self, request: Request<Body>) -> Result<(Answer, bool), Silence> {
        let Self { open, body, watchdog, patience, sent_at, target } = self;
        let Open { sender, connection } = open.as_mut().ok_or(Silence::Refused)?;
        let started = Instant::now();
        *sent_at = started;
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
                if started.elapsed() >= *patience || target.pulse.is_over() {
                    return Poll::Ready(Err(Silence::TimedOut));
                }
                watchdog.as_mut().reset((started + *patience).min(Instant::now() + LOOK_UP));
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

/// Seconds, or a date, which counts from the answer's own.
fn retry_after(headers: &HeaderMap) -> Option<u32> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let told = text(RETRY_AFTER)?;
    if let Ok(seconds) = told.parse() {
        return Some(seconds);
    }
    let at = |text: &str| chrono::DateTime::parse_from_rfc2822(text).ok();
    let (until, now) = (at(told)?, text(DATE).and_then(at));
    let seconds = now.map_or(1, |now| (until - now).num_seconds().max(0));
    Some(u32::try_from(seconds).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_to_come_back_is_told_in_seconds_or_as_a_date() {
        let of = |retry: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, retry.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            retry_after(&headers)
        };
        let (at, later) = ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:05 GMT");
        assert_eq!((of("3", None), of(" 0 ", Some(at))), (Some(3), Some(0)));
        assert_eq!((of(later, Some(at)), of(at, Some(later))), (Some(5), Some(0)));
        assert_eq!(of(later, None), Some(1), "without a clock to compare with");
        assert_eq!((of("soon", Some(at)), retry_after(&HeaderMap::new())), (None, None));
    }

    /// Answers one request of each connection, and ends it a moment later.
    async fn closes_when_idle(listener: tokio::net::TcpListener) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1_024]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                sleep(Duration::from_millis(20)).await;
            });
        }
    }

    #[tokio::test]
    async fn a_connection_that_was_ended_while_idle_is_opened_again_before_anything_is_lost() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(closes_when_idle(listener));
        let target = Arc::new(Target::parse(&target).unwrap());
        let mut wire = Wire::new(Arc::clone(&target), Duration::from_secs(5));
        for _ in 0..3 {
            let mut request = Request::new(Body::default());
            *request.uri_mut() = target.uri("/").unwrap();
            assert_eq!(wire.call(request).await.map(|answer| answer.status), Ok(200));
            sleep(Duration::from_millis(100)).await;
        }
    }
}
