//! Events and sections.

use super::commit::append_log;
use super::rows::{Binding, read_rows};
use super::seats::put_layout;
use super::{Sqlite, failed};
use crate::rows::{self, Columns, event, ms};
use crate::{
    CREATION_KEY_KEPT_MS, Created, CreationKey, EventFilter, EventWithSections, Events, Opening,
    Page, SectionChange,
};
use async_trait::async_trait;
use engine::event::{EventChange, folded, may_join};
use engine::seats::Marks;
use engine::{
    Deltas, Error, Event, EventId, EventStatus, Fault, Inventory, LogEntry, LogKind, Outcome,
    Refusal, Section, SectionId, Timestamp, UserId,
};
use sqlx::{QueryBuilder, Row, Sqlite as Driver, SqliteConnection};

const MISSING: Refusal = Refusal::NotFound { what: "event" };

/// Writes an event whole, new or changed.
pub(super) async fn put_event(
    connection: &mut SqliteConnection,
    event: &Event,
) -> Result<(), Fault> {
    const SQL: &str =
        "INSERT INTO events (event_id, organizer_id, title, title_folded, description,
            venue, event_date, timezone, starts_at, over_at, status, sales_start, sales_end,
            max_seats_per_booking, max_seats_per_user, hold_ttl_ms, cancellable_until,
            prevent_orphans, version, created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (event_id) DO UPDATE SET title = excluded.title,
            title_folded = excluded.title_folded, description = excluded.description,
            venue = excluded.venue, event_date = excluded.event_date, timezone = excluded.timezone,
            starts_at = excluded.starts_at, over_at = excluded.over_at, status = excluded.status,
            sales_start = excluded.sales_start, sales_end = excluded.sales_end,
            max_seats_per_booking = excluded.max_seats_per_booking,
            max_seats_per_user = excluded.max_seats_per_user, hold_ttl_ms = excluded.hold_ttl_ms,
            cancellable_until = excluded.cancellable_until,
            prevent_orphans = excluded.prevent_orphans, version = excluded.version,
            updated_at = excluded.updated_at";
    let terms = &event.terms;
    let query = sqlx::query(SQL)
        .bind(terms.event_id.as_bytes().to_vec())
        .bind(terms.organizer_id.as_bytes().to_vec())
        .bind(&event.title)
        .bind(folded(&event.title))
        .bind(&event.description)
        .bind(&event.venue)
        .bind(event.date.as_str())
        .bind(event.timezone.name())
        .bind(event.date.starts_at().unix_ms())
        .bind(terms.over_at.unix_ms())
        .bind(terms.status.as_str())
        .bind(ms(terms.sales_start))
        .bind(ms(terms.sales_end))
        .bind(terms.max_seats_per_booking)
        .bind(terms.max_seats_per_user)
        .bind(terms.hold_ttl_ms)
        .bind(ms(terms.cancellable_until))
        .bind(terms.prevent_orphans)
        .bind(event.version)
        .bind(event.created_at.unix_ms())
        .bind(event.updated_at.unix_ms());
    query.execute(connection).await.map_err(failed("writing an event"))?;
    Ok(())
}

/// The event that the transaction is about to change, with its sections.
async fn load(
    connection: &mut SqliteConnection,
    event_id: EventId,
) -> Result<Option<EventWithSections>, Fault> {
    let query =
        sqlx::query("SELECT * FROM events WHERE event_id = ?").bind(event_id.as_bytes().to_vec());
    let row = query.fetch_optional(&mut *connection).await.map_err(failed("reading an event"))?;
    let Some(row) = row else { return Ok(None) };
    let mut with_sections = vec![EventWithSections { event: event(&row)?, sections: Vec::new() }];
    load_sections(connection, &mut with_sections).await?;
    Ok(with_sections.pop())
}

async fn load_sections(
    connection: &mut SqliteConnection,
    events: &mut [EventWithSections],
) -> Result<(), Fault> {
    const SQL: &str = "WITH wanted (event_id) AS ({})
        SELECT s.* FROM wanted CROSS JOIN sections s USING (event_id) ORDER BY s.event_id, s.position";
    let bind = |query: Binding, of: &EventWithSections| {
        query.bind(of.event.terms.event_id.as_bytes().to_vec())
    };
    let found =
        read_rows(connection, SQL, 1, events, bind).await.map_err(failed("reading sections"))?;
    for row in &found {
        let section = rows::section(row)?;
        let owner = events.iter_mut().find(|of| of.event.terms.event_id == section.event_id);
        owner.expect("sections are read by their event").sections.push(section);
    }
    Ok(())
}

