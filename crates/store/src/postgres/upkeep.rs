//! What workers and the person on call need.

use super::accounts::{fault, purge};
use super::interrupt::Interrupt;
use super::repair::repair;
use super::{Postgres, READ_PATIENCE, events, log, on};
use crate::rows::{self, instant};
use crate::slices::Slice;
use crate::{
    Books, Epoch, Histories, Instance, Log, Messages, Migration, Reckoning, Schema, Sweep, Timed,
};
use async_trait::async_trait;
use engine::audit::Report;
use engine::log::{Position, UnknownTimeline};
use engine::{BookingId, Error, Fault, LogCursor, SectionId, Timestamp};
use sqlx::Executor as _;
use sqlx::postgres::{PgConnection, PgRow};
use tokio::sync::watch;

#[async_trait]
impl Log for Postgres {
    async fn messages_after(
        &self,
        cursor: LogCursor,
        limit: u32,
    ) -> Result<Result<Messages, UnknownTimeline>, Fault> {
        let read = on!(session => log::messages_after(&mut session, cursor, limit, &self.settled));
        self.read("reading messages", read).await
    }
}

impl Timed for Postgres {
    fn now(&self) -> Timestamp {
        self.committer.clock.now()
    }
}

#[async_trait]
impl Instance for Postgres {
    fn lanes(&self, wanted: usize) -> usize {
        wanted
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("PostgreSQL, {}", self.sessions.door().place())
    }

    async fn ping(&self) -> Result<(), Fault> {
        const DOING: &str = "checking that the database responds";
        let look = on!(session => self.history.look(&mut session));
        let looked = self.read_within(READ_PATIENCE, &self.pulse, DOING, look).await?;
        if let Some(now) = looked.now {
            // So an instance that commits nothing knows the time as well as the others.
            self.committer.clock.set(now);
        }
        Ok(())
    }

    async fn close(&self) {
        self.committer.sessions.close().await;
        self.sessions.close().await;
        self.pulse.close().await;
    }
}

#[async_trait]
impl Histories for Postgres {
    fn epoch(&self) -> Epoch {
        self.history.epoch()
    }

    fn epochs(&self) -> watch::Receiver<Epoch> {
        self.history.epochs()
    }

    async fn begin_epoch(&self) -> Result<Epoch, Fault> {
        const DOING: &str = "beginning another epoch";
        self.read(DOING, on!(session => self.history.renew(&mut session))).await
    }
}

#[async_trait]
impl Sweep for Postgres {
    async fn due_sections(&self, limit: u32) -> Result<Vec<(SectionId, Timestamp)>, Fault> {
        let find = on!(session => due_sections(&mut session, limit));
        let (now, due) = self.read("finding due holds", find).await?;
        self.committer.clock.set(now);
        Ok(due)
    }

    async fn to_cancel(&self, limit: u32) -> Result<Vec<BookingId>, Fault> {
        const DOING: &str = "finding bookings of cancelled events";
        let find = on!(session => events::to_cancel(&mut session, &self.passes, limit));
        self.write(&self.sessions, DOING, find).await.map_err(fault)
    }

    async fn purge(&self, limit: u32) -> Result<u64, Fault> {
        const DOING: &str = "removing old keys, tokens and invitations";
        let purge = on!(session => purge(&mut session, i64::from(limit)));
        self.write(&self.sessions, DOING, purge).await.map_err(fault)
    }
}

#[async_trait]
impl Books for Postgres {
    async fn reckon(&self, cursor: Position) -> Result<Reckoning, Fault> {
        const FOLD: &str = "SET LOCAL statement_timeout = '60s'";
        const WHOLE: &str = "SET LOCAL enable_seqscan = on";
        let is_first = cursor == Position::default();
        let reckon = on!(session => async {
            // A cursor of another history says nothing in this one.
            self.history.look(&mut session).await?;
            self.settled.mark(&mut session).await?;
            if is_first {
                // What is not settled by then is read a second time, and that is the whole log.
                self.settled.wait(&mut session).await?;
            }
            session.execute(log::SNAPSHOT).await?;
            session.execute(FOLD).await?;
            if is_first {
                // In any order, and not by index.
                session.execute(WHOLE).await?;
            }
            let reckoning = log::reckon(&mut session, cursor, &self.settled).await;
            session.execute("ROLLBACK").await?;
            reckoning
        });
        self.read_slowly("reading counters and log", reckon).await
    }

    async fn audit(&self) -> Result<Report, Fault> {
        self.audit_in(Slice::of).await
    }

    async fn repair(&self, section_id: SectionId, dry_run: bool) -> Result<Vec<String>, Error> {
        const DOING: &str = "repairing a section";
        // Without time-outs: the whole log is read. What is not committed is undone with the session.
        let mut session = self.patient_session(DOING).await?;
        let repair = async {
            session.execute("BEGIN").await?;
            let told = repair(&mut session, section_id, dry_run).await?;
            session.execute("COMMIT").await?;
            Ok::<_, Interrupt>(told)
        };
        let told = repair.await.map_err(|interrupt| interrupt.into_error(DOING))?;
        if !dry_run && !told.is_empty() {
            // No instance keeps anything of what was wrong.
            self.begin_epoch().await?;
        }
        Ok(told)
    }
}

#[async_trait]
impl Schema for Postgres {
    async fn migrate(&self, version: Option<i64>) -> Result<Vec<Migration>, Fault> {
        self.migrate_to(version).await
    }

    async fn migrations(&self) -> Result<Vec<(Migration, bool)>, Fault> {
        self.known_migrations().await
    }
}

impl Postgres {
    /// [`Books::audit`], in the slices that `cut` makes for this number of bookings.
    pub(crate) async fn audit_in(
        &self,
        cut: impl Fn(u64) -> Vec<Slice> + Send,
    ) -> Result<Report, Fault> {
        const DOING: &str = "auditing the store";
        let mut session = self.patient_session(DOING).await?;
        let audit = async {
            session.execute(log::SNAPSHOT).await?;
            log::audit(&mut session, cut).await
        };
        audit.await.map_err(|interrupt| interrupt.into_fault(DOING))
    }
}

async fn due_sections(
    session: &mut PgConnection,
    limit: u32,
) -> Result<(Timestamp, Vec<(SectionId, Timestamp)>), Interrupt> {
    const SQL: &str = "WITH clock AS MATERIALIZED (SELECT now_ms() AS now)
        SELECT clock.now, due.* FROM clock LEFT JOIN LATERAL
            (SELECT section_id, next_expiry FROM inventory WHERE next_expiry <= clock.now
             ORDER BY next_expiry LIMIT $1) due ON true
        ORDER BY due.next_expiry";
    let found = sqlx::query(SQL).bind(i64::from(limit)).fetch_all(session).await?;
    let now = instant(found.first().expect("the clock makes a row of its own"), "now")?;
    let due = |row: &PgRow| -> Option<Result<_, Fault>> {
        let due_at = rows::maybe_instant(row, "next_expiry").transpose()?;
        let section_id = rows::section_id(row, "section_id");
        Some(due_at.and_then(|due_at| Ok((section_id?, due_at))))
    };
    Ok((now, found.iter().filter_map(due).collect::<Result<_, _>>()?))
}
