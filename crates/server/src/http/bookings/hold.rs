//! A hold, from the bytes of its body to its answer: the same by the router and past it.

use super::super::body::{JsonBytes, validated};
use super::super::connection::Peer;
use super::super::content::Answer;
use super::super::events::acting_lately;
use super::super::extract::{Buyer, Caller, Key, Unsure, id};
use super::super::visitors::new_visitor;
use super::super::wire::{fingerprint, json_with};
use super::forms::{Customer, NewBuyer, NewHold, Wanted, compared};
use super::views::{Beyond, write_booking};
use super::{App, Problem, REPLAYED, no_booking};
use crate::catalog::Facts;
use crate::random::random;
use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use engine::access::{Override, Overrides, Permission, is_visible, may};
use engine::{
    Booking, BookingId, By, Command, Error, EventId, Fault, Hold, IdempotencyKey, Outcome, Refusal,
    SeatRequest, Timestamp, UserId,
};
use hyper::body::Incoming;

/// Answers a request for a hold, without the router.
pub(in super::super) fn take_hold(
    app: &App,
    request: hyper::Request<Incoming>,
    peer: Peer,
) -> impl Future<Output = Result<Answer, Problem>> {
    let (Parts { mut headers, .. }, body) = request.into_parts();
    let (buyer, key) = (Unsure::<Buyer>::of(app, Some(peer), &headers), Key::of(&headers));
    async move {
        let Buyer(caller) = buyer?.sure(app).await?;
        let Key(key) = key?;
        let JsonBytes(asked) = JsonBytes::of(app, &headers, body).await?;
        headers.clear();
        held(app, caller, key, &asked, headers).await
    }
}

/// Holds what a body asks for. The answer has these headers and its own: who has a map to spare,
/// gives it.
pub(super) async fn held(
    app: &App,
    caller: Caller,
    key: Option<IdempotencyKey>,
    asked: &[u8],
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let Asked { event_id, wanted, customer, overrides } = Asked::of(asked)?;
    // A key never buys for itself.
    let customer = customer.or_else(|| caller.user_id().is_none().then_some(Customer::New));
    let facts =
        app.core.catalog.event(event_id).await?.ok_or(Refusal::NotFound { what: "event" })?;
    let deal = match &customer {
        None => own(app, &caller, &facts, &wanted, key.as_ref()).await?,
        Some(customer) => {
            // Boxed: else every hold would carry it along.
            Box::pin(sold(app, &caller, &facts, (&wanted, customer), key.as_ref())).await?
        }
    };
    let requests = wanted.requests(&facts, deal.visible, deal.made.as_ref())?;
    if deal.is_closed && deal.made.is_none() {
        return Err(Refusal::SaleNotOpen { sales_start: facts.of.event.terms.sales_start }.into());
    }
    let key = key.map(|key| {
        let digest = digest(event_id, &wanted, &requests);
        let digest = match &customer {
            None => digest,
            Some(customer) => fingerprint(&(digest, customer.canonical())),
        };
        let beyond: Vec<_> = overrides.iter().map(Override::as_str).collect();
        let digest = if beyond.is_empty() { digest } else { fingerprint(&(digest, beyond)) };
        (key, digest)
    });
    let booking_id =
        BookingId::new(app.core.store.now(), event_id.shard(), u64::from_le_bytes(random()));
    let (user_id, seller) = (deal.user_id, deal.seller);
    let hold = Hold { booking_id, user_id, seller, overrides, event_id, requests, key };
    let name = hold.key.as_ref().map(|(key, _)| key.clone());
    let lanes = &app.core.lanes;
    // Who sells to others keeps nothing for themselves.
    let taken = if hold.seller.is_none() && deal.made.is_none() {
        Taken::of(app, &caller, &hold, &facts).await?
    } else {
        None
    };
    let decided = app.in_flight.run("hold", caller.id(), name.as_ref(), || {
        lanes.submit(event_id.shard(), Command::Hold(hold))
    });
    let decided = decided.await.unwrap_or_else(|refusal| Err(refusal.into()));
    if let Some(taken) = taken {
        taken.settle(&decided);
    }
    let (outcome, now) = decided.map_err(|error| wanted.failed(&facts, error))?;
    let Outcome::Booking { booking, replayed, next_to_each_other } = outcome else {
        return Err(no_booking());
    };
    let token = if deal.has_token { Some(app.booking_tokens.of(&booking)?) } else { None };
    let beyond = Beyond { next_to_each_other, token: token.as_deref() };
    let write = |out: &mut Vec<u8>| write_booking(out, &booking, now, beyond);
    let mut answer = json_with(headers, StatusCode::CREATED, write);
    answer.headers_mut().insert(header::LOCATION, location(booking.booking_id));
    if replayed {
        answer.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(answer)
}

/// The seats that a request takes off sale, as they count against the limit of its buyer, and those that
/// it gives back.
pub(super) struct Taken<'a> {
    app: &'a App,
    caller: &'a Caller,
    more: u32,
    fewer: u32,
}

