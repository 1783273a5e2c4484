//! The batch: lock, load, decide, write, commit.

use super::Sqlite;
use super::columns::insert;
use super::rows::BOOKING_BY_ID;
use super::seats::{load_maps, write_seats};
use super::writer::{WriterGuard, Writing};
use crate::maps::{self, Maps, Stamps};
use crate::rows::{self, Columns, actor_kind, detail_text, items_text, ms};
use crate::simulated::blocking;
use crate::unavailable;
use engine::decide::{Ended, Needs, NextExpiry, RETIRED_PER_SECTION_MAX, SeatMaps};
use engine::log::{LogRow, rows_of};
use engine::{
    Actor, Booking, BookingId, BookingStatus, Changes, Command, Committed, EventId, Fault,
    IdempotencyKey, KeyUse, Ledger, LoadedRows, LogEntry, Policy, SectionId, Timestamp, UserId,
};
use rusqlite::Row;
use std::collections::{BTreeSet, HashMap};

const DOING: &str = "beginning a batch";

impl Sqlite {
    /// Decides and commits a batch; see [`crate::Bookings::commit`]. It blocks its thread for one commit.
    pub(super) async fn commit_batch(&self, commands: &[Command]) -> Result<Committed, Fault> {
        let lists = self.writer.lists();
        let mut turn = self.writer.turn(DOING).await?;
        let mut done = self.attempt(&mut turn, commands, false);
        if done.is_err() && lists.take_missed() {
            // A buyer's seats are to be counted by a list whose tail is not known: once more, with it.
            let here = lists.clone();
            let load = move || {
                let loaded = turn.connection_of_index().map_or(Ok(()), |mut of| here.load(&mut of));
                (turn, loaded)
            };
            let loaded = blocking(load).await;
            let (back, loaded) = loaded.map_err(|panic| lists.fail(unavailable(DOING)(panic)))?;
            turn = back;
            if loaded.is_ok() {
                done = self.attempt(&mut turn, commands, false);
            }
        }
        if matches!(done, Err(Fault::Contradiction { .. })) {
            // Seats were not as they were marked: once more, on marks that are rebuilt.
            done = self.attempt(&mut turn, commands, true);
        }
        drop(turn);
        lists.feed_behind(&self.writer);
        done
    }

    fn attempt(
        &self,
        turn: &mut WriterGuard,
        commands: &[Command],
        suspect: bool,
    ) -> Result<Committed, Fault> {
        let writing = Writing::begin(turn, self.writer.beside(), DOING)?;
        let (committed, maps) = decide_in(&writing, commands, self.policy, &self.maps, suspect)?;
        writing.commit("committing a batch")?;
        self.maps.keep(maps, &Stamps::new());
        for section_id in &committed.rebuilt {
            maps::tell_rebuilt(*section_id);
        }
        Ok(committed)
    }
}

/// Decides a batch and writes what it changes, inside a transaction that holds the lock. The seat
/// maps are to be kept once it is committed.
pub(super) fn decide_in(
    writing: &Writing<'_>,
    commands: &[Command],
    policy: Policy,
    kept: &Maps,
    suspect: bool,
) -> Result<(Committed, SeatMaps), Fault> {
    let now = writing.now;
    let Loaded { mut rows, counting } = load(writing, Needs::of(commands), &policy)?;
    let rebuilt = load_maps(writing, kept, &mut rows, suspect)?;
    rows.bookings.reserve(commands.len());
    let mut ledger = Ledger::open(rows, now, policy)?;
    let answers = commands.iter().map(|command| ledger.decide(command)).collect();
    let Ended { changes, mut inventories, maps } = ledger.end_batch();
    if !changes.is_empty() {
        let next_expiries = write(writing, &changes, &counting)?;
        for inventory in &mut inventories {
            if let Some(next_expiry) = next_expiries.get(&inventory.section_id) {
                inventory.next_expiry = *next_expiry;
            }
        }
    }
    let expired = |booking: &&Booking| booking.status == BookingStatus::Expired;
    let expired = changes.updated.iter().filter(expired).count();
    let bookings = changes.created.into_iter().chain(changes.updated).collect();
    let marks = changes.marks;
    let committed = Committed { now, answers, inventories, bookings, marks, expired, rebuilt };
    Ok((committed, maps))
}

