//! Writing segments, a portion at a time.

use super::{DOING, Frozen, ListId, Listed, Lists};
use crate::rows::{self, Columns as _};
use crate::simulated::{CommitOf, blocking, committing, is_planted, probe, time_since};
use crate::sqlite::writer::{Writer, failed};
use engine::{BookingId, Fault};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A row of the index, without its segment. They are in this order.
pub(super) type Entry = (ListId, BookingId);

/// For how long nothing is written after a portion, in portions: sales come first.
const REST: u32 = 2;
/// How long it waits after a failure, such as a full disk.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Something that is being done to the index, in portions.
enum Job {
    /// The tail becomes a segment, whose number is that of its first rows.
    Feed { frozen: Arc<Frozen>, entries: Vec<Entry>, written: usize, segment: Option<i64> },
    /// Segments become one, with such a number.
    Merge { from: Vec<i64>, after: Option<Entry>, segment: Option<i64> },
    /// What is left of segments that are none any more, or that were never finished.
    Clear { segment: i64 },
}

/// What is being done: the last of them first.
#[derive(Default)]
pub(super) struct Jobs(Vec<Job>);

/// What a portion came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Portion {
    Written,
    /// There is nothing to do.
    Idle,
}

impl Lists {
    /// Begins to write segments beside everybody else, if the tail is long enough and nobody does.
    pub(in crate::sqlite) fn feed_behind(self: &Arc<Self>, writer: &Writer) {
        if !self.is_due() || !self.begin_feeding() {
            return;
        }
        let (lists, writer) = (self.clone(), writer.clone());
        tokio::spawn(async move {
            let _end = Ended(lists.clone());
            let mut jobs = Jobs::default();
            while let Some(mut turn) = writer.next_turn().await {
                let here = lists.clone();
                let work = blocking(move || {
                    let begun = Instant::now();
                    let Some(mut connection) = turn.connection_of_index() else {
                        return (jobs, Ok(Portion::Idle), None);
                    };
                    let done = jobs.portion(&here, &mut connection);
                    drop(connection);
                    drop(turn);
                    jobs.sort();
                    (jobs, done, Some(time_since(begun)))
                });
                let Ok((same, done, took)) = work.await else { return };
                jobs = same;
                match done {
                    Ok(Portion::Written) => {
                        let took = took.unwrap_or_default();
                        tokio::time::sleep(if lists.is_due() { took } else { took * REST }).await;
                    }
                    Ok(Portion::Idle) => return,
                    Err(fault) => {
                        tracing::warn!(%fault, "lists of bookings are not written; trying again");
                        jobs = Jobs::default();
                        tokio::time::sleep(FAILURE_PAUSE).await;
                    }
                }
            }
        });
    }

    /// Writes all of the tail as a segment, at once, while the store is filled, and merges what is due.
    #[cfg(feature = "fill")]
    pub(in crate::sqlite) fn feed_at_once(&self, connection: &mut Connection) -> Result<(), Fault> {
        let Some(frozen) = self.freeze(connection)? else { return Ok(()) };
        let entries = entries(&frozen);
        durable_later(connection, |writing| {
            let segment = last_segment(writing)? + 1;
            insert(writing, segment, &entries)?;
            register(writing, segment, &Extent::of(&frozen))
        })?;
        self.tail.lock().frozen = None;
        let mut jobs = Jobs::default();
        while jobs.portion(self, connection)? == Portion::Written {
            jobs.sort();
        }
        Ok(())
    }

    fn is_frozen(&self, frozen: &Arc<Frozen>) -> bool {
        self.tail.lock().frozen.as_ref().is_some_and(|now| Arc::ptr_eq(now, frozen))
    }

    /// What is to become a segment: what was about to, or else all of the tail, if there is any.
    fn freeze(&self, connection: &Connection) -> Result<Option<Arc<Frozen>>, Fault> {
        const LAST: &str = "SELECT COALESCE(MAX(seq), 0) FROM booking_log";
        let through = connection.query_row(LAST, (), |row| row.get(0)).map_err(failed(DOING))?;
        let mut tail = self.tail.lock();
        if tail.frozen.is_none() && tail.count > 0 {
            let (bookings, count) = (std::mem::take(&mut tail.recent), tail.count);
            let newest = tail.newest.take();
            tail.count = 0;
            tail.frozen = Some(Arc::new(Frozen { bookings, count, newest, through }));
        }
        Ok(tail.frozen.clone())
    }
}

/// Lets the next one write segments, also after a panic.
struct Ended(Arc<Lists>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end_feeding();
    }
}

