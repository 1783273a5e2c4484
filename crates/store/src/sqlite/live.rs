//! Live holds in memory, by section, as of the last commit.
//!
//! The table of holds is in the order in which they end: those that a batch makes stand side by side,
//! however many sections they are of. By section they are found here. They are read from the table when
//! the store begins, and follow what is committed; a statement that writes to the table in another way,
//! or a write by another connection, has them read again.
//!
//! Readers see rows of another moment, a commit earlier or later. So they say which version of its
//! counters they have seen of a section, and what is in memory counts only if it is of the same.

use super::bookings::read_inventories;
use super::writer::{Writing, failed};
use super::{Sqlite, failed as unreadable};
use crate::rows::{self, Columns as _};
use crate::unavailable;
use engine::decide::ExpiryEntry;
use engine::{BookingId, EventId, Fault, Inventory, LiveInventory, SectionId, Timestamp};
use parking_lot::Mutex;
use rusqlite::Transaction;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection as _, SqliteConnection};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

const DOING: &str = "reading live holds";

/// A hold's place among those of its section.
type Place = (Timestamp, BookingId);

/// The number of holds of an event up to which a list is made of what is in memory. With more, hardly any
/// of the newest bookings is none.
const LISTED_MAX: usize = 10_000;

/// Due holds that are added up at a time, while the writer waits.
const ADDED_UP_MAX: usize = 10_000;
/// How often somebody adds up as many before the table is asked instead. It is more than there are, unless
/// others, whose clock was read before or after it was set back, undo each part.
const PARTS_MAX: usize = 1_000;

/// The live holds of a section, with their seats.
#[derive(Clone, Debug, Default)]
struct Section {
    /// The version of the section's counters that they are of.
    version: i64,
    holds: BTreeMap<Place, u32>,
    due: DueSum,
}

/// The seats of a section's first holds.
#[derive(Clone, Copy, Debug, Default)]
struct DueSum {
    /// All that end before this have been added up.
    before: Option<Place>,
    seats: i64,
}

/// The live holds of all sections: some 70 bytes for each, and 400 for the section.
#[derive(Default)]
pub(super) struct LiveHolds {
    /// `None` while they are not known.
    sections: Mutex<Option<HashMap<SectionId, Section>>>,
}

/// What a write under way changes.
#[derive(Default)]
pub(super) struct Pending {
    removed: HashMap<SectionId, BTreeSet<Place>>,
    added: HashMap<SectionId, BTreeMap<Place, u32>>,
    versions: Vec<(SectionId, i64)>,
    /// Whether the table was written to in another way.
    is_spoiled: bool,
}

impl Pending {
    /// Takes note of counters that are written.
    pub(super) fn count(&mut self, inventories: impl Iterator<Item = (SectionId, i64)>) {
        self.versions.extend(inventories);
    }

    /// Takes note of a statement that may write to the table.
    pub(super) fn heed(&mut self, sql: &str) {
        self.is_spoiled |= !sql.starts_with("SELECT") && sql.contains("holds");
    }

    fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }

    fn remove(&mut self, held: &ExpiryEntry) {
        let place = (held.expires_at, held.booking_id);
        if let Some(added) = self.added.get_mut(&held.section_id) {
            added.remove(&place);
        }
        self.removed.entry(held.section_id).or_default().insert(place);
    }

    fn add(&mut self, held: &ExpiryEntry) {
        let place = (held.expires_at, held.booking_id);
        self.added.entry(held.section_id).or_default().insert(place, held.seats);
    }
}

impl LiveHolds {
    /// Forgets what is known, for it may have become another.
    pub(super) fn forget(&self) {
        *self.sections.lock() = None;
    }

    fn is_known(&self) -> bool {
        self.sections.lock().is_some()
    }