/// What a batch has loaded.
struct Loaded {
    rows: LoadedRows,
    /// The events whose live bookings are listed by buyer.
    counting: BTreeSet<EventId>,
}

fn load(writing: &Writing<'_>, needs: Needs, policy: &Policy) -> Result<Loaded, Fault> {
    let mut rows = LoadedRows::default();
    for (user_id, key) in needs.keys {
        load_key(writing, user_id, key, &mut rows)?;
    }
    let mut sections = needs.sections;
    for booking_id in needs.bookings {
        let read = |row: &Row<'_>| rows::booking(row);
        let found =
            writing.one("loading bookings", BOOKING_BY_ID, [booking_id.as_bytes()], read)?;
        if let Some(booking) = found {
            sections.extend(booking.sections().map(|(section_id, _)| section_id));
            rows.bookings.insert(booking.booking_id, booking);
        }
    }
    load_sections(writing, &sections, &mut rows)?;
    load_due(writing, &mut rows)?;

    let mut events = needs.events;
    events.extend(rows.sections.values().map(|(section, _)| section.event_id));
    let counting = load_terms(writing, events, &mut rows)?;
    let is_capped = |event_id: &EventId| {
        rows.terms.get(event_id).is_some_and(|terms| terms.cap_of_buyer(policy).is_some())
    };
    let buyers = needs.buyers.into_iter();
    let capped: Vec<_> = buyers.filter(|(event_id, _)| is_capped(event_id)).collect();
    load_buyers(writing, &capped, &counting, &mut rows)?;
    Ok(Loaded { rows, counting })
}

/// Loads the hold that a key names (I6).
fn load_key(
    writing: &Writing<'_>,
    user_id: UserId,
    key: IdempotencyKey,
    rows: &mut LoadedRows,
) -> Result<(), Fault> {
    const SQL: &str = "SELECT k.fingerprint, b.*
        FROM hold_keys k CROSS JOIN bookings b USING (booking_id) WHERE k.user_id = ? AND k.key = ?";
    let found = writing.one(
        "loading idempotency keys",
        SQL,
        (user_id.as_bytes(), key.as_str()),
        |row| Ok((row.int("fingerprint")?, rows::booking(row)?)),
    )?;
    if let Some((fingerprint, booking)) = found {
        let booking_id = booking.booking_id;
        rows.keys.insert((user_id, key), KeyUse { booking_id, fingerprint });
        rows.bookings.insert(booking_id, booking);
    }
    Ok(())
}

fn load_sections(
    writing: &Writing<'_>,
    ids: &BTreeSet<SectionId>,
    rows: &mut LoadedRows,
) -> Result<(), Fault> {
    for id in ids {
        if rows.sections.contains_key(id) {
            continue;
        }
        if let Some(found) = writing.section(*id)? {
            rows.sections.insert(*id, found);
        }
    }
    Ok(())
}

/// Loads the due holds of the loaded sections, oldest first, and the sections into which carts among
/// them reach, with their due holds. A cart that reaches further still waits for another batch.
fn load_due(writing: &Writing<'_>, rows: &mut LoadedRows) -> Result<(), Fault> {
    let first: BTreeSet<_> = rows.sections.keys().copied().collect();
    let reached = load_due_of(writing, &first, rows)?;
    load_sections(writing, &reached, rows)?;
    load_due_of(writing, &(&reached - &first), rows)?;
    Ok(())
}

