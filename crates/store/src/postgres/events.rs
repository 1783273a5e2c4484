//! Events and sections.
//!
//! A change to an event locks its row first, then, where a batch must not be under way with the
//! old terms, the inventory rows of all its sections. Batches lock inventory only, so the order is
//! the same for all. Every write may be done twice (see [`super::Postgres::write`]).

use super::batch::lock_inventory;
use super::columns::Binding;
use super::commit::Earlier;
use super::interrupt::Interrupt;
use super::rows::{uuid, uuids};
use super::seats::put_layout;
use super::series::find_series;
use super::write::append_log;
use super::{Postgres, on};
use crate::keys::keys_of;
use crate::maps::{Stamps, draw_stamp};
use crate::rows::{self, Columns, event, ms};
use crate::{
    CREATION_KEY_KEPT_MS, Created, CreationKey, EventCard, EventFilter, Events, PageRequest, Paged,
};
use async_trait::async_trait;
use engine::decide::SeatMaps;
use engine::event::{EventCommand, Opened, Repricing, create, decide};
use engine::{
    By, Command, Error, Event, EventId, EventWithSections, Fault, Inventory, Opening, Outcome,
    Refusal, Section, SectionId, Timestamp, UserId,
};
use parking_lot::Mutex;
use sqlx::postgres::PgConnection;
use sqlx::{Postgres as Driver, QueryBuilder, Row as _};
use std::collections::HashMap;

const MISSING: Refusal = Refusal::NotFound { what: "event" };

/// The version and the time that an earlier attempt gave to an event, by which another one knows it.
type Written = Mutex<Option<(i64, Timestamp)>>;

#[async_trait]
impl Events for Postgres {
    async fn create_event(
        &self,
        new: &EventWithSections,
        openings: &[Opening],
        key: Option<&CreationKey>,
    ) -> Result<Created<EventId>, Error> {
        let create = on!(session => create_event(&mut session, new, openings, key));
        self.write(&self.sessions, "creating an event", create).await
    }

    async fn event(&self, event_id: EventId) -> Result<Option<EventWithSections>, Fault> {
        let read = on!(session => load(&mut session, event_id, ""));
        self.read("reading an event", read).await
    }

    async fn events(
        &self,
        filter: &EventFilter,
        page: PageRequest<EventId>,
    ) -> Result<Paged<EventCard>, Fault> {
        self.read("listing events", on!(session => list(&mut session, filter, page))).await
    }

    async fn change_event(
        &self,
        event_id: EventId,
        by: By,
        command: EventCommand,
    ) -> Result<Vec<Inventory>, Error> {
        let (command, written) = (&command, &Written::default());
        let change = on!(session => self.change(&mut session, event_id, by, command, written));
        let changed = self.write(&self.sessions, "changing an event", change).await;
        let (inventories, (maps, stamps)) = changed?;
        self.maps.keep(maps, &stamps);
        Ok(inventories)
    }

    async fn add_section(
        &self,
        section: &Section,
        opening: Opening,
        by: UserId,
        key: Option<&CreationKey>,
    ) -> Result<Created<SectionId>, Error> {
        const OPERATION: &str = "add_section";
        let (section_id, event_id) = (section.section_id, section.event_id);
        let written = &Written::default();
        let command = &EventCommand::AddSection { section: section.clone(), opening };
        let add = on!(session => async {
            let claimed = claim(&mut session, OPERATION, key, section_id.as_bytes()).await?;
            if let Some(id) = claimed {
                let found = SectionId::from_slice(&id).ok_or_else(no_id)?;
                return Ok(Created { id: found, replayed: found != section_id });
            }
            self.change(&mut session, event_id, by.into(), command, written).await?;
            Ok(Created { id: section_id, replayed: false })
        });
        self.write(&self.sessions, "adding a section", add).await
    }
}

