//! The world: the database, and every step that somebody has asked of it and that has not happened yet.

mod step;

use crate::database::{Database, Lock, SessionNo, Unlocked};
use crate::gate::Kept;
use engine::{BookingId, Error, Fault, Timestamp};
use parking_lot::Mutex;
use server::simulated::Decided;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use store::batch::{DriverError, Interrupt, Meaning};
use tokio::sync::oneshot;

pub use step::{Fate, Step};

/// How long the database lets a statement wait for a lock.
const LOCK_TIMEOUT_MS: i64 = 2_000;
/// The same where a transaction hurries.
const HURRY_MS: i64 = 30;

/// What a step came to.
pub enum Tried<R> {
    /// It happened.
    Done(R),
    /// It waits for a lock.
    Waits,
    /// The database refuses it.
    Fails(Interrupt),
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// The database refuses connections.
    Down,
    /// All sessions are in use.
    Crowded,
}

/// Whether a step is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    Over,
    Waits,
    Late,
}

type Run = Box<dyn FnMut(&mut Database, Fate) -> Ran + Send>;

/// A step that has not happened yet.
pub struct Pending {
    pub instance: usize,
    pub session: SessionNo,
    pub step: Step,
    run: Run,
    /// How many locks had been given back when it found that it has to wait.
    waits_since: Option<u64>,
    /// It does not happen before.
    pub not_before: Timestamp,
    /// Nobody waits for its answer any more. It may still happen.
    pub is_orphan: bool,
}

/// An answer to a client.
pub struct Answered {
    /// Which of its attempts.
    pub attempt: usize,
    /// What it was told.
    pub answer: Result<Decided, Error>,
}

/// What a worker came to.
pub struct Worked {
    pub instance: usize,
    pub done: Result<bool, Fault>,
}

/// What a change of an organizer came to.
pub struct Organized {
    pub instance: usize,
    pub what: &'static str,
    /// The version of the event that it wrote, if it wrote it.
    pub done: Result<Option<i64>, Error>,
}

/// What changes of the world.
pub struct Inner {
    pub database: Database,
    pub pending: Vec<Pending>,
    pub answers: Vec<Answered>,
    pub worked: Vec<Worked>,
    /// What became of changes of organizers.
    pub organized: Vec<Organized>,
    /// A bug that a batch has met, also where it went well when it was tried again.
    pub bug: Option<String>,
    /// Bookings whose holds make a batch fail, as a bug of ours would.
    pub poison: BTreeSet<BookingId>,
    /// Connecting fails until then.
    pub down_until: Timestamp,
    /// In this way.
    pub down_as: Unreachable,
    sessions: SessionNo,
    /// Counts whatever may let somebody go on who waits for a lock.
    released: u64,
}

/// Shared by the machine and all instances.
pub struct World {
    inner: Mutex<Inner>,
    now_ms: AtomicI64,
    start_ms: i64,
}

impl World {
    pub fn new(start: Timestamp) -> Arc<Self> {
        let start_ms = start.unix_ms();
        let inner = Inner {
            database: Database::new(start),
            pending: Vec::new(),
            answers: Vec::new(),
            worked: Vec::new(),
            organized: Vec::new(),
            bug: None,
            poison: BTreeSet::new(),
            down_until: start,
            down_as: Unreachable::Down,
            sessions: 0,
            released: 0,
        };
        Arc::new(Self { inner: Mutex::new(inner), now_ms: AtomicI64::new(start_ms), start_ms })
    }