/// Loads the due holds of some of the loaded sections; returns all sections they contain seats of.
fn load_due_of(
    writing: &Writing<'_>,
    sections: &BTreeSet<SectionId>,
    rows: &mut LoadedRows,
) -> Result<BTreeSet<SectionId>, Fault> {
    let mut reached = BTreeSet::new();
    for section_id in sections {
        let (_, inventory) = &rows.sections[section_id];
        if inventory.next_expiry.is_none_or(|expiry| expiry > writing.now) {
            continue;
        }
        for booking_id in writing.due_holds(*section_id, RETIRED_PER_SECTION_MAX)? {
            let id = [booking_id.as_bytes()];
            let read = |row: &Row<'_>| rows::booking(row);
            let found = writing.one("loading due holds", BOOKING_BY_ID, id, read)?;
            let Some(booking) = found else { continue };
            reached.extend(booking.sections().map(|(section_id, _)| section_id));
            rows.bookings.insert(booking.booking_id, booking);
        }
    }
    Ok(reached)
}

/// Loads terms of events; returns those of which live bookings are listed by buyer.
fn load_terms(
    writing: &Writing<'_>,
    ids: BTreeSet<EventId>,
    rows: &mut LoadedRows,
) -> Result<BTreeSet<EventId>, Fault> {
    let mut counting = BTreeSet::new();
    for id in ids {
        if let Some((terms, counts)) = writing.terms(id)? {
            rows.terms.insert(id, terms);
            if counts {
                counting.insert(id);
            }
        }
    }
    Ok(counting)
}

fn load_buyers(
    writing: &Writing<'_>,
    buyers: &[(EventId, UserId)],
    counting: &BTreeSet<EventId>,
    rows: &mut LoadedRows,
) -> Result<(), Fault> {
    const SQL: &str = "SELECT COALESCE(SUM(seats), 0) AS live FROM bookings
        WHERE event_id = ?1 AND user_id = ?2 AND counted = 1 AND status IN ('HOLD', 'CONFIRMED')
          AND (status = 'CONFIRMED' OR expires_at > ?3)";
    for (event_id, user_id) in buyers {
        let live = if counting.contains(event_id) {
            let of = (event_id.as_bytes(), user_id.as_bytes(), writing.now.unix_ms());
            writing.one("counting a buyer's seats", SQL, of, |row| row.int("live"))?.unwrap_or(0)
        } else {
            writing.lists().live_seats(writing, *event_id, *user_id)?
        };
        rows.buyers.insert((*event_id, *user_id), live);
    }
    Ok(())
}

/// Writes what a batch changes, and returns the next expiry of every section it touched.
fn write(
    writing: &Writing<'_>,
    changes: &Changes,
    counting: &BTreeSet<EventId>,
) -> Result<HashMap<SectionId, Option<Timestamp>>, Fault> {
    write_bookings(writing, changes, counting)?;
    write_seats(writing, changes)?;
    append_log(writing, &changes.log)?;
    write_inventories(writing, changes)
}

