//! The rows of a batch: claimed, locked and loaded in an order that every batch shares.
//!
//! 1. idempotency keys, sorted: two batches with the same keys wait for each other here, and the
//!    second finds what the first committed;
//! 2. the rows of buyers at events with a cap who take seats or keep them, sorted;
//! 3. the inventory rows, by id: the locks of everything in their sections;
//! 4. in a new statement, so that it sees what was committed while 3 waited, the rows and the clock.
//!
//! What is read before 3 are facts that never change (the sections of a booking) or that are looked at
//! again in 4: when they have changed by then, the batch is done again.

use super::interrupt::Interrupt;
use super::kept::Writers;
use super::rows::{bookings_by_id, uuid, uuids};
use crate::rows::{self, Columns};
use crate::{COUNTED_MAX, KeyedHolds};
use engine::decide::{Needs, RETIRED_PER_SECTION_MAX};
use engine::event::SEATS_PER_USER_MAX;
use engine::{
    Booking, BookingId, Command, EventId, Fault, IdempotencyKey, KeyUse, LoadedRows, Policy,
    SectionId, Timestamp, UserId,
};
use sqlx::postgres::{PgConnection, PgRow};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

pub(super) type Key = (UserId, IdempotencyKey);

/// The keys of a batch, as they are claimed: each for the first hold that names it.
pub(super) fn claims_of(commands: &[Command]) -> BTreeMap<Key, KeyUse> {
    let mut claims = BTreeMap::new();
    for command in commands {
        if let Command::Hold(hold) = command
            && let Some((key, fingerprint)) = &hold.key
        {
            let used = KeyUse { booking_id: hold.booking_id, fingerprint: *fingerprint };
            claims.entry((hold.user_id, key.clone())).or_insert(used);
        }
    }
    claims
}

/// Claims keys in their order; waits for other claims on them. Keeps in `claims` what was
/// free, and returns the others.
pub(super) async fn claim(
    session: &mut PgConnection,
    claims: &mut BTreeMap<Key, KeyUse>,
) -> Result<Vec<Key>, Interrupt> {
    // ON CONFLICT makes the unique constraint the judge of I6: the first to commit has the key.
    const SQL: &str = "INSERT INTO hold_keys (user_id, key, booking_id, fingerprint)
        SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::uuid[], $4::bigint[])
        ON CONFLICT DO NOTHING RETURNING user_id, key";
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let query = sqlx::query(SQL)
        .bind(uuids(claims.keys().map(|(user_id, _)| user_id)))
        .bind(claims.keys().map(|(_, key)| key.as_str().to_owned()).collect::<Vec<_>>())
        .bind(uuids(claims.values().map(|used| used.booking_id)))
        .bind(claims.values().map(|used| used.fingerprint).collect::<Vec<_>>());
    let claimed = query.fetch_all(session).await.map_err(|error| {
        let interrupt = Interrupt::from(error);
        if interrupt.is_lock_timeout() { Interrupt::KeyBusy } else { interrupt }
    })?;
    if claimed.len() == claims.len() {
        return Ok(Vec::new());
    }
    let claimed = claimed.iter().map(key).collect::<Result<BTreeSet<_>, _>>()?;
    let taken: Vec<_> = claims.keys().filter(|key| !claimed.contains(key)).cloned().collect();
    claims.retain(|key, _| claimed.contains(key));
    Ok(taken)
}

fn key(row: &PgRow) -> Result<Key, Fault> {
    let key = IdempotencyKey::new(row.text("key")?);
    let key = key.ok_or_else(|| Fault::Corrupt { what: "a stored key is no key".to_owned() })?;
    Ok((rows::user_id(row, "user_id")?, key))
}

