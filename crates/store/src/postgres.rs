//! The store of many instances: PostgreSQL.
//!
//! What it guarantees: a commit is on the disk of the primary when it returns, as far as the
//! server's settings allow, which are checked at the start (I11); no lock is waited for longer than
//! `lock_timeout` of [`BOUNDED`]; a commit whose answer was lost is done again under the same
//! locks, where every command finds what it has done already, and is never reported as failed
//! (I12).
//!
//! The clock is the database's, read by the statement that loads the locked rows.

mod accounts;
mod api_keys;
mod batch;
mod bookings;
mod columns;
mod connect;
mod currency;
mod events;
#[cfg(feature = "fill")]
mod fill;
mod history;
mod interrupt;
mod keys;
mod leaving;
mod log;
mod operators;
mod organizations;
mod pooler;
mod presence;
mod repair;
mod rows;
mod schema;
mod seats;
mod series;
mod sessions;
mod trip;
mod unpack;
mod upkeep;
mod url;
mod write;

use crate::batch::{Committer, Estimate, Kept, Meaning, WRITE_PATIENCE, write_until};
use crate::called_off::Passes;
use crate::maps::Maps;
use crate::{StoreOptions, random, unavailable};
use connect::{Door, Setting};
use engine::{Error, Fault};
use history::{History, OfHistory};
use interrupt::Interrupt;
use log::Settled;
use sessions::{Session, Sessions, TAKE_TIMEOUT};
use sqlx::ConnectOptions as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Of every session. Snapshots are asked for where they are wanted.
const EVERY: &[Setting] = &[("default_transaction_isolation", "read committed")];
/// Of sessions that somebody waits for.
const BOUNDED: &[Setting] = &[
    // How long a statement waits for a lock.
    ("lock_timeout", "2s"),
    ("statement_timeout", "3s"),
    // How long a transaction of an instance that froze keeps its locks: less than they are waited for, so
    // that those who wait get them.
    ("idle_in_transaction_session_timeout", "1500ms"),
    // How long the server waits for an instance that no longer takes what it is sent (ms).
    ("tcp_user_timeout", "5000"),
    // A statement that takes a millisecond gains nothing by being compiled for a hundred.
    ("jit", "off"),
];
/// Of sessions for migrations and audits, whatever the role has for others.
const PATIENT: &[Setting] = &[
    ("lock_timeout", "0"),
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
];
/// A batch's statements are always the same, and must be looked up by index however empty a table was when
/// the plan was made: planning each anew takes a seventh of a batch's time.
const PLANNED_ONCE: &[Setting] =
    &[("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off")];
/// Readers take what they look for in the order of an index, a page at a time. What the planner guesses of
/// how many rows that will be is wrong for a great event, and for a young table.
const IN_ORDER: &[Setting] =
    &[("enable_seqscan", "off"), ("enable_bitmapscan", "off"), ("enable_sort", "off")];
/// How long the look for a pooler may take.
const POOLER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a read tries.
const READ_PATIENCE: Duration = Duration::from_secs(3);
/// How long a read of the whole log tries.
const SLOW_READ_PATIENCE: Duration = Duration::from_secs(70);
/// Attempts at a read.
const ATTEMPTS_MAX: u32 = 10;

pub(crate) use url::check as check_url;

/// A PostgreSQL database.
pub(crate) struct Postgres {
    /// For the lanes.
    committer: Committer<Arc<Sessions>>,
    /// For everything else.
    sessions: Arc<Sessions>,
    /// One, for pings, so that much work does not make the database look away.
    pulse: Arc<Sessions>,
    /// Without the time-outs: for migrations and audits.
    patient: Arc<Door>,
    history: Arc<History>,
    settled: Arc<Settled>,
    passes: Passes,
}

/// Work on a session, which comes back with what became of it: `on!(session => work(&mut session))`.
macro_rules! on {
    ($session:ident => $work:expr) => {
        |mut $session: $crate::postgres::sessions::Session| async move {
            let done = $work.await;
            ($session, done)
        }
    };
}
use on;

