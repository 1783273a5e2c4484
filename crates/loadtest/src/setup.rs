//! The events of a run, and their seats before and after.

use crate::api::Api;
use crate::hall::{Drawing, Hall};
use crate::plan::{Plan, Venue};
use crate::progress::Progress;
use crate::stage::{Cast, SEATS_AT_ONCE_MAX, Section, Stage};
use crate::target::API;
use crate::trouble::Trouble;
use futures_util::future::join_all;
use hyper::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Calls that are made at the same time.
const AT_ONCE: usize = 32;

/// Sections of all events of a run, at most: a client of a few hundred megabytes.
const SECTIONS_MAX: usize = 1_000_000;

/// Seats in all halls of a run, at most.
const HALL_SEATS_MAX: u64 = 10_000_000;

/// Closing events is a courtesy, and takes no longer than this.
const CLOSING_MAX: Duration = Duration::from_mins(1);

/// Seats of one row of a hall, with an aisle in the middle.
const SEATS_PER_ROW: u64 = 40;

/// The highest cap of a buyer that the API allows.
const SEATS_PER_USER: u64 = 1_000_000_000;

/// Seats of one section as the API reports them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seats {
    /// All.
    pub capacity: u64,
    /// Free.
    pub available: u64,
    /// Held, visible to the organizer only.
    pub held: Option<u64>,
    /// Sold, visible to the organizer only.
    pub sold: Option<u64>,
}

/// The events of a run: new ones, or the one that was asked for.
pub async fn stage(
    cast: &Arc<Cast>,
    plan: &Plan,
    venue: Venue,
    run: u64,
    progress: &Progress,
) -> Result<Stage, Trouble> {
    let mut stage = match plan.place.event {
        Some(event_id) => found(cast, plan, run, event_id).await?,
        None => made(cast, plan, venue, run, progress).await?,
    };
    if plan.halls.is_some() {
        draw(&mut stage, plan.load.connections, progress).await?;
    }
    stage.leave_at = plan.halls.map_or(1, |halls| halls.leave_at);
    stage.spread(plan.spread.zipf, plan.spread.sections);
    Ok(stage)
}

async fn found(cast: &Arc<Cast>, plan: &Plan, run: u64, event_id: Uuid) -> Result<Stage, Trouble> {
    let mut api = Api::new(&cast.target);
    let path = format!("/events/{event_id}");
    let event = api.get(&path, None).await?.want(200, "reading the event")?;
    let mut sections = sections(&event, 0)?;
    if plan.halls.is_some() {
        let told = event.get("sections").and_then(Value::as_array).into_iter().flatten();
        let mut is_hall = told.map(|it| it.get("numbered") == Some(&Value::Bool(true)));
        sections.retain(|_| is_hall.next().unwrap_or(false));
        if sections.is_empty() {
            return Err(Trouble::new("the event has no section with numbered seats"));
        }
    }
    let all = availability(&mut api, cast, event_id).await?;
    for section in &mut sections {
        let seats = all.get(&section.id).ok_or_else(|| missing(&section.id))?;
        section.capacity = seats.capacity;
        section.sold_before = seats.sold;
        section.held_before = seats.held;
    }
    let ttl = event.get("hold_ttl_seconds").and_then(Value::as_u64);
    let mut stage = Stage::new(cast, run, vec![event_id], sections);
    stage.is_ours = false;
    stage.hold_ttl = Duration::from_secs(ttl.unwrap_or(0));
    Ok(stage)
}