impl Postgres {
    /// Changes an event by the decision of the engine, in the transaction of this session.
    async fn change(
        &self,
        session: &mut PgConnection,
        event_id: EventId,
        by: By,
        command: &EventCommand,
        written: &Written,
    ) -> Result<(Vec<Inventory>, (SeatMaps, Stamps)), Interrupt> {
        let (of, now) = lock(session, event_id).await?;
        if is_written(&of.event, written) {
            let (inventories, _) = self.decide_sections(session, &command.again(&of)).await?;
            return Ok((inventories, <(SeatMaps, Stamps)>::default()));
        }
        let capacity = match command.resizes() {
            Some(section_id) => capacity(session, section_id).await?,
            None => None,
        };
        let mut changes = decide(&of, by, command, capacity, now)?;
        if command.stops_sales() {
            lock_sections(session, &of).await?;
        }
        if let Some(event) = &changes.event {
            *written.lock() = Some((event.version, event.updated_at));
            put_event(session, event).await?;
        }
        if changes.calls_off {
            mark_cancelling(session, event_id).await?;
        }
        if let Some(opened) = &changes.opened {
            insert_section(session, opened).await?;
        }
        if let Some((section, is_renamed)) = &changes.revised {
            update_section(session, section, *is_renamed).await?;
        }
        if let Some(currency) = changes.repriced {
            let mut repricing = Repricing::to(currency, by);
            self.reprice(session, &of.sections, currency, &mut repricing).await?;
            changes.commands.extend(repricing.commands());
        }
        append_log(session, changes.log.as_slice()).await?;
        if changes.commands.is_empty() {
            return Ok((Vec::new(), <(SeatMaps, Stamps)>::default()));
        }
        let decided = self.decide_sections(session, &changes.commands).await?;
        changes.may_stand(&decided.0)?;
        Ok(decided)
    }

    /// Decides changes of sections as a lane's batch would: all of them, or the first refusal.
    pub(super) async fn decide_sections(
        &self,
        session: &mut PgConnection,
        commands: &[Command],
    ) -> Result<(Vec<Inventory>, (SeatMaps, Stamps)), Interrupt> {
        let decided = self.decide_in(session, commands, &Earlier::of_section()).await;
        let (committed, maps) = decided?;
        for answer in committed.answers {
            if let Outcome::Booking { .. } = answer? {
                unreachable!("a section is no booking");
            }
        }
        Ok((committed.inventories, maps))
    }
}

async fn mark_cancelling(session: &mut PgConnection, event_id: EventId) -> Result<(), Interrupt> {
    const MARK: &str = "UPDATE events SET cancelling = true WHERE event_id = $1";
    sqlx::query(MARK).bind(uuid(event_id)).execute(session).await?;
    Ok(())
}

fn is_written(event: &Event, written: &Written) -> bool {
    *written.lock() == Some((event.version, event.updated_at))
}

/// An event with its sections; `lock` is a locking clause for its row.
async fn load(
    session: &mut PgConnection,
    event_id: EventId,
    lock: &'static str,
) -> Result<Option<EventWithSections>, Interrupt> {
    let mut query = QueryBuilder::<Driver>::new("SELECT * FROM events WHERE event_id = ");
    query.push_bind(uuid(event_id)).push(lock);
    let row = query.build().fetch_optional(&mut *session).await?;
    let Some(row) = row else { return Ok(None) };
    let mut found = vec![EventWithSections { event: event(&row)?, sections: Vec::new() }];
    load_sections(session, &mut found).await?;
    Ok(found.pop())
}

/// The event that the transaction is about to change, locked, and the clock after that.
async fn lock(
    session: &mut PgConnection,
    event_id: EventId,
) -> Result<(EventWithSections, Timestamp), Interrupt> {
    // Not FOR UPDATE: a new section only refers to the event, and need not wait.
    let found = load(session, event_id, " FOR NO KEY UPDATE").await?.ok_or(MISSING)?;
    Ok((found, clock(session).await?))
}

pub(super) async fn clock(session: &mut PgConnection) -> Result<Timestamp, Interrupt> {
    let row = sqlx::query("SELECT now_ms() AS now").fetch_one(session).await?;
    Ok(rows::instant(&row, "now")?)
}

/// How many seats a section has; only a change of its event, which is locked, changes the number.
async fn capacity(
    session: &mut PgConnection,
    section_id: SectionId,
) -> Result<Option<i64>, Interrupt> {
    const SQL: &str = "SELECT capacity FROM inventory WHERE section_id = $1";
    let row = sqlx::query(SQL).bind(uuid(section_id)).fetch_optional(session).await?;
    Ok(row.map(|row| row.int("capacity")).transpose()?)
}

async fn lock_sections(
    session: &mut PgConnection,
    of: &EventWithSections,
) -> Result<(), Interrupt> {
    let sections = of.sections.iter().map(|section| section.section_id).collect();
    lock_inventory(session, &sections).await
}