    /// Reads all from the table, unless they are known. Nothing, where the schema has none yet.
    fn load(&self, transaction: &Transaction<'_>) -> Result<(), Fault> {
        const IS_THERE: &str = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'holds'";
        const ALL: &str =
            "SELECT h.*, i.version FROM holds h CROSS JOIN inventory i USING (section_id)";
        if self.is_known() {
            return Ok(());
        }
        let there = transaction.query_row(IS_THERE, (), |row| row.get::<_, i64>(0));
        if there.map_err(failed(DOING))? == 0 {
            return Ok(());
        }
        let mut sections: HashMap<SectionId, Section> = HashMap::new();
        let mut statement = transaction.prepare(ALL).map_err(failed(DOING))?;
        let mut rows = statement.query(()).map_err(failed(DOING))?;
        while let Some(row) = rows.next().map_err(failed(DOING))? {
            let held = rows::held(row)?;
            let section = sections.entry(held.section_id).or_default();
            section.version = row.int("version")?;
            section.add((held.expires_at, held.booking_id), held.seats);
        }
        *self.sections.lock() = Some(sections);
        Ok(())
    }

    /// Takes over what was committed. The writer calls it before anybody else has a turn.
    pub(super) fn apply(&self, pending: Pending) {
        let mut known = self.sections.lock();
        if pending.is_spoiled {
            *known = None;
        }
        let Some(sections) = known.as_mut() else { return };
        for (section_id, places) in pending.removed {
            if let Some(section) = sections.get_mut(&section_id) {
                for place in &places {
                    section.remove(place);
                }
            }
        }
        for (section_id, added) in pending.added {
            let section = sections.entry(section_id).or_default();
            for (place, seats) in added {
                section.add(place, seats);
            }
        }
        for (section_id, version) in pending.versions {
            if let Some(section) = sections.get_mut(&section_id) {
                section.version = version;
                if section.holds.is_empty() {
                    sections.remove(&section_id);
                }
            }
        }
    }

    /// The seats in holds of a section that are due, as of this version of its counters; `None` if they are
    /// not known, or not added up in [`PARTS_MAX`] parts.
    fn due(&self, section_id: SectionId, version: i64, now: Timestamp) -> Option<i64> {
        for _ in 0..PARTS_MAX {
            let mut known = self.sections.lock();
            let section = known.as_mut()?.get_mut(&section_id)?;
            if section.version != version {
                return None;
            }
            // In parts, so that the writer does not wait for all of them.
            if let Some(due) = section.due_at(now) {
                return Some(due);
            }
        }
        None
    }

    /// The same of all of these sections that have any.
    fn due_of(&self, inventories: &[Inventory], now: Timestamp) -> Option<HashMap<SectionId, i64>> {
        let due = |of: &Inventory| Some((of.section_id, self.due(of.section_id, of.version, now)?));
        inventories.iter().filter(|inventory| is_due(inventory, now)).map(due).collect()
    }

    /// The bookings that have live holds in these sections, oldest first; `None` if they are not known, or
    /// more than [`LISTED_MAX`].
    fn bookings(&self, sections: &[SectionId]) -> Option<BTreeSet<BookingId>> {
        let known = self.sections.lock();
        let known = known.as_ref()?;
        let sections: Vec<_> = sections.iter().filter_map(|id| known.get(id)).collect();
        if sections.iter().map(|section| section.holds.len()).sum::<usize>() > LISTED_MAX {
            return None;
        }
        let all = sections.iter().flat_map(|section| section.holds.keys());
        Some(all.map(|(_, booking_id)| *booking_id).collect())
    }
}

impl Section {
    fn add(&mut self, place: Place, seats: u32) {
        if let Some(before) = self.holds.insert(place, seats) {
            self.due.change(&place, -i64::from(before));
        }
        self.due.change(&place, seats.into());
    }

    fn remove(&mut self, place: &Place) {
        if let Some(seats) = self.holds.remove(place) {
            self.due.change(place, -i64::from(seats));
        }
    }

