//! Events and sections.

mod listed;
mod transfer;

use super::commit::{append_log, decide_in};
use super::currency::reprice;
use super::rows::{Binding, read_rows};
use super::seats::put_layout;
use super::series::find_series;
use super::writer::Writing;
use super::{Sqlite, failed};
use crate::called_off::{EVENTS_MAX, LOOKED_AT_MAX, PARTS_MAX};
use crate::keys::keys_of;
use crate::maps::{Maps, Stamps};
use crate::rows::{self, Columns, event, ms};
use crate::{
    CREATION_KEY_KEPT_MS, ChangeNote, Created, CreationKey, EventCard, EventFilter, Events,
    PageRequest, Paged,
};
use async_trait::async_trait;
use engine::decide::SeatMaps;
use engine::event::{EventCommand, Opened, Repricing, Transfer, create, decide};
use engine::{
    BookingId, By, Error, Event, EventId, EventWithSections, Fault, Inventory, Money, Opening,
    Policy, Refusal, Section, SectionId, SeriesId,
};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

const MISSING: Refusal = Refusal::NotFound { what: "event" };

/// Writes an event whole, new or changed. The live bookings of its buyers are listed for ever if it has a
/// cap when it is new.
pub(super) fn put_event(
    writing: &Writing<'_>,
    event: &Event,
    policy: &Policy,
) -> Result<(), Fault> {
    const SQL: &str =
        "INSERT INTO events (event_id, organizer_id, title, title_folded, title_key, description,
            venue, event_date, timezone, starts_at, over_at, status, sales_start, sales_end,
            max_seats_per_booking, max_seats_per_user, hold_ttl_ms, cancellable_until,
            prevent_orphans, version, created_at, updated_at, series_id, counts_buyers)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (event_id) DO UPDATE SET organizer_id = excluded.organizer_id,
            series_id = excluded.series_id, title = excluded.title,
            title_folded = excluded.title_folded, title_key = excluded.title_key,
            description = excluded.description,
            venue = excluded.venue, event_date = excluded.event_date, timezone = excluded.timezone,
            starts_at = excluded.starts_at, over_at = excluded.over_at, status = excluded.status,
            sales_start = excluded.sales_start, sales_end = excluded.sales_end,
            max_seats_per_booking = excluded.max_seats_per_booking,
            max_seats_per_user = excluded.max_seats_per_user, hold_ttl_ms = excluded.hold_ttl_ms,
            cancellable_until = excluded.cancellable_until,
            prevent_orphans = excluded.prevent_orphans, version = excluded.version,
            updated_at = excluded.updated_at";
    let terms = &event.terms;
    let (lowered, key) = keys_of(&event.title);
    let row = rusqlite::params![
        terms.event_id.as_bytes(),
        terms.organizer_id.as_bytes(),
        event.title,
        lowered,
        key,
        event.description,
        event.venue,
        event.date.as_str(),
        event.timezone.name(),
        event.date.starts_at().unix_ms(),
        terms.over_at.unix_ms(),
        terms.status.as_str(),
        ms(terms.sales_start),
        ms(terms.sales_end),
        terms.max_seats_per_booking,
        terms.max_seats_per_user,
        terms.hold_ttl_ms,
        ms(terms.cancellable_until),
        terms.prevent_orphans,
        event.version,
        event.created_at.unix_ms(),
        event.updated_at.unix_ms(),
        event.series_id.as_ref().map(SeriesId::as_bytes),
        terms.cap_of_buyer(policy).is_some(),
    ];
    writing.run("writing an event", SQL, row).map(drop)
}

const EVENT: &str = "SELECT * FROM events WHERE event_id = ?";

