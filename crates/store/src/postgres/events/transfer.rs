//! Transfers of events from one organization to another.
//!
//! The locks come in this order: both organizations by their ids, the event, the inventory of all its
//! sections. A change of an organization locks no event, and a change of an event no organization.

use super::MISSING;
use super::stored::{lock, lock_sections, put_event};
use crate::ChangeNote;
use crate::postgres::interrupt::Interrupt;
use crate::postgres::organizations::{append_entries, is_made, lock as lock_organization};
use crate::postgres::rows::uuid;
use crate::postgres::write::append_log;
use crate::rows;
use engine::event::{EventCommand, Transfer, decide};
use engine::{By, EventId, OrgId, Policy};
use sqlx::postgres::PgConnection;

/// Transfers an event by the decision of the engine.
pub(super) async fn transfer(
    session: &mut PgConnection,
    (event_id, by): (EventId, By),
    transfer: Transfer,
    change: &ChangeNote,
    policy: &Policy,
) -> Result<(), Interrupt> {
    let from = organization_of(session, event_id).await?.ok_or(MISSING)?;
    let mut organizations = [from, transfer.to];
    organizations.sort_unstable();
    let mut locked = Vec::new();
    if let (Some(user_id), true) = (by.user_id(), from != transfer.to) {
        for org_id in organizations {
            // An attempt whose COMMIT is still under way is waited for here.
            let found = lock_organization(session, org_id, user_id).await?;
            locked.extend(found.map(|organization| organization.org_id));
        }
        if is_made(session, change).await? {
            return Ok(());
        }
    }
    let (of, now) = lock(session, event_id).await?;
    if !organizations.contains(&of.event.terms.organizer_id) {
        // It was transferred since it was looked for.
        return Err(Interrupt::Changed);
    }
    let changes = decide(&of, by, &EventCommand::Transfer(transfer), None, now)?;
    let Some(event) = &changes.event else { return Ok(()) };
    let is_locked = changes.entries.iter().all(|entry| locked.contains(&entry.org_id));
    assert!(is_locked, "a log is written under the lock of its organization");
    // A batch that is under way was decided under the organization of before: it is waited for.
    lock_sections(session, &of).await?;
    put_event(session, event, policy).await?;
    append_log(session, changes.log.as_slice()).await?;
    let entries: Vec<_> = changes.entries.into_iter().zip(change.of_both()).collect();
    append_entries(session, &entries).await
}

/// The organization that has an event, as it is read without a lock.
async fn organization_of(
    session: &mut PgConnection,
    event_id: EventId,
) -> Result<Option<OrgId>, Interrupt> {
    const SQL: &str = "SELECT organizer_id FROM events WHERE event_id = $1";
    let row = sqlx::query(SQL).bind(uuid(event_id)).fetch_optional(session).await?;
    Ok(row.map(|row| rows::org_id(&row, "organizer_id")).transpose()?)
}