/// The holds that these keys name (I6).
pub(super) async fn keyed_holds(
    session: &mut PgConnection,
    keys: &[Key],
) -> Result<KeyedHolds, Interrupt> {
    const SQL: &str = "SELECT k.key, k.fingerprint, b.*
        FROM UNNEST($1::uuid[], $2::text[]) AS wanted (user_id, key)
        JOIN hold_keys k USING (user_id, key) JOIN bookings b USING (booking_id)";
    if keys.is_empty() {
        return Ok(KeyedHolds::new());
    }
    let query = sqlx::query(SQL)
        .bind(uuids(keys.iter().map(|(user_id, _)| user_id)))
        .bind(keys.iter().map(|(_, key)| key.as_str().to_owned()).collect::<Vec<_>>());
    let mut holds = HashMap::new();
    for row in query.fetch_all(session).await? {
        let booking = rows::booking(&row)?;
        let used = KeyUse { booking_id: booking.booking_id, fingerprint: row.int("fingerprint")? };
        holds.insert(key(&row)?, (used, booking));
    }
    Ok(holds)
}

/// What a batch has locked and loaded.
pub(super) struct Locked {
    pub rows: LoadedRows,
    /// The clock, read under the locks.
    pub now: Timestamp,
    /// The events whose live bookings are listed by buyer.
    pub counting: BTreeSet<EventId>,
    /// Who wrote the terms of each section.
    pub writers: HashMap<SectionId, Writers>,
}

/// Locks what the batch needs, then loads it with the clock. `taken` are keys that others have.
///
/// Unless it is `surveyed`, only the sections are locked that the commands themselves name. Where that
/// turns out to be too little, the batch is [`Interrupt::Changed`], and has to be surveyed.
pub(super) async fn lock_and_load(
    session: &mut PgConnection,
    needs: Needs,
    taken: &[Key],
    policy: &Policy,
    surveyed: bool,
) -> Result<Locked, Interrupt> {
    let surveyed = surveyed || !needs.bookings.is_empty() || policy.max_seats_per_user.is_some();
    let (sections, capped) = if surveyed {
        survey(session, &needs, policy).await?
    } else {
        (needs.sections.clone(), BTreeSet::new())
    };
    lock_buyers(session, &capped).await?;
    lock_inventory(session, &sections).await?;

    let mut rows = LoadedRows::default();
    let mut writers = HashMap::new();
    let (now, counting) = load_sections(session, &sections, &mut rows, &mut writers).await?;
    load_events(session, &needs.events, &mut rows).await?;
    for (key, (used, booking)) in keyed_holds(session, taken).await? {
        rows.keys.insert(key, used);
        rows.bookings.insert(booking.booking_id, booking);
    }
    if !load_due(session, now, &mut rows).await? && !surveyed {
        return Err(Interrupt::Changed);
    }
    load_bookings(session, &needs.bookings, &mut rows).await?;
    let now_capped = capped_buyers(&needs, &rows, policy);
    if !now_capped.is_subset(&capped) {
        // The event has a cap, and nobody's row was locked for it.
        return Err(Interrupt::Changed);
    }
    // Keeping seats only needs the lock: their number decides nothing.
    let taking: BTreeSet<_> = now_capped.intersection(&needs.buyers).copied().collect();
    load_buyers(session, &taking, &counting, now, &mut rows).await?;
    Ok(Locked { rows, now, counting, writers })
}