async fn made(
    cast: &Arc<Cast>,
    plan: &Plan,
    venue: Venue,
    run: u64,
    progress: &Progress,
) -> Result<Stage, Trouble> {
    let halls = plan.halls.is_some();
    let compared = plan.halls.is_some_and(|halls| halls.compared);
    let count = plan.spread.events + usize::from(compared);
    if count * venue.sections > SECTIONS_MAX {
        let more = count * venue.sections;
        return Err(Trouble::new(format!("{more} sections exceed the maximum of {SECTIONS_MAX}")));
    }
    if halls && plan.spread.events as u64 * venue.seats > HALL_SEATS_MAX {
        return Err(Trouble::new(format!(
            "the halls exceed the maximum of {HALL_SEATS_MAX} seats"
        )));
    }
    let events = at_once(cast, count, "creating events", progress, async |api, number| {
        let is_hall = halls && number < plan.spread.events;
        let venue = if halls && !is_hall { Venue::ENDLESS } else { venue };
        let title = format!("Load {} {:016x} run {}", plan.name, cast.session, run + 1);
        let title = if count > 1 { format!("{title} event {}", number + 1) } else { title };
        create(api, cast, &title, venue, is_hall).await
    })
    .await?;
    let mut all = Vec::with_capacity(events.len() * venue.sections);
    let mut ids = Vec::with_capacity(events.len());
    for (number, (id, event)) in (0..).zip(events) {
        ids.push(id);
        all.extend(sections(&event, number)?);
    }
    let mut stage = Stage::new(cast, run, ids, all);
    stage.hold_ttl = Duration::from_secs(venue.hold_ttl_seconds.into());
    stage.beside = compared.then(|| u32::try_from(plan.spread.events).unwrap_or(0));
    Ok(stage)
}

async fn create(
    api: &mut Api,
    cast: &Cast,
    title: &str,
    venue: Venue,
    is_hall: bool,
) -> Result<(Uuid, Value), Trouble> {
    let named = |number| {
        let mut section = json!({ "name": format!("Section {number}") });
        if is_hall {
            section["layout"] = layout(venue.seats);
        } else {
            section["capacity"] = venue.seats.into();
        }
        section
    };
    let sections: Vec<Value> = (1..=venue.sections).map(named).collect();
    let event = json!({
        "title": title,
        "description": "Created by reservix-load.",
        "event_date": "2099-12-31",
        "hold_ttl_seconds": venue.hold_ttl_seconds,
        "max_seats_per_booking": SEATS_AT_ONCE_MAX,
        // A cap that the server has for all events is not to end the sale early.
        "max_seats_per_user": SEATS_PER_USER,
        "sections": sections,
    });
    let reply = api.post("/events", cast.organizer.as_ref(), Some(&event)).await?;
    let event = reply.want(201, "creating an event")?;
    let id = event.get("event_id").and_then(Value::as_str).unwrap_or_default();
    let id =
        id.parse().map_err(|_| Trouble::new("creating an event: the answer has no event_id"))?;
    Ok((id, event))
}

/// A hall of at least this number of seats: rows of forty, shorter ones in a smaller hall.
fn layout(seats: u64) -> Value {
    let per_row = seats.min(SEATS_PER_ROW);
    let rows = seats.div_ceil(per_row);
    let aisles: Vec<u64> = (per_row > 1).then_some(per_row / 2).into_iter().collect();
    json!({ "rows": format!("1-{rows}"), "seats_per_row": per_row, "aisles_after": aisles })
}

/// Reads what the halls look like, as every buyer does who chooses a seat.
async fn draw(stage: &mut Stage, walkers: usize, progress: &Progress) -> Result<(), Trouble> {
    let halls: Vec<usize> = (0..stage.sections.len())
        .filter(|it| stage.beside.is_none_or(|not| not as usize != *it))
        .collect();
    let known: Mutex<Vec<Arc<Drawing>>> = Mutex::default();
    let drawn =
        at_once(&stage.cast, halls.len(), "drawing halls", progress, async |api, number| {
            let section = &stage.sections[halls[number]];
            let drawing = drawing(api, stage.events[section.event as usize], &section.id).await?;
            let mut known = known.lock();
            if let Some(same) = known.iter().find(|it| it.is_like(&drawing)) {
                return Ok(Arc::clone(same));
            }
            let new = Arc::new(drawing);
            known.push(Arc::clone(&new));
            Ok(new)
        })
        .await?;
    for (place, drawing) in halls.into_iter().zip(drawn) {
        let section = &mut stage.sections[place];
        if u64::from(drawing.seats()) != section.capacity {
            let (seats, capacity) = (drawing.seats(), section.capacity);
            return Err(Trouble::new(format!(
                "a hall of {capacity} seats has {seats} in its drawing"
            )));
        }
        section.hall = Some(Arc::new(Hall::new(drawing, walkers)));
    }
    let beside = stage.beside;
    let hold_ttl = stage.hold_ttl;
    let is_ours = stage.is_ours;
    let (events, sections) = (stage.events.clone(), stage.sections.clone());
    *stage = Stage::new(&Arc::clone(&stage.cast), stage.run, events, sections);
    (stage.beside, stage.hold_ttl, stage.is_ours) = (beside, hold_ttl, is_ours);
    Ok(())
}

