//! Whether the seat maps of a batch agree with its counters and its bookings (I3).
//!
//! Who has a numbered seat is written three times, always in one transaction, so the three agree
//! unless somebody has changed a database from outside, or a bug has. A decision on a map that is
//! wrong would refuse seats that are free and give away those that are not. So a store checks
//! before it decides, and rebuilds a map that contradicts the rest ([`SeatMap::of`]).

use super::LoadedRows;
use crate::booking::{Booking, BookingStatus};
use crate::ids::SectionId;
use crate::inventory::Inventory;
use crate::seats::{SeatMap, SeatName, SeatState};
use std::collections::BTreeSet;

impl LoadedRows {
    /// The sections whose map contradicts their counters, or a live booking of the batch.
    #[must_use]
    pub fn contradicted(&self) -> BTreeSet<SectionId> {
        let miscounted = self.maps.iter().filter(|(section_id, map)| {
            let loaded = self.sections.get(section_id);
            loaded.is_some_and(|(_, inventory)| !counts_agree(map, inventory))
        });
        let mut contradicted: BTreeSet<_> = miscounted.map(|(section_id, _)| *section_id).collect();
        for booking in self.bookings.values().filter(|booking| booking.status.is_live()) {
            for item in booking.items.iter().filter(|item| !item.seat_names.is_empty()) {
                let map = self.maps.get(&item.section_id);
                if map.is_some_and(|map| !has_seats(map, booking, &item.seat_names)) {
                    contradicted.insert(item.section_id);
                }
            }
        }
        contradicted
    }
}

/// Whether a map marks as many seats as its section counts, and is not of a later version.
fn counts_agree(map: &SeatMap, inventory: &Inventory) -> bool {
    let (taken, sold, blocked) = map.counts();
    let held = i64::from(taken) - i64::from(sold) - i64::from(blocked);
    (held, i64::from(sold), i64::from(blocked))
        == (inventory.held, inventory.sold, inventory.blocked)
        && i64::from(map.layout().seats()) == inventory.capacity
        && map.version() <= inventory.version
}

/// Whether the seats with these names are marked as those of a live booking.
fn has_seats(map: &SeatMap, booking: &Booking, names: &[SeatName]) -> bool {
    let state = match booking.status {
        BookingStatus::Confirmed => SeatState::Sold,
        _ => SeatState::Held,
    };
    let seat = |name: &SeatName| map.layout().find(name);
    names.iter().all(|name| seat(name).is_some_and(|seat| map.state(seat) == Some(state)))
}

#[cfg(test)]
mod tests;