/// Adds a section with its inventory, and the first row of its log.
pub(super) async fn insert_section(
    connection: &mut SqliteConnection,
    section: &Section,
    opening: &Opening,
    position: usize,
    now: Timestamp,
) -> Result<(), Fault> {
    const DOING: &str = "writing a section";
    let capacity = opening.capacity();
    let deltas = Deltas { capacity, ..Deltas::default() };
    let mut inventory = Inventory::empty(section.section_id, section.event_id);
    inventory.apply(deltas);
    let query = sqlx::query(
        "INSERT INTO sections (section_id, event_id, position, name, name_folded, price_minor, currency,
            layout_version) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(section.section_id.as_bytes().to_vec())
    .bind(section.event_id.as_bytes().to_vec())
    .bind(i64::try_from(position).expect("an event has few sections"))
    .bind(section.name.to_string())
    .bind(folded(&section.name))
    .bind(section.price.minor)
    .bind(section.price.currency.as_str().to_owned())
    .bind(opening.layout().map(|_| inventory.version));
    query.execute(&mut *connection).await.map_err(failed(DOING))?;
    let query = sqlx::query(
        "INSERT INTO inventory (section_id, event_id, capacity, held, sold, blocked, version)
         VALUES (?, ?, ?, 0, 0, 0, ?)",
    )
    .bind(section.section_id.as_bytes().to_vec())
    .bind(section.event_id.as_bytes().to_vec())
    .bind(capacity)
    .bind(inventory.version);
    query.execute(&mut *connection).await.map_err(failed(DOING))?;
    let opened = LogEntry {
        at: now,
        kind: LogKind::Opened,
        section_id: section.section_id,
        booking_id: None,
        deltas,
        version: inventory.version,
        expires_at: None,
        reason: None,
    };
    append_log(connection, &[opened]).await.map_err(failed(DOING))?;
    match opening.layout() {
        Some(layout) => {
            let marks = Marks::none(layout.seats(), inventory.version);
            put_layout(connection, section.section_id, layout, &marks).await
        }
        None => Ok(()),
    }
}

/// What an earlier creation with this key made; refuses the key of another request.
async fn replay(
    connection: &mut SqliteConnection,
    operation: &'static str,
    key: Option<&CreationKey>,
    now: Timestamp,
) -> Result<Option<[u8; 16]>, Error> {
    const SQL: &str = "SELECT resource_id, fingerprint FROM creation_keys
        WHERE user_id = ? AND operation = ? AND key = ? AND expires_at > ?";
    let Some(key) = key else { return Ok(None) };
    let query = sqlx::query(SQL)
        .bind(key.user_id.as_bytes().to_vec())
        .bind(operation)
        .bind(key.key.as_str())
        .bind(now.unix_ms());
    let row = query.fetch_optional(connection).await.map_err(failed("reading a key"))?;
    let Some(row) = row else { return Ok(None) };
    if row.int("fingerprint")? != key.fingerprint {
        return Err(Refusal::IdempotencyKeyReused.into());
    }
    Ok(Some(row.id("resource_id")?))
}

async fn keep_key(
    connection: &mut SqliteConnection,
    operation: &'static str,
    key: Option<&CreationKey>,
    resource_id: &[u8; 16],
    now: Timestamp,
) -> Result<(), Fault> {
    const SQL: &str = "INSERT OR REPLACE INTO creation_keys
        (user_id, operation, key, resource_id, fingerprint, expires_at) VALUES (?, ?, ?, ?, ?, ?)";
    let Some(key) = key else { return Ok(()) };
    let query = sqlx::query(SQL)
        .bind(key.user_id.as_bytes().to_vec())
        .bind(operation)
        .bind(key.key.as_str())
        .bind(resource_id.to_vec())
        .bind(key.fingerprint)
        .bind(now.plus_ms(CREATION_KEY_KEPT_MS).unix_ms());
    query.execute(connection).await.map_err(failed("keeping a key"))?;
    Ok(())
}

fn replayed<Id>(id: Option<Id>) -> Result<Created<Id>, Error> {
    let id = id.ok_or_else(|| Fault::Corrupt { what: "a key names no id".to_owned() })?;
    Ok(Created { id, replayed: true })
}