    pub fn lock(&self) -> parking_lot::MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// The time of the world.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.now_ms.load(Ordering::Relaxed))
    }

    /// How long it lasts by now.
    pub fn lasts_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed) - self.start_ms
    }

    pub fn advance(&self, ms: i64) {
        let now_ms = self.now_ms.fetch_add(ms, Ordering::Relaxed) + ms;
        self.inner.lock().database.now = Timestamp::from_unix_ms(now_ms);
    }

    /// A new session, or why there is none.
    pub fn connect(&self) -> Result<SessionNo, Unreachable> {
        let mut inner = self.inner.lock();
        if inner.database.now < inner.down_until {
            return Err(inner.down_as);
        }
        inner.sessions += 1;
        Ok(inner.sessions)
    }

    /// Asks for a step, and waits until it has happened.
    pub async fn step<R: Send + 'static>(
        &self,
        (instance, session): (usize, SessionNo),
        step: Step,
        mut work: impl FnMut(&mut Database) -> Tried<R> + Send + 'static,
    ) -> Result<R, Interrupt> {
        let (reply, answer) = oneshot::channel();
        let (mut reply, mut on_its_way) = (Some(reply), None);
        let run = move |database: &mut Database, fate: Fate| {
            if let Some(result) = on_its_way.take() {
                if let Some(reply) = reply.take() {
                    let _ = reply.send(result);
                }
                return Ran::Over;
            }
            if let Fate::CutLater(_) = fate {
                if let Some(reply) = reply.take() {
                    let _ = reply.send(Err(cut()));
                }
                return Ran::Late;
            }
            let is_lost = step.needs_transaction() && database.transaction(session).is_none();
            let result = match fate {
                Fate::CutBefore | Fate::CutLater(_) => Err(cut()),
                Fate::TimesOut if step == Step::Claim => Err(Interrupt::KeyBusy),
                Fate::TimesOut => Err(Interrupt::Driver(Box::new(Failure::LockTimeout))),
                Fate::Happens | Fate::CutAfter | Fate::Late(_) if is_lost => Err(cut()),
                Fate::Happens | Fate::CutAfter | Fate::Late(_) => match work(database) {
                    Tried::Waits => return Ran::Waits,
                    Tried::Done(_) if fate == Fate::CutAfter => Err(cut()),
                    Tried::Done(done) => Ok(done),
                    Tried::Fails(interrupt) => Err(interrupt),
                },
            };
            if let Fate::Late(_) = fate {
                on_its_way = Some(result);
                return Ran::Late;
            }
            if let Some(reply) = reply.take() {
                // The instance may have stopped waiting.
                let _ = reply.send(result);
            }
            Ran::Over
        };
        self.put((instance, session), step, Box::new(run));
        answer.await.unwrap_or_else(|_| Err(cut()))
    }

    /// Tells the gate something; nobody waits for it. `tell` returns whether the gate went back.
    pub fn tell_gate(
        &self,
        instance: usize,
        mut tell: impl FnMut(&mut Kept, i64) -> bool + Send + 'static,
    ) {
        let run = move |database: &mut Database, fate: Fate| {
            if fate != Fate::CutBefore {
                let now_ms = database.now.unix_ms();
                if tell(&mut database.gate, now_ms) {
                    database.wrong = Some("I8: the gate keeps an older version for a newer one");
                }
            }
            // It arrives a second time.
            if let Fate::Late(_) = fate {
                return Ran::Late;
            }
            Ran::Over
        };
        self.put((instance, 0), Step::GateTold, Box::new(run));
    }

    fn put(&self, (instance, session): (usize, SessionNo), step: Step, run: Run) {
        let mut inner = self.inner.lock();
        let (waits_since, not_before, is_orphan) = (None, inner.database.now, false);
        inner.pending.push(Pending {
            instance,
            session,
            step,
            run,
            waits_since,
            not_before,
            is_orphan,
        });
    }

    /// Somebody has dropped a session: its transaction is rolled back, but for a COMMIT that is on its way.
    pub fn close(&self, session: SessionNo) {
        let mut inner = self.inner.lock();
        let is_its = |pending: &Pending| pending.session == session;
        if let Some(at) = inner.pending.iter().position(is_its) {
            if inner.pending[at].step.commits() {
                inner.pending[at].is_orphan = true;
                return;
            }
            inner.pending.remove(at);
        }
        inner.roll_back(session);
    }
}

