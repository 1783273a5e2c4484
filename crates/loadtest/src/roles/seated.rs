//! What buyers do in halls with numbered seats.

use crate::ledger::Fate;
use crate::wish::Wish;
use crate::worker::{Held, Worker};
use std::sync::Arc;
use tokio::time::Instant;

/// Why a run in halls ends that are full.
const NO_SEATS_LEFT: &str = "no seats left";

impl Worker {
    /// Holds the next few seats of its own part of a hall, or some where another one is choosing.
    pub(super) async fn choose(
        &mut self,
        keyed: bool,
        most: u8,
        collide: f64,
        due: Option<Instant>,
    ) {
        let stage = Arc::clone(&self.stage);
        let collides = crate::random::random::<f64>() < collide;
        let number = crate::random::random_of(1..=most);
        loop {
            // A rush is at one hall: its own part of it first, then those of the others, then the next.
            let (place, parts_done) = self.walked;
            let Some(section) = stage.halls.get(place).copied() else {
                return self.stop.set(NO_SEATS_LEFT);
            };
            let Some(hall) = stage.hall(section) else { return };
            if parts_done == hall.parts() || hall.is_walked() {
                self.walked = (place + 1, 0);
                continue;
            }
            let own = (self.id + parts_done) % hall.parts();
            let seats = if collides && hall.parts() > 1 {
                hall.near((own + crate::random::random_of(1..hall.parts())) % hall.parts(), number)
            } else {
                hall.next(own, number)
            };
            if seats.is_empty() {
                self.walked = (place, parts_done + 1);
                continue;
            }
            self.hold_in_hall(keyed, section, Wish::Named(seats), due).await;
            return;
        }
    }

    /// Holds the best seats of the hall that is open, for a party that may find room there.
    pub(super) async fn seat_party(
        &mut self,
        keyed: bool,
        most: u8,
        adjacent: f64,
        due: Option<Instant>,
    ) {
        let stage = Arc::clone(&self.stage);
        let Some((section, hall)) = stage.open_hall() else {
            return self.stop.set(NO_SEATS_LEFT);
        };
        let adjacent = crate::random::random::<f64>() < adjacent;
        let number = crate::random::random_of(1..=most.min(hall.room(adjacent)).max(1));
        let wish = Wish::Best { number, adjacent };
        if self.hold_in_hall(keyed, section, wish, due).await == Held::SoldOut {
            hall.refused(adjacent, number);
        }
    }

    /// Holds one seat without a number.
    pub(super) async fn hold_beside(&mut self, keyed: bool, due: Option<Instant>) {
        if let Some(section) = self.stage.beside {
            self.hold_in_hall(keyed, section, Wish::Any(1), due).await;
        }
    }

    async fn hold_in_hall(
        &mut self,
        keyed: bool,
        section: u32,
        wish: Wish,
        due: Option<Instant>,
    ) -> Held {
        let key = if keyed { self.new_key() } else { 0 };
        let held = self.hold(self.buyer, section, &wish, key, due).await;
        if let Held::Booked(entry) = held
            && entry.fate == Fate::Held
        {
            self.ledger.note(entry);
        }
        held
    }
}
