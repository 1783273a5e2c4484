//! Which history of the database an instance is in, and how it notices that it is another one.
//!
//! Each new session, and each ping, looks at three things: the epoch that is stored, the mark of the
//! server and the database, and the last number of the log.
//!
//! ```text
//! the mark is another one ───────────────▶ a copy, or a standby that was promoted: draw an epoch
//! the log's number is behind what was seen ▶ a copy from before, put back in place: draw an epoch
//! the epoch is another one ──────────────▶ somebody has drawn it: take it over
//! ```
//! In all three cases whatever was kept is dropped. The epoch spares the trouble of wrong answers; it
//! is not what keeps a seat from being sold twice: seat maps are believed by their stamps (`maps`).

use super::interrupt::Interrupt;
use super::log::Settled;
use crate::Epoch;
use crate::batch::Kept;
use crate::maps::Maps;
use crate::rows::{Columns as _, instant};
use engine::{Fault, Timestamp};
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// How often a look is taken again because somebody else has drawn an epoch meanwhile.
const LOOKS_MAX: usize = 3;

/// The mark: the line of the write-ahead log, which every promotion and every recovery to a point in
/// time begins anew; the database; and the cluster's own number, where the role may read it.
macro_rules! look {
    ($cluster:literal) => {
        concat!(
            "SELECT now_ms() AS now, e.epoch, e.mark,
                COALESCE(pg_sequence_last_value('booking_log_seq_seq'::regclass), 0) AS log,
                left(pg_walfile_name(pg_current_wal_lsn()), 8) || '.' || d.oid || '.' || ",
            $cluster,
            " AS found
            FROM store_epoch e JOIN pg_database d ON d.datname = current_database()
            WHERE e.one"
        )
    };
}

/// What a process knows of the history it is in.
pub(super) struct History {
    /// One look at a time, so that what is found is judged in the order in which it was found.
    known: tokio::sync::Mutex<Option<Known>>,
    epoch: watch::Sender<Epoch>,
    of_it: OfHistory,
    /// Only looks, since it may not or need not write.
    read_only: bool,
    /// Whether the cluster's number may not be read.
    is_cluster_hidden: AtomicBool,
}

/// What a store keeps that belongs to a history.
pub(super) struct OfHistory {
    pub maps: Arc<Maps>,
    pub settled: Arc<Settled>,
    pub kept: Arc<Kept>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    epoch: Epoch,
    /// The highest number of the log that was seen.
    log: i64,
}

/// What a look comes to.
pub(super) struct Looked {
    pub epoch: Epoch,
    /// The database's clock; `None` before the schema is made.
    pub now: Option<Timestamp>,
}

/// What a look finds.
struct Found {
    now: Timestamp,
    epoch: Epoch,
    /// The mark that is stored, empty when none was.
    stored: String,
    /// The mark of the server and database at hand.
    mark: String,
    log: i64,
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    /// It is the history that was known, or the first that is seen.
    Same,
    /// Another process, or a person, has drawn another epoch.
    Another,
    /// An epoch has to be drawn; says why.
    Forked(&'static str),
}

impl Found {
    fn of(row: &PgRow) -> Result<Self, Interrupt> {
        Ok(Self {
            now: instant(row, "now")?,
            epoch: Epoch::from_stored(row.int("epoch")?),
            stored: row.try_get("mark")?,
            mark: row.try_get("found")?,
            log: row.int("log")?,
        })
    }

    fn judge(&self, known: Option<Known>) -> Judged {
        if !self.stored.is_empty() && self.stored != self.mark {
            return Judged::Forked("the database is a copy, or its server was promoted");
        }
        match known {
            Some(known) if self.log < known.log => {
                Judged::Forked("the log has fallen behind what was seen of it")
            }
            Some(known) if self.epoch != known.epoch => Judged::Another,
            _ => Judged::Same,
        }
    }
}

impl History {
    pub(super) fn new(of_it: OfHistory, read_only: bool) -> Arc<Self> {
        Arc::new(Self {
            known: tokio::sync::Mutex::default(),
            // Until the schema says which one it is, it is nobody else's.
            epoch: watch::channel(Epoch::draw()).0,
            of_it,
            read_only,
            is_cluster_hidden: AtomicBool::new(false),
        })
    }

    pub(super) fn epoch(&self) -> Epoch {
        *self.epoch.borrow()
    }

    pub(super) fn epochs(&self) -> watch::Receiver<Epoch> {
        self.epoch.subscribe()
    }

    /// Looks which history this session's database is in.
    pub(super) async fn look(&self, session: &mut PgConnection) -> Result<Looked, Interrupt> {
        let mut known = self.known.lock().await;
        for _ in 0..LOOKS_MAX {
            let Some(found) = self.find(session).await? else {
                return Ok(Looked { epoch: self.epoch(), now: None });
            };
            let judged = found.judge(*known);
            let drawn = match judged {
                _ if self.read_only => found.epoch,
                Judged::Forked(_) => Epoch::draw(),
                Judged::Same | Judged::Another => found.epoch,
            };
            let is_written = drawn == found.epoch && found.stored == found.mark;
            if !self.read_only && !is_written && !put(session, &found, drawn).await? {
                // Somebody else was faster.
                continue;
            }
            let why = match judged {
                Judged::Forked(why) => Some(why),
                Judged::Another => Some("another epoch was drawn"),
                Judged::Same => None,
            };
            let seen = known.filter(|known| known.epoch == drawn).map_or(0, |known| known.log);
            *known = Some(Known { epoch: drawn, log: found.log.max(seen) });
            self.enter(drawn, why);
            return Ok(Looked { epoch: drawn, now: Some(found.now) });
        }
        Err(Interrupt::Changed)
    }