impl Inner {
    /// The steps that can happen now.
    pub fn ready(&self) -> impl Iterator<Item = usize> + '_ {
        let (now, released) = (self.database.now, self.released);
        let can = move |pending: &Pending| {
            pending.not_before <= now && pending.waits_since.is_none_or(|since| since != released)
        };
        self.pending.iter().enumerate().filter(move |(_, it)| can(it)).map(|(at, _)| at)
    }

    /// Lets a step happen, or fail; returns whose it was when it is over.
    pub fn run(&mut self, at: usize, fate: Fate) -> Option<(usize, Step)> {
        let mut pending = self.pending.remove(at);
        let now = self.database.now;
        if let Some(transaction) = self.database.transaction(pending.session) {
            transaction.heard_at = now;
        }
        match (pending.run)(&mut self.database, fate) {
            Ran::Waits => {
                pending.waits_since = Some(self.released);
                let at = at.min(self.pending.len());
                self.pending.insert(at, pending);
                None
            }
            Ran::Late => {
                let is_cut = matches!(fate, Fate::CutLater(_));
                pending.is_orphan |= is_cut;
                if !is_cut && pending.step.commits() {
                    self.roll_back(pending.session);
                }
                let (Fate::Late(ms) | Fate::CutLater(ms)) = fate else {
                    unreachable!("only then it is late")
                };
                pending.not_before = now.plus_ms(i64::from(ms));
                pending.waits_since = None;
                let at = at.min(self.pending.len());
                self.pending.insert(at, pending);
                None
            }
            Ran::Over => {
                let (session, step) = (pending.session, pending.step);
                let is_cut = fate == Fate::CutBefore || fate == Fate::CutAfter;
                if step == Step::OneTrip {
                    self.database.release(session);
                    self.released += 1;
                } else if is_cut || step == Step::Commit || pending.is_orphan {
                    self.roll_back(session);
                }
                Some((pending.instance, step))
            }
        }
    }

    pub fn roll_back(&mut self, session: SessionNo) {
        self.database.roll_back(session);
        self.database.release(session);
        self.released += 1;
    }

    /// The waiting step whose time is over.
    pub fn overdue(&mut self) -> Option<usize> {
        let now = self.database.now;
        (0..self.pending.len()).find(|at| {
            let session = self.pending[*at].session;
            let is_waiting = self.pending[*at].waits_since.is_some();
            let longest = |hurries| if hurries { HURRY_MS } else { LOCK_TIMEOUT_MS };
            is_waiting
                && match self.database.transaction(session) {
                    Some(of) => of
                        .waits_since
                        .is_some_and(|since| now.since_ms(since) > longest(of.hurries)),
                    None => now.since_ms(self.pending[*at].not_before) > LOCK_TIMEOUT_MS,
                }
        })
    }
}

/// Takes locks one after the other.
pub fn lock_all(
    database: &mut Database,
    session: SessionNo,
    locks: impl IntoIterator<Item = Lock>,
) -> Tried<()> {
    for lock in locks {
        match database.lock(session, lock) {
            Ok(()) => {}
            Err(Unlocked::Waits) => return Tried::Waits,
            Err(Unlocked::Deadlock) => {
                database.deadlocks += 1;
                return Tried::Fails(Interrupt::Driver(Box::new(Failure::Deadlock)));
            }
        }
    }
    Tried::Done(())
}

/// What goes wrong with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection is gone.
    Cut,
    /// Two transactions waited for each other.
    Deadlock,
    /// A lock was not had in time.
    LockTimeout,
}

/// A connection that is gone.
pub fn cut() -> Interrupt {
    Interrupt::Driver(Box::new(Failure::Cut))
}

impl DriverError for Failure {
    fn meaning(&self) -> Meaning {
        match self {
            Self::Cut => Meaning::Cut,
            Self::Deadlock => Meaning::Conflict,
            Self::LockTimeout => Meaning::Final,
        }
    }

    fn into_fault(self: Box<Self>, doing: &'static str) -> Fault {
        let source = std::io::Error::other(format!("{self:?}"));
        Fault::Unavailable { doing, source: Arc::new(source) }
    }
}
