//! The batch: lock, load, decide, write, commit.

use super::rows::{
    BOOKING_COLUMNS, Binding, KIND_WORDS, STATUS_WORDS, bind_booking, bind_id, bookings_by_id,
    read_rows, write_rows,
};
use super::seats::write_seats;
use super::{Sqlite, failed};
use crate::rows::{self, Columns, ms};
use crate::{Committed, KeyedHolds};
use engine::decide::{Ended, Held, Needs, RETIRED_PER_SECTION_MAX, SeatMaps};
use engine::{
    Booking, BookingId, BookingStatus, Changes, Command, EventId, Fault, IdempotencyKey, Inventory,
    KeyUse, Ledger, LogEntry, Rows, SectionId, Timestamp, UserId,
};
use sqlx::{Row, SqliteConnection};
use std::collections::{BTreeSet, HashMap};

impl Sqlite {
    /// Decides and commits a batch; see [`crate::Bookings::commit`].
    pub(super) async fn commit_batch(&self, commands: &[Command]) -> Result<Committed, Fault> {
        let (mut transaction, now) = self.begin("beginning a batch").await?;
        let (committed, maps) = self.decide_in(&mut transaction, commands, now).await?;
        transaction.commit().await.map_err(failed("committing a batch"))?;
        self.maps.keep(maps);
        Ok(committed)
    }