async fn drawing(api: &mut Api, event: Uuid, section: &str) -> Result<Drawing, Trouble> {
    let path = format!("/events/{event}/sections/{section}/seats");
    api.get(&path, None).await?.want(200, "reading the drawing of a hall")?;
    Drawing::read(api.body())
}

/// Does `work` for each of `count` numbers, several at a time, until one of them fails.
pub async fn at_once<T>(
    cast: &Cast,
    count: usize,
    doing: &'static str,
    progress: &Progress,
    work: impl AsyncFn(&mut Api, usize) -> Result<T, Trouble>,
) -> Result<Vec<T>, Trouble> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results: Mutex<Vec<(usize, Result<T, Trouble>)>> = Mutex::default();
    join_all((0..AT_ONCE.min(count)).map(async |_| {
        let mut api = Api::new(&cast.target);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            let result = work(&mut api, number).await;
            if result.is_err() {
                next.store(count, Ordering::Relaxed);
            }
            results.lock().push((number, result));
            progress.of(doing, done.fetch_add(1, Ordering::Relaxed) + 1, count);
        }
    }))
    .await;
    let mut results = results.into_inner();
    results.sort_unstable_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Ends the sale of events that were made for a run. What fails is left as it is.
pub async fn close(cast: &Cast, events: &[Uuid], progress: &Progress) {
    let started = Instant::now();
    let closed = json!({ "status": "closed" });
    let _ = at_once(cast, events.len(), "closing events", progress, async |api, number| {
        if started.elapsed() < CLOSING_MAX {
            let path = format!("{API}/events/{}", events[number]);
            let call = api.call(Method::PATCH, &path, cast.organizer.as_ref(), Some(&closed));
            let _ = call.await;
        }
        Ok(())
    })
    .await;
}

/// The seats of all sections of an event, by their ids.
pub async fn availability(
    api: &mut Api,
    cast: &Cast,
    event_id: Uuid,
) -> Result<HashMap<String, Seats>, Trouble> {
    let path = format!("/events/{event_id}/availability");
    let reply = api.get(&path, cast.organizer.as_ref()).await?;
    let told = reply.want(200, "reading the availability")?;
    let sections = told.get("sections").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let number = |section: &Value, name| section.get(name).and_then(Value::as_u64);
    let seats = sections.iter().map(|section| {
        let id = section.get("section_id").and_then(Value::as_str).unwrap_or_default();
        let seats = Seats {
            capacity: number(section, "capacity").ok_or_else(|| missing(id))?,
            available: number(section, "available_seats").ok_or_else(|| missing(id))?,
            held: number(section, "held_seats"),
            sold: number(section, "sold_seats"),
        };
        Ok((id.to_owned(), seats))
    });
    seats.collect()
}

/// The answer has no seats of a section.
pub fn missing(section: &str) -> Trouble {
    Trouble::because("reading the availability", format!("no seats of section {section}"))
}

fn sections(event: &Value, number: u32) -> Result<Vec<Section>, Trouble> {
    let sections = event.get("sections").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let section = |section: &Value| {
        Some(Section {
            event: number,
            id: section.get("section_id").and_then(Value::as_str)?.to_owned(),
            capacity: section.get("capacity").and_then(Value::as_u64)?,
            sold_before: Some(0),
            held_before: Some(0),
            hall: None,
        })
    };
    let sections: Vec<Section> = sections.iter().filter_map(section).collect();
    if sections.is_empty() {
        return Err(Trouble::new("the event has no sections"));
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hall_has_at_least_the_seats_that_were_asked_for() {
        let of = |seats| layout(seats).to_string();
        assert_eq!(of(20_000), r#"{"aisles_after":[20],"rows":"1-500","seats_per_row":40}"#);
        assert_eq!(of(41), r#"{"aisles_after":[20],"rows":"1-2","seats_per_row":40}"#);
        assert_eq!(of(1), r#"{"aisles_after":[],"rows":"1-1","seats_per_row":1}"#);
    }
}
