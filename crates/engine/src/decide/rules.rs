//! The rules: what each command may do, and why it may not.

use super::ledger::{Ledger, held_back};
use super::{Actor, Ask, Hold, Outcome};
use crate::booking::{Booking, BookingStatus, Item};
use crate::error::Refusal;
use crate::event::EventStatus;
use crate::ids::{BookingId, SectionId, UserId};
use crate::inventory::Inventory;
use crate::log::{Deltas, LogKind};
use std::collections::BTreeMap;

impl Ledger {
    /// Holds seats for a buyer until the hold's time is over.
    ///
    /// A booking that is there already was committed by an earlier attempt at the same batch (I12), and
    /// a key that is committed is replayed before anything else is asked (I6). Then the first refusal
    /// wins: not found, those of [`Terms::may_sell`], [`Refusal::TooManySeats`],
    /// [`Refusal::BuyerLimit`], [`Refusal::SoldOut`].
    pub(super) fn hold(&mut self, hold: &Hold) -> Result<Outcome, Refusal> {
        if self.rows.bookings.contains_key(&hold.booking_id) {
            return Ok(self.shown(hold.booking_id));
        }
        if let Some(replay) = self.replay(hold)? {
            return Ok(replay);
        }
        let demand = summed(&hold.asks);
        let terms = self
            .rows
            .terms
            .get(&hold.event_id)
            .filter(|terms| terms.visible_to(Some(hold.user_id)));
        let terms = terms.ok_or(Refusal::NotFound { what: "event" })?;
        for section_id in demand.keys() {
            let found = self.rows.sections.get(section_id);
            let found = found.filter(|(section, _)| section.event_id == hold.event_id);
            found.ok_or(Refusal::NotFound { what: "section" })?;
        }
        terms.may_sell(self.now)?;
        let seats: i64 = demand.values().sum();
        let limit = terms.max_seats_per_booking.unwrap_or(self.policy.max_seats_per_booking);
        if seats > i64::from(limit) {
            return Err(Refusal::TooManySeats { limit });
        }
        let cap = terms.max_seats_per_user.or(self.policy.max_seats_per_user);
        let buyer = (hold.event_id, hold.user_id);
        if let Some(limit) = cap {
            let remaining = i64::from(limit) - self.rows.buyers.get(&buyer).copied().unwrap_or(0);
            if seats > remaining {
                return Err(Refusal::BuyerLimit { limit, remaining: remaining.max(0) });
            }
        }
        for (section_id, requested) in &demand {
            let available = self.rows.sections[section_id].1.available();
            if available < *requested {
                return Err(Refusal::SoldOut { available, requested: *requested });
            }
        }

        // After this point it must succeed.
        let ttl_ms = terms.hold_ttl_ms.unwrap_or(self.policy.hold_ttl_ms);
        let expires_at = self.now.plus_ms(ttl_ms);
        let booking = Booking {
            booking_id: hold.booking_id,
            user_id: hold.user_id,
            event_id: hold.event_id,
            items: demand
                .iter()
                .map(|(section_id, seats)| self.item(*section_id, *seats))
                .collect(),
            status: BookingStatus::Hold,
            expires_at,
            max_expires_at: self.now.plus_ms(self.policy.hold_max_life_ms.max(ttl_ms)),
            confirmed_at: None,
            cancelled_at: None,
            created_at: self.now,
            updated_at: self.now,
            version: 1,
        };
        self.record(&booking, LogKind::Held, Some(expires_at), |seats| Deltas {
            held: seats,
            ..Deltas::default()
        });
        if cap.is_some() {
            *self.rows.buyers.entry(buyer).or_default() += seats;
        }
        self.create(booking.clone(), hold.key.clone());
        Ok(Outcome::Booking { booking, replayed: false })
    }

    /// The hold that an earlier request with the same key made, with its present status (I6).
    fn replay(&self, hold: &Hold) -> Result<Option<Outcome>, Refusal> {
        let Some((key, fingerprint)) = &hold.key else { return Ok(None) };
        let Some(used) = self.rows.keys.get(&(hold.user_id, key.clone())) else { return Ok(None) };
        used.matches(*fingerprint)?;
        let booking =
            self.rows.bookings.get(&used.booking_id).expect("a key is loaded with its booking");
        Ok(Some(Outcome::Booking { booking: booking.clone(), replayed: true }))
    }