#[async_trait]
impl Events for Sqlite {
    async fn create_event(
        &self,
        new: &EventWithSections,
        openings: &[Opening],
        key: Option<&CreationKey>,
    ) -> Result<Created<EventId>, Error> {
        const OPERATION: &str = "create_event";
        let (mut transaction, now) = self.begin("creating an event").await?;
        if let Some(id) = replay(&mut transaction, OPERATION, key, now).await? {
            return replayed(EventId::from_slice(&id));
        }
        let event_id = new.event.terms.event_id;
        put_event(&mut transaction, &new.event).await?;
        for (position, (section, opening)) in new.sections.iter().zip(openings).enumerate() {
            insert_section(&mut transaction, section, opening, position, now).await?;
        }
        keep_key(&mut transaction, OPERATION, key, event_id.as_bytes(), now).await?;
        transaction.commit().await.map_err(failed("creating an event"))?;
        Ok(Created { id: event_id, replayed: false })
    }

    async fn event(&self, event_id: EventId) -> Result<Option<EventWithSections>, Fault> {
        let mut connection = self.readers.acquire().await.map_err(failed("reading an event"))?;
        load(&mut connection, event_id).await
    }

    async fn events(
        &self,
        filter: &EventFilter,
        page: Page<EventId>,
    ) -> Result<Vec<EventWithSections>, Fault> {
        const DOING: &str = "listing events";
        let viewer = filter.viewer.map(|viewer| viewer.as_bytes().to_vec());
        let mut query =
            QueryBuilder::<Driver>::new("SELECT * FROM events WHERE (status <> 'draft'");
        query.push(" OR organizer_id = ").push_bind(viewer).push(")");
        if let Some(organizer) = filter.organizer {
            query.push(" AND organizer_id = ").push_bind(organizer.as_bytes().to_vec());
        }
        if let Some(status) = filter.status {
            query.push(" AND status = ").push_bind(status.as_str());
        }
        if let Some(title) = &filter.title {
            // instr() takes the text as it is: no wildcard of LIKE to escape.
            query.push(" AND instr(title_folded, ").push_bind(folded(title)).push(") > 0");
        }
        if let Some(from) = filter.from {
            query.push(" AND over_at > ").push_bind(from.unix_ms());
        }
        if let Some(to) = filter.to {
            query.push(" AND starts_at < ").push_bind(to.unix_ms());
        }
        if let Some(after) = page.after {
            query.push(" AND event_id < ").push_bind(after.as_bytes().to_vec());
        }
        query.push(" ORDER BY event_id DESC LIMIT ").push_bind(page.limit);
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        let found = query.build().fetch_all(&mut *connection).await.map_err(failed(DOING))?;
        let bare = |row| Ok(EventWithSections { event: event(row)?, sections: Vec::new() });
        let mut events = found.iter().map(bare).collect::<Result<Vec<_>, Fault>>()?;
        load_sections(&mut connection, &mut events).await?;
        Ok(events)
    }

    async fn revise_event(
        &self,
        event_id: EventId,
        by: UserId,
        expected: Option<i64>,
        change: EventChange,
    ) -> Result<(), Error> {
        let (mut transaction, now) = self.begin("changing an event").await?;
        let mut event = load(&mut transaction, event_id).await?.ok_or(MISSING)?.event;
        event.may_edit(by, expected)?;
        event.revise(change, now)?;
        put_event(&mut transaction, &event).await?;
        Ok(transaction.commit().await.map_err(failed("changing an event"))?)
    }

    async fn cancel_event(&self, event_id: EventId, by: UserId) -> Result<(), Error> {
        const DOING: &str = "cancelling an event";
        let (mut transaction, now) = self.begin(DOING).await?;
        let mut event = load(&mut transaction, event_id).await?.ok_or(MISSING)?.event;
        event.may_manage(by)?;
        if event.terms.status == EventStatus::Cancelled {
            return Ok(());
        }
        event.cancel(now);
        put_event(&mut transaction, &event).await?;
        let query = sqlx::query("UPDATE events SET cancelling = 1 WHERE event_id = ?");
        let query = query.bind(event_id.as_bytes().to_vec());
        query.execute(&mut *transaction).await.map_err(failed(DOING))?;
        Ok(transaction.commit().await.map_err(failed(DOING))?)
    }