impl<'a> Taken<'a> {
    /// Counts those of a hold. None are counted beyond the limit where the key has made its hold already
    /// (I6).
    async fn of(
        app: &'a App,
        caller: &'a Caller,
        hold: &Hold,
        facts: &Facts,
    ) -> Result<Option<Self>, Problem> {
        let more = seats_of(&hold.requests);
        if is_never_allowed(app, facts, more) {
            return Ok(None);
        }
        let Err(refused) = app.limits.hold(caller, more, app.core.store.now()) else {
            return Ok(Some(Self { app, caller, more, fewer: 0 }));
        };
        let key = hold.key.as_ref().map(|(key, _)| key);
        match Box::pin(committed(app, caller.id(), key)).await? {
            Some(_) => Ok(None),
            None => Err(refused),
        }
    }

    /// Counts those that a hold is to have beyond what it has.
    pub(super) fn beyond(
        app: &'a App,
        caller: &'a Caller,
        requests: &[SeatRequest],
        (before, facts): (&Booking, &Facts),
    ) -> Result<Option<Self>, Problem> {
        let (wanted, had) = (seats_of(requests), before.seats());
        if is_never_allowed(app, facts, wanted) {
            return Ok(None);
        }
        let (more, fewer) = (wanted.saturating_sub(had), had.saturating_sub(wanted));
        if more > 0 {
            app.limits.hold(caller, more, app.core.store.now())?;
        }
        Ok(Some(Self { app, caller, more, fewer }))
    }

    /// Gives back what is certain not to have been taken, or to be on sale again.
    pub(super) fn settle(self, decided: &Result<(Outcome, Timestamp), Error>) {
        let free = match decided {
            _ if made_nothing(decided) => self.more,
            Ok(_) => self.fewer,
            Err(_) => 0,
        };
        if free > 0 {
            self.app.limits.give_back(self.caller, free, self.app.core.store.now());
        }
    }
}

/// Whether this number of seats is refused for good: then waiting would not help.
fn is_never_allowed(app: &App, facts: &Facts, seats: u32) -> bool {
    let most = facts.of.event.terms.max_seats_per_booking;
    seats > most.unwrap_or(app.core.config.max_seats_per_booking)
}

fn seats_of(requests: &[SeatRequest]) -> u32 {
    requests.iter().map(SeatRequest::seats).sum()
}

/// Whether it is certain that this request has changed nothing.
fn made_nothing(decided: &Result<(Outcome, Timestamp), Error>) -> bool {
    match decided {
        Ok((Outcome::Booking { replayed, .. }, _)) => *replayed,
        Ok(_) | Err(Error::Refused(_)) => true,
        Err(Error::Failed(fault)) => {
            matches!(fault, Fault::Overloaded { .. } | Fault::Contradiction { .. })
        }
    }
}