/// Reads without locks what has to be locked: the sections, also those into which a named booking or
/// a due hold reaches, and the buyers at events with a cap.
async fn survey(
    session: &mut PgConnection,
    needs: &Needs,
    policy: &Policy,
) -> Result<(BTreeSet<SectionId>, BTreeSet<(EventId, UserId)>), Interrupt> {
    const SQL: &str = "WITH named AS (
            SELECT UNNEST(sections) AS section_id FROM bookings WHERE booking_id = ANY($1)
            UNION SELECT UNNEST($2::uuid[])
        ), due AS (
            SELECT UNNEST(b.sections) AS section_id
            FROM named JOIN inventory i USING (section_id) CROSS JOIN now_ms() AS now
            CROSS JOIN LATERAL (SELECT h.booking_id FROM holds h
                WHERE h.section_id = i.section_id AND h.expires_at <= now
                ORDER BY h.expires_at LIMIT $4) h
            JOIN bookings b USING (booking_id)
            WHERE i.next_expiry <= now
        )
        SELECT section_id AS id, NULL::uuid AS buyer, false AS capped FROM named
        UNION SELECT section_id, NULL, false FROM due
        UNION ALL SELECT event_id, NULL, true FROM events
            WHERE event_id = ANY($3) AND max_seats_per_user < $7
        UNION ALL SELECT b.event_id, b.user_id, true FROM bookings b JOIN events e USING (event_id)
            WHERE b.booking_id = ANY($5) AND ($6 OR e.max_seats_per_user < $7)";
    let query = sqlx::query(SQL)
        .bind(uuids(&needs.bookings))
        .bind(uuids(&needs.sections))
        .bind(uuids(&needs.events))
        .bind(i64::try_from(RETIRED_PER_SECTION_MAX).expect("a small number"))
        .bind(uuids(&needs.kept))
        .bind(policy.max_seats_per_user.is_some())
        .bind(i64::from(SEATS_PER_USER_MAX));
    let (mut sections, mut events) = (BTreeSet::new(), BTreeSet::new());
    let mut capped = BTreeSet::new();
    for row in query.fetch_all(session).await? {
        if !sqlx::Row::try_get::<bool, _>(&row, "capped")? {
            sections.insert(rows::section_id(&row, "id")?);
        } else if row.maybe_id("buyer")?.is_some() {
            capped.insert((rows::event_id(&row, "id")?, rows::user_id(&row, "buyer")?));
        } else {
            events.insert(rows::event_id(&row, "id")?);
        }
    }
    let is_capped = |(event, _): &&(EventId, UserId)| {
        policy.max_seats_per_user.is_some() || events.contains(event)
    };
    capped.extend(needs.buyers.iter().filter(is_capped).copied());
    Ok((sections, capped))
}

async fn lock_buyers(
    session: &mut PgConnection,
    buyers: &BTreeSet<(EventId, UserId)>,
) -> Result<(), Interrupt> {
    const ADD: &str = "INSERT INTO buyers SELECT * FROM UNNEST($1::uuid[], $2::uuid[])
        ON CONFLICT DO NOTHING";
    const LOCK: &str = "SELECT 1 FROM buyers WHERE (event_id, user_id) IN
            (SELECT * FROM UNNEST($1::uuid[], $2::uuid[]))
        ORDER BY event_id, user_id FOR UPDATE";
    if buyers.is_empty() {
        return Ok(());
    }
    for sql in [ADD, LOCK] {
        let query = sqlx::query(sql)
            .bind(uuids(buyers.iter().map(|(event_id, _)| event_id)))
            .bind(uuids(buyers.iter().map(|(_, user_id)| user_id)));
        query.execute(&mut *session).await?;
    }
    Ok(())
}

/// Locks inventory rows in the order of their ids. NO KEY: nobody who only refers to a section waits.
pub(super) async fn lock_inventory(
    session: &mut PgConnection,
    sections: &BTreeSet<SectionId>,
) -> Result<(), Interrupt> {
    const SQL: &str = "SELECT 1 FROM inventory WHERE section_id = ANY($1)
        ORDER BY section_id FOR NO KEY UPDATE";
    sqlx::query(SQL).bind(uuids(sections)).execute(session).await?;
    Ok(())
}