    /// The seats in holds that have ended by `now`. What was added up for another time is not added up
    /// again. `None` after [`ADDED_UP_MAX`] more of them, or less: ask again.
    fn due_at(&mut self, now: Timestamp) -> Option<i64> {
        let end = first_at(now.plus_ms(1));
        let DueSum { before, mut seats } = self.due;
        if let Some(mut first) = before.filter(|before| *before > end) {
            // Somebody's clock was read earlier, or set back: the last ones are taken out again.
            let mut too_many = self.holds.range(end..first).rev();
            for (place, less) in too_many.by_ref().take(ADDED_UP_MAX) {
                (first, seats) = (*place, seats - i64::from(*less));
            }
            let is_end = too_many.next().is_none();
            self.due = DueSum { before: Some(if is_end { end } else { first }), seats };
            return is_end.then_some(seats);
        }
        let from = before.map_or(Bound::Unbounded, Bound::Included);
        let mut rest = self.holds.range((from, Bound::Excluded(end)));
        for (_, more) in rest.by_ref().take(ADDED_UP_MAX) {
            seats += i64::from(*more);
        }
        let next = rest.next().map(|(place, _)| *place);
        self.due = DueSum { before: Some(next.unwrap_or(end)), seats };
        next.is_none().then_some(seats)
    }
}

impl DueSum {
    /// Takes note of a hold that came or went.
    fn change(&mut self, place: &Place, seats: i64) {
        if self.before.is_some_and(|before| *place < before) {
            self.seats += seats;
        }
    }
}

impl Writing<'_> {
    /// Has live holds read, unless they are known. What is read is kept, also when this write fails: so it
    /// is asked for before it changes any.
    pub(super) fn know_holds(&self) -> Result<(), Fault> {
        let pending = self.pending.borrow();
        if pending.is_spoiled || !self.live().is_known() && !pending.is_empty() {
            return Err(unavailable(DOING)("they are asked for after a change of them"));
        }
        self.live().load(self.transaction())
    }

    /// Removes holds from the index of expiry and adds others.
    pub(super) fn index_holds(
        &self,
        unheld: &[ExpiryEntry],
        held: &[ExpiryEntry],
    ) -> Result<(), Fault> {
        const DOING: &str = "writing the index of expiry";
        const DELETE: &str =
            "DELETE FROM holds WHERE expires_at = ? AND section_id = ? AND booking_id = ?";
        const INSERT: &str =
            "INSERT INTO holds (expires_at, section_id, booking_id, seats) VALUES (?, ?, ?, ?)";
        if !unheld.is_empty() {
            // When the next one ends may be asked afterwards.
            self.know_holds()?;
        }
        self.run_all_unheeded(DOING, DELETE, unheld, |of| {
            (of.expires_at.unix_ms(), of.section_id.as_bytes(), of.booking_id.as_bytes())
        })?;
        self.run_all_unheeded(DOING, INSERT, held, |of| {
            let (section_id, booking_id) = (of.section_id.as_bytes(), of.booking_id.as_bytes());
            (of.expires_at.unix_ms(), section_id, booking_id, of.seats)
        })?;
        let mut pending = self.pending.borrow_mut();
        for of in unheld {
            pending.remove(of);
        }
        for of in held {
            pending.add(of);
        }
        Ok(())
    }

    /// The holds of a section that are due, oldest first, `limit` at most.
    pub(super) fn due_holds(
        &self,
        section_id: SectionId,
        limit: usize,
    ) -> Result<Vec<BookingId>, Fault> {
        let now = self.now;
        self.with_holds(section_id, |holds| {
            let due = holds.take_while(|(expires_at, _)| *expires_at <= now);
            due.take(limit).map(|(_, booking_id)| booking_id).collect()
        })
    }

    /// When the next live hold of a section ends.
    pub(super) fn next_expiry(&self, section_id: SectionId) -> Result<Option<Timestamp>, Fault> {
        self.with_holds(section_id, |holds| holds.map(|(expires_at, _)| expires_at).next())
    }

    /// What `look` finds in the live holds of a section, as this write has left them, oldest first.
    fn with_holds<T>(
        &self,
        section_id: SectionId,
        look: impl FnOnce(&mut dyn Iterator<Item = Place>) -> T,
    ) -> Result<T, Fault> {
        self.know_holds()?;
        let pending = self.pending.borrow();
        let removed = pending.removed.get(&section_id);
        let known = self.live().sections.lock();
        let stored = known.as_ref().and_then(|sections| sections.get(&section_id));
        let stored = stored.into_iter().flat_map(|section| section.holds.keys());
        let mut stored = stored
            .filter(|place| removed.is_none_or(|removed| !removed.contains(place)))
            .copied()
            .peekable();
        let added = pending.added.get(&section_id).into_iter().flat_map(BTreeMap::keys);
        let mut added = added.copied().peekable();
        let mut both = std::iter::from_fn(|| match (stored.peek(), added.peek()) {
            (Some(one), Some(other)) if one <= other => stored.next(),
            (_, Some(_)) => added.next(),
            _ => stored.next(),
        });
        Ok(look(&mut both))
    }
}

