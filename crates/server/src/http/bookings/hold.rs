//! A hold, from the bytes of its body to its answer: the same by the router and past it.

use super::super::body::{JsonBytes, validated};
use super::super::connection::Peer;
use super::super::content::Answer;
use super::super::events::acting_lately;
use super::super::extract::{Caller, CurrentUser, Key, Unsure, id};
use super::super::wire::{fingerprint, json_with};
use super::forms::{NewHold, Wanted, compared};
use super::views::write_booking;
use super::{App, Problem, REPLAYED, no_booking};
use crate::catalog::Facts;
use crate::random::random;
use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use engine::access::is_visible;
use engine::{
    Booking, BookingId, Command, EventId, Fault, Hold, IdempotencyKey, Outcome, Refusal,
    SeatRequest, UserId,
};
use hyper::body::Incoming;

/// Answers a request for a hold, without the router.
pub(in super::super) fn take_hold(
    app: &App,
    request: hyper::Request<Incoming>,
    peer: Peer,
) -> impl Future<Output = Result<Answer, Problem>> {
    let (Parts { mut headers, .. }, body) = request.into_parts();
    let (user, key) = (Unsure::<CurrentUser>::of(app, Some(peer), &headers), Key::of(&headers));
    async move {
        let CurrentUser(user_id) = user?.sure(app).await?;
        let Key(key) = key?;
        let JsonBytes(asked) = JsonBytes::of(app, &headers, body).await?;
        headers.clear();
        held(app, user_id, key, &asked, headers).await
    }
}

/// Holds what a body asks for. The answer has these headers and its own: who has a map to spare,
/// gives it.
pub(super) async fn held(
    app: &App,
    user_id: UserId,
    key: Option<IdempotencyKey>,
    asked: &[u8],
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (event_id, wanted) = parsed(asked)?;
    let facts =
        app.core.catalog.event(event_id).await?.ok_or(Refusal::NotFound { what: "event" })?;
    // The contents of a draft are not revealed to users who cannot see it, not even by the gate.
    let visible = is_shown(app, &facts, user_id).await?;
    // Since a key made its hold, the event may be hidden and the section renamed (I6).
    let terms = &facts.of.event.terms;
    // To the decision a member is a buyer, for whom a draft does not exist.
    let is_members = visible && !terms.is_public() && terms.organizer_id.owner() != Some(user_id);
    let made = if visible && !is_members && wanted.is_known(&facts) {
        None
    } else {
        Box::pin(committed(app, user_id, key.as_ref())).await?
    };
    let requests = wanted.requests(&facts, visible, made.as_ref())?;
    if is_members && made.is_none() {
        return Err(Refusal::SaleNotOpen { sales_start: terms.sales_start }.into());
    }
    let key = key.map(|key| {
        let digest = digest(event_id, &wanted, &requests);
        (key, digest)
    });
    let booking_id =
        BookingId::new(app.core.store.now(), event_id.shard(), u64::from_le_bytes(random()));
    let hold = Hold { booking_id, user_id, event_id, requests, key };
    let name = hold.key.as_ref().map(|(key, _)| key.clone());
    let lanes = &app.core.lanes;
    let decided = app.in_flight.run("hold", user_id, name.as_ref(), || {
        lanes.submit(event_id.shard(), Command::Hold(hold))
    });
    let decided = decided.await?;
    let (outcome, now) = decided.map_err(|error| wanted.failed(&facts, error))?;
    let Outcome::Booking { booking, replayed, next_to_each_other } = outcome else {
        return Err(no_booking());
    };
    let write = |out: &mut Vec<u8>| write_booking(out, &booking, now, next_to_each_other);
    let mut answer = json_with(headers, StatusCode::CREATED, write);
    answer.headers_mut().insert(header::LOCATION, location(booking.booking_id));
    if replayed {
        answer.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(answer)
}

/// Whether an event exists for a user. Nothing is looked up for one that is public.
async fn is_shown(app: &App, facts: &Facts, user_id: UserId) -> Result<bool, Problem> {
    let terms = &facts.of.event.terms;
    if terms.is_public() {
        return Ok(true);
    }
    let caller = Caller::User(user_id);
    let (facts, by) = Box::pin(acting_lately(app, terms.event_id, &caller)).await?;
    Ok(is_visible(Some(by), &facts.of.event.terms))
}

/// The path of a booking, as a header.
fn location(booking_id: BookingId) -> HeaderValue {
    const PREFIX: &str = "/api/v1/bookings/";
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = booking_id.uuid().hyphenated().encode_lower(&mut id);
    let path = [PREFIX, id].concat();
    HeaderValue::from_maybe_shared(Bytes::from(path)).expect("an id is valid in a header")
}

/// What a body asks to hold.
fn parsed(asked: &[u8]) -> Result<(EventId, Wanted<'_>), Problem> {
    let new: NewHold<'_> = validated(asked)?;
    Ok((id(&new.event_id, "event")?, new.wanted()?))
}

/// A digest of what a hold asks for, by which a retry with the same key is known.
///
/// By id, however a section was named, by what seats and categories are compared by, and without the
/// order in which things were listed.
fn digest(event_id: EventId, wanted: &Wanted<'_>, requests: &[SeatRequest]) -> i64 {
    let event_id = event_id.to_string();
    match (wanted, requests) {
        (_, [SeatRequest::Count { section_id, seats }]) => {
            fingerprint(&(event_id, section_id.to_string(), seats))
        }
        (Wanted::Best(best), [SeatRequest::Best { sections, .. }]) => {
            fingerprint(&(event_id, best.canonical(sections)))
        }
        _ => {
            let of = |ask: &SeatRequest| match ask {
                SeatRequest::Count { section_id, seats } => {
                    (section_id.to_string(), *seats, Vec::new())
                }
                SeatRequest::Seats { section_id, seats } => {
                    let mut seats: Vec<_> = seats.iter().map(|seat| compared(seat)).collect();
                    seats.sort_unstable();
                    (section_id.to_string(), 0, seats)
                }
                SeatRequest::Best { .. } => unreachable!("the best seats are asked for alone"),
            };
            let mut asked: Vec<_> = requests.iter().map(of).collect();
            asked.sort_unstable();
            fingerprint(&(event_id, asked))
        }
    }
}

/// The booking that a hold of the user with this key has made.
async fn committed(
    app: &App,
    user_id: UserId,
    key: Option<&IdempotencyKey>,
) -> Result<Option<Booking>, Fault> {
    let Some(key) = key else { return Ok(None) };
    let found = app.core.store.keyed_holds(&[(user_id, key.clone())]).await?;
    Ok(found.into_values().next().map(|(_, booking)| booking))
}