/// The event that is about to be changed, with its sections.
fn load(writing: &Writing<'_>, event_id: EventId) -> Result<Option<EventWithSections>, Fault> {
    const SECTIONS: &str = "SELECT * FROM sections WHERE event_id = ? ORDER BY position";
    const DOING: &str = "reading an event";
    let id = [event_id.as_bytes()];
    let Some(event) = writing.one(DOING, EVENT, id, |row| event(row))? else { return Ok(None) };
    let sections = writing.all(DOING, SECTIONS, id, |row| rows::section(row))?;
    Ok(Some(EventWithSections { event, sections }))
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
pub(super) fn insert_section(writing: &Writing<'_>, opened: &Opened) -> Result<(), Fault> {
    const DOING: &str = "writing a section";
    const SECTION: &str = "INSERT INTO sections (section_id, event_id, position, name, name_folded,
        name_key, price_minor, currency, layout_version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    const INVENTORY: &str =
        "INSERT INTO inventory (section_id, event_id, capacity, held, sold, blocked, version)
         VALUES (?, ?, ?, 0, 0, 0, ?)";
    let Opened { section, position, inventory, seats, log } = opened;
    let (id, event_id) = (section.section_id.as_bytes(), section.event_id.as_bytes());
    let (lowered, key) = keys_of(&section.name);
    let row = (
        id,
        event_id,
        i64::try_from(*position).expect("an event has few sections"),
        &*section.name,
        lowered,
        key,
        section.price.minor,
        section.price.currency.as_str(),
        section.layout_version,
    );
    writing.run(DOING, SECTION, row)?;
    writing.run(DOING, INVENTORY, (id, event_id, inventory.capacity, inventory.version))?;
    append_log(writing, std::slice::from_ref(log))?;
    match seats {
        Some((layout, marks)) => put_layout(writing, section.section_id, layout, marks),
        None => Ok(()),
    }
}

/// Writes a changed section; its name only when that is another one, since the name it has may be kept
/// beside one that compares equal.
fn update_section(writing: &Writing<'_>, section: &Section, is_renamed: bool) -> Result<(), Fault> {
    const DOING: &str = "changing a section";
    const NAME: &str = "UPDATE sections SET name = ?, name_folded = ?, name_key = ?
        WHERE section_id = ?";
    const PRICE: &str = "UPDATE sections SET price_minor = ?, currency = ? WHERE section_id = ?";
    let id = section.section_id.as_bytes();
    if is_renamed {
        let (lowered, key) = keys_of(&section.name);
        writing.run(DOING, NAME, (&*section.name, lowered, key, id))?;
    }
    let Money { minor, currency } = section.price;
    writing.run(DOING, PRICE, (minor, currency.as_str(), id)).map(drop)
}

/// How many seats a section has.
fn capacity(writing: &Writing<'_>, section_id: SectionId) -> Result<Option<i64>, Fault> {
    const SQL: &str = "SELECT capacity FROM inventory WHERE section_id = ?";
    writing.one("reading a capacity", SQL, [section_id.as_bytes()], |row| row.int("capacity"))
}

/// Changes an event by the decision of the engine. The seat maps are to be kept once it is committed.
fn change(
    writing: &Writing<'_>,
    event_id: EventId,
    by: By,
    command: &EventCommand,
    (policy, maps): (Policy, &Maps),
) -> Result<(Vec<Inventory>, SeatMaps), Error> {
    const CALL_OFF: &str = "UPDATE events SET cancelling = 1 WHERE event_id = ?";
    let of = load(writing, event_id)?.ok_or(MISSING)?;
    let capacity = match command.resizes() {
        Some(section_id) => capacity(writing, section_id)?,
        None => None,
    };
    let mut changes = decide(&of, by, command, capacity, writing.now)?;
    if let Some(event) = &changes.event {
        put_event(writing, event, &policy)?;
    }
    if changes.calls_off {
        writing.run("calling off an event", CALL_OFF, [event_id.as_bytes()])?;
    }
    if let Some(opened) = &changes.opened {
        insert_section(writing, opened)?;
    }
    if let Some((section, is_renamed)) = &changes.revised {
        update_section(writing, section, *is_renamed)?;
    }
    if let Some(currency) = changes.repriced {
        let mut repricing = Repricing::to(currency, by);
        reprice(writing, &of.sections, currency, maps, &mut repricing)?;
        changes.commands.extend(repricing.commands());
    }
    append_log(writing, changes.log.as_slice())?;
    if changes.commands.is_empty() {
        return Ok((Vec::new(), SeatMaps::new()));
    }
    let (committed, changed) = decide_in(writing, &changes.commands, policy, maps, true)?;
    committed.answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    changes.may_stand(&committed.inventories)?;
    Ok((committed.inventories, changed))
}

/// What an earlier creation with this key made; refuses the key of another request.
pub(super) fn replay(
    writing: &Writing<'_>,
    operation: &'static str,
    key: Option<&CreationKey>,
) -> Result<Option<[u8; 16]>, Error> {
    const SQL: &str = "SELECT resource_id, fingerprint FROM creation_keys
        WHERE user_id = ? AND operation = ? AND key = ? AND expires_at > ?";
    let Some(key) = key else { return Ok(None) };
    let of = (key.user_id.as_bytes(), operation, key.key.as_str(), writing.now.unix_ms());
    let found = writing.one("reading a key", SQL, of, |row| {
        Ok((row.int("fingerprint")?, row.id("resource_id")?))
    })?;
    match found {
        Some((fingerprint, _)) if fingerprint != key.fingerprint => {
            Err(Refusal::IdempotencyKeyReused.into())
        }
        found => Ok(found.map(|(_, id)| id)),
    }
}

pub(super) fn keep_key(
    writing: &Writing<'_>,
    operation: &'static str,
    key: Option<&CreationKey>,
    resource_id: &[u8; 16],
) -> Result<(), Fault> {
    const SQL: &str = "INSERT OR REPLACE INTO creation_keys
        (user_id, operation, key, resource_id, fingerprint, expires_at) VALUES (?, ?, ?, ?, ?, ?)";
    let Some(key) = key else { return Ok(()) };
    let row = (
        key.user_id.as_bytes(),
        operation,
        key.key.as_str(),
        resource_id,
        key.fingerprint,
        writing.now.plus_ms(CREATION_KEY_KEPT_MS).unix_ms(),
    );
    writing.run("keeping a key", SQL, row).map(drop)
}

pub(super) fn replayed<Id>(id: Option<Id>) -> Result<Created<Id>, Error> {
    let id = id.ok_or_else(|| Fault::Corrupt { what: "a key names no id".to_owned() })?;
    Ok(Created { id, replayed: true })
}

#[async_trait]
impl Events for Sqlite {
    async fn create_event(
        &self,
        new: &EventWithSections,
        by: By,
        openings: &[Opening],
        key: Option<&CreationKey>,
    ) -> Result<Created<EventId>, Error> {
        const OPERATION: &str = "create_event";
        let (new, openings, key) = (new.clone(), openings.to_vec(), key.cloned());
        let policy = self.policy;
        let create = move |writing: &Writing<'_>| {
            if let Some(id) = replay(writing, OPERATION, key.as_ref())? {
                return replayed(EventId::from_slice(&id));
            }
            let event_id = new.event.terms.event_id;
            let series = match new.event.series_id {
                Some(series_id) => find_series(writing, series_id)?,
                None => None,
            };
            let (log, opened) = create(&new, by, series.as_ref(), &openings, writing.now)?;
            put_event(writing, &new.event, &policy)?;
            append_log(writing, &[log])?;
            for opened in &opened {
                insert_section(writing, opened)?;
            }
            keep_key(writing, OPERATION, key.as_ref(), event_id.as_bytes())?;
            Ok(Created { id: event_id, replayed: false })
        };
        self.writer.write("creating an event", create).await
    }

    async fn event(&self, event_id: EventId) -> Result<Option<EventWithSections>, Fault> {
        const DOING: &str = "reading an event";
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        let query = sqlx::query(EVENT).bind(event_id.as_bytes().to_vec());
        let row = query.fetch_optional(&mut *connection).await.map_err(failed(DOING))?;
        let Some(row) = row else { return Ok(None) };
        let mut found = vec![EventWithSections { event: event(&row)?, sections: Vec::new() }];
        load_sections(&mut connection, &mut found).await?;
        Ok(found.pop())
    }

    async fn events(
        &self,
        filter: &EventFilter,
        page: PageRequest<EventId>,
    ) -> Result<Paged<EventCard>, Fault> {
        listed::listed(self, filter, page).await
    }

    async fn change_event(
        &self,
        event_id: EventId,
        by: By,
        command: EventCommand,
    ) -> Result<Vec<Inventory>, Error> {
        let (policy, maps) = (self.policy, self.maps.clone());
        let change =
            move |writing: &Writing<'_>| change(writing, event_id, by, &command, (policy, &maps));
        let (inventories, changed) = self.writer.write("changing an event", change).await?;
        self.maps.keep(changed, &Stamps::new());
        Ok(inventories)
    }

    async fn transfer_event(
        &self,
        event_id: EventId,
        by: By,
        transfer: Transfer,
        change: &ChangeNote,
    ) -> Result<(), Error> {
        let (policy, change) = (self.policy, change.clone());
        let work = move |writing: &Writing<'_>| {
            transfer::transfer(writing, (event_id, by), transfer, &change, policy)
        };
        self.writer.write("transferring an event", work).await
    }

    async fn add_section(
        &self,
        section: &Section,
        opening: Opening,
        by: By,
        key: Option<&CreationKey>,
    ) -> Result<Created<SectionId>, Error> {
        const OPERATION: &str = "add_section";
        let (section_id, event_id) = (section.section_id, section.event_id);
        let command = EventCommand::AddSection { section: section.clone(), opening };
        let (key, policy, maps) = (key.cloned(), self.policy, self.maps.clone());
        let add = move |writing: &Writing<'_>| {
            if let Some(id) = replay(writing, OPERATION, key.as_ref())? {
                return replayed(SectionId::from_slice(&id));
            }
            change(writing, event_id, by, &command, (policy, &maps))?;
            keep_key(writing, OPERATION, key.as_ref(), section_id.as_bytes())?;
            Ok(Created { id: section_id, replayed: false })
        };
        self.writer.write("adding a section", add).await
    }
}