/// Writes bookings, keys and the index of expiry. `counting` are the events of which live bookings are
/// listed by buyer.
pub(super) fn write_bookings(
    writing: &Writing<'_>,
    changes: &Changes,
    counting: &BTreeSet<EventId>,
) -> Result<(), Fault> {
    const DOING: &str = "writing bookings";
    const UPDATE: &str = "UPDATE bookings SET status = ?2, expires_at = ?3, confirmed_at = ?4,
        cancelled_at = ?5, updated_at = ?6, version = ?7 WHERE booking_id = ?1";

    insert!(writing, DOING, "bookings", &changes.created, |booking| {
        booking_id: booking.booking_id.as_bytes(),
        user_id: booking.user_id.as_bytes(),
        event_id: booking.event_id.as_bytes(),
        items: items_text(&booking.items),
        seats: booking.seats(),
        status: booking.status.as_str(),
        expires_at: booking.expires_at.unix_ms(),
        max_expires_at: booking.max_expires_at.unix_ms(),
        confirmed_at: ms(booking.confirmed_at),
        cancelled_at: ms(booking.cancelled_at),
        created_at: booking.created_at.unix_ms(),
        updated_at: booking.updated_at.unix_ms(),
        version: booking.version,
        counted: counting.contains(&booking.event_id),
    })?;
    writing.creates(&changes.created);
    let updated = writing.run_all(DOING, UPDATE, &changes.updated, |booking| {
        (
            booking.booking_id.as_bytes(),
            booking.status.as_str(),
            booking.expires_at.unix_ms(),
            ms(booking.confirmed_at),
            ms(booking.cancelled_at),
            booking.updated_at.unix_ms(),
            booking.version,
        )
    })?;
    assert_eq!(updated, changes.updated.len(), "a loaded booking is there to be updated");
    insert!(writing, DOING, "hold_keys", &changes.keys, |row| {
        user_id: row.0.as_bytes(),
        key: row.1.as_str(),
        booking_id: row.2.booking_id.as_bytes(),
        fingerprint: row.2.fingerprint,
    })?;
    writing.index_holds(&changes.unheld, &changes.held)
}

pub(super) fn append_log(writing: &Writing<'_>, entries: &[LogEntry]) -> Result<(), Fault> {
    let rows = rows_of(entries);
    // In their order: it is that of the numbers.
    for alike in rows.chunk_by(|one, next| one.one().is_some() == next.one().is_some()) {
        if alike[0].one().is_some() {
            append_entries(writing, &alike.iter().filter_map(LogRow::one).collect::<Vec<_>>())?;
        } else {
            append_runs(writing, alike)?;
        }
    }
    Ok(())
}

fn append_entries(writing: &Writing<'_>, entries: &[&LogEntry]) -> Result<(), Fault> {
    insert!(writing, "writing the log", "booking_log", entries, |entry| {
        at: entry.at.unix_ms(),
        kind: entry.kind.as_str(),
        section_id: entry.subject.section_id().map(|id| *id.as_bytes()),
        event_id: entry.subject.event_id().map(|id| *id.as_bytes()),
        booking_id: entry.booking_id.as_ref().map(BookingId::as_bytes),
        booking_version: entry.booking_version,
        capacity: entry.deltas.capacity,
        held: entry.deltas.held,
        sold: entry.deltas.sold,
        blocked: entry.deltas.blocked,
        version: entry.version,
        expires_at: ms(entry.expires_at),
        reason: entry.reason.as_deref(),
        detail: entry.detail.as_deref().map(detail_text),
        actor_kind: actor_kind(entry.actor),
        actor: entry.actor.and_then(Actor::uuid).map(uuid::Uuid::into_bytes),
    })
    .map(drop)
}

fn append_runs(writing: &Writing<'_>, runs: &[LogRow]) -> Result<(), Fault> {
    insert!(writing, "writing the log", "booking_log", runs, |run| {
        at: run.at().unix_ms(),
        kind: run.kind(),
        section_id: run.section_id().map(|id| *id.as_bytes()),
        capacity: run.deltas().capacity,
        held: run.deltas().held,
        sold: run.deltas().sold,
        blocked: run.deltas().blocked,
        version: run.version(),
        entries: run.entries(),
    })
    .map(drop)
}

/// The counters of sections and their next expiry, which is returned.
fn write_inventories(
    writing: &Writing<'_>,
    changes: &Changes,
) -> Result<HashMap<SectionId, Option<Timestamp>>, Fault> {
    let mut counted = changes.inventories.clone();
    for ((inventory, _), next) in counted.iter_mut().zip(changes.next_expiries()) {
        inventory.next_expiry = match next {
            NextExpiry::Known(next_expiry) => next_expiry,
            NextExpiry::InIndex => writing.next_expiry(inventory.section_id)?,
        };
    }
    writing.count(&counted)?;
    Ok(counted.into_iter().map(|(of, _)| (of.section_id, of.next_expiry)).collect())
}
