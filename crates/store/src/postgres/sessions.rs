//! Sessions: the connections to PostgreSQL, and who has one.
//!
//! A session comes back to be used again only when the one who had it says that it is idle
//! ([`Session::give_back`]). Whatever else happens to it, an error, a timeout, a dropped future, it is
//! closed, and the server rolls back what it was doing. So no session is ever handed out inside the
//! transaction of somebody who has left.

use super::connect::Door;
use super::history::History;
use super::presence;
use crate::{Epoch, SESSIONS_BUSY, batch, unavailable};
use engine::Fault;
use parking_lot::Mutex;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// How long a request waits for a session before it is refused as one too many.
pub(super) const TAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// A bounded number of sessions.
pub(super) struct Sessions {
    door: Door,
    permits: Arc<Semaphore>,
    history: Arc<History>,
    /// The most recently used last: it is the one whose caches are warm. Each with the epoch in which it
    /// was opened.
    idle: Mutex<Vec<(Epoch, PgConnection)>>,
}

impl Sessions {
    /// At most `count` sessions, none of them open yet.
    pub(super) fn new(door: Door, count: usize, history: Arc<History>) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(count.max(1)));
        Arc::new(Self { door, permits, history, idle: Mutex::default() })
    }

    /// A session that nobody else has, idle or new.
    pub(super) async fn take(self: &Arc<Self>, doing: &'static str) -> Result<Session, Fault> {
        let until = Instant::now() + TAKE_TIMEOUT;
        let permit = timeout_at(until, self.permits.clone().acquire_owned()).await;
        let busy = |_| Fault::Overloaded { what: SESSIONS_BUSY };
        let permit = permit.map_err(busy)?.map_err(unavailable(doing))?;
        let (epoch, connection) = if let Some(idle) = self.idle_session() {
            idle
        } else {
            let late = |_| self.door.away(doing)("the database does not respond");
            timeout_at(until, self.open(doing)).await.map_err(late)??
        };
        Ok(Session { connection: Some(connection), epoch, home: self.clone(), _permit: permit })
    }

    /// An idle session of the present history; those of another one are closed.
    fn idle_session(&self) -> Option<(Epoch, PgConnection)> {
        let mut idle = self.idle.lock();
        if idle.last().is_some_and(|(epoch, _)| *epoch != self.history.epoch()) {
            idle.clear();
        }
        idle.pop()
    }

    /// A new session, which has looked in which history it is.
    async fn open(&self, doing: &'static str) -> Result<(Epoch, PgConnection), Fault> {
        let opened = self.door.open().await;
        self.look(opened.map_err(self.door.away(doing))?, doing).await
    }

    async fn look(
        &self,
        mut connection: PgConnection,
        doing: &'static str,
    ) -> Result<(Epoch, PgConnection), Fault> {
        let shown = presence::show(&mut connection).await;
        shown.map_err(|interrupt| interrupt.into_fault(doing))?;
        let looked = self.history.look(&mut connection).await;
        let looked = looked.map_err(|interrupt| interrupt.into_fault(doing))?;
        Ok((looked.epoch, connection))
    }

    /// The way to new ones.
    pub(super) fn door(&self) -> &Door {
        &self.door
    }

    /// Takes over a session that is idle, as one of its own.
    pub(super) async fn adopt(
        &self,
        connection: PgConnection,
        doing: &'static str,
    ) -> Result<(), Fault> {
        let looked = self.look(connection, doing).await?;
        self.idle.lock().push(looked);
        Ok(())
    }

    /// Closes what is idle: after one session was cut, the others have most likely been cut too.
    /// What was kept of the database goes with them.
    pub(super) fn close_idle(&self) {
        self.idle.lock().clear();
        self.history.session_lost();
    }

    /// Hands out no more sessions, and closes idle ones.
    pub(super) async fn close(&self) {
        self.permits.close();
        self.say_goodbye().await;
    }

    /// Closes what is idle, and notifies the server.
    pub(super) async fn say_goodbye(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        for (_, connection) in idle {
            // The server notices a closed socket too; a goodbye only keeps its log clean.
            let _ = tokio::time::timeout(TAKE_TIMEOUT, connection.close()).await;
        }
    }
}

/// A connection in the hands of one user.
pub(super) struct Session {
    connection: Option<PgConnection>,
    epoch: Epoch,
    home: Arc<Sessions>,
    _permit: OwnedSemaphorePermit,
}

impl Session {
    /// Ends the use of a session that is idle, outside of any transaction.
    pub(super) fn give_back(mut self) {
        if let Some(connection) = self.connection.take()
            && !self.home.permits.is_closed()
        {
            self.home.idle.lock().push((self.epoch, connection));
        }
    }

    /// Ends a transaction that is to leave nothing behind, and the use of the session.
    pub(super) async fn roll_back(mut self) {
        // Unless the server says that it did, the session is closed, which does it too.
        if self.execute("ROLLBACK").await.is_ok() {
            self.give_back();
        }
    }
}

impl batch::Sessions for Arc<Sessions> {
    type Session = Session;

    async fn take(&self, doing: &'static str) -> Result<Session, Fault> {
        Sessions::take(self, doing).await
    }

    fn close_idle(&self) {
        Sessions::close_idle(self);
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("there until it is given back")
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("there until it is given back")
    }
}
