//! Repair: what the counters and the marks of a section must be, by its bookings and its log.
//!
//! Bookings and log are what happened; counters, marks, taken seats and the index of expiry are made of
//! them, and can be made again. Where bookings and log contradict themselves or each other nobody can
//! say what happened, so nothing is repaired.

use crate::booking::{Booking, BookingStatus};
use crate::decide::ExpiryEntry;
use crate::ids::BookingId;
use crate::inventory::Inventory;
use crate::seats::{Layout, Marks, SeatMap, SeatName, SeatState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Maximum number of differences that are listed.
const TOLD_MAX: usize = 20;

/// Everything that is stored of a section.
#[derive(Debug)]
pub struct Records {
    /// Its counters.
    pub inventory: Inventory,
    /// The sum of its log; `version` counts the rows.
    pub folded: Inventory,
    /// Its live bookings.
    pub bookings: Vec<Booking>,
    /// Its part of the index of expiry.
    pub holds: Vec<ExpiryEntry>,
    /// Its numbered seats, where it has some.
    pub seats: Option<SeatRecords>,
}

/// What is stored of the numbered seats of a section.
#[derive(Debug)]
pub struct SeatRecords {
    /// Its layout, with the number under which it is stored.
    pub layout: (i64, Arc<Layout>),
    /// Its marks; `None` where they are missing or unreadable.
    pub marks: Option<Marks>,
    /// Who has which seat; no booking: it is blocked.
    pub taken: Vec<(SeatName, Option<BookingId>)>,
}

/// What has to be written. What is right already is written again, and changes nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Repair {
    /// The counters.
    pub inventory: Inventory,
    /// The index of expiry, whole.
    pub holds: Vec<ExpiryEntry>,
    /// The seat map, and who has which seat, whole.
    pub seats: Option<(SeatMap, BTreeMap<SeatName, Option<BookingId>>)>,
    /// What was wrong, in words; empty where nothing was.
    pub told: Vec<String>,
}

impl Records {
    /// What has to be written so that everything agrees with the bookings and the log; else how these
    /// contradict themselves or each other.
    pub fn repair(&self) -> Result<Repair, Vec<String>> {
        let mut contradictions = Vec::new();
        let (held, sold) =
            (self.seats_of(BookingStatus::Hold), self.seats_of(BookingStatus::Confirmed));
        if (held, sold) != (self.folded.held, self.folded.sold) {
            contradictions.push(format!(
                "live bookings have {held} held and {sold} sold seats, but the log has {} and {}",
                self.folded.held, self.folded.sold
            ));
        }
        if !self.folded.within_capacity() {
            contradictions.push(format!("the log is out of bounds: {:?}", self.folded));
        }
        let seats = self.seats.as_ref().map(|seats| self.map(seats, &mut contradictions));
        if !contradictions.is_empty() {
            return Err(contradictions);
        }
        let mut holds: Vec<ExpiryEntry> =
            self.bookings.iter().filter_map(|of| self.entry(of)).collect();
        holds.sort_unstable();
        let next_expiry = holds.iter().map(|held| held.expires_at).min();
        let inventory = Inventory { next_expiry, ..self.folded.clone() };
        let mut repair = Repair { inventory, holds, seats: seats.flatten(), told: Vec::new() };
        repair.told = self.differences(&repair);
        Ok(repair)
    }

    fn seats_of(&self, status: BookingStatus) -> i64 {
        let of_status = self.bookings.iter().filter(|booking| booking.status == status);
        let here = of_status.flat_map(Booking::sections);
        here.filter(|(section_id, _)| *section_id == self.inventory.section_id)
            .map(|(_, seats)| i64::from(seats))
            .sum()
    }

    fn entry(&self, booking: &Booking) -> Option<ExpiryEntry> {
        let section_id = self.inventory.section_id;
        let (_, seats) = booking.sections().find(|(of, _)| *of == section_id)?;
        let (expires_at, booking_id) = (booking.expires_at, booking.booking_id);
        let is_held = booking.status == BookingStatus::Hold;
        is_held.then_some(ExpiryEntry { section_id, expires_at, booking_id, seats })
    }