/// Loads sections with their inventory and their event's terms; returns the clock, which is read by
/// this statement: after the locks were waited for. And the events whose live bookings are listed by buyer.
async fn load_sections(
    session: &mut PgConnection,
    sections: &BTreeSet<SectionId>,
    rows: &mut LoadedRows,
    writers: &mut HashMap<SectionId, Writers>,
) -> Result<(Timestamp, BTreeSet<EventId>), Interrupt> {
    const SQL: &str = "WITH clock AS MATERIALIZED (SELECT now_ms() AS now)
        SELECT clock.now, i.*, s.name, s.price_minor, s.currency, s.layout_version, e.organizer_id, e.status,
            e.sales_start, e.sales_end, e.over_at, e.max_seats_per_booking, e.max_seats_per_user,
            e.hold_ttl_ms, e.cancellable_until, e.prevent_orphans, e.counts_buyers,
            s.xmin::text::bigint AS section_writer, e.xmin::text::bigint AS event_writer
        FROM clock LEFT JOIN (inventory i JOIN sections s USING (section_id)
            JOIN events e ON e.event_id = i.event_id) ON i.section_id = ANY($1)";
    let found = sqlx::query(SQL).bind(uuids(sections)).fetch_all(session).await?;
    let (mut now, mut counting) = (None, BTreeSet::new());
    for row in &found {
        now = Some(rows::instant(row, "now")?);
        if row.maybe_id("section_id")?.is_none() {
            continue;
        }
        let inventory = rows::inventory(row)?;
        if row.flag("counts_buyers")? {
            counting.insert(inventory.event_id);
        }
        let of = Writers { section: row.int("section_writer")?, event: row.int("event_writer")? };
        writers.insert(inventory.section_id, of);
        rows.terms.insert(inventory.event_id, rows::terms(row)?);
        rows.sections.insert(inventory.section_id, (rows::section(row)?, inventory));
    }
    Ok((now.expect("the clock makes a row of its own"), counting))
}

/// Loads the terms of events none of whose sections was loaded.
async fn load_events(
    session: &mut PgConnection,
    events: &BTreeSet<EventId>,
    rows: &mut LoadedRows,
) -> Result<(), Interrupt> {
    let missing = uuids(events.iter().filter(|event_id| !rows.terms.contains_key(event_id)));
    if !missing.is_empty() {
        let query = sqlx::query("SELECT * FROM events WHERE event_id = ANY($1)").bind(missing);
        for row in query.fetch_all(session).await? {
            let terms = rows::terms(&row)?;
            rows.terms.insert(terms.event_id, terms);
        }
    }
    Ok(())
}

/// Loads the due holds of the locked sections, oldest first; returns whether these are all of them.
/// One that reaches into a section nobody locked is left out.
async fn load_due(
    session: &mut PgConnection,
    now: Timestamp,
    rows: &mut LoadedRows,
) -> Result<bool, Interrupt> {
    const DUE: &str = "SELECT b.* FROM UNNEST($1::uuid[]) AS wanted (section_id)
        CROSS JOIN LATERAL (SELECT h.booking_id FROM holds h
            WHERE h.section_id = wanted.section_id AND h.expires_at <= $2
            ORDER BY h.expires_at LIMIT $3) due
        JOIN bookings b USING (booking_id)";
    let is_due = |expiry: Option<Timestamp>| expiry.is_some_and(|expiry| expiry <= now);
    let inventories = rows.sections.values().map(|(_, inventory)| inventory);
    let due: Vec<Uuid> = inventories
        .filter(|inventory| is_due(inventory.next_expiry))
        .map(|inventory| uuid(inventory.section_id))
        .collect();
    if due.is_empty() {
        return Ok(true);
    }
    let query = sqlx::query(DUE)
        .bind(due)
        .bind(now.unix_ms())
        .bind(i64::try_from(RETIRED_PER_SECTION_MAX).expect("a small number"));
    let due = rows::bookings(&query.fetch_all(&mut *session).await?)?;
    let (locked, others): (Vec<_>, Vec<_>) =
        due.into_iter().partition(|booking| is_locked(booking, rows));
    rows.bookings.extend(locked.into_iter().map(|booking| (booking.booking_id, booking)));
    Ok(others.is_empty())
}

/// Loads the bookings that commands name.
async fn load_bookings(
    session: &mut PgConnection,
    named: &BTreeSet<BookingId>,
    rows: &mut LoadedRows,
) -> Result<(), Interrupt> {
    if named.is_empty() {
        return Ok(());
    }
    for booking in bookings_by_id(session, uuids(named)).await? {
        if !is_locked(&booking, rows) {
            // It was committed after the survey, by an attempt that was given up for lost.
            return Err(Interrupt::Changed);
        }
        rows.bookings.insert(booking.booking_id, booking);
    }
    Ok(())
}