impl Postgres {
    /// Connects, and looks whether the server can keep the promises made on its behalf.
    pub(crate) async fn open(url: &str, options: StoreOptions) -> Result<Self, Fault> {
        const DOING: &str = "connecting to the database";
        crate::use_ring();
        let connect = url::parse(url)?;
        let connect = connect
            .application_name("reservix")
            .disable_statement_logging()
            // No column is a floating-point number, and poolers refuse to set this.
            .extra_float_digits(None);
        let pool_size = (options.pool_size as usize).max(2);
        let door = |settings: &[&[Setting]]| Door::new(&connect, settings);
        let batches = door(&[EVERY, BOUNDED, PLANNED_ONCE]);
        let others = || door(&[EVERY, BOUNDED, IN_ORDER]);
        let maps = Arc::<Maps>::default();
        let settled = Arc::<Settled>::default();
        let kept = Arc::<Kept>::default();
        let of_a_history =
            OfHistory { maps: maps.clone(), settled: settled.clone(), kept: kept.clone() };
        let history = History::new(of_a_history, options.read_only);
        let sessions = |door, count| Sessions::new(door, count, history.clone());
        let committer = Committer::keeping(
            (maps, kept),
            sessions(batches, pool_size / 2),
            Estimate::new(&options.clock, options.monotonic),
            options.policy,
            random::dice(),
        );
        let store = Self {
            committer,
            sessions: sessions(others(), pool_size - pool_size / 2),
            pulse: sessions(others(), 1),
            patient: Arc::new(door(&[EVERY, PATIENT])),
            history,
            settled,
            passes: Passes::default(),
        };
        store.begin(DOING).await?;
        let mut session = store.sessions.take(DOING).await?;
        let found = schema::check(&mut session, options.strict).await;
        found.map_err(|interrupt| interrupt.into_fault(DOING))?;
        session.give_back();
        Ok(store)
    }

    /// Begins the first session of either kind, unless there is a pooler in between.
    async fn begin(&self, doing: &'static str) -> Result<(), Fault> {
        let doors = (self.sessions.door(), self.committer.sessions.door());
        let away = || doors.0.away(doing);
        let both = async { tokio::try_join!(doors.0.connect(), doors.1.connect()) };
        let both = timeout(TAKE_TIMEOUT, both).await;
        let late = |_| doors.0.away(doing)("the database does not respond");
        let (mut first, mut second) = both.map_err(late)?.map_err(away())?;
        let look = async {
            let missing = doors.0.missing(&mut first).await.map_err(away())?;
            let suspect = !missing.is_empty();
            pooler::refuse(doors.0, &mut first, &mut second, suspect).await?;
            doors.0.set(&mut first, &missing).await.map_err(away())?;
            let missing = doors.1.missing(&mut second).await.map_err(away())?;
            doors.1.set(&mut second, &missing).await.map_err(away())
        };
        timeout(POOLER_TIMEOUT, look).await.map_err(late)??;
        self.sessions.adopt(first, doing).await?;
        self.committer.sessions.adopt(second, doing).await
    }

    /// Does a piece of work that changes nothing, on another session when the first is cut.
    async fn read<T, W>(&self, doing: &'static str, work: impl Fn(Session) -> W) -> Result<T, Fault>
    where
        W: Future<Output = (Session, Result<T, Interrupt>)>,
    {
        self.read_within(READ_PATIENCE, &self.sessions, doing, work).await
    }

    /// A read of the whole log, which nobody waits for.
    async fn read_slowly<T, W>(
        &self,
        doing: &'static str,
        work: impl Fn(Session) -> W,
    ) -> Result<T, Fault>
    where
        W: Future<Output = (Session, Result<T, Interrupt>)>,
    {
        self.read_within(SLOW_READ_PATIENCE, &self.sessions, doing, work).await
    }

    async fn read_within<T, W>(
        &self,
        patience: Duration,
        sessions: &Arc<Sessions>,
        doing: &'static str,
        work: impl Fn(Session) -> W,
    ) -> Result<T, Fault>
    where
        W: Future<Output = (Session, Result<T, Interrupt>)>,
    {
        let until = Instant::now() + patience;
        for attempt in 1.. {
            let session = sessions.take(doing).await?;
            let late = |_| unavailable(doing)("the database does not respond in time");
            let (session, done) = timeout_at(until, work(session)).await.map_err(late)?;
            match done {
                Ok(value) => {
                    session.give_back();
                    return Ok(value);
                }
                Err(cut) if cut.meaning() == Meaning::Cut => {
                    sessions.close_idle();
                    if attempt >= ATTEMPTS_MAX || Instant::now() >= until {
                        return Err(cut.into_fault(doing));
                    }
                }
                Err(other) => {
                    session.give_back();
                    return Err(other.into_fault(doing));
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Does a piece of work in a transaction: all of it or nothing.
    ///
    /// It may be done more than once: after a conflict, and when the end of a transaction is unknown
    /// because its answer was lost (I12). So the work must find what it has done before and be
    /// content with it.
    async fn write<T, W>(
        &self,
        sessions: &Arc<Sessions>,
        doing: &'static str,
        work: impl Fn(Session) -> W,
    ) -> Result<T, Error>
    where
        W: Future<Output = (Session, Result<T, Interrupt>)>,
    {
        let until = Instant::now() + WRITE_PATIENCE;
        let unknown = &AtomicBool::new(false);
        write_until(sessions, &self.committer.dice, until, unknown, doing, work).await
    }
}