fn entries(frozen: &Frozen) -> Vec<Entry> {
    let of_list = |(list, bookings): (&ListId, &Vec<BookingId>)| {
        let list = *list;
        bookings.iter().map(move |booking_id| (list, *booking_id)).collect::<Vec<_>>()
    };
    let mut entries: Vec<_> = frozen.bookings.iter().flat_map(of_list).collect();
    entries.sort_unstable();
    entries
}

impl Jobs {
    /// Does the next portion of work.
    pub(super) fn portion(
        &mut self,
        lists: &Lists,
        connection: &mut Connection,
    ) -> Result<Portion, Fault> {
        let feeds = self.0.iter().any(|job| matches!(job, Job::Feed { .. }));
        if !feeds && (lists.is_due() || lists.tail.lock().frozen.is_some()) {
            // A merge goes on afterwards.
            if let Some(frozen) = lists.freeze(connection)? {
                let (entries, written, segment) = (Vec::new(), 0, None);
                self.0.push(Job::Feed { frozen, entries, written, segment });
                return Ok(Portion::Written);
            }
        }
        if self.0.is_empty() {
            let next = match unfinished(connection)? {
                Some(segment) => Some(Job::Clear { segment }),
                None => Self::merge(lists, connection)?,
            };
            let Some(job) = next else { return Ok(Portion::Idle) };
            self.0.push(job);
        }
        let job = self.0.last_mut().expect("it was just looked at");
        if let Job::Feed { frozen, .. } = job
            && !lists.is_frozen(frozen)
        {
            // The tail was given up: when it is read from the log, these bookings are in it, too.
            self.0.pop();
            return Ok(Portion::Written);
        }
        let is_done = durable_later(connection, |writing| job.portion(lists, writing))?;
        if is_done {
            let job = self.0.pop();
            if matches!(job, Some(Job::Feed { .. })) {
                lists.tail.lock().frozen = None;
            }
        }
        Ok(Portion::Written)
    }

    /// Sorts what is to be written, while nobody waits.
    pub(super) fn sort(&mut self) {
        if let Some(Job::Feed { frozen, entries: sorted, .. }) = self.0.last_mut()
            && sorted.is_empty()
        {
            *sorted = entries(frozen);
        }
    }

    /// The merge that is due: of the smallest segments of which there are enough of like size.
    fn merge(lists: &Lists, connection: &Connection) -> Result<Option<Job>, Fault> {
        const ALL: &str = "SELECT segment, bookings FROM list_segments ORDER BY segment";
        let mut levels: Vec<Vec<i64>> = Vec::new();
        let mut statement = connection.prepare_cached(ALL).map_err(failed(DOING))?;
        let mut rows = statement.query(()).map_err(failed(DOING))?;
        while let Some(row) = rows.next().map_err(failed(DOING))? {
            let mut bookings = usize::try_from(row.int("bookings")?).unwrap_or(0);
            let mut level = 0;
            // What a merge of the least makes is of the next level.
            while bookings >= lists.sizes.tail.saturating_mul(lists.sizes.merged) {
                bookings /= lists.sizes.merged;
                level += 1;
            }
            levels.resize(levels.len().max(level + 1), Vec::new());
            levels[level].push(row.int("segment")?);
        }
        let due = levels.into_iter().find(|level| level.len() >= lists.sizes.merged);
        let Some(from) = due else { return Ok(None) };
        Ok(Some(Job::Merge { from, after: None, segment: None }))
    }
}

impl Job {
    /// Does a portion; returns whether that was the last.
    fn portion(&mut self, lists: &Lists, writing: &Transaction<'_>) -> rusqlite::Result<bool> {
        let portion = lists.sizes.portion;
        match self {
            Self::Feed { frozen, entries, written, segment } => {
                let end = (*written + portion).min(entries.len());
                let segment = numbered(segment, writing)?;
                insert(writing, segment, &entries[*written..end])?;
                let is_done = end == entries.len();
                let is_first = *written == 0;
                let early = is_planted("mark of the fed index moved before its run is committed");
                if early && is_first || !early && is_done {
                    register(writing, segment, &Extent::of(frozen))?;
                    probe("a segment of lists is written");
                }
                *written = end;
                Ok(is_done)
            }
            Self::Merge { from, after, segment } => {
                let each = (portion * 2 / from.len()).max(2);
                let (entries, is_done) = next_of(writing, from, *after, each)?;
                let segment = numbered(segment, writing)?;
                insert(writing, segment, &entries)?;
                *after = entries.last().copied().or(*after);
                if is_done {
                    probe("segments of lists are merged");
                    replace(writing, segment, from)?;
                }
                Ok(is_done)
            }
            Self::Clear { segment } => {
                probe("what is no segment of lists is removed");
                clear(writing, *segment, portion)
            }
        }
    }
}