    /// The map that the bookings and the blocked seats make.
    fn map(
        &self,
        seats: &SeatRecords,
        contradictions: &mut Vec<String>,
    ) -> Option<(SeatMap, BTreeMap<SeatName, Option<BookingId>>)> {
        let (layout_version, layout) = &seats.layout;
        if i64::from(layout.seats()) != self.folded.capacity {
            contradictions.push(format!(
                "the layout has {} seats, but the log has a capacity of {}",
                layout.seats(),
                self.folded.capacity
            ));
        }
        let mut has: BTreeMap<SeatName, (Option<BookingId>, SeatState)> = BTreeMap::new();
        let before = contradictions.len();
        for booking in &self.bookings {
            let state = match booking.status {
                BookingStatus::Confirmed => SeatState::Sold,
                _ => SeatState::Held,
            };
            let here = booking.seat_names().filter(|(of, _)| *of == self.inventory.section_id);
            for (_, name) in here {
                let id = booking.booking_id;
                if layout.find(name).is_none() {
                    contradictions
                        .push(format!("seat {name} of booking {id} is not in the layout"));
                } else if let Some((Some(other), _)) = has.insert(name.clone(), (Some(id), state)) {
                    contradictions.push(format!("seat {name} is in the bookings {other} and {id}"));
                }
            }
        }
        // The rows say which seats are blocked; where they do not add up, the marks may.
        let free = |name: &SeatName| layout.find(name).is_some() && !has.contains_key(name);
        let noted = seats.taken.iter().filter(|(_, by)| by.is_none());
        let noted: BTreeSet<SeatName> =
            noted.map(|(name, _)| name.clone()).filter(|name| free(name)).collect();
        let marked = seats.marks.iter().filter(|marks| marks.seats() == layout.seats());
        let marked = marked.flat_map(Marks::iter).filter(|(_, state)| *state == SeatState::Blocked);
        let marked: BTreeSet<SeatName> = marked
            .map(|(seat, _)| SeatName::from(layout.name(seat).to_string()))
            .filter(|name| free(name))
            .collect();
        let counted = usize::try_from(self.folded.blocked).unwrap_or(usize::MAX);
        let blocked = [noted, marked].into_iter().find(|blocked| blocked.len() == counted);
        let Some(blocked) = blocked else {
            contradictions.push(format!(
                "the log has {counted} blocked seats, but neither the rows nor the seat states \
                 have that number"
            ));
            return None;
        };
        if contradictions.len() > before {
            return None;
        }
        has.extend(blocked.into_iter().map(|name| (name, (None, SeatState::Blocked))));
        let states = has.iter().map(|(name, (_, state))| (name.clone(), *state));
        let map = SeatMap::of(layout.clone(), (*layout_version, self.folded.version), states)?;
        Some((map, has.into_iter().map(|(name, (by, _))| (name, by)).collect()))
    }

    fn differences(&self, repair: &Repair) -> Vec<String> {
        let mut told = Vec::new();
        let counters = |of: &Inventory| {
            [
                ("capacity", of.capacity),
                ("held", of.held),
                ("sold", of.sold),
                ("blocked", of.blocked),
                ("version", of.version),
            ]
        };
        for ((name, was), (_, is)) in
            counters(&self.inventory).into_iter().zip(counters(&repair.inventory))
        {
            if was != is {
                told.push(format!("{name} changes from {was} to {is}"));
            }
        }
        if self.inventory.next_expiry != repair.inventory.next_expiry {
            told.push("the end of the next hold changes".to_owned());
        }
        let mut holds = self.holds.clone();
        holds.sort_unstable();
        if holds != repair.holds {
            let (was, is) = (holds.len(), repair.holds.len());
            told.push(format!("the expiry index changes from {was} holds to the {is} live ones"));
        }
        if let (Some(seats), Some((map, taken))) = (&self.seats, &repair.seats) {
            told.extend(marks_differ(seats, map));
            let stored: BTreeMap<_, _> = seats.taken.iter().cloned().collect();
            if stored != *taken {
                let (was, is) = (stored.len(), taken.len());
                told.push(format!("the rows of taken seats change from {was} to {is}"));
            }
        }
        told
    }
}

fn marks_differ(seats: &SeatRecords, map: &SeatMap) -> Vec<String> {
    let layout = map.layout();
    let Some(marks) = seats.marks.as_ref().filter(|marks| marks.seats() == layout.seats()) else {
        return vec!["there were no seat states for this layout".to_owned()];
    };
    let word = |state: Option<SeatState>| state.map_or("free", SeatState::as_str);
    let all = (0..layout.seats()).map(|seat| (seat, marks.state(seat), map.state(seat)));
    let wrong: Vec<_> = all.filter(|(_, was, is)| was != is).collect();
    let mut told: Vec<_> = wrong
        .iter()
        .take(TOLD_MAX)
        .map(|(seat, was, is)| {
            format!("seat {} changes from {} to {}", layout.name(*seat), word(*was), word(*is))
        })
        .collect();
    if wrong.len() > TOLD_MAX {
        told.push(format!("and {} more seats", wrong.len() - TOLD_MAX));
    }
    if wrong.is_empty() && marks.layout_version != seats.layout.0 {
        told.push("the seat states belonged to another layout".to_owned());
    }
    told
}

#[cfg(test)]
mod tests;
