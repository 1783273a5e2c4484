//! The event of a run, and its seats before and after.

use crate::api::Api;
use crate::plan::{Plan, Venue};
use crate::stage::{Cast, SEATS_AT_ONCE_MAX, Section, Stage};
use crate::trouble::Trouble;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// Seats of one section as the API tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seats {
    /// All.
    pub capacity: u64,
    /// Free.
    pub available: u64,
    /// Held, told to the organizer only.
    pub held: Option<u64>,
    /// Sold, told to the organizer only.
    pub sold: Option<u64>,
}

/// An event for a run: a new one, or the one that was asked for.
pub async fn stage(
    cast: &Arc<Cast>,
    plan: &Plan,
    venue: Venue,
    run: u64,
) -> Result<Stage, Trouble> {
    let mut api = Api::new(&cast.target);
    let (event_id, is_ours) = match plan.place.event {
        Some(event_id) => (event_id, false),
        None => (create(&mut api, cast, plan.name, venue, run).await?, true),
    };
    let path = format!("/events/{event_id}");
    let event = api.get(&path, None).await?.want(200, "reading the event")?;
    let ids = sections(&event)?;
    let seats = availability(&mut api, cast, event_id).await?;
    let sections = ids.into_iter().zip(seats).map(|(id, seats)| Section {
        id,
        capacity: seats.capacity,
        sold_before: seats.sold,
        held_before: seats.held,
    });
    let ttl = event.get("hold_ttl_seconds").and_then(Value::as_u64);
    let mut stage = Stage::new(cast, run, event_id, sections.collect());
    stage.is_ours = is_ours;
    stage.holds_last = ttl.is_some_and(|ttl| ttl >= crate::plan::HOLD_TTL_SECONDS_MAX.into());
    Ok(stage)
}

async fn create(
    api: &mut Api,
    cast: &Cast,
    scenario: &str,
    venue: Venue,
    run: u64,
) -> Result<Uuid, Trouble> {
    let named = |number| json!({ "name": format!("Section {number}"), "capacity": venue.seats });
    let sections: Vec<Value> = (1..=venue.sections).map(named).collect();
    let event = json!({
        "title": format!("Load {scenario} {:016x} run {}", cast.session, run + 1),
        "description": "Made by reservix-load.",
        "event_date": "2099-12-31",
        "hold_ttl_seconds": venue.hold_ttl_seconds,
        "max_seats_per_booking": SEATS_AT_ONCE_MAX,
        "sections": sections,
    });
    let reply = api.post("/events", cast.organizer.as_ref(), Some(&event)).await?;
    let event = reply.want(201, "creating an event")?;
    let id = event.get("event_id").and_then(Value::as_str).unwrap_or_default();
    id.parse().map_err(|_| Trouble::new("creating an event: the answer has no event_id"))
}

/// Ends the sale of an event that was made for a run. What fails is left as it is.
pub async fn close(cast: &Cast, event_id: Uuid) {
    let mut api = Api::new(&cast.target);
    let path = format!("{}/events/{event_id}", crate::target::API);
    let closed = json!({ "status": "closed" });
    let _ = api.call(hyper::Method::PATCH, &path, cast.organizer.as_ref(), Some(&closed)).await;
}

/// The seats of all sections, in the order of the event.
pub async fn availability(
    api: &mut Api,
    cast: &Cast,
    event_id: Uuid,
) -> Result<Vec<Seats>, Trouble> {
    let path = format!("/events/{event_id}/availability");
    let reply = api.get(&path, cast.organizer.as_ref()).await?;
    let told = reply.want(200, "reading the availability")?;
    let sections = told.get("sections").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let number = |section: &Value, name| section.get(name).and_then(Value::as_u64);
    let seats = sections.iter().map(|section| {
        let missing = || Trouble::new("reading the availability: a section without its seats");
        Ok(Seats {
            capacity: number(section, "capacity").ok_or_else(missing)?,
            available: number(section, "available_seats").ok_or_else(missing)?,
            held: number(section, "held_seats"),
            sold: number(section, "sold_seats"),
        })
    });
    seats.collect()
}

fn sections(event: &Value) -> Result<Vec<String>, Trouble> {
    let sections = event.get("sections").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let id = |section: &Value| section.get("section_id").and_then(Value::as_str).map(str::to_owned);
    let ids: Vec<String> = sections.iter().filter_map(id).collect();
    if ids.is_empty() {
        return Err(Trouble::new("the event has no sections"));
    }
    Ok(ids)
}