/// Writes a segment in one transaction.
pub(super) fn segment_at_once(
    connection: &mut Connection,
    bookings: &[Listed],
    through: i64,
) -> Result<(), Fault> {
    let both = |of: &Listed| of.lists.map(|list| (list, of.booking_id));
    let mut entries: Vec<Entry> = bookings.iter().flat_map(both).collect();
    entries.sort_unstable();
    durable_later(connection, |writing| {
        let segment = last_segment(writing)? + 1;
        insert(writing, segment, &entries)?;
        let newest = bookings.iter().map(|of| of.booking_id).max();
        register(writing, segment, &Extent { bookings: sum(bookings.len()), newest, through })
    })
}

/// SQLite's word for commits that do not wait for the disk.
const NORMAL: i64 = 1;

/// Commits without waiting for the disk: what a crash takes of it is read from the log again. Commits of the
/// connection wait again when it is given back ([`Lent`](crate::sqlite::writer::Lent)).
fn durable_later<T>(
    connection: &Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T, Fault> {
    connection.pragma_update(None, "synchronous", NORMAL).map_err(failed(DOING))?;
    let done = (|| {
        let writing = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let made = work(&writing)?;
        committing(CommitOf::Lists, || writing.commit())?;
        Ok(made)
    })();
    done.map_err(failed(DOING))
}

fn insert(writing: &Transaction<'_>, segment: i64, entries: &[Entry]) -> rusqlite::Result<()> {
    const SQL: &str = "INSERT OR IGNORE INTO booking_lists (segment, list_id, booking_id)
        VALUES (?, ?, ?)";
    let mut statement = writing.prepare_cached(SQL)?;
    for (list, booking_id) in entries {
        statement.execute((segment, list.as_bytes(), booking_id.as_bytes()))?;
    }
    Ok(())
}

/// What is noted of a segment.
struct Extent {
    bookings: i64,
    /// The newest booking in it; unknown where it was not noted.
    newest: Option<BookingId>,
    /// How far in the log it and those before it go.
    through: i64,
}

impl Extent {
    fn of(frozen: &Frozen) -> Self {
        let Frozen { count, newest, through, .. } = frozen;
        Self { bookings: sum(*count), newest: *newest, through: *through }
    }
}

fn sum(bookings: usize) -> i64 {
    i64::try_from(bookings).unwrap_or(i64::MAX)
}

fn register(writing: &Transaction<'_>, segment: i64, extent: &Extent) -> rusqlite::Result<()> {
    const SQL: &str = "INSERT INTO list_segments (segment, bookings, newest, through)
        VALUES (?, ?, ?, ?)";
    let Extent { bookings, newest, through } = extent;
    let newest = newest.as_ref().map(BookingId::as_bytes);
    writing.prepare_cached(SQL)?.execute((segment, bookings, newest, through)).map(drop)
}

/// Puts a merged segment in the place of those that it was made of.
fn replace(writing: &Transaction<'_>, segment: i64, from: &[i64]) -> rusqlite::Result<()> {
    const OLD: &str =
        "DELETE FROM list_segments WHERE segment = ? RETURNING bookings, newest, through";
    let mut all = Extent { bookings: 0, newest: None, through: 0 };
    let mut newest = Vec::with_capacity(from.len());
    for old in from {
        let mut statement = writing.prepare_cached(OLD)?;
        let mut rows = statement.query([old])?;
        let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        all.bookings += row.get::<_, i64>("bookings")?;
        all.through = all.through.max(row.get("through")?);
        let id = row.get::<_, Option<Vec<u8>>>("newest")?;
        newest.push(id.and_then(|bytes| BookingId::from_slice(&bytes)));
    }
    all.newest =
        newest.into_iter().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
    register(writing, segment, &all)
}

/// The next entries of segments together, in order, up to where one of them was not read further; and
/// whether these were the last. Of each segment at most `each` are read.
fn next_of(
    writing: &Transaction<'_>,
    from: &[i64],
    after: Option<Entry>,
    each: usize,
) -> rusqlite::Result<(Vec<Entry>, bool)> {
    const NEXT: &str = "SELECT list_id, booking_id FROM booking_lists
        WHERE segment = ?1 AND (list_id, booking_id) > (?2, ?3)
        ORDER BY list_id, booking_id LIMIT ?4";
    let (mut entries, mut bound) = (Vec::new(), None::<Entry>);
    let limit = i64::try_from(each).unwrap_or(i64::MAX);
    let (list, booking) = after.as_ref().map_or((&[][..], &[][..]), |(list, booking_id)| {
        (list.as_bytes().as_slice(), booking_id.as_bytes().as_slice())
    });
    for segment in from {
        let mut statement = writing.prepare_cached(NEXT)?;
        let mut rows = statement.query((segment, list, booking, limit))?;
        let before = entries.len();
        while let Some(row) = rows.next()? {
            entries.push(entry(row)?);
        }
        if entries.len() - before == each {
            let last = entries[entries.len() - 1];
            bound = Some(bound.map_or(last, |bound| bound.min(last)));
        }
    }
    entries.sort_unstable();
    if let Some(bound) = bound {
        entries.retain(|entry| *entry <= bound);
    }
    Ok((entries, bound.is_none()))
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    let unreadable = |fault: Fault| {
        let why = fault.to_string().into();
        rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, why)
    };
    let list = ListId(row.id("list_id").map_err(unreadable)?);
    Ok((list, rows::booking_id(row, "booking_id").map_err(unreadable)?))
}