    /// Draws another epoch, whatever is found.
    pub(super) async fn renew(&self, session: &mut PgConnection) -> Result<Epoch, Interrupt> {
        let mut known = self.known.lock().await;
        for _ in 0..LOOKS_MAX {
            let Some(found) = self.find(session).await? else {
                let what = "the schema is empty, or too old to have an epoch: reservix migrate up";
                return Err(Fault::Unsuitable { what: what.to_owned() }.into());
            };
            let drawn = Epoch::draw();
            if put(session, &found, drawn).await? {
                *known = Some(Known { epoch: drawn, log: found.log });
                self.enter(drawn, Some("it was asked for"));
                return Ok(drawn);
            }
        }
        Err(Interrupt::Changed)
    }

    /// Drops whatever was kept: the session that ended may have been the last to this history.
    pub(super) fn session_lost(&self) {
        self.of_it.maps.clear();
        self.of_it.kept.clear();
    }

    fn enter(&self, epoch: Epoch, why: Option<&'static str>) {
        // Followers are notified of another epoch, and not of checks that found the same.
        let is_another =
            self.epoch.send_if_modified(|known| std::mem::replace(known, epoch) != epoch);
        if !is_another {
            return;
        }
        self.of_it.maps.clear();
        self.of_it.settled.clear();
        self.of_it.kept.clear();
        if let Some(why) = why {
            tracing::warn!(
                epoch = epoch.to_string(),
                why,
                "the database has another history: cached data is dropped"
            );
        }
    }

    /// `None` while the schema has no epoch.
    async fn find(&self, session: &mut PgConnection) -> Result<Option<Found>, Interrupt> {
        const WHOLE: &str = look!("(SELECT system_identifier::text FROM pg_control_system())");
        const PART: &str = look!("''");
        let hidden = self.is_cluster_hidden.load(Ordering::Relaxed);
        let looked = sqlx::query(if hidden { PART } else { WHOLE }).fetch_one(&mut *session).await;
        let refused =
            |expected: &str| looked.as_ref().err().and_then(code).as_deref() == Some(expected);
        // 42P01 undefined_table: it was not migrated yet. 42501 insufficient_privilege.
        if refused("42P01") {
            return Ok(None);
        }
        if !hidden && refused("42501") {
            self.is_cluster_hidden.store(true, Ordering::Relaxed);
            return Ok(Some(Found::of(&sqlx::query(PART).fetch_one(session).await?)?));
        }
        Ok(Some(Found::of(&looked?)?))
    }
}

/// Writes an epoch and the mark at which it was seen, and opens a timeline of the log for another
/// epoch; false when another one is stored by now.
async fn put(session: &mut PgConnection, found: &Found, epoch: Epoch) -> Result<bool, Interrupt> {
    const MARK: &str =
        "UPDATE store_epoch SET epoch = $1, mark = $2 WHERE epoch = $3 AND mark = $4";
    // Seconds since 1970, and later than all timelines there are.
    const OPEN: &str = "WITH drawn AS (
            UPDATE store_epoch SET epoch = $1, mark = $2 WHERE epoch = $3 AND mark = $4 RETURNING 1)
        INSERT INTO log_timelines (timeline, after)
        SELECT GREATEST($6 / 1000, (SELECT COALESCE(MAX(timeline), 0) + 1 FROM log_timelines)), $5
        FROM drawn";
    let bind = |sql: &'static str| {
        sqlx::query(sql)
            .bind(epoch.to_stored())
            .bind(found.mark.clone())
            .bind(found.epoch.to_stored())
            .bind(found.stored.clone())
    };
    if epoch == found.epoch {
        return Ok(bind(MARK).execute(session).await?.rows_affected() == 1);
    }
    let open = bind(OPEN).bind(found.log).bind(found.now.unix_ms());
    match open.execute(&mut *session).await {
        // A schema of before has no timelines.
        Err(error) if code(&error).as_deref() == Some("42P01") => {
            Ok(bind(MARK).execute(session).await?.rows_affected() == 1)
        }
        opened => Ok(opened?.rows_affected() == 1),
    }
}

fn code(error: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(epoch: u8, stored: &str, mark: &str, log: i64) -> Found {
        let (stored, mark) = (stored.to_owned(), mark.to_owned());
        let (epoch, now) = (Epoch::from_stored(i64::from(epoch)), Timestamp::from_unix_ms(0));
        Found { now, epoch, stored, mark, log }
    }

    fn known(epoch: u8, log: i64) -> Known {
        Known { epoch: Epoch::from_stored(i64::from(epoch)), log }
    }

    #[test]
    fn a_history_is_known_by_its_mark_its_log_and_its_epoch() {
        assert_eq!(found(1, "", "a", 7).judge(None), Judged::Same, "the first look");
        assert_eq!(found(1, "a", "a", 7).judge(None), Judged::Same);
        assert_eq!(found(1, "a", "a", 9).judge(Some(known(1, 7))), Judged::Same);
        assert_eq!(found(1, "a", "a", 7).judge(Some(known(1, 7))), Judged::Same);
        assert_eq!(found(2, "a", "a", 9).judge(Some(known(1, 7))), Judged::Another);
        let forked = |found: &Found, known| matches!(found.judge(known), Judged::Forked(_));
        assert!(forked(&found(1, "a", "b", 9), Some(known(1, 7))), "promoted");
        assert!(forked(&found(1, "a", "b", 9), None), "a copy, at its first start");
        assert!(forked(&found(1, "a", "a", 6), Some(known(1, 7))), "a copy from before");
        assert!(
            forked(&found(2, "a", "a", 6), Some(known(1, 7))),
            "and an epoch that was drawn before"
        );
    }
}
