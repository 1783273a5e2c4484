//! Events and sections.
//!
//! A change to an event locks its row first, then, where a batch must not be under way with the
//! old terms, the inventory rows of all its sections. Batches lock inventory only, so the order is
//! the same for all. A transfer locks two organizations before that. Every write may be done twice (see
//! [`super::Postgres::write`]).

mod stored;
mod transfer;

use super::interrupt::{Interrupt, is_lock_timeout};
use super::rows::uuid;
use super::series::find_series;
use super::sessions::Session;
use super::write::append_log;
use super::{Postgres, on};
use crate::batch::{Decided, Earlier};
use crate::called_off::{EVENTS_MAX, LOOKED_AT_MAX, PARTS_MAX, Passes};
use crate::maps::Stamps;
use crate::rows::{self, Columns};
use crate::{
    CREATION_KEY_KEPT_MS, ChangeNote, Created, CreationKey, EventCard, EventFilter, Events,
    PageRequest, Paged,
};
use async_trait::async_trait;
use engine::decide::SeatMaps;
use engine::event::{EventCommand, Repricing, Transfer, create, decide};
use engine::{
    BookingId, By, Command, Error, Event, EventId, EventWithSections, Fault, Inventory, Opening,
    Outcome, Policy, Refusal, Section, SectionId, Timestamp,
};
use parking_lot::Mutex;
use sqlx::postgres::PgConnection;
use stored::{
    capacity, list, load, lock, lock_sections, mark_cancelling, put_event, update_section,
};

pub(super) use stored::{add_event, clock, insert_section};

const MISSING: Refusal = Refusal::NotFound { what: "event" };

/// The version and the time that an earlier attempt gave to an event, by which another one knows it.
type Written = Mutex<Option<(i64, Timestamp)>>;

#[async_trait]
impl Events for Postgres {
    async fn create_event(
        &self,
        new: &EventWithSections,
        by: By,
        openings: &[Opening],
        key: Option<&CreationKey>,
    ) -> Result<Created<EventId>, Error> {
        let policy = &self.committer.policy;
        let create = on!(session => create_event(&mut session, (new, by), openings, key, policy));
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
        self.committer.forget_event(event_id);
        let (inventories, maps) = changed?;
        self.committer.keep_maps(maps);
        Ok(inventories)
    }

    async fn transfer_event(
        &self,
        event_id: EventId,
        by: By,
        transfer: Transfer,
        change: &ChangeNote,
    ) -> Result<(), Error> {
        let (policy, of) = (&self.committer.policy, (event_id, by));
        let work = on!(session => transfer::transfer(&mut session, of, transfer, change, policy));
        let done = self.write(&self.sessions, "transferring an event", work).await;
        self.committer.forget_event(event_id);
        done
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
        let written = &Written::default();
        let command = &EventCommand::AddSection { section: section.clone(), opening };
        let add = on!(session => async {
            let claimed = claim(&mut session, OPERATION, key, section_id.as_bytes()).await?;
            if let Some(id) = claimed {
                let found = SectionId::from_slice(&id).ok_or_else(no_id)?;
                return Ok(Created { id: found, replayed: found != section_id });
            }
            self.change(&mut session, event_id, by, command, written).await?;
            Ok(Created { id: section_id, replayed: false })
        });
        self.write(&self.sessions, "adding a section", add).await
    }
}

impl Postgres {
    /// Changes an event by the decision of the engine, in the transaction of this session.
    async fn change(
        &self,
        session: &mut Session,
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
            put_event(session, event, &self.committer.policy).await?;
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
        session: &mut Session,
        commands: &[Command],
    ) -> Result<(Vec<Inventory>, (SeatMaps, Stamps)), Interrupt> {
        let decided = self.committer.decide_in(session, commands, &Earlier::of_section()).await;
        let Decided { committed, maps, .. } = decided?;
        for answer in committed.answers {
            if let Outcome::Booking { .. } = answer? {
                unreachable!("a section is no booking");
            }
        }
        Ok((committed.inventories, maps))
    }
}

fn is_written(event: &Event, written: &Written) -> bool {
    *written.lock() == Some((event.version, event.updated_at))
}

async fn create_event(
    session: &mut PgConnection,
    (new, by): (&EventWithSections, By),
    openings: &[Opening],
    key: Option<&CreationKey>,
    policy: &Policy,
) -> Result<Created<EventId>, Interrupt> {
    const OPERATION: &str = "create_event";
    let event_id = new.event.terms.event_id;
    if let Some(id) = claim(session, OPERATION, key, event_id.as_bytes()).await? {
        let found = EventId::from_slice(&id).ok_or_else(no_id)?;
        // An earlier attempt at this very creation has made it: nothing is replayed.
        return Ok(Created { id: found, replayed: found != event_id });
    }
    // An attempt whose COMMIT is still under way is waited for here, and its event is left alone.
    if add_event(session, &new.event, policy).await? {
        let series = match new.event.series_id {
            Some(series_id) => find_series(session, series_id).await?,
            None => None,
        };
        let (log, opened) = create(new, by, series.as_ref(), openings, clock(session).await?)?;
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
    let claimed = query
        .execute(&mut *session)
        .await
        .map_err(|error| if is_lock_timeout(&error) { Interrupt::KeyBusy } else { error.into() })?;
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
    passes: &Passes,
    limit: u32,
) -> Result<Vec<BookingId>, Interrupt> {
    const EVENTS: &str = "SELECT event_id FROM events WHERE cancelling ORDER BY event_id LIMIT $1";
    // Written so that no other index is as short as that by event. The last one is told, live or not.
    const PART: &str = "WITH part AS MATERIALIZED (
            SELECT booking_id, status IN ('HOLD', 'CONFIRMED') AS live FROM bookings
            WHERE event_id >= $1 AND event_id <= $1 AND (event_id, booking_id) > ($1, $2)
            ORDER BY event_id, booking_id LIMIT $3
        )
        SELECT booking_id, live FROM part WHERE live OR
            booking_id = (SELECT booking_id FROM part ORDER BY booking_id DESC LIMIT 1)
        ORDER BY booking_id LIMIT $4";
    const DONE: &str = "UPDATE events SET cancelling = false WHERE event_id = $1";
    let events = sqlx::query(EVENTS).bind(i64::from(EVENTS_MAX)).fetch_all(&mut *session).await?;
    let events = events.iter().map(|row| rows::event_id(row, "event_id"));
    let events: Vec<_> = events.collect::<Result<_, Fault>>()?;
    passes.keep(&events);
    let (mut live, mut parts, limit) = (Vec::new(), 0, limit as usize);
    for event_id in events {
        while live.len() < limit && parts < PARTS_MAX {
            let query = sqlx::query(PART)
                .bind(uuid(event_id))
                .bind(passes.after(event_id).map_or(uuid::Uuid::nil(), uuid))
                .bind(i64::from(LOOKED_AT_MAX))
                .bind(i64::try_from(limit - live.len()).unwrap_or(i64::MAX));
            let part = query.fetch_all(&mut *session).await?;
            let taken = passes.take(event_id, &part, &mut live)?;
            if taken.is_done {
                sqlx::query(DONE).bind(uuid(event_id)).execute(&mut *session).await?;
            }
            if taken.is_end {
                break;
            }
            parts += 1;
        }
    }
    Ok(live)
}
