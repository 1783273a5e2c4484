//! Lists of bookings: of the caller, of an event, and of a customer whom an organization calls so.

use super::views::{Beyond, BookingPage, StatusWord, write_booking};
use super::{App, TAG};
use crate::http::docs::PageParams;
use crate::http::events::acting_lately;
use crate::http::extract::{Buyer, Caller};
use crate::http::lists::{PAGE_BYTES_MAX, Params, page, page_to};
use crate::http::problem::Problem;
use axum::extract::State;
use axum::response::Response;
use engine::access::{Owned, Permission, may};
use engine::{Booking, BookingStatus, By, CustomerRef, EventId, OrgId, Refusal, UserId};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use store::{BookingFilter, Paged};

/// Pages of the store that are read for one of ours, at most.
const PAGES_MAX: usize = 20;

/// The booking status that a list is narrowed to.
pub(in crate::http) fn status_filter(params: &Params) -> Result<Option<BookingStatus>, Problem> {
    params.read("status", "must be HOLD, CONFIRMED, EXPIRED or CANCELLED", BookingStatus::parse)
}

/// Lists the bookings of the caller, or those of a customer, newest first.
#[utoipa::path(
    get, path = "/api/v1/bookings", tag = TAG, operation_id = "list_bookings",
    security(("bearer" = [])),
    params(
        ("status" = Option<StatusWord>, Query, description = "The current status"),
        ("event_id" = Option<String>, Query, format = "uuid"),
        (
            "ref" = Option<String>, Query, max_length = 128,
            pattern = "^[!-~]*$",
            description = "What the organization calls its customer: lists the customer's bookings at \
                events of the organization, with `booking.read`"
        ),
        (
            "organization_id" = Option<String>, Query, format = "uuid",
            description = "The organization that calls its customer so; the caller's own if missing. \
                Only with `ref`"
        ),
        PageParams,
    ),
    responses((status = 200, description = "A page of bookings", body = BookingPage)),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Buyer(caller): Buyer,
    params: Params,
) -> Result<Response, Problem> {
    let event = params.read("event_id", "must be a UUID", |text| text.parse().ok())?;
    let limit = CustomerRef::LENGTH_MAX;
    let must = format!("must have 1 to {limit} visible ASCII characters");
    let reference = params.read("ref", &must, CustomerRef::new)?;
    let org_id = params.read("organization_id", "must be a UUID", |text| text.parse().ok())?;
    let status = status_filter(&params)?;
    if let Some(reference) = reference {
        let org_id = org_id.unwrap_or_else(|| caller.home());
        let user = Some(UserId::of_customer(org_id, &reference));
        return of_customer(&app, &caller, org_id, BookingFilter { user, event, status }, &params)
            .await;
    }
    if org_id.is_some() {
        return Err(Problem::invalid_field("organization_id", "is allowed with ref only"));
    }
    // A key has no bookings of its own.
    let user = Some(caller.user_id().ok_or_else(Problem::account_required)?);
    listed(&app, &BookingFilter { user, event, status }, &params).await
}

/// A page of the bookings of a customer at the events of an organization: those that the caller may read.
///
/// An event may have gone to another organization since. Its bookings are that one's matter, so they are
/// left out, and more are read in their place.
async fn of_customer(
    app: &App,
    caller: &Caller,
    org_id: OrgId,
    filter: BookingFilter,
    params: &Params,
) -> Result<Response, Problem> {
    if caller.is_visitor() {
        return Err(Problem::account_required());
    }
    let mut part = params.page()?;
    if let Some(event_id) = filter.event {
        let (facts, by) = acting_lately(app, event_id, caller).await?;
        may_list(by, &facts.of.event.terms)?;
    } else {
        may_list(app.core.rights.by(caller, org_id, None).await?, &org_id)?;
    }
    let room = app.answers.room(PAGE_BYTES_MAX).await?;
    let wanted = usize::try_from(part.limit).unwrap_or(usize::MAX);
    let mut readable: BTreeMap<EventId, bool> = BTreeMap::new();
    let (mut shown, mut next) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let Paged { items, has_more } = app.core.store.bookings(&filter, part).await?;
        next = items.last().map(|last| last.booking_id).filter(|_| has_more);
        for booking in items {
            let event_id = booking.event_id;
            if let Entry::Vacant(entry) = readable.entry(event_id) {
                let (facts, by) = acting_lately(app, event_id, caller).await?;
                let terms = &facts.of.event.terms;
                let is_readable = may(by, Permission::BookingRead, terms).is_ok();
                entry.insert(terms.organizer_id == org_id && is_readable);
            }
            if readable[&event_id] {
                if shown.len() == wanted {
                    next = shown.last().map(|last: &Booking| last.booking_id);
                    break;
                }
                shown.push(booking);
            }
        }
        if next.is_none() || shown.len() == wanted {
            break;
        }
        part.after = next;
    }
    let now = app.core.store.now();
    let id = |booking: &Booking| booking.booking_id;
    let write = |out: &mut Vec<u8>, booking: &Booking| {
        write_booking(out, booking, now, Beyond::default());
    };
    Ok(page_to(room, shown, next, id, write))
}

/// Whether somebody may list the bookings of an event or of an organization. Who sees that it is there sees
/// that it has bookings.
pub(in crate::http) fn may_list(by: By, of: &impl Owned) -> Result<(), Refusal> {
    const READ: Permission = Permission::BookingRead;
    if may(by, READ, of).is_ok() {
        return Ok(());
    }
    match may(by, Permission::EventRead, of) {
        Ok(()) | Err(Refusal::PermissionMissing { .. }) => {
            Err(Refusal::PermissionMissing { permission: READ })
        }
        Err(refusal) => Err(refusal),
    }
}

/// A page of bookings.
pub(in crate::http) async fn listed(
    app: &App,
    filter: &BookingFilter,
    params: &Params,
) -> Result<Response, Problem> {
    let part = params.page()?;
    let room = app.answers.room(PAGE_BYTES_MAX).await?;
    let found = app.core.store.bookings(filter, part).await?;
    let now = app.core.store.now();
    let id = |booking: &Booking| booking.booking_id;
    let write = |out: &mut Vec<u8>, booking: &Booking| {
        write_booking(out, booking, now, Beyond::default());
    };
    Ok(page(room, found.items, found.has_more, id, write))
}
