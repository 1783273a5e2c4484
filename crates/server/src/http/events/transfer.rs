//! The transfer of an event to another organization.

use super::forms::TransferEvent;
use super::views::EventView;
use super::{ORGANIZERS, acting, changed, with_etag};
use crate::http::App;
use crate::http::body::Json;
use crate::http::extract::{Caller, Change, CurrentUser, Path, expected_version, id};
use crate::http::problem::Problem;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use engine::access::Permission;
use engine::event::Transfer;
use engine::{EventId, OrgId};
use std::sync::Arc;

/// Transfers an event to another organization.
///
/// The caller needs `org.write` at the organization that has the event, and `event.write` at the one that
/// gets it. Bookings and sections stay. The event leaves its series, which is of one organization. If
/// the organization has the event already, nothing is changed.
#[utoipa::path(
    post, path = "/api/v1/events/{event_id}/transfer", tag = ORGANIZERS,
    operation_id = "transfer_event",
    request_body = TransferEvent,
    security(("bearer" = [])),
    params(("event_id" = String, Path, format = "uuid"), crate::http::docs::IfMatch),
    responses(
        (
            status = 200, description = "The event", body = EventView,
            headers(("ETag" = String, description = "Its version")),
        ),
    ),
)]
pub(super) async fn transfer(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(event_id): Path<String>,
    headers: HeaderMap,
    Change(note): Change,
    Json(wanted): Json<TransferEvent>,
) -> Result<Response, Problem> {
    let event_id: EventId = id(&event_id, "event")?;
    let expected = expected_version(&headers, app.core.store.epoch())?;
    let to: OrgId = wanted.organization_id.parse().expect("it was validated");
    let caller = Caller::User(user_id);
    let by = acting(&app, event_id, &caller).await?;
    let into = app.core.rights.by(&caller, to, Some(event_id)).await?;
    let transfer = Transfer { to, into, expected };
    let transferred = app.core.store.transfer_event(event_id, by, transfer, &note);
    app.core.catalog.changing(event_id, transferred).await?;
    Ok(with_etag(changed(&app, event_id, (into, Permission::EventWrite)).await?))
}