async fn load_sections(
    session: &mut PgConnection,
    events: &mut [EventWithSections],
) -> Result<(), Interrupt> {
    const SQL: &str = "SELECT * FROM sections WHERE event_id = ANY($1) ORDER BY event_id, position";
    let ids = uuids(events.iter().map(|of| of.event.terms.event_id));
    let at: HashMap<_, _> =
        events.iter().enumerate().map(|(at, of)| (of.event.terms.event_id, at)).collect();
    for row in &sqlx::query(SQL).bind(ids).fetch_all(session).await? {
        let section = rows::section(row)?;
        events[at[&section.event_id]].sections.push(section);
    }
    Ok(())
}

async fn list(
    session: &mut PgConnection,
    filter: &EventFilter,
    page: PageRequest<EventId>,
) -> Result<Paged<EventCard>, Interrupt> {
    let mut query = QueryBuilder::<Driver>::new("SELECT * FROM events WHERE (status <> 'draft'");
    if let Some(viewer) = filter.viewer {
        query.push(" OR organizer_id = ").push_bind(uuid(viewer));
    }
    query.push(")");
    if let Some(organizer) = filter.organizer {
        query.push(" AND organizer_id = ").push_bind(uuid(organizer));
    }
    if let Some(series) = filter.series {
        query.push(" AND series_id = ").push_bind(uuid(series));
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(title) = &filter.title {
        // strpos() takes the text as it is: no wildcard of LIKE to escape.
        let (lowered, key) = keys_of(title);
        query.push(" AND (strpos(coalesce(title_key, title_folded), ");
        query.push_bind(key.unwrap_or_else(|| lowered.clone())).push(") > 0");
        // By its own spelling, a title is found that has no key yet.
        query.push(" OR strpos(title_folded, ").push_bind(lowered).push(") > 0)");
    }
    if let Some(from) = filter.from {
        query.push(" AND over_at > ").push_bind(from.unix_ms());
    }
    if let Some(to) = filter.to {
        query.push(" AND starts_at < ").push_bind(to.unix_ms());
    }
    if let Some(after) = page.after {
        query.push(" AND event_id < ").push_bind(uuid(after));
    }
    query.push(" ORDER BY event_id DESC LIMIT ").push_bind(i64::from(page.limit));
    let found = query.build().fetch_all(&mut *session).await?;
    let has_more = found.len() >= page.limit as usize;
    let events = found.iter().map(event).collect::<Result<Vec<_>, _>>()?;
    Ok(Paged { items: load_cards(session, events).await?, has_more })
}

/// The cards of these events, in their order. What each section adds is added up by the database.
async fn load_cards(
    session: &mut PgConnection,
    events: Vec<Event>,
) -> Result<Vec<EventCard>, Interrupt> {
    const SQL: &str = "SELECT s.event_id, MIN(s.price_minor) AS price_from,
            MAX(COALESCE(s.price_max_minor, s.price_minor)) AS price_to,
            MIN(s.currency) AS currency, SUM(i.capacity)::bigint AS capacity,
            SUM(i.capacity - i.held - i.sold - i.blocked + CASE WHEN i.next_expiry <= clock.now THEN
                (SELECT COALESCE(SUM(h.seats), 0)::bigint FROM holds h
                 WHERE h.section_id = i.section_id AND h.expires_at <= clock.now)
            ELSE 0 END)::bigint AS available
        FROM sections s JOIN inventory i USING (section_id)
            CROSS JOIN (SELECT now_ms() AS now OFFSET 0) clock
        WHERE s.event_id = ANY($1) GROUP BY s.event_id";
    let ids = uuids(events.iter().map(|event| event.terms.event_id));
    let found = sqlx::query(SQL).bind(ids).fetch_all(session).await?;
    Ok(rows::cards(events, &found)?)
}

/// The text of an insertion of an event, and what to do when it is there already.
macro_rules! insert_event {
    ($on_conflict:literal) => {
        concat!(
            "INSERT INTO events (event_id, organizer_id, title, title_folded, title_key, description,
                venue, event_date, timezone, starts_at, over_at, status, sales_start, sales_end,
                max_seats_per_booking, max_seats_per_user, hold_ttl_ms, cancellable_until,
                prevent_orphans, version, created_at, updated_at, series_id)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                $18, $19, $20, $21, $22, $23) ON CONFLICT (event_id) ",
            $on_conflict
        )
    };
}

/// Adds an event, unless it is there already; waits for a concurrent insert.
pub(super) async fn add_event(
    session: &mut PgConnection,
    event: &Event,
) -> Result<bool, Interrupt> {
    let query = bind_event(sqlx::query(insert_event!("DO NOTHING")), event);
    Ok(query.execute(session).await?.rows_affected() == 1)
}

