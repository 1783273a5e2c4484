//! Events and sections as they are stored: how their rows are locked, read and written.

use super::MISSING;
use crate::keys::keys_of;
use crate::maps::draw_stamp;
use crate::postgres::batch::lock_inventory;
use crate::postgres::columns::Binding;
use crate::postgres::interrupt::Interrupt;
use crate::postgres::rows::{uuid, uuids};
use crate::postgres::seats::put_layout;
use crate::postgres::write::append_log;
use crate::rows::{self, Columns, drafts_at, event, ms, newest_of};
use crate::{EventCard, EventFilter, PageRequest, Paged, Place};
use engine::event::Opened;
use engine::{Event, EventId, EventWithSections, Fault, Policy, Section, SectionId, Timestamp};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Postgres as Driver, QueryBuilder};
use std::collections::HashMap;

pub(in crate::postgres) async fn mark_cancelling(
    session: &mut PgConnection,
    event_id: EventId,
) -> Result<(), Interrupt> {
    const MARK: &str = "UPDATE events SET cancelling = true WHERE event_id = $1";
    sqlx::query(MARK).bind(uuid(event_id)).execute(session).await?;
    Ok(())
}

/// An event with its sections; `lock` is a locking clause for its row.
pub(in crate::postgres) async fn load(
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
pub(in crate::postgres) async fn lock(
    session: &mut PgConnection,
    event_id: EventId,
) -> Result<(EventWithSections, Timestamp), Interrupt> {
    // Not FOR UPDATE: a new section only refers to the event, and need not wait.
    let found = load(session, event_id, " FOR NO KEY UPDATE").await?.ok_or(MISSING)?;
    Ok((found, clock(session).await?))
}

pub(in crate::postgres) async fn clock(session: &mut PgConnection) -> Result<Timestamp, Interrupt> {
    let row = sqlx::query("SELECT now_ms() AS now").fetch_one(session).await?;
    Ok(rows::instant(&row, "now")?)
}

/// How many seats a section has; only a change of its event, which is locked, changes the number.
pub(in crate::postgres) async fn capacity(
    session: &mut PgConnection,
    section_id: SectionId,
) -> Result<Option<i64>, Interrupt> {
    const SQL: &str = "SELECT capacity FROM inventory WHERE section_id = $1";
    let row = sqlx::query(SQL).bind(uuid(section_id)).fetch_optional(session).await?;
    Ok(row.map(|row| row.int("capacity")).transpose()?)
}

pub(in crate::postgres) async fn lock_sections(
    session: &mut PgConnection,
    of: &EventWithSections,
) -> Result<(), Interrupt> {
    let sections = of.sections.iter().map(|section| section.section_id).collect();
    lock_inventory(session, &sections).await
}

pub(in crate::postgres) async fn load_sections(
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

pub(in crate::postgres) async fn list(
    session: &mut PgConnection,
    filter: &EventFilter,
    page: PageRequest<EventId>,
) -> Result<Paged<EventCard>, Interrupt> {
    let drafts_of = filter.drafts_of.as_slice();
    let events = match &filter.places {
        None => newest(session, filter, (None, drafts_of), page, event).await?,
        Some(places) => {
            // Each by its index, and the newest of all.
            let (mut all, of_row) = (Vec::new(), |row: &_| rows::event_id(row, "event_id"));
            for place in places {
                let of = (Some(place), drafts_at(drafts_of, place));
                all.extend(newest(session, filter, of, page, of_row).await?);
            }
            read_events(session, newest_of(all, page.limit)).await?
        }
    };
    let has_more = events.len() >= page.limit as usize;
    Ok(Paged { items: load_cards(session, events).await?, has_more })
}

/// The newest events of a place, or of all, without drafts but those of these places.
async fn newest<T>(
    session: &mut PgConnection,
    filter: &EventFilter,
    (place, drafts_of): (Option<&Place>, &[Place]),
    page: PageRequest<EventId>,
    read: impl Fn(&PgRow) -> Result<T, Fault>,
) -> Result<Vec<T>, Interrupt> {
    // Of many places, only the ids: most of them are shown by no page.
    let what = if place.is_some() { "event_id" } else { "*" };
    let mut query = QueryBuilder::<Driver>::new("SELECT ");
    query.push(what).push(" FROM events WHERE (status <> 'draft'");
    for drafts in drafts_of {
        query.push(" OR (");
        push_place(&mut query, drafts);
        query.push(")");
    }
    if filter.all_drafts {
        query.push(" OR 1 = 1");
    }
    query.push(")");
    if let Some(place) = place {
        query.push(" AND ");
        push_place(&mut query, place);
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
    let found = query.build().fetch_all(session).await?;
    Ok(found.iter().map(read).collect::<Result<_, _>>()?)
}

/// The events with these ids, in their order.
async fn read_events(
    session: &mut PgConnection,
    ids: Vec<EventId>,
) -> Result<Vec<Event>, Interrupt> {
    const SQL: &str = "SELECT * FROM events WHERE event_id = ANY($1) ORDER BY event_id DESC";
    let found = sqlx::query(SQL).bind(uuids(ids)).fetch_all(session).await?;
    Ok(found.iter().map(event).collect::<Result<_, _>>()?)
}

fn push_place(query: &mut QueryBuilder<Driver>, place: &Place) {
    query.push("organizer_id = ").push_bind(uuid(place.org_id));
    if let Some(events) = &place.events {
        query.push(" AND event_id = ANY(").push_bind(uuids(events.iter().copied())).push(")");
    }
}

/// The cards of these events, in their order. What each section adds is added up by the database.
pub(in crate::postgres) async fn load_cards(
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
                prevent_orphans, version, created_at, updated_at, series_id, counts_buyers)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                $18, $19, $20, $21, $22, $23, $24) ON CONFLICT (event_id) ",
            $on_conflict
        )
    };
}

/// Adds an event, unless it is there already; waits for a concurrent insert. The live bookings of its
/// buyers are listed for ever if it has a cap by now.
pub(in crate::postgres) async fn add_event(
    session: &mut PgConnection,
    event: &Event,
    policy: &Policy,
) -> Result<bool, Interrupt> {
    let query = bind_event(sqlx::query(insert_event!("DO NOTHING")), event, policy);
    Ok(query.execute(session).await?.rows_affected() == 1)
}

/// Writes a changed event.
pub(in crate::postgres) async fn put_event(
    session: &mut PgConnection,
    event: &Event,
    policy: &Policy,
) -> Result<(), Interrupt> {
    const SQL: &str = insert_event!(
        "DO UPDATE SET organizer_id = excluded.organizer_id, series_id = excluded.series_id,
            title = excluded.title,
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
    bind_event(sqlx::query(SQL), event, policy).execute(session).await?;
    Ok(())
}

fn bind_event(query: Binding, event: &Event, policy: &Policy) -> Binding {
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
        .bind(terms.cap_of_buyer(policy).is_some())
}

/// Adds a section with its inventory, and the first row of its log.
pub(in crate::postgres) async fn insert_section(
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
pub(in crate::postgres) async fn update_section(
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