    /// Decides a batch and writes what it changes, inside a transaction that holds the lock. The seat
    /// maps are to be kept once it is committed.
    pub(super) async fn decide_in(
        &self,
        connection: &mut SqliteConnection,
        commands: &[Command],
        now: Timestamp,
    ) -> Result<(Committed, SeatMaps), Fault> {
        let mut rows = load(connection, Needs::of(commands), now, &self.policy).await?;
        self.load_maps(connection, &mut rows).await?;
        let mut ledger = Ledger::open(rows, now, self.policy);
        let answers = commands.iter().map(|command| ledger.decide(command)).collect();
        let Ended { changes, mut inventories, maps } = ledger.end_batch();
        if !changes.is_empty() {
            let next_expiries = write(connection, &changes).await?;
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
        Ok((Committed { now, answers, inventories, bookings, marks, expired }, maps))
    }
}

async fn load(
    connection: &mut SqliteConnection,
    needs: Needs,
    now: Timestamp,
    policy: &engine::Policy,
) -> Result<Rows, Fault> {
    let mut rows = Rows::default();
    let keys: Vec<_> = needs.keys.into_iter().collect();
    for (key, (used, booking)) in keyed_holds(connection, &keys).await? {
        rows.keys.insert(key, used);
        rows.bookings.insert(booking.booking_id, booking);
    }
    let named: Vec<_> = needs.bookings.into_iter().collect();
    let mut sections = needs.sections;
    for booking in bookings_by_id(connection, &named).await? {
        sections.extend(booking.sections().map(|(section_id, _)| section_id));
        rows.bookings.insert(booking.booking_id, booking);
    }
    load_sections(connection, &sections, &mut rows).await?;
    load_due(connection, now, &mut rows).await?;

    let mut events = needs.events;
    events.extend(rows.sections.values().map(|(section, _)| section.event_id));
    load_terms(connection, events, &mut rows).await?;
    let is_capped = |event_id: &EventId| {
        let own = rows.terms.get(event_id).and_then(|terms| terms.max_seats_per_user);
        own.or(policy.max_seats_per_user).is_some()
    };
    let buyers = needs.buyers.into_iter();
    let capped: Vec<_> = buyers.filter(|(event_id, _)| is_capped(event_id)).collect();
    load_buyers(connection, &capped, now, &mut rows).await?;
    Ok(rows)
}

/// The holds that these keys name (I6).
pub(super) async fn keyed_holds(
    connection: &mut SqliteConnection,
    keys: &[(UserId, IdempotencyKey)],
) -> Result<KeyedHolds, Fault> {
    const SQL: &str = "WITH wanted (user_id, key) AS ({})
        SELECT k.key, k.fingerprint, b.*
        FROM wanted CROSS JOIN hold_keys k USING (user_id, key) CROSS JOIN bookings b USING (booking_id)";
    let bind = |query: Binding, (user_id, key): &(UserId, IdempotencyKey)| {
        query.bind(user_id.as_bytes().to_vec()).bind(key.as_str().to_owned())
    };
    let found = read_rows(connection, SQL, 2, keys, bind).await;
    let mut holds = HashMap::new();
    for row in found.map_err(failed("loading idempotency keys"))? {
        let booking = rows::booking(&row)?;
        let used = KeyUse { booking_id: booking.booking_id, fingerprint: row.int("fingerprint")? };
        let key = IdempotencyKey::new(row.text("key")?);
        let key =
            key.ok_or_else(|| Fault::Corrupt { what: "a stored key is no key".to_owned() })?;
        holds.insert((booking.user_id, key), (used, booking));
    }
    Ok(holds)
}

async fn load_sections(
    connection: &mut SqliteConnection,
    ids: &BTreeSet<SectionId>,
    rows: &mut Rows,
) -> Result<(), Fault> {
    const SQL: &str = "WITH wanted (section_id) AS ({})
        SELECT i.*, s.name, s.price_minor, s.currency, s.layout_version
        FROM wanted CROSS JOIN inventory i USING (section_id) CROSS JOIN sections s USING (section_id)";
    let missing = ids.iter().filter(|id| !rows.sections.contains_key(id)).copied();
    let missing: Vec<_> = missing.collect();
    let found = read_rows(connection, SQL, 1, &missing, bind_id).await;
    for row in found.map_err(failed("loading inventory"))? {
        let inventory = rows::inventory(&row)?;
        rows.sections.insert(inventory.section_id, (rows::section(&row)?, inventory));
    }
    Ok(())
}

/// Loads the due holds of the loaded sections, oldest first, and the sections into which carts among
/// them reach, with their due holds. A cart that reaches further still waits for another batch.
async fn load_due(
    connection: &mut SqliteConnection,
    now: Timestamp,
    rows: &mut Rows,
) -> Result<(), Fault> {
    let first: BTreeSet<_> = rows.sections.keys().copied().collect();
    let reached = load_due_of(connection, &first, now, rows).await?;
    load_sections(connection, &reached, rows).await?;
    load_due_of(connection, &(&reached - &first), now, rows).await?;
    Ok(())
}

/// Loads the due holds of some of the loaded sections; gives all sections they reach into.
async fn load_due_of(
    connection: &mut SqliteConnection,
    sections: &BTreeSet<SectionId>,
    now: Timestamp,
    rows: &mut Rows,
) -> Result<BTreeSet<SectionId>, Fault> {
    const SQL: &str = "SELECT b.* FROM holds h CROSS JOIN bookings b USING (booking_id)
        WHERE h.section_id = ? AND h.expires_at <= ? ORDER BY h.expires_at LIMIT ?";
    let limit = i64::try_from(RETIRED_PER_SECTION_MAX).expect("a small number");
    let mut reached = BTreeSet::new();
    for section_id in sections {
        let (_, inventory) = &rows.sections[section_id];
        if inventory.next_expiry.is_none_or(|expiry| expiry > now) {
            continue;
        }
        let query =
            sqlx::query(SQL).bind(section_id.as_bytes().to_vec()).bind(now.unix_ms()).bind(limit);
        let found = query.fetch_all(&mut *connection).await.map_err(failed("loading due holds"))?;
        for booking in rows::bookings(&found)? {
            reached.extend(booking.sections().map(|(section_id, _)| section_id));
            rows.bookings.insert(booking.booking_id, booking);
        }
    }
    Ok(reached)
}

async fn load_terms(
    connection: &mut SqliteConnection,
    ids: BTreeSet<EventId>,
    rows: &mut Rows,
) -> Result<(), Fault> {
    const SQL: &str = "WITH wanted (event_id) AS ({})
        SELECT e.* FROM wanted CROSS JOIN events e USING (event_id)";
    let ids: Vec<_> = ids.into_iter().collect();
    let found = read_rows(connection, SQL, 1, &ids, bind_id).await;
    for row in found.map_err(failed("loading events"))? {
        let terms = rows::terms(&row)?;
        rows.terms.insert(terms.event_id, terms);
    }
    Ok(())
}

async fn load_buyers(
    connection: &mut SqliteConnection,
    buyers: &[(EventId, UserId)],
    now: Timestamp,
    rows: &mut Rows,
) -> Result<(), Fault> {
    const SQL: &str = "SELECT COALESCE(SUM(seats), 0) FROM bookings
        WHERE event_id = ?1 AND user_id = ?2 AND status IN ('HOLD', 'CONFIRMED')
          AND (status = 'CONFIRMED' OR expires_at > ?3)";
    for (event_id, user_id) in buyers {
        let query =
            sqlx::query(SQL).bind(event_id.as_bytes().to_vec()).bind(user_id.as_bytes().to_vec());
        let row = query.bind(now.unix_ms()).fetch_one(&mut *connection).await;
        let live =
            row.and_then(|row| row.try_get(0)).map_err(failed("counting a buyer's seats"))?;
        rows.buyers.insert((*event_id, *user_id), live);
    }
    Ok(())
}

/// Writes what a batch changes, and gives the next expiry of every section it touched.
async fn write(
    connection: &mut SqliteConnection,
    changes: &Changes,
) -> Result<HashMap<SectionId, Option<Timestamp>>, Fault> {
    write_bookings(connection, changes).await.map_err(failed("writing bookings"))?;
    write_seats(connection, changes).await?;
    append_log(connection, &changes.log).await.map_err(failed("writing the log"))?;
    write_inventories(connection, &changes.inventories).await
}

async fn write_bookings(
    connection: &mut SqliteConnection,
    changes: &Changes,
) -> Result<(), sqlx::Error> {
    const INSERT: &str = "INSERT OR FAIL INTO bookings (booking_id, user_id, event_id, items, seats, status,
        expires_at, max_expires_at, confirmed_at, cancelled_at, created_at, updated_at, version) {}";
    const UPDATE: &str =
        "WITH new (booking_id, status, expires_at, confirmed_at, cancelled_at, updated_at, version)
        AS ({}) UPDATE OR FAIL bookings SET status = new.status, expires_at = new.expires_at,
            confirmed_at = new.confirmed_at, cancelled_at = new.cancelled_at,
            updated_at = new.updated_at, version = new.version
        FROM new WHERE bookings.booking_id = new.booking_id";
    const INSERT_KEY: &str = "INSERT OR FAIL INTO hold_keys (user_id, key, booking_id, fingerprint) {}";
    const INSERT_HELD: &str = "INSERT OR FAIL INTO holds (section_id, expires_at, booking_id, seats) {}";
    const DELETE_HELD: &str =
        "DELETE FROM holds WHERE (section_id, expires_at, booking_id) IN ({})";