/// Who buys and who sells, and what is known before it is decided.
struct Deal {
    /// The buyer.
    user_id: UserId,
    /// Who sells; `None`: the buyer is the caller.
    seller: Option<By>,
    /// Whether the event exists for the caller.
    visible: bool,
    /// Whether the event is a draft, of which the caller sees that it is not open.
    is_closed: bool,
    /// The booking that the caller's key has made, where it was looked for.
    made: Option<Booking>,
    /// Whether the answer shows the booking token.
    has_token: bool,
}

/// The caller buys.
async fn own(
    app: &App,
    caller: &Caller,
    facts: &Facts,
    wanted: &Wanted<'_>,
    key: Option<&IdempotencyKey>,
) -> Result<Deal, Problem> {
    let user_id = caller.id();
    // The contents of a draft are not revealed to users who cannot see it, not even by the gate.
    let visible = is_shown(app, facts, caller).await?;
    // Since a key made its hold, the event may be hidden and the section renamed (I6).
    let terms = &facts.of.event.terms;
    // To the decision a member is a buyer, for whom a draft does not exist.
    let is_closed = visible && !terms.is_public() && terms.organizer_id.owner() != Some(user_id);
    let made = if visible && !is_closed && wanted.is_known(facts) {
        None
    } else {
        Box::pin(committed(app, user_id, key)).await?
    };
    let has_token = caller.is_visitor();
    Ok(Deal { user_id, seller: None, visible, is_closed, made, has_token })
}

/// The caller sells to somebody else, with `booking.sell`.
///
/// Whether the caller may is decided again with the hold (I13), after the key, which may have made it (I6).
/// It is asked here first, so that nobody else learns which users there are.
async fn sold(
    app: &App,
    caller: &Caller,
    facts: &Facts,
    (wanted, customer): (&Wanted<'_>, &Customer),
    key: Option<&IdempotencyKey>,
) -> Result<Deal, Problem> {
    if caller.is_visitor() {
        return Err(Problem::account_required());
    }
    let seller_id = caller.id();
    let (lately, by) = acting_lately(app, facts.of.event.terms.event_id, caller).await?;
    let terms = &lately.of.event.terms;
    let allowed = may(by, Permission::BookingSell, terms);
    // Who may sell there hears that the sale is not open.
    let visible = is_visible(Some(by), terms) || allowed.is_ok();
    let made = if allowed.is_ok() && visible && wanted.is_known(facts) {
        None
    } else {
        committed(app, seller_id, key).await?
    };
    if made.is_none() {
        allowed?;
    }
    let user_id = match customer {
        Customer::Known(reference) => UserId::of_customer(terms.organizer_id, reference),
        Customer::New => new_visitor(app.core.store.now()),
        Customer::User(user_id) => {
            if made.is_none() && app.core.store.user(*user_id).await?.is_none() {
                return Err(Problem::invalid_field("buyer.user_id", "must be the id of a user"));
            }
            *user_id
        }
    };
    // Who sells to themselves buys.
    let seller = Some(by).filter(|by| !by.is(user_id));
    let has_token = !matches!(customer, Customer::User(_));
    Ok(Deal { user_id, seller, visible, is_closed: false, made, has_token })
}

/// Whether an event exists for a user. Nothing is looked up for one that is public.
async fn is_shown(app: &App, facts: &Facts, caller: &Caller) -> Result<bool, Problem> {
    let terms = &facts.of.event.terms;
    if terms.is_public() {
        return Ok(true);
    }
    let (facts, by) = Box::pin(acting_lately(app, terms.event_id, caller)).await?;
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

/// What a body asks for.
struct Asked<'a> {
    event_id: EventId,
    wanted: Wanted<'a>,
    /// The buyer, if not the caller.
    customer: Option<Customer>,
    /// The limits of the event to go beyond.
    overrides: Overrides,
}

impl<'a> Asked<'a> {
    fn of(body: &'a [u8]) -> Result<Self, Problem> {
        let mut new: NewHold<'a> = validated(body)?;
        let customer = new.buyer.take().map(NewBuyer::customer).transpose()?;
        let overrides = new.overrides()?;
        let event_id = id(&new.event_id, "event")?;
        Ok(Self { event_id, wanted: new.wanted()?, customer, overrides })
    }
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
