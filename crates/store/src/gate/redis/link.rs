//! The link to Redis, with its circuit breaker: a slow or unavailable server costs one call, then
//! none.
//!
//! ```text
//!            a call fails, or takes longer than CALL_MAX
//!   closed ───────────────────────────────────────────────▶ open: nobody asks, nobody waits
//!      ▲                                                      │
//!      └── a new connection takes a write on that shard ◀─────┘ tried every 200 to 250 ms,
//!                                                               later every 500 to 1,000 ms
//! ```
//! Every answer also contains the server's clock, so that what is sent can say by that clock how
//! old it is: a server that was frozen and wakes up does not take old news for new.

use super::connect::Connection;
use super::script::{Call, PROBE};
use super::url::{Kind, Target};
use super::{CALL_MAX, HEARTBEAT};
use crate::random::random_of;
use parking_lot::Mutex;
use redis::{ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind};
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Attempts at the quick pace, before the slow one.
const QUICK_ATTEMPTS: u32 = 10;
/// An estimate of a server's clock that is older is made again.
const CLOCK_KNOWN_MS: i64 = 5_000;

/// A hash tag: keys with the same one live on the same server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tag {
    /// Sections of a shard.
    Shard(usize),
    /// A part of the shared counters.
    Tally(usize),
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shard(index) => write!(f, "{{{index}}}"),
            Self::Tally(part) => write!(f, "{{tally-{part}}}"),
        }
    }
}

/// The link and what is known of it.
pub(super) struct Link {
    target: Target,
    started_at: Instant,
    state: Mutex<State>,
    opened: Notify,
    closed: watch::Sender<bool>,
    clocks: Mutex<HashMap<Option<Tag>, ServerClock>>,
}

struct State {
    /// `None` while the breaker is open.
    connection: Option<Connection>,
    /// Counts connections, so that a late failure of an old one says nothing of a new one.
    generation: u64,
    /// Since when it is open.
    away_since: Instant,
    /// True if the log has a line that it is open.
    told: bool,
    /// What failed last: the breaker stays open until this one answers.
    tag: Tag,
}

/// `server = ours + ahead_ms`, never later than it is.
#[derive(Clone, Copy)]
struct ServerClock {
    ahead_ms: i64,
    known_at_ms: i64,
}

