//! Timeouts of a connection: idle between requests, and while a head arrives.
//!
//! hyper's own timeout of a head also runs between requests, so it would close an idle connection
//! as early as an incomplete head. Here the two are separate: a connection without a request can be
//! idle for `IDLE_TIMEOUT_SECONDS`, and `HEADER_TIMEOUT_SECONDS` starts with the first byte of a
//! head.

use crate::http::content::Content;
use axum::body::HttpBody;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// It is ours: a request is being answered.
const OURS: u64 = 0;
/// Set while a head arrives; else the connection is quiet.
const HEAD: u64 = 1;

/// How long a client may take.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Between two requests.
    pub idle: Duration,
    /// For a head, from its first byte on.
    pub head: Duration,
}

/// Whose turn it is. The socket, the answers and the loop of a connection share it, on one thread.
pub struct Turn {
    limits: Limits,
    begun: Instant,
    /// [`OURS`], or since when it is the client's: milliseconds since `begun` and one, above [`HEAD`].
    state: AtomicU64,
}

impl Turn {
    /// Of a new connection: quiet.
    pub fn new(limits: Limits) -> Arc<Self> {
        let turn = Self { limits, begun: Instant::now(), state: AtomicU64::new(OURS) };
        turn.is_quiet();
        Arc::new(turn)
    }

    /// How long a client may take.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A request has come whole: its head is read. Until the guard is dropped, it is our turn.
    pub fn take(self: &Arc<Self>) -> Guard {
        self.state.store(OURS, Ordering::Relaxed);
        Guard(self.clone())
    }

    /// Bytes have come. The first of a head start its clock; an empty line is no head yet.
    pub fn read(&self, bytes: &[u8]) {
        let state = self.state.load(Ordering::Relaxed);
        if state != OURS && state & HEAD == 0 && bytes.iter().any(|byte| !b"\r\n".contains(byte)) {
            self.state.store(self.now() | HEAD, Ordering::Relaxed);
        }
    }

    /// The client has taken something of an answer, which may be the end of the last one.
    pub fn wrote(&self) {
        let state = self.state.load(Ordering::Relaxed);
        if state != OURS && state & HEAD == 0 {
            self.is_quiet();
        }
    }

    /// When the client's time is over; `None` while it is our turn.
    pub fn over(&self) -> Option<Instant> {
        let state = self.state.load(Ordering::Relaxed);
        let limit = if state & HEAD == 0 { self.limits.idle } else { self.limits.head };
        (state != OURS).then(|| self.begun + Duration::from_millis((state >> 1) - 1) + limit)
    }

    fn is_quiet(&self) {
        self.state.store(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        let since_begun = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX >> 2);
        (since_begun + 1) << 1
    }
}

/// Our turn. It ends with the answer, or when nobody wants the answer any more.
pub struct Guard(Arc<Turn>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.is_quiet();
    }
}

/// The body of an answer. hyper drops it when it has been taken to its end.
pub struct Answer {
    body: Content,
    _ours: Guard,
}

impl Answer {
    /// An answer that is ours to give until it ends.
    pub fn new(body: Content, ours: Guard) -> Self {
        Self { body, _ours: ours }
    }
}

impl HttpBody for Answer {
    type Data = <Content as HttpBody>::Data;
    type Error = <Content as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use axum::body::Bytes;

    const LIMITS: Limits = Limits { idle: Duration::from_secs(75), head: Duration::from_secs(10) };
    /// Instants are kept in whole milliseconds.
    const GRAIN: Duration = Duration::from_millis(1);

    /// Asserts that a client's time ends `limit` after `doing`.
    #[track_caller]
    fn assert_restarts(turn: &Turn, limit: Duration, doing: impl FnOnce()) {
        std::thread::park_timeout(GRAIN * 5);
        let before = Instant::now();
        doing();
        let over = turn.over().expect("it is the client's turn");
        assert!((before + limit - GRAIN..=Instant::now() + limit).contains(&over));
    }

    /// Asserts that `doing` leaves a client's time as it is.
    #[track_caller]
    fn assert_goes_on(turn: &Turn, doing: impl FnOnce()) {
        let over = turn.over();
        std::thread::park_timeout(GRAIN * 5);
        doing();
        assert_eq!(turn.over(), over);
    }

    #[tokio::test]
    async fn a_head_has_its_own_clock_which_begins_with_its_first_byte() {
        let turn = Turn::new(LIMITS);
        assert_goes_on(&turn, || turn.read(b"\r\n"));
        assert_restarts(&turn, LIMITS.head, || turn.read(b"G"));
        // More bytes give no more time.
        assert_goes_on(&turn, || turn.read(b"ET / "));
        assert_goes_on(&turn, || turn.wrote());
    }

    #[tokio::test]
    async fn while_it_is_our_turn_no_clock_runs_and_after_it_the_connection_is_quiet() {
        let turn = Turn::new(LIMITS);
        turn.read(b"GET");
        let answer = Answer::new(Bytes::from("text").into(), turn.take());
        assert_eq!(turn.over(), None);
        assert_goes_on(&turn, || turn.read(b"the body of the request"));
        assert_goes_on(&turn, || turn.wrote());
        assert_restarts(&turn, LIMITS.idle, || drop(answer));
        // Its client still takes what was sent.
        assert_restarts(&turn, LIMITS.idle, || turn.wrote());
    }
}
