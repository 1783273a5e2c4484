//! The statements of a batch, in the order in which [`crate::batch`] asks for them.

use super::interrupt::{Interrupt, is_lock_timeout};
use super::rows::{bookings_by_id, uuids};
use super::sessions::Session;
use super::{seats, trip, write};
use crate::batch::{
    self, Found, Key, LoadedSections, NextExpiries, OneTrip, StoredMarks, Surveyed, Writers,
};
use crate::rows::{self, Columns};
use crate::{COUNTED_MAX, KeyedHolds, VersionedLayout};
use engine::decide::{Needs, RETIRED_PER_SECTION_MAX};
use engine::event::SEATS_PER_USER_MAX;
use engine::seats::{SeatMap, SeatName, SeatState};
use engine::{
    Booking, BookingId, Changes, EventId, Fault, IdempotencyKey, KeyUse, LoadedRows, Policy,
    SectionId, Timestamp, UserId,
};
use sqlx::Executor as _;
use sqlx::postgres::{PgConnection, PgRow};
use std::collections::{BTreeMap, BTreeSet, HashMap};

impl batch::Session for Session {
    async fn begin(&mut self) -> Result<(), Interrupt> {
        Ok(self.execute("BEGIN").await.map(drop)?)
    }

    async fn commit(&mut self) -> Result<(), Interrupt> {
        Ok(self.execute("COMMIT").await.map(drop)?)
    }

    async fn start_over(&mut self) -> Result<(), Interrupt> {
        Ok(self.execute("ROLLBACK AND CHAIN").await.map(drop)?)
    }

    fn give_back(self) {
        self.give_back();
    }

    async fn roll_back(self) {
        self.roll_back().await;
    }

    async fn hurry(&mut self) -> Result<(), Interrupt> {
        Ok(self.execute("SET LOCAL lock_timeout = '30ms'").await.map(drop)?)
    }

    async fn claim(&mut self, claims: &mut BTreeMap<Key, KeyUse>) -> Result<Vec<Key>, Interrupt> {
        claim(self, claims).await
    }

    async fn keyed_holds(&mut self, keys: &[Key]) -> Result<KeyedHolds, Interrupt> {
        keyed_holds(self, keys).await
    }

    async fn survey(&mut self, needs: &Needs, policy: &Policy) -> Result<Surveyed, Interrupt> {
        survey(self, needs, policy).await
    }

    async fn lock_buyers(&mut self, buyers: &BTreeSet<(EventId, UserId)>) -> Result<(), Interrupt> {
        lock_buyers(self, buyers).await
    }

    async fn lock_inventory(&mut self, sections: &BTreeSet<SectionId>) -> Result<(), Interrupt> {
        lock_inventory(self, sections).await
    }

    async fn load_sections(
        &mut self,
        sections: &BTreeSet<SectionId>,
        rows: &mut LoadedRows,
    ) -> Result<LoadedSections, Interrupt> {
        load_sections(self, sections, rows).await
    }

    async fn load_events(
        &mut self,
        events: &BTreeSet<EventId>,
        rows: &mut LoadedRows,
    ) -> Result<(), Interrupt> {
        load_events(self, events, rows).await
    }

    async fn due_bookings(
        &mut self,
        sections: &[SectionId],
        now: Timestamp,
    ) -> Result<Vec<Booking>, Interrupt> {
        due_bookings(self, sections, now).await
    }

    async fn bookings(&mut self, named: &BTreeSet<BookingId>) -> Result<Vec<Booking>, Interrupt> {
        bookings_by_id(self, uuids(named)).await
    }

    async fn load_buyers(
        &mut self,
        buyers: &BTreeSet<(EventId, UserId)>,
        counting: &BTreeSet<EventId>,
        now: Timestamp,
        rows: &mut LoadedRows,
    ) -> Result<(), Interrupt> {
        load_buyers(self, buyers, counting, now, rows).await
    }

    async fn marks(
        &mut self,
        kept: &[(SectionId, i64, i64)],
    ) -> Result<Vec<StoredMarks>, Interrupt> {
        seats::stored_marks(self, kept).await
    }

    async fn layout(
        &mut self,
        section_id: SectionId,
    ) -> Result<Option<VersionedLayout>, Interrupt> {
        seats::read_layout(self, section_id).await
    }

    async fn seats_taken(
        &mut self,
        section_id: SectionId,
    ) -> Result<Vec<(SeatName, SeatState)>, Interrupt> {
        seats::seats_taken(self, section_id).await
    }

    async fn put_marks(
        &mut self,
        section_id: SectionId,
        map: &SeatMap,
        stamp: i64,
    ) -> Result<(), Interrupt> {
        seats::put_marks(self, section_id, map, stamp).await
    }

    async fn write(
        &mut self,
        changes: &Changes,
        counting: &BTreeSet<EventId>,
        claims: BTreeMap<Key, KeyUse>,
        stamp: i64,
    ) -> Result<NextExpiries, Interrupt> {
        write::write(self, changes, counting, claims, stamp).await
    }

