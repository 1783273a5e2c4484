//! Transfers of events from one organization to another.

use super::{MISSING, load, put_event};
use crate::ChangeNote;
use crate::sqlite::commit::append_log;
use crate::sqlite::organizations::{append_entry, is_made, put_personal};
use crate::sqlite::writer::Writing;
use engine::event::{EventCommand, Transfer, decide};
use engine::{By, Error, EventId, Policy};

/// Transfers an event by the decision of the engine. There is one writer, so no batch is under way.
pub(super) fn transfer(
    writing: &Writing<'_>,
    (event_id, by): (EventId, By),
    transfer: Transfer,
    change: &ChangeNote,
    policy: Policy,
) -> Result<(), Error> {
    if is_made(writing, change)? {
        return Ok(());
    }
    let of = load(writing, event_id)?.ok_or(MISSING)?;
    let changes = decide(&of, by, &EventCommand::Transfer(transfer), None, writing.now)?;
    let Some(event) = &changes.event else { return Ok(()) };
    put_event(writing, event, &policy)?;
    append_log(writing, changes.log.as_slice())?;
    for (entry, change) in changes.entries.iter().zip(change.of_both()) {
        put_personal(writing, entry.org_id)?;
        append_entry(writing, entry, &change)?;
    }
    Ok(())
}