    async fn add_section(
        &self,
        section: &Section,
        opening: Opening,
        by: UserId,
        key: Option<&CreationKey>,
    ) -> Result<Created<SectionId>, Error> {
        const OPERATION: &str = "add_section";
        let (mut transaction, now) = self.begin("adding a section").await?;
        if let Some(id) = replay(&mut transaction, OPERATION, key, now).await? {
            return replayed(SectionId::from_slice(&id));
        }
        let EventWithSections { mut event, sections } =
            load(&mut transaction, section.event_id).await?.ok_or(MISSING)?;
        event.may_edit(by, None)?;
        may_join(section, &sections)?;
        event.touch(now);
        put_event(&mut transaction, &event).await?;
        insert_section(&mut transaction, section, &opening, sections.len(), now).await?;
        keep_key(&mut transaction, OPERATION, key, section.section_id.as_bytes(), now).await?;
        transaction.commit().await.map_err(failed("adding a section"))?;
        Ok(Created { id: section.section_id, replayed: false })
    }

    async fn revise_section(
        &self,
        event_id: EventId,
        section_id: SectionId,
        by: UserId,
        expected: Option<i64>,
        change: SectionChange,
    ) -> Result<Inventory, Error> {
        const DOING: &str = "changing a section";
        let (mut transaction, now) = self.begin(DOING).await?;
        let EventWithSections { mut event, sections } =
            load(&mut transaction, event_id).await?.ok_or(MISSING)?;
        event.may_manage(by)?;
        let section = sections.iter().find(|section| section.section_id == section_id);
        let mut section = section.ok_or(Refusal::NotFound { what: "section" })?.clone();
        event.may_edit(by, expected)?;
        section.revise(change.name.clone(), change.price, change.layout.as_deref())?;
        may_join(&section, &sections)?;
        event.touch(now);
        put_event(&mut transaction, &event).await?;
        let query = sqlx::query(
            "UPDATE sections SET name = ?, name_folded = ?, price_minor = ?, currency = ? WHERE section_id = ?",
        )
        .bind(section.name.to_string())
        .bind(folded(&section.name))
        .bind(section.price.minor)
        .bind(section.price.currency.as_str().to_owned())
        .bind(section_id.as_bytes().to_vec());
        query.execute(&mut *transaction).await.map_err(failed(DOING))?;
        // The same decision as in a lane's batch, so that due holds are retired and the log is written.
        let command = change.command(section_id, by);
        let (mut committed, maps) = self.decide_in(&mut transaction, &[command], now).await?;
        if let Outcome::Booking { .. } =
            committed.answers.pop().expect("one command, one answer")?
        {
            unreachable!("a section is no booking");
        }
        let inventory = committed.inventories.into_iter().find(|of| of.section_id == section_id);
        let inventory = inventory
            .ok_or_else(|| Fault::Corrupt { what: "a section without inventory".to_owned() })?;
        transaction.commit().await.map_err(failed(DOING))?;
        self.maps.keep(maps);
        Ok(inventory)
    }
}

/// Live bookings of events that were called off; an event that has none left is done.
pub(super) async fn to_cancel(store: &Sqlite, limit: u32) -> Result<Vec<engine::BookingId>, Fault> {
    const DOING: &str = "finding bookings of cancelled events";
    const EVENTS: &str = "SELECT event_id FROM events WHERE cancelling = 1 LIMIT 100";
    const LIVE: &str = "SELECT booking_id FROM bookings
        WHERE event_id = ? AND status IN ('HOLD', 'CONFIRMED') LIMIT ?";
    let mut live = Vec::new();
    let events = sqlx::query(EVENTS).fetch_all(&store.readers).await.map_err(failed(DOING))?;
    for row in events {
        let event_id: Vec<u8> = row.try_get(0).map_err(failed(DOING))?;
        let query = sqlx::query(LIVE).bind(event_id.clone()).bind(limit);
        let found = query.fetch_all(&store.readers).await.map_err(failed(DOING))?;
        if found.is_empty() {
            // A cancelled event gets no new bookings, so none can appear after this read.
            let (mut transaction, _) = store.begin(DOING).await?;
            let query =
                sqlx::query("UPDATE events SET cancelling = 0 WHERE event_id = ?").bind(event_id);
            query.execute(&mut *transaction).await.map_err(failed(DOING))?;
            transaction.commit().await.map_err(failed(DOING))?;
        }
        for row in &found {
            live.push(rows::booking_id(row, "booking_id")?);
        }
        if live.len() >= limit as usize {
            break;
        }
    }
    Ok(live)
}
