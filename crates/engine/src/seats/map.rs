//! The seat map a batch decides on: a layout, and who may still have which of its seats.
//!
//! A seat goes from free to held to sold, or is blocked, and back to free; any other step is
//! refused whole (I3). Beside the states it keeps what a quick choice needs ([`Seating`]), so a
//! lane that decides batch after batch keeps it, and lets it [`follow`](SeatMap::follow) what
//! others committed.

use super::change::{Harm, harmed};
use super::marks::{Marks, SeatState, state};
use super::{Conflicts, Layout, SeatIndex, SeatName, Seating, Taken};
use std::sync::Arc;

/// The layout of a section with the states of its seats. See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatMap {
    layout_version: i64,
    seating: Seating,
    sold: Taken,
    blocked: Taken,
}

impl SeatMap {
    /// Puts a layout and its marks together; `None` unless they have equally many seats.
    #[must_use]
    pub fn new(layout: Arc<Layout>, marks: Marks) -> Option<Self> {
        let Marks { layout_version, taken, sold, blocked } = marks;
        Some(Self { layout_version, seating: Seating::new(layout, taken)?, sold, blocked })
    }

    /// A layout whose seats are all free, at this version of the inventory.
    #[must_use]
    pub fn empty(layout: Arc<Layout>, (layout_version, version): (i64, i64)) -> Self {
        let none = Marks::none(layout.seats(), layout_version, version);
        Self::new(layout, none).expect("marks for these seats")
    }

    /// The map of a section at this version of its inventory in which these seats are taken: what its
    /// bookings and its blocked seats say. `None` when the layout does not have one of them, or when one
    /// is named twice.
    #[must_use]
    pub fn of(
        layout: Arc<Layout>,
        versions: (i64, i64),
        taken: impl IntoIterator<Item = (SeatName, SeatState)>,
    ) -> Option<Self> {
        let mut map = Self::empty(layout, versions);
        for (name, state) in taken {
            let seat = [map.layout().find(&name)?];
            match state {
                SeatState::Blocked => map.block(&seat).ok()?,
                SeatState::Held => map.hold(&seat).ok()?,
                SeatState::Sold => {
                    map.hold(&seat).ok()?;
                    map.sell(&seat);
                }
            }
        }
        Some(map)
    }

    /// How many seats are taken, sold and blocked.
    #[must_use]
    pub fn counts(&self) -> (u32, u32, u32) {
        (self.seating.taken().count(), self.sold.count(), self.blocked.count())
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        self.seating.layout_arc()
    }

    /// The layout's number, as it is stored: its [`Layout::id`], or an older count of versions.
    #[must_use]
    pub fn layout_version(&self) -> i64 {
        self.layout_version
    }

    /// The layout and its taken seats, for a choice.
    #[must_use]
    pub fn seating(&self) -> &Seating {
        &self.seating
    }