/// Removes rows of what is no segment; returns whether none are left.
fn clear(writing: &Transaction<'_>, segment: i64, portion: usize) -> rusqlite::Result<bool> {
    const BOUND: &str = "SELECT list_id, booking_id FROM booking_lists WHERE segment = ?
        ORDER BY list_id, booking_id LIMIT 1 OFFSET ?";
    const SOME: &str = "DELETE FROM booking_lists
        WHERE segment = ?1 AND (list_id, booking_id) <= (?2, ?3)";
    const ALL: &str = "DELETE FROM booking_lists WHERE segment = ?";
    const IS_SEGMENT: &str = "SELECT 1 FROM list_segments WHERE segment = ?";
    // Once its rows are gone, its number may be that of a new one.
    if writing.prepare_cached(IS_SEGMENT)?.exists([segment])? {
        return Ok(true);
    }
    let offset = i64::try_from(portion).unwrap_or(i64::MAX);
    let bound = writing.prepare_cached(BOUND)?.query_row((segment, offset), entry).optional()?;
    let Some((list, booking_id)) = bound else {
        writing.prepare_cached(ALL)?.execute([segment])?;
        return Ok(true);
    };
    let some = (segment, list.as_bytes(), booking_id.as_bytes());
    writing.prepare_cached(SOME)?.execute(some)?;
    Ok(false)
}

/// The highest number of a segment, also of one that was never finished.
fn last_segment(connection: &Connection) -> rusqlite::Result<i64> {
    const SQL: &str = "SELECT MAX(
        (SELECT COALESCE(MAX(segment), 0) FROM list_segments),
        (SELECT COALESCE(MAX(segment), 0) FROM booking_lists))";
    connection.prepare_cached(SQL)?.query_row((), |row| row.get(0))
}

/// The number of a segment that is being written: with its first rows, one above all that are in use. Before
/// that, somebody who reads the tail may take the number. Segments lie in the order of their numbers, so the
/// rows of a new one come behind all others.
fn numbered(segment: &mut Option<i64>, writing: &Transaction<'_>) -> rusqlite::Result<i64> {
    let number = match segment {
        Some(number) => *number,
        None => last_segment(writing)? + 1,
    };
    *segment = Some(number);
    Ok(number)
}

/// The first number in the index that is no segment's.
fn unfinished(connection: &Connection) -> Result<Option<i64>, Fault> {
    const NEXT: &str =
        "SELECT segment FROM booking_lists WHERE segment > ? ORDER BY segment LIMIT 1";
    const REGISTERED: &str = "SELECT segment FROM list_segments";
    let find = || {
        let mut registered = connection.prepare_cached(REGISTERED)?;
        let registered = registered.query_map((), |row| row.get(0))?;
        let registered = registered.collect::<rusqlite::Result<BTreeSet<i64>>>()?;
        let mut statement = connection.prepare_cached(NEXT)?;
        let mut last = 0;
        while let Some(next) = statement.query_row([last], |row| row.get(0)).optional()? {
            if !registered.contains(&next) {
                return Ok(Some(next));
            }
            last = next;
        }
        Ok(None)
    };
    find().map_err(failed(DOING))
}
