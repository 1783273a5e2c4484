//! Numbered seats: which booking had which of them when, and whether the marks say the same.

use crate::database::Database;
use engine::seats::{SeatName, SeatState};
use engine::{BookingId, BookingStatus, SectionId, Timestamp};
use std::collections::BTreeMap;

/// A seat by its section and its name.
type Seat = (SectionId, SeatName);

/// Until when a seat is taken; `None`: for good.
type Until = Option<Timestamp>;

/// Until when each numbered seat was taken, by the time from which on it was so.
#[derive(Default)]
pub struct SeatTimes {
    times: BTreeMap<Seat, Vec<(Timestamp, Option<Until>)>>,
    names: BTreeMap<SectionId, Vec<SeatName>>,
}

impl SeatTimes {
    /// Notes who has the seats of a section now.
    pub fn note(&mut self, database: &Database, section_id: SectionId) {
        let Some((layout, _)) = database.tables.layouts.get(&section_id) else { return };
        let names = self.names.entry(section_id).or_insert_with(|| {
            (0..layout.seats()).map(|seat| SeatName::from(layout.name(seat).to_string())).collect()
        });
        for name in names {
            let name = (section_id, name.clone());
            let by = database.tables.taken.get(&name);
            let state = by.map(|by| by.and_then(|by| until(database, by)));
            let times = self.times.entry(name).or_default();
            if times.last().is_none_or(|(_, last)| *last != state) {
                times.push((database.now, state));
            }
        }
    }

    /// The marks of a section say what its bookings say (I3).
    pub fn as_marked(&self, database: &Database, section_id: SectionId) -> Result<(), String> {
        let tables = &database.tables;
        if database.is_spoiled(section_id) {
            return Ok(());
        }
        let Some(map) = tables.map(section_id) else { return Ok(()) };
        for (seat, name) in (0..).zip(&self.names[&section_id]) {
            let by = tables.taken.get(&(section_id, name.clone()));
            let state = by.map(|by| match by {
                None => SeatState::Blocked,
                Some(id) if tables.bookings[id].status == BookingStatus::Hold => SeatState::Held,
                Some(_) => SeatState::Sold,
            });
            if map.state(seat) != state {
                let marked = map.state(seat);
                return Err(format!("I3: seat {name} is {state:?} and marked {marked:?}"));
            }
        }
        Ok(())
    }

    /// Whether a seat was taken at some time between these.
    pub fn was_taken(&self, seat: &Seat, from: Timestamp, to: Timestamp) -> bool {
        let Some(times) = self.times.get(seat) else { return false };
        let first = times.iter().rposition(|(at, _)| *at <= from).unwrap_or(0);
        times[first..].iter().any(|(at, state)| {
            *at <= to && state.is_some_and(|until| until.is_none_or(|until| until > from))
        })
    }
}

/// Until when a booking has its seats.
fn until(database: &Database, booking_id: BookingId) -> Until {
    let booking = &database.tables.bookings[&booking_id];
    (booking.status == BookingStatus::Hold).then_some(booking.expires_at)
}
