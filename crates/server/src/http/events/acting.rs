//! Whether an event exists for somebody, and how they act there.

use super::MISSING;
use crate::catalog::Facts;
use crate::http::App;
use crate::http::extract::Caller;
use crate::http::problem::Problem;
use engine::access::is_visible;
use engine::{By, EventId, Fault, OrgId, Terms};
use std::sync::Arc;

/// The event, if it exists for `viewer`.
pub(in crate::http) async fn visible(
    app: &App,
    event_id: EventId,
    viewer: Option<&Caller>,
) -> Result<Arc<Facts>, Problem> {
    let facts = app.core.catalog.event(event_id).await?.ok_or(MISSING)?;
    let terms = &facts.of.event.terms;
    if !terms.is_public() {
        let by = match viewer {
            Some(viewer) => Some(acting_at(app, terms, viewer).await?),
            None => None,
        };
        if !is_visible(by, terms) {
            return Err(MISSING.into());
        }
    }
    Ok(facts)
}

/// How somebody acts at the event with these terms. Whether the event exists for them is decided later.
pub(in crate::http) async fn acting_at(
    app: &App,
    terms: &Terms,
    caller: &Caller,
) -> Result<By, Fault> {
    app.core.rights.by(caller, terms.organizer_id, Some(terms.event_id)).await
}

/// How somebody acts at an event. Whether it exists for them is decided with the rest.
pub(in crate::http) async fn acting(
    app: &App,
    event_id: EventId,
    caller: &Caller,
) -> Result<By, Problem> {
    let facts = app.core.catalog.event(event_id).await?.ok_or(MISSING)?;
    if let Caller::Key(known) = caller {
        // The request may have taken longer to arrive than a key is known for.
        let known = app.keys.still(known, app.core.store.now()).await?;
        return Ok(known.key.acting(Some(event_id)));
    }
    Ok(acting_at(app, &facts.of.event.terms, caller).await?)
}

/// The event, if it exists for somebody, as the store has it now, and how they act there: for what is
/// derived from it and written back.
pub(in crate::http) async fn visible_now(
    app: &App,
    event_id: EventId,
    caller: &Caller,
) -> Result<(Arc<Facts>, By), Problem> {
    let facts = app.core.catalog.event_now(event_id).await?.ok_or(MISSING)?;
    let by = acting_at(app, &facts.of.event.terms, caller).await?;
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