    /// The inventory's version at which a seat was last taken or released.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.seating.taken().version()
    }

    /// Why `seat` is not free; `None` when it is.
    #[must_use]
    pub fn state(&self, seat: SeatIndex) -> Option<SeatState> {
        state(self.seating.taken(), &self.sold, &self.blocked, seat)
    }

    /// Whether each seat is in the same state as in another map of the same layout, at whatever version
    /// one of them last changed.
    #[must_use]
    pub fn has_states_of(&self, other: &Self) -> bool {
        self.layout_version == other.layout_version
            && self.seating.taken().has_seats_of(other.seating.taken())
            && self.sold.has_seats_of(&other.sold)
            && self.blocked.has_seats_of(&other.blocked)
    }

    /// The states of all seats.
    #[must_use]
    pub fn marks(&self) -> Marks {
        Marks {
            layout_version: self.layout_version,
            taken: self.seating.taken().clone(),
            sold: self.sold.clone(),
            blocked: self.blocked.clone(),
        }
    }

    /// The blocked seats, in order.
    pub fn blocked(&self) -> impl Iterator<Item = SeatIndex> {
        self.blocked.iter()
    }

    /// The seats with these names, which it has.
    ///
    /// # Panics
    /// When there is no such seat: a live booking's seats can not vanish from a layout.
    #[must_use]
    pub fn find_all(&self, names: &[SeatName]) -> Vec<SeatIndex> {
        let find =
            |name: &SeatName| self.layout().find(name).expect("a live seat is in the layout");
        names.iter().map(find).collect()
    }

    /// Holds free seats, all or none (I3).
    pub fn hold(&mut self, seats: &[SeatIndex]) -> Result<(), Conflicts> {
        self.seating.take(seats)
    }

    /// Sells seats that are held.
    ///
    /// # Panics
    /// When one is sold already or not taken: the caller decided wrongly, and nothing may be written.
    pub fn sell(&mut self, seats: &[SeatIndex]) {
        let held = seats.iter().all(|seat| self.state(*seat) == Some(SeatState::Held));
        assert!(held, "I3 forbids to sell a seat that is not held");
        self.sold.take(seats).expect("held seats are not sold");
    }

    /// Releases seats that are held or sold.
    ///
    /// # Panics
    /// When one is free or blocked.
    pub fn free(&mut self, seats: &[SeatIndex]) {
        let sold = |seat: &SeatIndex| self.sold.has(*seat);
        let sold: Vec<SeatIndex> = seats.iter().copied().filter(sold).collect();
        assert!(seats.iter().all(|seat| !self.blocked.has(*seat)), "blocked seats are nobody's");
        self.sold.release(&sold).expect("they are sold");
        self.seating.release(seats).expect("I3: only taken seats are given back");
    }

    /// Keeps free seats off sale, all or none.
    pub fn block(&mut self, seats: &[SeatIndex]) -> Result<(), Conflicts> {
        self.seating.take(seats)?;
        self.blocked.take(seats).expect("free seats are not blocked");
        Ok(())
    }

    /// Puts blocked seats on sale again.
    ///
    /// # Panics
    /// When one is not blocked.
    pub fn unblock(&mut self, seats: &[SeatIndex]) {
        self.blocked.release(seats).expect("they are blocked");
        self.seating.release(seats).expect("blocked seats are taken");
    }

    /// Says at which version of the inventory seats were last taken or released.
    pub fn stamp(&mut self, version: i64) {
        self.seating.stamp(version);
        self.sold.stamp(version);
        self.blocked.stamp(version);
    }

    /// Takes over the states that somebody else committed. Whether it could: else they are of another
    /// layout, and nothing changed.
    #[must_use]
    pub fn follow(&mut self, marks: Marks) -> bool {
        if marks.layout_version != self.layout_version || !self.seating.follow(&marks.taken) {
            return false;
        }
        (self.sold, self.blocked) = (marks.sold, marks.blocked);
        true
    }

    /// The same seats, by their names, in another layout; else the taken seats, as seats of this one,
    /// that it would move or remove.
    pub fn laid(
        &self,
        layout: Arc<Layout>,
        versions: (i64, i64),
    ) -> Result<Self, Vec<(SeatIndex, Harm)>> {
        let harmed = harmed(self.layout(), &layout, self.seating.taken());
        if !harmed.is_empty() {
            return Err(harmed);
        }
        let mut laid = Self::empty(layout, versions);
        let name = |seat| (self.layout().row(seat), self.layout().number(seat));
        let there = |new: &Self, seat| {
            let (row, number) = name(seat);
            new.layout().find_in(row, number).expect("no seat was removed")
        };
        for seat in self.seating.taken().iter() {
            let new = there(&laid, seat);
            match self.state(seat) {
                Some(SeatState::Blocked) => laid.block(&[new]).expect("it is free"),
                Some(state) => {
                    laid.hold(&[new]).expect("it is free");
                    if state == SeatState::Sold {
                        laid.sell(&[new]);
                    }
                }
                None => {}
            }
        }
        Ok(laid)
    }
}