    write_rows(connection, INSERT, BOOKING_COLUMNS, &changes.created, bind_booking).await?;
    let updated = write_rows(connection, UPDATE, 7, &changes.updated, |query, booking| {
        query
            .bind(booking.booking_id.as_bytes().to_vec())
            .bind(STATUS_WORDS.of(booking.status))
            .bind(booking.expires_at.unix_ms())
            .bind(ms(booking.confirmed_at))
            .bind(ms(booking.cancelled_at))
            .bind(booking.updated_at.unix_ms())
            .bind(booking.version)
    });
    let updated = updated.await?;
    assert_eq!(updated, changes.updated.len() as u64, "a loaded booking is there to be updated");
    write_rows(connection, INSERT_KEY, 4, &changes.keys, |query, (user_id, key, used)| {
        query
            .bind(user_id.as_bytes().to_vec())
            .bind(key.as_str().to_owned())
            .bind(used.booking_id.as_bytes().to_vec())
            .bind(used.fingerprint)
    })
    .await?;
    write_rows(connection, DELETE_HELD, 3, &changes.unheld, bind_held).await?;
    write_rows(connection, INSERT_HELD, 4, &changes.held, |query, held| {
        bind_held(query, held).bind(i64::from(held.seats))
    })
    .await?;
    Ok(())
}

fn bind_held(query: Binding, held: &Held) -> Binding {
    query
        .bind(held.section_id.as_bytes().to_vec())
        .bind(held.expires_at.unix_ms())
        .bind(held.booking_id.as_bytes().to_vec())
}

pub(super) async fn append_log(
    connection: &mut SqliteConnection,
    entries: &[LogEntry],
) -> Result<u64, sqlx::Error> {
    const SQL: &str =
        "INSERT OR FAIL INTO booking_log (at, kind, section_id, booking_id, capacity, held, sold,
        blocked, version, expires_at, reason) {}";
    write_rows(connection, SQL, 11, entries, |query, entry| {
        query
            .bind(entry.at.unix_ms())
            .bind(KIND_WORDS.of(entry.kind))
            .bind(entry.section_id.as_bytes().to_vec())
            .bind(entry.booking_id.map(|id: BookingId| id.as_bytes().to_vec()))
            .bind(entry.deltas.capacity)
            .bind(entry.deltas.held)
            .bind(entry.deltas.sold)
            .bind(entry.deltas.blocked)
            .bind(entry.version)
            .bind(ms(entry.expires_at))
            .bind(entry.reason.clone())
    })
    .await
}

async fn write_inventories(
    connection: &mut SqliteConnection,
    inventories: &[(Inventory, i64)],
) -> Result<HashMap<SectionId, Option<Timestamp>>, Fault> {
    // The predicate on `version` proves that the row is the one that was decided on.
    const SQL: &str = "WITH new (section_id, capacity, held, sold, blocked, version, loaded) AS ({})
        UPDATE OR FAIL inventory SET capacity = new.capacity, held = new.held, sold = new.sold,
            blocked = new.blocked, version = new.version,
            next_expiry = (SELECT MIN(h.expires_at) FROM holds h WHERE h.section_id = new.section_id)
        FROM new WHERE inventory.section_id = new.section_id AND inventory.version = new.loaded
        RETURNING section_id, next_expiry";
    let written = read_rows(connection, SQL, 7, inventories, |query, (inventory, loaded)| {
        query
            .bind(inventory.section_id.as_bytes().to_vec())
            .bind(inventory.capacity)
            .bind(inventory.held)
            .bind(inventory.sold)
            .bind(inventory.blocked)
            .bind(inventory.version)
            .bind(*loaded)
    });
    let written = written.await.map_err(failed("writing inventory"))?;
    if written.len() != inventories.len() {
        return Err(Fault::Corrupt { what: "an inventory changed under its lock".to_owned() });
    }
    let entry =
        |row| Ok((rows::section_id(row, "section_id")?, rows::maybe_instant(row, "next_expiry")?));
    written.iter().map(entry).collect()
}