    async fn commit_one_trip(&mut self, decided: &OneTrip) -> Result<Found, Interrupt> {
        trip::commit(self, decided).await
    }
}

async fn claim(
    session: &mut PgConnection,
    claims: &mut BTreeMap<Key, KeyUse>,
) -> Result<Vec<Key>, Interrupt> {
    // ON CONFLICT makes the unique constraint the judge of I6: the first to commit has the key.
    const SQL: &str = "INSERT INTO hold_keys (user_id, key, booking_id, fingerprint)
        SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::uuid[], $4::bigint[])
        ON CONFLICT DO NOTHING RETURNING user_id, key";
    let query = sqlx::query(SQL)
        .bind(uuids(claims.keys().map(|(user_id, _)| user_id)))
        .bind(claims.keys().map(|(_, key)| key.as_str().to_owned()).collect::<Vec<_>>())
        .bind(uuids(claims.values().map(|used| used.booking_id)))
        .bind(claims.values().map(|used| used.fingerprint).collect::<Vec<_>>());
    let claimed = query
        .fetch_all(session)
        .await
        .map_err(|error| if is_lock_timeout(&error) { Interrupt::KeyBusy } else { error.into() })?;
    if claimed.len() == claims.len() {
        return Ok(Vec::new());
    }
    let claimed =
        claimed.iter().map(|row| key(row, "user_id")).collect::<Result<BTreeSet<_>, _>>()?;
    let taken: Vec<_> = claims.keys().filter(|key| !claimed.contains(key)).cloned().collect();
    claims.retain(|key, _| claimed.contains(key));
    Ok(taken)
}

fn key(row: &PgRow, caller: &'static str) -> Result<Key, Fault> {
    let key = IdempotencyKey::new(row.text("key")?);
    let key = key.ok_or_else(|| Fault::Corrupt { what: "a stored key is no key".to_owned() })?;
    Ok((rows::user_id(row, caller)?, key))
}

/// The holds that these keys name (I6).
pub(super) async fn keyed_holds(
    session: &mut PgConnection,
    keys: &[Key],
) -> Result<KeyedHolds, Interrupt> {
    const SQL: &str = "SELECT k.user_id AS caller, k.key, k.fingerprint, b.*
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
        // Of a sale it is the seller's.
        holds.insert(key(&row, "caller")?, (used, booking));
    }
    Ok(holds)
}

async fn survey(
    session: &mut PgConnection,
    needs: &Needs,
    policy: &Policy,
) -> Result<Surveyed, Interrupt> {
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

async fn load_sections(
    session: &mut PgConnection,
    sections: &BTreeSet<SectionId>,
    rows: &mut LoadedRows,
) -> Result<LoadedSections, Interrupt> {
    const SQL: &str = "WITH clock AS MATERIALIZED (SELECT now_ms() AS now)
        SELECT clock.now, i.*, s.name, s.price_minor, s.currency, s.layout_version, e.organizer_id, e.status,
            e.sales_start, e.sales_end, e.over_at, e.max_seats_per_booking, e.max_seats_per_user,
            e.hold_ttl_ms, e.cancellable_until, e.prevent_orphans, e.counts_buyers,
            s.xmin::text::bigint AS section_writer, e.xmin::text::bigint AS event_writer
        FROM clock LEFT JOIN (inventory i JOIN sections s USING (section_id)
            JOIN events e ON e.event_id = i.event_id) ON i.section_id = ANY($1)";
    let found = sqlx::query(SQL).bind(uuids(sections)).fetch_all(session).await?;
    let (mut now, mut counting, mut writers) = (None, BTreeSet::new(), HashMap::new());
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
    let now = now.expect("the clock makes a row of its own");
    Ok(LoadedSections { now, counting, writers })
}

async fn load_events(
    session: &mut PgConnection,
    events: &BTreeSet<EventId>,
    rows: &mut LoadedRows,
) -> Result<(), Interrupt> {
    let query = sqlx::query("SELECT * FROM events WHERE event_id = ANY($1)").bind(uuids(events));
    for row in query.fetch_all(session).await? {
        let terms = rows::terms(&row)?;
        rows.terms.insert(terms.event_id, terms);
    }
    Ok(())
}

async fn due_bookings(
    session: &mut PgConnection,
    sections: &[SectionId],
    now: Timestamp,
) -> Result<Vec<Booking>, Interrupt> {
    const DUE: &str = "SELECT b.* FROM UNNEST($1::uuid[]) AS wanted (section_id)
        CROSS JOIN LATERAL (SELECT h.booking_id FROM holds h
            WHERE h.section_id = wanted.section_id AND h.expires_at <= $2
            ORDER BY h.expires_at LIMIT $3) due
        JOIN bookings b USING (booking_id)";
    let query = sqlx::query(DUE)
        .bind(uuids(sections))
        .bind(now.unix_ms())
        .bind(i64::try_from(RETIRED_PER_SECTION_MAX).expect("a small number"));
    Ok(rows::bookings(&query.fetch_all(session).await?)?)
}

/// By the list of live bookings where the event keeps one, else by all that these buyers ever booked.
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
