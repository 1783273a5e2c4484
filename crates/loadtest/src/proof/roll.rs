//! The organizer's list of bookings of a hall: the server's own account of who has which seat, whole, and
//! without a word of the buyers.

use super::Promise;
use super::check::Case;
use super::seats::{Owners, Wrongs};
use crate::api::Api;
use crate::trouble::Trouble;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Bookings requested per page; the maximum of the API.
const PAGE: usize = 100;

/// `GET /events/{id}/bookings`.
#[derive(Deserialize)]
struct Page {
    items: Vec<Booking>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Booking {
    #[serde(rename = "booking_id")]
    id: Uuid,
    status: String,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    section_id: String,
    #[serde(default)]
    seats: Vec<String>,
}

impl Case<'_> {
    /// Lists all bookings of a hall: none shares a seat with another, and together they are what the
    /// status `told`. Returns how many are live; nothing if there was no time to see all.
    pub(super) async fn roll(
        &self,
        api: &mut Api,
        owners: &Owners<'_>,
        told: &[Option<&'static str>],
        wrongs: &mut Wrongs,
        patience: Duration,
    ) -> Result<Option<u64>, Trouble> {
        let Some(organizer) = &self.stage.cast.organizer else { return Ok(None) };
        let Owners { section, hall, .. } = owners;
        let place = &self.stage.sections[*section as usize];
        let event = self.stage.events[place.event as usize];
        let (started, mut live) = (Instant::now(), 0);
        let mut holders: Vec<Option<Uuid>> = vec![None; told.len()];
        let mut after = String::new();
        loop {
            if started.elapsed() > patience {
                return Ok(None);
            }
            let mut path = format!("/events/{event}/bookings?limit={PAGE}");
            if !after.is_empty() {
                path = format!("{path}&after={after}");
            }
            let doing = "listing the bookings of a hall";
            api.get(&path, Some(organizer)).await?.want(200, doing)?;
            let page: Page = serde_json::from_slice(api.body())
                .map_err(|error| Trouble::because(doing, error))?;
            for booking in page.items {
                let Booking { id, status, items } = booking;
                let wanted = match status.as_str() {
                    "HOLD" => "held",
                    "CONFIRMED" => "sold",
                    _ => continue,
                };
                live += 1;
                let items = items.into_iter().filter(|item| item.section_id == place.id);
                for name in items.flat_map(|item| item.seats) {
                    let Some(seat) = hall.drawing.find(&name) else {
                        let what = format!("{id} has seat {name}, which is not in the drawing");
                        wrongs.add(Promise::StatusTrue, what);
                        continue;
                    };
                    if let Some(other) = holders[seat as usize].replace(id) {
                        let what = format!("seat {name} is in the live bookings {other} and {id}");
                        wrongs.add(Promise::SeatOnce, what);
                    }
                    if told[seat as usize] != Some(wanted) {
                        let told = told[seat as usize].unwrap_or("free");
                        let what =
                            format!("seat {name}, {wanted} by {id}, has the public status {told}");
                        wrongs.add(Promise::StatusTrue, what);
                    }
                }
            }
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        for ((seat, told), holder) in (0..).zip(told).zip(holders) {
            if matches!(told, Some("held" | "sold")) && holder.is_none() {
                let (name, told) = (hall.drawing.name(seat), told.unwrap_or_default());
                let what =
                    format!("seat {name} of {} is {told}, but in no booking", self.name(*section));
                wrongs.add(Promise::StatusTrue, what);
            }
        }
        Ok(Some(live))
    }
}