impl Link {
    /// A link that is not there yet; [`Self::keep`] makes it.
    pub fn new(target: Target) -> Self {
        let away_since = Instant::now();
        let tag = Tag::Shard(0);
        let state = State { connection: None, generation: 0, away_since, told: false, tag };
        Self {
            target,
            started_at: Instant::now(),
            state: Mutex::new(state),
            opened: Notify::new(),
            closed: watch::Sender::new(false),
            clocks: Mutex::default(),
        }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Our clock, in milliseconds since this link was made.
    pub fn now_ms(&self) -> i64 {
        i64::try_from(self.started_at.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// For how long the breaker has been open; `None`: it is closed.
    pub fn away(&self) -> Option<Duration> {
        let state = self.state.lock();
        state.connection.is_none().then(|| state.away_since.elapsed())
    }

    /// Waits until the breaker is closed.
    pub async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        // The sender lives as long as this link.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Makes a call, for [`CALL_MAX`] at most; `None` when Redis is away, or has just gone.
    pub async fn call<T: FromRedisValue>(&self, tag: Tag, call: &Call) -> Option<T> {
        let (mut connection, generation) = {
            let state = self.state.lock();
            (state.connection.clone()?, state.generation)
        };
        match self.call_on(&mut connection, tag, call).await {
            Ok(answer) => Some(answer),
            Err(cause) => {
                self.open(generation, tag, &cause);
                None
            }
        }
    }

    /// Publishes to a channel, with the same timeout.
    pub async fn publish(&self, channel: &str, message: &str) {
        let (mut connection, generation) = {
            let state = self.state.lock();
            let Some(connection) = state.connection.clone() else { return };
            (connection, state.generation)
        };
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(message);
        if let Err(cause) = in_call_time(connection.query::<i64>(&command)).await {
            self.open(generation, Tag::Shard(0), &cause);
        }
    }

    /// Checks the server that has `tag`: it accepts a write, and returns its clock.
    pub async fn probe(&self, tag: Tag) -> Option<()> {
        self.call::<Option<()>>(tag, &probe_of(tag)).await.map(|_| ())
    }

    /// The instant `at_ms` of our clock by the clock of the server that has `tag`: not later than it
    /// was, earlier by at most the time of one call. `None` when Redis is away.
    pub async fn server_ms(&self, tag: Tag, at_ms: i64) -> Option<i64> {
        for asked in [false, true] {
            let known = self.clocks.lock().get(&self.clock_of(tag)).copied();
            let recent = |clock: &ServerClock| self.now_ms() - clock.known_at_ms <= CLOCK_KNOWN_MS;
            if let Some(clock) = known.filter(recent) {
                return Some(at_ms + clock.ahead_ms);
            }
            if !asked {
                self.probe(tag).await?;
            }
        }
        None
    }

    /// Each server of a cluster has a clock of its own.
    fn clock_of(&self, tag: Tag) -> Option<Tag> {
        (self.target.kind == Kind::Cluster).then_some(tag)
    }

    async fn call_on<T: FromRedisValue>(
        &self,
        connection: &mut Connection,
        tag: Tag,
        call: &Call,
    ) -> RedisResult<T> {
        let (server_ms, answer) = in_call_time(async {
            match connection.query::<(i64, T)>(&call.by_digest()).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    connection.query(&call.by_text()).await
                }
                answered => answered,
            }
        })
        .await?;
        // The server read its clock before now; a millisecond for what both have cut off.
        let known_at_ms = self.now_ms();
        let clock = ServerClock { ahead_ms: server_ms - known_at_ms - 1, known_at_ms };
        self.clocks.lock().insert(self.clock_of(tag), clock);
        Ok(answer)
    }

    /// Opens the breaker, unless another call has done so or there is a newer connection.
    fn open(&self, generation: u64, tag: Tag, cause: &RedisError) {
        let mut state = self.state.lock();
        if state.generation != generation || state.connection.take().is_none() {
            return;
        }
        (state.away_since, state.tag) = (Instant::now(), tag);
        self.closed.send_replace(false);
        self.opened.notify_one();
        self.tell(&mut state, cause);
    }

    /// Says once that Redis is away.
    fn tell(&self, state: &mut State, cause: &RedisError) {
        if !std::mem::replace(&mut state.told, true) {
            let (gate, cause) = (self.target.to_string(), cause.to_string());
            tracing::warn!(gate, cause, "the gate is unavailable: holds go directly to the store");
        }
    }

    fn close(&self, connection: Connection) {
        let mut state = self.state.lock();
        state.connection = Some(connection);
        state.generation += 1;
        let away_ms = u64::try_from(state.away_since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let back = std::mem::replace(&mut state.told, false);
        self.closed.send_replace(true);
        let gate = self.target.to_string();
        if back {
            tracing::info!(gate, away_ms, "the gate is available again");
        } else {
            tracing::info!(gate, "the gate is connected");
        }
    }

    /// Makes the link and mends it, for ever.
    pub async fn keep(&self) {
        let mut attempts = 0;
        loop {
            if self.away().is_none() {
                self.watch().await;
                attempts = 0;
                pause(attempts).await;
            }
            match self.attempt().await {
                Ok(connection) => self.close(connection),
                Err(cause) => {
                    self.tell(&mut self.state.lock(), &cause);
                    attempts += 1;
                    pause(attempts).await;
                }
            }
        }
    }

    /// A new connection on which the shard that failed last takes a write.
    async fn attempt(&self) -> RedisResult<Connection> {
        let mut connection = self.target.connect().await?;
        // Another server may have taken over, with another clock.
        self.clocks.lock().clear();
        let tag = self.state.lock().tag;
        self.call_on::<Option<()>>(&mut connection, tag, &probe_of(tag)).await?;
        Ok(connection)
    }

    /// Returns when the breaker opens. Asks for a sign of life now and then, so that not a buyer is
    /// the first to notice.
    async fn watch(&self) {
        while self.away().is_none() {
            tokio::select! {
                () = self.opened.notified() => {}
                () = tokio::time::sleep(HEARTBEAT) => {
                    let tag = self.state.lock().tag;
                    self.probe(tag).await;
                }
            }
        }
    }
}

fn probe_of(tag: Tag) -> Call {
    Call::new(&PROBE, vec![format!("reservix:{tag}:probe")])
}

async fn in_call_time<T>(call: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    match tokio::time::timeout(CALL_MAX, call).await {
        Ok(done) => done,
        Err(_) => Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))),
    }
}

/// Waits between attempts, never for the same time as another instance.
async fn pause(attempts: u32) {
    let ms = if attempts < QUICK_ATTEMPTS { random_of(200..=250) } else { random_of(500..=1_000) };
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