fn is_locked(booking: &Booking, rows: &LoadedRows) -> bool {
    booking.items.iter().all(|item| rows.sections.contains_key(&item.section_id))
}

/// The buyers at events with a cap who take seats, or keep them.
fn capped_buyers(needs: &Needs, rows: &LoadedRows, policy: &Policy) -> BTreeSet<(EventId, UserId)> {
    let kept = needs.kept.iter().filter_map(|booking_id| rows.bookings.get(booking_id));
    let kept: Vec<_> = kept.map(|booking| (booking.event_id, booking.user_id)).collect();
    let is_capped = |(event_id, _): &&(EventId, UserId)| {
        rows.terms.get(event_id).is_some_and(|terms| terms.cap_of_buyer(policy).is_some())
    };
    needs.buyers.iter().chain(&kept).filter(is_capped).copied().collect()
}

/// Adds up the live seats of buyers: by the list of them where the event keeps one, else by all that
/// these buyers ever booked.
async fn load_buyers(
    session: &mut PgConnection,
    buyers: &BTreeSet<(EventId, UserId)>,
    counting: &BTreeSet<EventId>,
    now: Timestamp,
    rows: &mut LoadedRows,
) -> Result<(), Interrupt> {
    const LISTED: &str = "SELECT event_id, user_id, SUM(b.seats)::bigint AS live
        FROM UNNEST($1::uuid[], $2::uuid[]) AS wanted (event_id, user_id)
        JOIN bookings b USING (event_id, user_id)
        WHERE b.counted AND b.status IN ('HOLD', 'CONFIRMED')
            AND (b.status = 'CONFIRMED' OR b.expires_at > $3)
        GROUP BY event_id, user_id";
    // The buyer's own bookings first, whatever the planner thinks of the event's; of too many it says
    // more than any cap allows.
    const SEARCHED: &str = "SELECT wanted.event_id, wanted.user_id,
            CASE WHEN COUNT(*) > $4 THEN $5 ELSE COALESCE(SUM(b.seats) FILTER (WHERE
                b.event_id = wanted.event_id AND b.status IN ('HOLD', 'CONFIRMED')
                AND (b.status = 'CONFIRMED' OR b.expires_at > $3)), 0)::bigint END AS live
        FROM UNNEST($1::uuid[], $2::uuid[]) AS wanted (event_id, user_id)
        CROSS JOIN LATERAL (SELECT event_id, seats, status, expires_at FROM bookings
            WHERE user_id = wanted.user_id ORDER BY booking_id DESC LIMIT $4 + 1) b
        GROUP BY wanted.event_id, wanted.user_id";
    rows.buyers.extend(buyers.iter().map(|buyer| (*buyer, 0)));
    let is_listed = |(event_id, _): &&(EventId, UserId)| counting.contains(event_id);
    let (listed, others): (Vec<_>, Vec<_>) = buyers.iter().partition(is_listed);
    for (sql, buyers, is_searched) in [(LISTED, listed, false), (SEARCHED, others, true)] {
        if buyers.is_empty() {
            continue;
        }
        let mut query = sqlx::query(sql)
            .bind(uuids(buyers.iter().map(|(event_id, _)| event_id)))
            .bind(uuids(buyers.iter().map(|(_, user_id)| user_id)))
            .bind(now.unix_ms());
        if is_searched {
            query = query.bind(COUNTED_MAX).bind(i64::from(SEATS_PER_USER_MAX));
        }
        for row in query.fetch_all(&mut *session).await? {
            let buyer = (rows::event_id(&row, "event_id")?, rows::user_id(&row, "user_id")?);
            rows.buyers.insert(buyer, row.int("live")?);
        }
    }
    Ok(())
}