/// Writes a changed event.
async fn put_event(session: &mut PgConnection, event: &Event) -> Result<(), Interrupt> {
    const SQL: &str = insert_event!(
        "DO UPDATE SET title = excluded.title,
            title_folded = excluded.title_folded, title_key = excluded.title_key,
            description = excluded.description,
            venue = excluded.venue, event_date = excluded.event_date, timezone = excluded.timezone,
            starts_at = excluded.starts_at, over_at = excluded.over_at, status = excluded.status,
            sales_start = excluded.sales_start, sales_end = excluded.sales_end,
            max_seats_per_booking = excluded.max_seats_per_booking,
            max_seats_per_user = excluded.max_seats_per_user, hold_ttl_ms = excluded.hold_ttl_ms,
            cancellable_until = excluded.cancellable_until,
            prevent_orphans = excluded.prevent_orphans, version = excluded.version,
            updated_at = excluded.updated_at"
    );
    bind_event(sqlx::query(SQL), event).execute(session).await?;
    Ok(())
}

fn bind_event(query: Binding, event: &Event) -> Binding {
    let terms = &event.terms;
    let (lowered, key) = keys_of(&event.title);
    query
        .bind(uuid(terms.event_id))
        .bind(uuid(terms.organizer_id))
        .bind(event.title.clone())
        .bind(lowered)
        .bind(key)
        .bind(event.description.clone())
        .bind(event.venue.clone())
        .bind(event.date.as_str().to_owned())
        .bind(event.timezone.name())
        .bind(event.date.starts_at().unix_ms())
        .bind(terms.over_at.unix_ms())
        .bind(terms.status.as_str())
        .bind(ms(terms.sales_start))
        .bind(ms(terms.sales_end))
        .bind(terms.max_seats_per_booking.map(i64::from))
        .bind(terms.max_seats_per_user.map(i64::from))
        .bind(terms.hold_ttl_ms)
        .bind(ms(terms.cancellable_until))
        .bind(terms.prevent_orphans)
        .bind(event.version)
        .bind(event.created_at.unix_ms())
        .bind(event.updated_at.unix_ms())
        .bind(event.series_id.map(uuid))
}

async fn create_event(
    session: &mut PgConnection,
    new: &EventWithSections,
    openings: &[Opening],
    key: Option<&CreationKey>,
) -> Result<Created<EventId>, Interrupt> {
    const OPERATION: &str = "create_event";
    let event_id = new.event.terms.event_id;
    if let Some(id) = claim(session, OPERATION, key, event_id.as_bytes()).await? {
        let found = EventId::from_slice(&id).ok_or_else(no_id)?;
        // An earlier attempt at this very creation has made it: nothing is replayed.
        return Ok(Created { id: found, replayed: found != event_id });
    }
    // An attempt whose COMMIT is still under way is waited for here, and its event is left alone.
    if add_event(session, &new.event).await? {
        let series = match new.event.series_id {
            Some(series_id) => find_series(session, series_id).await?,
            None => None,
        };
        let (log, opened) = create(new, series.as_ref(), openings, clock(session).await?)?;
        append_log(session, &[log]).await?;
        for opened in &opened {
            insert_section(session, opened).await?;
        }
    }
    Ok(Created { id: event_id, replayed: false })
}

pub(super) fn no_id() -> Fault {
    Fault::Corrupt { what: "a key names no id".to_owned() }
}

/// Adds a section with its inventory, and the first row of its log.
pub(super) async fn insert_section(
    session: &mut PgConnection,
    opened: &Opened,
) -> Result<(), Interrupt> {
    const SECTION: &str = "INSERT INTO sections
        (section_id, event_id, position, name, name_folded, name_key, price_minor, currency,
         layout_version)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    const INVENTORY: &str = "INSERT INTO inventory
        (section_id, event_id, capacity, held, sold, blocked, version)
        VALUES ($1, $2, $3, 0, 0, 0, $4)";
    let Opened { section, position, inventory, seats, log } = opened;
    let (lowered, key) = keys_of(&section.name);
    let query = sqlx::query(SECTION)
        .bind(uuid(section.section_id))
        .bind(uuid(section.event_id))
        .bind(i64::try_from(*position).expect("an event has few sections"))
        .bind(section.name.to_string())
        .bind(lowered)
        .bind(key)
        .bind(section.price.minor)
        .bind(section.price.currency.as_str().to_owned())
        .bind(section.layout_version);
    query.execute(&mut *session).await?;
    let query = sqlx::query(INVENTORY)
        .bind(uuid(section.section_id))
        .bind(uuid(section.event_id))
        .bind(inventory.capacity)
        .bind(inventory.version);
    query.execute(&mut *session).await?;
    append_log(session, std::slice::from_ref(log)).await?;
    match seats {
        Some((layout, marks)) => {
            put_layout(session, section.section_id, layout, marks, draw_stamp()).await
        }
        None => Ok(()),
    }
}

