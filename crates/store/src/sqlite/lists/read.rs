//! Reading the tail from the log: at the start, and when it is asked for after it was given up.
//!
//! It is done while it is somebody's turn to write. Where it fails, that is remembered for
//! [`LOAD_PAUSE`](super::LOAD_PAUSE), so that no request makes the next attempt.

use super::feed::segment_at_once;
use super::{DOING, Failure, IS_THERE, Listed, Lists, Tail};
use crate::rows::{self, Columns as _};
use crate::sqlite::writer::failed;
use engine::log::Run;
use engine::{BookingId, Fault, LogKind};
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::time::Instant;

/// Rows of the log that are read at once: fewer, where their bookings are enough for a segment.
const LOG_ROWS: i64 = 10_000;

/// A part of the log, read for the tail.
struct Part {
    /// The bookings that it creates.
    created: BTreeSet<BookingId>,
    rows: usize,
    /// The number of its last row.
    through: i64,
    is_last: bool,
}

impl Lists {
    /// Whether the tail is known. For a while after it could not be read, this fails as that did, so
    /// that requests do not keep the writer with one attempt after the other.
    pub(super) fn is_known(&self) -> Result<bool, Fault> {
        let tail = self.tail.lock();
        match &tail.failure {
            Some(Failure { fault, again_at }) if again_at.is_none_or(|at| Instant::now() < at) => {
                Err(fault.clone())
            }
            _ => Ok(tail.is_loaded),
        }
    }

    /// Takes note that the tail could not be read; returns why.
    pub(in crate::sqlite) fn fail(&self, fault: Fault) -> Fault {
        let is_damaged = matches!(fault, Fault::Corrupt { .. } | Fault::Unsuitable { .. });
        let again_at = (!is_damaged).then(|| Instant::now() + self.sizes.pause);
        self.tail.lock().failure = Some(Failure { fault: fault.clone(), again_at });
        fault
    }

    /// Reads the tail from the log, unless it is known. Call it while it is one's turn to write.
    /// Nothing, where the schema has no index yet.
    pub(in crate::sqlite) fn load(&self, connection: &mut Connection) -> Result<(), Fault> {
        if self.is_known()? {
            return Ok(());
        }
        let found = self.read(connection).map_err(|fault| self.fail(fault))?;
        if let Some(found) = found {
            let mut tail = Tail { is_loaded: true, ..Tail::default() };
            tail.add(&found);
            *self.tail.lock() = tail;
        }
        Ok(())
    }

    /// The bookings that are in no segment. Where the log behind the last segment is long, they become
    /// segments: the next start need not read it again, and no more are in memory at a time than one
    /// has, and one row of the log. `None` where the schema has no index yet.
    fn read(&self, connection: &mut Connection) -> Result<Option<Vec<Listed>>, Fault> {
        const MARK: &str = "SELECT COALESCE(MAX(through), 0) FROM list_segments";
        const LISTS: &str = "SELECT user_id, event_id FROM bookings WHERE booking_id = ?";
        let there = connection.query_row(IS_THERE, (), |row| row.get::<_, i64>(0));
        if there.map_err(failed(DOING))? == 0 {
            return Ok(None);
        }
        let mark = connection.query_row(MARK, (), |row| row.get::<_, i64>(0));
        let mut mark = mark.map_err(failed(DOING))?;
        let mut found: Vec<Listed> = Vec::new();
        let mut read = 0;
        loop {
            let room = self.sizes.tail.saturating_sub(found.len());
            let part = Part::read(connection, mark, room)?;
            mark = part.through;
            let mut lists = connection.prepare_cached(LISTS).map_err(failed(DOING))?;
            for booking_id in part.created {
                let mut rows = lists.query([booking_id.as_bytes()]).map_err(failed(DOING))?;
                if let Some(row) = rows.next().map_err(failed(DOING))? {
                    let (user_id, event_id) =
                        (rows::user_id(row, "user_id")?, rows::event_id(row, "event_id")?);
                    found.push(Listed::new(booking_id, user_id, event_id));
                }
            }
            drop(lists);
            read += part.rows;
            if found.len() >= self.sizes.tail || read >= self.sizes.tail {
                segment_at_once(connection, &found, mark)?;
                found.clear();
                read = 0;
            }
            if part.is_last {
                return Ok(Some(found));
            }
        }
    }
}

impl Part {
    /// Reads rows of the log behind `mark`: [`LOG_ROWS`] at most, and none after the one with which
    /// there are `room` bookings, for a row of a hot sale has hundreds.
    fn read(connection: &Connection, mark: i64, room: usize) -> Result<Self, Fault> {
        const ROWS: &str = "SELECT * FROM booking_log WHERE seq > ? ORDER BY seq LIMIT ?";
        let mut part = Self { created: BTreeSet::new(), rows: 0, through: mark, is_last: false };
        let mut statement = connection.prepare_cached(ROWS).map_err(failed(DOING))?;
        let mut rows = statement.query((mark, LOG_ROWS)).map_err(failed(DOING))?;
        while let Some(row) = rows.next().map_err(failed(DOING))? {
            part.rows += 1;
            part.through = row.int("seq")?;
            if !["held", Run::KIND].contains(&row.text("kind")?) {
                continue;
            }
            // A cart has a row for each section; the first has the booking's version.
            let first = rows::log_entries(row)?
                .filter(|entry| entry.kind == LogKind::Held && entry.booking_version.is_some());
            part.created.extend(first.filter_map(|entry| entry.booking_id));
            if part.created.len() >= room {
                return Ok(part);
            }
        }
        part.is_last = i64::try_from(part.rows).is_ok_and(|rows| rows < LOG_ROWS);
        Ok(part)
    }
}