    fn item(&self, section_id: SectionId, seats: i64) -> Item {
        let (section, _) = &self.rows.sections[&section_id];
        Item {
            section_id,
            section_name: section.name.clone(),
            seats: u32::try_from(seats).expect("within the limit of a booking"),
            numbers: Vec::new(),
            unit_price: section.price,
        }
    }

    /// Sells what is held (I5): never at or after `expires_at`, never refused for lack of seats before.
    ///
    /// The first refusal wins: not found, [`Refusal::EventCancelled`], [`Refusal::BookingCancelled`],
    /// [`Refusal::HoldExpired`]. Confirming again gives the same booking.
    pub(super) fn confirm(
        &mut self,
        booking_id: BookingId,
        user_id: UserId,
    ) -> Result<Outcome, Refusal> {
        let booking = self.owned(booking_id, user_id)?;
        if booking.status == BookingStatus::Confirmed {
            return Ok(self.shown(booking_id));
        }
        self.still_held(booking)?;
        self.end(booking_id, BookingStatus::Confirmed, LogKind::Confirmed, |seats| Deltas {
            held: -seats,
            sold: seats,
            ..Deltas::default()
        });
        Ok(self.shown(booking_id))
    }

    /// Gives a live hold back. Again: the same booking.
    ///
    /// The first refusal wins: not found, [`Refusal::NotCancellable`] (a sale, or an expired hold).
    pub(super) fn release(
        &mut self,
        booking_id: BookingId,
        user_id: UserId,
    ) -> Result<Outcome, Refusal> {
        match self.owned(booking_id, user_id)?.status_at(self.now) {
            BookingStatus::Cancelled => {}
            BookingStatus::Hold => self.give_back(booking_id),
            BookingStatus::Confirmed | BookingStatus::Expired => {
                return Err(Refusal::NotCancellable);
            }
        }
        Ok(self.shown(booking_id))
    }

    /// Gives a live hold more time: `min(now + ttl, max_expires_at)`, and only if that is a gain.
    ///
    /// The first refusal wins: not found, [`Refusal::EventCancelled`], [`Refusal::BookingCancelled`],
    /// [`Refusal::ExtensionLimit`] (also for a sale), [`Refusal::HoldExpired`].
    pub(super) fn extend(
        &mut self,
        booking_id: BookingId,
        user_id: UserId,
    ) -> Result<Outcome, Refusal> {
        let booking = self.owned(booking_id, user_id)?;
        if booking.status == BookingStatus::Confirmed {
            return Err(Refusal::ExtensionLimit);
        }
        self.still_held(booking)?;
        let terms = &self.rows.terms[&booking.event_id];
        let ttl_ms = terms.hold_ttl_ms.unwrap_or(self.policy.hold_ttl_ms);
        let expires_at = self.now.plus_ms(ttl_ms).min(booking.max_expires_at);
        if expires_at <= booking.expires_at {
            return Err(Refusal::ExtensionLimit);
        }
        let mut booking = booking.clone();
        booking.expires_at = expires_at;
        booking.touch(self.now);
        self.record(&booking, LogKind::Extended, Some(expires_at), |_| Deltas::default());
        self.put(booking);
        Ok(self.shown(booking_id))
    }

    /// Gives a live hold back, or undoes a sale. Again: the same booking.
    ///
    /// The first refusal wins: not found, [`Refusal::NotCancellable`]. A hold may always be
    /// cancelled; a sale by its buyer until `cancellable_until`, by the organizer always.
    pub(super) fn cancel(&mut self, booking_id: BookingId, by: Actor) -> Result<Outcome, Refusal> {
        const MISSING: Refusal = Refusal::NotFound { what: "booking" };
        let booking = self.rows.bookings.get(&booking_id).ok_or(MISSING)?;
        let terms = &self.rows.terms[&booking.event_id];
        let undo_always = match by {
            Actor::System => true,
            Actor::User(user_id) if user_id == terms.organizer_id => true,
            Actor::User(user_id) if user_id == booking.user_id => false,
            Actor::User(_) => return Err(MISSING),
        };
        match booking.status_at(self.now) {
            BookingStatus::Cancelled => {}
            BookingStatus::Expired => return Err(Refusal::NotCancellable),
            BookingStatus::Hold => self.give_back(booking_id),
            BookingStatus::Confirmed => {
                let in_time = terms.cancellable_until.is_some_and(|until| self.now < until);
                if !undo_always && !in_time {
                    return Err(Refusal::NotCancellable);
                }
                self.end(booking_id, BookingStatus::Cancelled, LogKind::Cancelled, |seats| {
                    Deltas { sold: -seats, ..Deltas::default() }
                });
            }
        }
        Ok(self.shown(booking_id))
    }