/// Writes a changed section; its name only when that is another one, since the name it has may be kept
/// beside one that compares equal.
async fn update_section(
    session: &mut PgConnection,
    section: &Section,
    is_renamed: bool,
) -> Result<(), Interrupt> {
    const NAME: &str = "UPDATE sections SET name = $2, name_folded = $3, name_key = $4
        WHERE section_id = $1";
    const PRICE: &str = "UPDATE sections SET price_minor = $2, currency = $3 WHERE section_id = $1";
    if is_renamed {
        let (lowered, key) = keys_of(&section.name);
        let query = sqlx::query(NAME).bind(uuid(section.section_id)).bind(section.name.to_string());
        query.bind(lowered).bind(key).execute(&mut *session).await?;
    }
    let query = sqlx::query(PRICE)
        .bind(uuid(section.section_id))
        .bind(section.price.minor)
        .bind(section.price.currency.as_str().to_owned());
    query.execute(session).await?;
    Ok(())
}

/// Claims the key of a creation for `resource_id`, waiting for a concurrent claim. Returns what an
/// earlier creation with the key made; refuses the key of another request.
pub(super) async fn claim(
    session: &mut PgConnection,
    operation: &'static str,
    key: Option<&CreationKey>,
    resource_id: &[u8; 16],
) -> Result<Option<[u8; 16]>, Interrupt> {
    // ON CONFLICT makes the unique constraint the judge; a key that is over is anybody's again.
    const CLAIM: &str = "INSERT INTO creation_keys
            (user_id, operation, key, resource_id, fingerprint, expires_at)
        VALUES ($1, $2, $3, $4, $5, now_ms() + $6)
        ON CONFLICT (user_id, operation, key) DO UPDATE SET resource_id = excluded.resource_id,
            fingerprint = excluded.fingerprint, expires_at = excluded.expires_at
            WHERE creation_keys.expires_at <= now_ms()";
    const FIND: &str = "SELECT resource_id, fingerprint FROM creation_keys
        WHERE user_id = $1 AND operation = $2 AND key = $3";
    let Some(key) = key else { return Ok(None) };
    let query = sqlx::query(CLAIM)
        .bind(uuid(key.user_id))
        .bind(operation)
        .bind(key.key.as_str().to_owned())
        .bind(uuid(resource_id))
        .bind(key.fingerprint)
        .bind(CREATION_KEY_KEPT_MS);
    let claimed = query.execute(&mut *session).await.map_err(|error| {
        let interrupt = Interrupt::from(error);
        if interrupt.is_lock_timeout() { Interrupt::KeyBusy } else { interrupt }
    })?;
    if claimed.rows_affected() == 1 {
        return Ok(None);
    }
    let query = sqlx::query(FIND).bind(uuid(key.user_id)).bind(operation);
    let row = query.bind(key.key.as_str().to_owned()).fetch_one(session).await?;
    if row.int("fingerprint")? != key.fingerprint {
        return Err(Refusal::IdempotencyKeyReused.into());
    }
    Ok(Some(row.id("resource_id")?))
}

/// Live bookings of events that were called off; an event that has none left is done.
pub(super) async fn to_cancel(
    session: &mut PgConnection,
    limit: u32,
) -> Result<Vec<engine::BookingId>, Interrupt> {
    const EVENTS: &str = "SELECT event_id FROM events WHERE cancelling LIMIT 100";
    const LIVE: &str = "SELECT booking_id FROM bookings
        WHERE event_id = $1 AND status IN ('HOLD', 'CONFIRMED') LIMIT $2";
    // A cancelled event gets no new bookings (see `cancel_event`), so none can appear after this read.
    const DONE: &str = "UPDATE events SET cancelling = false WHERE event_id = $1";
    let mut live = Vec::new();
    for row in sqlx::query(EVENTS).fetch_all(&mut *session).await? {
        let event_id: uuid::Uuid = row.try_get(0)?;
        let query = sqlx::query(LIVE).bind(event_id).bind(i64::from(limit));
        let found = query.fetch_all(&mut *session).await?;
        if found.is_empty() {
            sqlx::query(DONE).bind(event_id).execute(&mut *session).await?;
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