/// Live bookings of events that were called off; an event that has none left is done.
pub(super) async fn to_cancel(store: &Sqlite, limit: u32) -> Result<Vec<BookingId>, Fault> {
    const DOING: &str = "finding bookings of cancelled events";
    const EVENTS: &str =
        "SELECT event_id FROM events WHERE cancelling = 1 ORDER BY event_id LIMIT ?";
    const DONE: &str = "UPDATE events SET cancelling = 0 WHERE event_id = ?";
    let events = sqlx::query(EVENTS).bind(EVENTS_MAX).fetch_all(&store.readers).await;
    let events = events.map_err(failed(DOING))?;
    let events = events.iter().map(|row| rows::event_id(row, "event_id"));
    let events: Vec<EventId> = events.collect::<Result<_, _>>()?;
    store.passes.keep(&events);
    let (mut live, mut looked_at, limit) = (Vec::new(), 0, limit as usize);
    for event_id in events {
        let mut is_done = false;
        let after = store.passes.after(event_id);
        let look = |part: &[SqliteRow]| {
            // Those that are too many are looked at again.
            let part = fitting(part, limit - live.len())?;
            looked_at += part.len();
            let taken = store.passes.take(event_id, part, &mut live)?;
            is_done = taken.is_done;
            Ok(!taken.is_end
                && live.len() < limit
                && looked_at < LOOKED_AT_MAX as usize * PARTS_MAX)
        };
        store.look_through(event_id, after, look).await?;
        if is_done {
            let done = move |writing: &Writing<'_>| {
                writing.run(DOING, DONE, [event_id.as_bytes()]).map(drop)
            };
            store.writer.write(DOING, done).await?;
        }
        if live.len() >= limit || looked_at >= LOOKED_AT_MAX as usize * PARTS_MAX {
            break;
        }
    }
    Ok(live)
}

/// The first of these bookings, up to where `room` of them are live.
fn fitting(part: &[SqliteRow], room: usize) -> Result<&[SqliteRow], Fault> {
    let mut live = 0;
    for (place, row) in part.iter().enumerate() {
        live += usize::from(row.flag("live")?);
        if live == room {
            return Ok(&part[..=place]);
        }
    }
    Ok(part)
}