    /// Sets the capacity of a section.
    ///
    /// The first refusal wins: those of [`Self::organized`], [`Refusal::CapacityInUse`].
    pub(super) fn resize(
        &mut self,
        section_id: SectionId,
        by: UserId,
        capacity: i64,
    ) -> Result<Outcome, Refusal> {
        let inventory = self.organized(section_id, by)?;
        if capacity < inventory.in_use() {
            return Err(Refusal::CapacityInUse { minimum: inventory.in_use() });
        }
        let deltas = Deltas { capacity: capacity - inventory.capacity, ..Deltas::default() };
        Ok(self.adjust(section_id, LogKind::Resized, deltas))
    }

    /// Sets how many seats of a section are kept off sale.
    ///
    /// The first refusal wins: those of [`Self::organized`], [`Refusal::SoldOut`].
    pub(super) fn block(
        &mut self,
        section_id: SectionId,
        by: UserId,
        blocked: i64,
    ) -> Result<Outcome, Refusal> {
        let inventory = self.organized(section_id, by)?;
        let requested = blocked - inventory.blocked;
        if requested > inventory.available() {
            return Err(Refusal::SoldOut { available: inventory.available(), requested });
        }
        Ok(self.adjust(
            section_id,
            LogKind::Blocked,
            Deltas { blocked: requested, ..Deltas::default() },
        ))
    }

    /// The inventory of a section, for its organizer: not found, then [`Refusal::NotOrganizer`].
    fn organized(&self, section_id: SectionId, by: UserId) -> Result<&Inventory, Refusal> {
        const MISSING: Refusal = Refusal::NotFound { what: "section" };
        let (section, inventory) = self.rows.sections.get(&section_id).ok_or(MISSING)?;
        let terms = &self.rows.terms[&section.event_id];
        if !terms.visible_to(Some(by)) {
            return Err(MISSING);
        }
        if terms.organizer_id == by { Ok(inventory) } else { Err(Refusal::NotOrganizer) }
    }

    fn give_back(&mut self, booking_id: BookingId) {
        self.end(booking_id, BookingStatus::Cancelled, LogKind::Released, held_back);
    }

    fn owned(&self, booking_id: BookingId, user_id: UserId) -> Result<&Booking, Refusal> {
        let booking =
            self.rows.bookings.get(&booking_id).filter(|booking| booking.user_id == user_id);
        booking.ok_or(Refusal::NotFound { what: "booking" })
    }

    fn shown(&self, booking_id: BookingId) -> Outcome {
        Outcome::Booking { booking: self.rows.bookings[&booking_id].clone(), replayed: false }
    }

    /// Whether a booking that is no sale is a live hold: [`Refusal::EventCancelled`],
    /// [`Refusal::BookingCancelled`], [`Refusal::HoldExpired`].
    fn still_held(&self, booking: &Booking) -> Result<(), Refusal> {
        if self.rows.terms[&booking.event_id].status == EventStatus::Cancelled {
            return Err(Refusal::EventCancelled);
        }
        match booking.status_at(self.now) {
            BookingStatus::Cancelled => Err(Refusal::BookingCancelled),
            BookingStatus::Expired => Err(Refusal::HoldExpired { expired_at: booking.expires_at }),
            BookingStatus::Hold | BookingStatus::Confirmed => Ok(()),
        }
    }
}

/// The seats asked for in each section: two asks for one section must pass together, not each alone.
fn summed(asks: &[Ask]) -> BTreeMap<SectionId, i64> {
    let mut demand = BTreeMap::new();
    for ask in asks {
        assert!(ask.seats > 0, "a request without seats is refused before it becomes a command");
        *demand.entry(ask.section_id).or_insert(0) += i64::from(ask.seats);
    }
    assert!(!demand.is_empty(), "a request without items is refused before it becomes a command");
    demand
}