/// The place before all holds that end at this time.
fn first_at(time: Timestamp) -> Place {
    (time, BookingId::from_slice(&[0; 16]).expect("16 bytes"))
}

/// Whether a hold of the section has ended that nobody has retired yet.
fn is_due(inventory: &Inventory, now: Timestamp) -> bool {
    inventory.next_expiry.is_some_and(|next| next <= now)
}

/// How often counters are read again because what is in memory is of another moment.
const LOOKS_MAX: usize = 5;

impl Sqlite {
    /// The live counters of all sections of these events.
    pub(super) async fn live_inventories(
        &self,
        connection: &mut SqliteConnection,
        events: &[EventId],
        now: Timestamp,
    ) -> Result<Vec<LiveInventory>, Fault> {
        // Few, unless nothing was swept for long.
        const DUE: &str = "SELECT section_id, SUM(seats) AS due FROM holds
            WHERE expires_at <= ? GROUP BY section_id";
        for _ in 0..LOOKS_MAX {
            let inventories = read_inventories(connection, events).await?;
            if let Some(due) = self.live().due_of(&inventories, now) {
                return Ok(with_due(inventories, &due));
            }
        }
        let mut snapshot = connection.begin().await.map_err(unreadable(DOING))?;
        let inventories = read_inventories(&mut snapshot, events).await?;
        let rows = sqlx::query(DUE).bind(now.unix_ms()).fetch_all(&mut *snapshot).await;
        let rows = rows.map_err(unreadable(DOING))?;
        snapshot.rollback().await.map_err(unreadable(DOING))?;
        let due = |row: &SqliteRow| Ok((rows::section_id(row, "section_id")?, row.int("due")?));
        let due = rows.iter().map(due).collect::<Result<_, Fault>>()?;
        Ok(with_due(inventories, &due))
    }

    /// The bookings that have live holds at an event, oldest first; `None` if they are not known.
    pub(super) async fn held_bookings(
        &self,
        event_id: EventId,
    ) -> Result<Option<BTreeSet<BookingId>>, Fault> {
        const SECTIONS: &str = "SELECT section_id FROM inventory WHERE event_id = ?";
        let found = sqlx::query(SECTIONS).bind(event_id.as_bytes().to_vec());
        let found = found.fetch_all(&self.readers).await.map_err(unreadable(DOING))?;
        let sections = found.iter().map(|row| rows::section_id(row, "section_id"));
        Ok(self.live().bookings(&sections.collect::<Result<Vec<_>, _>>()?))
    }

    fn live(&self) -> &LiveHolds {
        self.writer.live()
    }
}

fn with_due(inventories: Vec<Inventory>, due: &HashMap<SectionId, i64>) -> Vec<LiveInventory> {
    let live = |inventory: Inventory| {
        let due = due.get(&inventory.section_id).copied().unwrap_or(0);
        LiveInventory { inventory, due }
    };
    inventories.into_iter().map(live).collect()
}

#[cfg(test)]
mod tests;
