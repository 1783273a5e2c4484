//! Whether an event exists for somebody, and how they act there.

use super::MISSING;
use crate::catalog::Facts;
use crate::http::App;
use crate::http::extract::Caller;
use crate::http::problem::Problem;
use engine::access::{Permission, is_visible, may};
use engine::{By, EventId, Fault, OrgId, Terms};
use std::sync::Arc;

/// The event, if it exists for `viewer`. What everybody may see may be as old as cached facts are, what
/// only some may see is less than a second old.
pub(in crate::http) async fn visible(
    app: &App,
    event_id: EventId,
    viewer: Option<&Caller>,
) -> Result<Arc<Facts>, Problem> {
    let facts = app.core.catalog.event(event_id).await?.ok_or(MISSING)?;
    if facts.of.event.terms.is_public() {
        return Ok(facts);
    }
    let viewer = viewer.ok_or(MISSING)?;
    let (facts, by) = Box::pin(acting_lately(app, event_id, viewer)).await?;
    seen(facts, by).map(|(facts, _)| facts)
}

/// How somebody acts at the event with these terms. Whether the event exists for them is decided later.
async fn acting_at(app: &App, terms: &Terms, caller: &Caller) -> Result<By, Fault> {
    app.core.rights.by(caller, terms.organizer_id, Some(terms.event_id)).await
}

/// Whether somebody may see what only members of its organization may see of the event with these cached
/// terms. Where they say so, it is confirmed: the event may be of another organization since (I15).
pub(in crate::http) async fn is_insider(
    app: &App,
    terms: &Terms,
    caller: &Caller,
) -> Result<bool, Problem> {
    let by = acting_at(app, terms, caller).await?;
    if may(by, Permission::EventRead, terms).is_err() {
        return Ok(false);
    }
    let (facts, by) = acting_lately(app, terms.event_id, caller).await?;
    Ok(may(by, Permission::EventRead, &facts.of.event.terms).is_ok())
}

/// An event as it was less than a second ago, and how somebody acts there: for what only some may see.
/// Whether it exists for them is decided later.
pub(in crate::http) async fn acting_lately(
    app: &App,
    event_id: EventId,
    caller: &Caller,
) -> Result<(Arc<Facts>, By), Problem> {
    let facts = app.core.catalog.event_lately(event_id).await?.ok_or(MISSING)?;
    let by = acting_at(app, &facts.of.event.terms, caller).await?;
    Ok((facts, by))
}

/// An event as the store has it now, and how somebody acts there. Whether it exists for them is decided
/// with the rest.
async fn acting_now(
    app: &App,
    event_id: EventId,
    caller: &Caller,
) -> Result<(Arc<Facts>, By), Problem> {
    let facts = app.core.catalog.event_now(event_id).await?.ok_or(MISSING)?;
    let by = match caller {
        Caller::User(_) | Caller::Visitor { .. } => {
            acting_at(app, &facts.of.event.terms, caller).await?
        }
        // The request may have taken longer to arrive than a key is known for.
        Caller::Key(known) => {
            let known = app.keys.still(known, app.core.store.now()).await?;
            known.key.acting(Some(event_id))
        }
    };
    Ok((facts, by))
}

/// How somebody acts at an event that is about to be changed: for the organization that has it now, also
/// where its transfer has not been heard of.
pub(in crate::http) async fn acting(
    app: &App,
    event_id: EventId,
    caller: &Caller,
) -> Result<By, Problem> {
    acting_now(app, event_id, caller).await.map(|(_, by)| by)
}

/// The event, if it exists for somebody who wants to do `what`, as the store has it now, and how they act
/// there: for what is derived from it and written back. It exists for who may see it, and for who may do it.
pub(in crate::http) async fn visible_now(
    app: &App,
    event_id: EventId,
    caller: &Caller,
    what: Permission,
) -> Result<(Arc<Facts>, By), Problem> {
    let (facts, by) = acting_now(app, event_id, caller).await?;
    if may(by, what, &facts.of.event.terms).is_ok() { Ok((facts, by)) } else { seen(facts, by) }
}

/// The same, where the event exists for somebody who acts so.
fn seen(facts: Arc<Facts>, by: By) -> Result<(Arc<Facts>, By), Problem> {
    if is_visible(Some(by), &facts.of.event.terms) { Ok((facts, by)) } else { Err(MISSING.into()) }
}

/// The organization that something new is to be of, by the id that came with it: the caller's own if none
/// came. What means the same as its absence is left out, so that equal requests have one digest.
pub(in crate::http) fn organization(id: &mut Option<String>, caller: &Caller) -> OrgId {
    let own = caller.home();
    let named = id.as_ref().and_then(|id| id.parse().ok()).unwrap_or(own);
    *id = Some(named).filter(|named| *named != own).map(|named| named.to_string());
    named
}
