//! The rules: what each command may do, and why it may not.

use super::ledger::{BookingStep, Ledger, SectionStep, held_back};
use super::seats::{Own, name};
use super::{Blocked, Hold, Outcome, SeatRequest};
use crate::access::{By, Override, Overrides, Permission, is_visible, may, may_for_buyer};
use crate::booking::{Booking, BookingStatus};
use crate::error::Refusal;
use crate::event::{EventStatus, Terms};
use crate::ids::{BookingId, EventId, SectionId, UserId};
use crate::inventory::Inventory;
use crate::log::{Deltas, LogKind};
use crate::seats::{Layout, SeatMap, SeatName, Spelled};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

impl Ledger {
    /// Holds seats for a buyer until the hold's time is over. A seller needs `booking.sell`; the limits
    /// are those of the buyer.
    ///
    /// A booking that is there already was committed by an earlier attempt at the same batch (I12), and
    /// a key that is committed is replayed before anything else is asked (I6). Then the first refusal
    /// wins: those of [`Self::may_hold`], then those of [`Self::place`].
    pub(super) fn hold(&mut self, hold: &Hold) -> Result<Outcome, Refusal> {
        if let Some(booking) = self.rows.bookings.get(&hold.booking_id).cloned() {
            let next_to_each_other = self.next_to_each_other(&hold.requests, &booking);
            return Ok(Outcome::Booking { booking, replayed: false, next_to_each_other });
        }
        if let Some(replay) = self.replay(hold)? {
            return Ok(replay);
        }
        let buyer = (hold.by(), hold.user_id);
        let wanted = (&hold.requests[..], hold.overrides);
        let (terms, cap) = self.may_hold(buyer, hold.event_id, wanted, 0)?;
        let hold_ttl_ms = terms.hold_ttl_ms;
        let prevent_orphans = terms.prevent_orphans && !hold.overrides.has(Override::Orphans);
        let placed = self.place(&hold.requests, &Own::default(), prevent_orphans)?;

        // After this point it must succeed.
        let ttl_ms = hold_ttl_ms.unwrap_or(self.policy.hold_ttl_ms);
        let booking = Booking::held(
            hold.booking_id,
            (hold.user_id, hold.event_id),
            self.items(&placed, &Own::default()),
            self.now,
            (ttl_ms, self.policy.hold_max_life_ms.max(ttl_ms)),
        );
        let ends = Some(booking.expires_at);
        let (actor, overrides) = (hold.by().unless_buyer(hold.user_id), hold.overrides);
        let step = BookingStep { kind: LogKind::Held, actor, overrides };
        self.record(&booking, step, ends, |seats| Deltas { held: seats, ..Deltas::default() });
        self.pass_on(&booking, BookingStatus::Hold);
        if cap.is_some() {
            let buyer = (hold.event_id, hold.user_id);
            *self.rows.buyers.entry(buyer).or_default() += i64::from(booking.seats());
        }
        self.create(booking.clone(), hold);
        let next_to_each_other = self.next_to_each_other(&hold.requests, &booking);
        Ok(Outcome::Booking { booking, replayed: false, next_to_each_other })
    }

    /// Checks that `by` may hold this number of seats in these sections for a buyer, in place of the `own`
    /// seats that the booking already has; returns the event's terms and the cap of the buyer.
    ///
    /// A cap refuses only what exceeds it further. It may have been lowered since a booking was made:
    /// what is above it then may stay, or become less. What is sold beyond it counts, too.
    ///
    /// The first refusal wins: not found, those of [`may`] for a seller and for who goes beyond limits,
    /// those of [`Terms::may_sell`], [`Refusal::TooManySeats`], [`Refusal::BuyerLimit`].
    fn may_hold(
        &self,
        (by, user_id): (By, UserId),
        event_id: EventId,
        (requests, overrides): (&[SeatRequest], Overrides),
        own: u32,
    ) -> Result<(&Terms, Option<u32>), Refusal> {
        const MISSING: Refusal = Refusal::NotFound { what: "event" };
        assert!(!requests.is_empty(), "a request without items is refused before it is a command");
        let terms = self.rows.terms.get(&event_id).ok_or(MISSING)?;
        if !by.is(user_id) {
            may(by, Permission::BookingSell, terms)?;
        } else if !is_visible(Some(by), terms) {
            return Err(MISSING);
        }
        if !overrides.is_empty() {
            may(by, Permission::BookingOverride, terms)?;
        }
        for section_id in requests.iter().flat_map(SeatRequest::sections) {
            let found = self.rows.sections.get(section_id);
            let found = found.filter(|(section, _)| section.event_id == event_id);
            found.ok_or(Refusal::NotFound { what: "section" })?;
        }
        terms.may_sell(self.now, overrides)?;
        let seats: i64 = requests.iter().map(|ask| i64::from(ask.seats())).sum();
        let limit = terms.max_seats_per_booking.unwrap_or(self.policy.max_seats_per_booking);
        let rises = seats > i64::from(own);
        if rises && seats > i64::from(limit) {
            return Err(Refusal::TooManySeats { limit, current: own });
        }
        let cap = terms.cap_of_buyer(&self.policy);
        if let Some(limit) = cap.filter(|_| !overrides.has(Override::BuyerLimit)) {
            let live = self.rows.buyers.get(&(event_id, user_id)).copied().unwrap_or(0);
            let remaining = i64::from(limit) - live;
            if rises && seats - i64::from(own) > remaining {
                let remaining = remaining.max(0);
                return Err(Refusal::BuyerLimit { limit, current: live, remaining });
            }
        }
        Ok((terms, cap))
    }

    /// Replaces the seats of a live hold; on any refusal it keeps its seats. To give it those it
    /// has changes nothing.
    ///
    /// The first refusal wins: those of [`Self::owned`], [`Refusal::NotChangeable`],
    /// [`Refusal::EventCancelled`], [`Refusal::BookingCancelled`], [`Refusal::HoldExpired`],
    /// [`Refusal::VersionMismatch`], then those of a hold.
    pub(super) fn change(
        &mut self,
        booking_id: BookingId,
        by: By,
        (user_id, event_id): (UserId, EventId),
        expected: Option<i64>,
        (requests, overrides): (&[SeatRequest], Overrides),
    ) -> Result<Outcome, Refusal> {
        let before = self.owned(booking_id, by)?.clone();
        if (before.user_id, before.event_id) != (user_id, event_id) {
            return Err(Refusal::NotFound { what: "booking" });
        }
        if before.status == BookingStatus::Confirmed {
            return Err(Refusal::NotChangeable);
        }
        self.still_held(&before)?;
        if expected.is_some_and(|version| version != before.version) {
            return Err(Refusal::VersionMismatch { version: before.version });
        }
        let wanted = (requests, overrides);
        let (terms, cap) = self.may_hold((by, user_id), event_id, wanted, before.seats())?;
        let prevent_orphans = terms.prevent_orphans && !overrides.has(Override::Orphans);
        let own = Own::of(&before);
        let kept = self.numbered(&before);
        self.unplace(&kept);
        let placed = self.place(requests, &own, prevent_orphans);
        let placed = placed.inspect_err(|_| {
            for (section_id, seats) in &kept {
                self.map_mut(*section_id).hold(seats).expect("they were freed just now");
            }
        })?;

        // After this point it must succeed.
        let mut after = before.clone();
        after.items = self.items(&placed, &own).into();
        if after.items == before.items {
            let next_to_each_other = self.next_to_each_other(requests, &before);
            return Ok(Outcome::Booking { booking: before, replayed: true, next_to_each_other });
        }
        after.touch(self.now);
        let had: BTreeMap<_, _> = before.sections().collect();
        let has: BTreeMap<_, _> = after.sections().collect();
        let sections: BTreeSet<_> = had.keys().chain(has.keys()).copied().collect();
        let deltas = |section_id| {
            let seats =
                |of: &BTreeMap<_, u32>| i64::from(of.get(&section_id).copied().unwrap_or(0));
            (section_id, Deltas { held: seats(&has) - seats(&had), ..Deltas::default() })
        };
        let step =
            BookingStep { kind: LogKind::Changed, actor: by.unless_buyer(user_id), overrides };
        let ends = Some(after.expires_at);
        let before_items = Some(before.items.clone());
        self.record_in(&after, step, ends, sections.into_iter().map(deltas), before_items);
        let numbers = |of: &Booking| -> BTreeSet<(SectionId, SeatName)> {
            of.seat_names().map(|(section_id, number)| (section_id, number.clone())).collect()
        };
        let (had, has) = (numbers(&before), numbers(&after));
        for (section_id, number) in had.difference(&has) {
            self.note_seat(*section_id, number.clone(), None);
        }
        for (section_id, number) in has.difference(&had) {
            self.note_seat(*section_id, number.clone(), Some(Some(booking_id)));
        }
        if cap.is_some() {
            let live = self.rows.buyers.entry((event_id, user_id)).or_default();
            *live += i64::from(after.seats()) - i64::from(before.seats());
        }
        self.reseat(after.clone());
        let next_to_each_other = self.next_to_each_other(requests, &after);
        Ok(Outcome::Booking { booking: after, replayed: false, next_to_each_other })
    }

    /// The hold that an earlier request with the same key made, with its present status (I6).
    fn replay(&self, hold: &Hold) -> Result<Option<Outcome>, Refusal> {
        let Some((key, fingerprint)) = &hold.key else { return Ok(None) };
        let Some(used) = self.rows.keys.get(&(hold.caller(), key.clone())) else { return Ok(None) };
        used.matches(*fingerprint)?;
        let booking =
            self.rows.bookings.get(&used.booking_id).expect("a key is loaded with its booking");
        let next_to_each_other = self.next_to_each_other(&hold.requests, booking);
        Ok(Some(Outcome::Booking { booking: booking.clone(), replayed: true, next_to_each_other }))
    }

    /// Sells what is held (I5): never at or after `expires_at`, never refused for lack of seats before.
    ///
    /// The first refusal wins: those of [`Self::owned`], [`Refusal::EventCancelled`],
    /// [`Refusal::BookingCancelled`], [`Refusal::HoldExpired`]. Confirming again returns the same booking.
    pub(super) fn confirm(&mut self, booking_id: BookingId, by: By) -> Result<Outcome, Refusal> {
        let booking = self.owned(booking_id, by)?;
        if booking.status == BookingStatus::Confirmed {
            return Ok(self.unchanged(booking_id));
        }
        self.still_held(booking)?;
        let step = BookingStep::new(LogKind::Confirmed, by.unless_buyer(booking.user_id));
        self.end(booking_id, BookingStatus::Confirmed, step, |seats| Deltas {
            held: -seats,
            sold: seats,
            ..Deltas::default()
        });
        Ok(self.shown(booking_id))
    }

    /// Releases a live hold. Repeating it returns the same booking.
    ///
    /// The first refusal wins: those of [`Self::owned`], [`Refusal::NotCancellable`] (a sale, or an
    /// expired hold).
    pub(super) fn release(&mut self, booking_id: BookingId, by: By) -> Result<Outcome, Refusal> {
        match self.owned(booking_id, by)?.status_at(self.now) {
            BookingStatus::Cancelled => return Ok(self.unchanged(booking_id)),
            BookingStatus::Hold => self.give_back(booking_id, by),
            BookingStatus::Confirmed | BookingStatus::Expired => {
                return Err(Refusal::NotCancellable);
            }
        }
        Ok(self.shown(booking_id))
    }

    /// Extends a live hold to `min(now + ttl, max_expires_at)`. A hold that lasts as long already stays as
    /// it is.
    ///
    /// The first refusal wins: those of [`Self::owned`], [`Refusal::EventCancelled`],
    /// [`Refusal::BookingCancelled`], [`Refusal::ExtensionLimit`] (also for a sale),
    /// [`Refusal::HoldExpired`].
    pub(super) fn extend(&mut self, booking_id: BookingId, by: By) -> Result<Outcome, Refusal> {
        let booking = self.owned(booking_id, by)?;
        if booking.status == BookingStatus::Confirmed {
            return Err(Refusal::ExtensionLimit);
        }
        self.still_held(booking)?;
        let terms = &self.rows.terms[&booking.event_id];
        let ttl_ms = terms.hold_ttl_ms.unwrap_or(self.policy.hold_ttl_ms);
        let expires_at = self.now.plus_ms(ttl_ms).min(booking.max_expires_at);
        if booking.expires_at >= booking.max_expires_at {
            return Err(Refusal::ExtensionLimit);
        }
        if expires_at <= booking.expires_at {
            // It has the time that was asked for.
            return Ok(self.unchanged(booking_id));
        }
        let mut booking = booking.clone();
        booking.expires_at = expires_at;
        booking.touch(self.now);
        let step = BookingStep::new(LogKind::Extended, by.unless_buyer(booking.user_id));
        self.record(&booking, step, Some(expires_at), |_| Deltas::default());
        self.put(booking);
        Ok(self.shown(booking_id))
    }

    /// Cancels a live hold or a confirmed booking. Repeating it returns the same booking.
    ///
    /// The first refusal wins: not found, [`Refusal::PermissionMissing`],
    /// [`Refusal::NotCancellable`]. A hold may always be cancelled by its buyer and by a seller; a sale by
    /// its buyer until `cancellable_until`, with `booking.cancel` always.
    pub(super) fn cancel(&mut self, booking_id: BookingId, by: By) -> Result<Outcome, Refusal> {
        const MISSING: Refusal = Refusal::NotFound { what: "booking" };
        let booking = self.rows.bookings.get(&booking_id).ok_or(MISSING)?;
        let terms = &self.rows.terms[&booking.event_id];
        let allowed = may(by, Permission::BookingCancel, terms);
        let status = booking.status_at(self.now);
        if !by.is(booking.user_id) {
            // Also of one that was given back already: repeating it is no other step (I12).
            let was_sold = booking.confirmed_at.is_some();
            if was_sold || may(by, Permission::BookingSell, terms).is_err() {
                allowed.clone()?;
            }
        }
        let (undo_always, buyer) = (allowed.is_ok(), booking.user_id);
        match status {
            BookingStatus::Cancelled => return Ok(self.unchanged(booking_id)),
            BookingStatus::Expired => return Err(Refusal::NotCancellable),
            BookingStatus::Hold => self.give_back(booking_id, by),
            BookingStatus::Confirmed => {
                let in_time = terms.cancellable_until.is_some_and(|until| self.now < until);
                if !undo_always && !in_time {
                    return Err(Refusal::NotCancellable);
                }
                let step = BookingStep::new(LogKind::Cancelled, by.unless_buyer(buyer));
                self.end(booking_id, BookingStatus::Cancelled, step, |seats| Deltas {
                    sold: -seats,
                    ..Deltas::default()
                });
            }
        }
        Ok(self.shown(booking_id))
    }

    /// Sets the capacity of a section.
    ///
    /// The first refusal wins: those of [`Self::organized`], [`Refusal::SeatsAreNumbered`],
    /// [`Refusal::CapacityInUse`].
    pub(super) fn resize(
        &mut self,
        section_id: SectionId,
        by: By,
        capacity: i64,
    ) -> Result<Outcome, Refusal> {
        let inventory = self.organized(section_id, by, Permission::EventWrite)?;
        if self.rows.maps.contains_key(&section_id) {
            return Err(Refusal::SeatsAreNumbered);
        }
        if capacity < inventory.in_use() {
            return Err(Refusal::CapacityInUse { minimum: inventory.in_use() });
        }
        let deltas = Deltas { capacity: capacity - inventory.capacity, ..Deltas::default() };
        Ok(self.adjust(section_id, SectionStep::new(LogKind::Resized, by, deltas)))
    }

    /// Sets which seats of a section are kept off sale.
    ///
    /// The first refusal wins: those of [`Self::organized`], [`Refusal::SeatsAreNumbered`] for a
    /// count of them, [`Refusal::SoldOut`], [`Refusal::DuplicateSeat`],
    /// [`Refusal::SeatsUnavailable`].
    pub(super) fn block(
        &mut self,
        section_id: SectionId,
        by: By,
        blocked: &Blocked,
        reason: Option<Arc<str>>,
    ) -> Result<Outcome, Refusal> {
        let inventory = self.organized(section_id, by, Permission::InventoryWrite)?;
        let asked = match blocked {
            Blocked::Count(_) if self.rows.maps.contains_key(&section_id) => {
                return Err(Refusal::SeatsAreNumbered);
            }
            Blocked::Count(blocked) => {
                let (available, requested) = (inventory.available(), blocked - inventory.blocked);
                if requested > available {
                    return Err(Refusal::SoldOut { available, requested });
                }
                let deltas = Deltas { blocked: requested, ..Deltas::default() };
                let step = SectionStep::new(LogKind::Blocked, by, deltas);
                return Ok(self.adjust(section_id, SectionStep { reason, ..step }));
            }
            Blocked::Seats(asked) => asked,
        };
        let before: Vec<_> = match self.rows.maps.get(&section_id) {
            Some(map) => map.blocked().map(|seat| name(map.layout(), seat)).collect(),
            None => Vec::new(),
        };
        // By the names of the layout, however they were spelled.
        let names: Vec<SeatName> = match self.rows.maps.get(&section_id) {
            Some(map) => {
                let layout = map.layout();
                let its_name = |asked: &SeatName| match layout.find_spelled(asked) {
                    Some(Spelled { seat, is_its_name: false }) => name(layout, seat),
                    _ => asked.clone(),
                };
                asked.iter().map(its_name).collect()
            }
            None => asked.clone(),
        };
        let had: BTreeSet<&SeatName> = before.iter().collect();
        let wanted: BTreeSet<&SeatName> = names.iter().collect();
        if wanted.len() < names.len() {
            return Err(duplicate(section_id, asked, &names));
        }
        let further = wanted.difference(&had).copied().collect();
        let (further, _) = self.find(&BTreeMap::from([(section_id, further)]))?;
        let given_back: Vec<SeatName> =
            had.difference(&wanted).map(|seat| (*seat).clone()).collect();
        let further = &further[&section_id];
        if further.is_empty() && given_back.is_empty() {
            return Ok(self.counted(section_id));
        }

        // After this point it must succeed.
        let blocked = count(further.len()) - count(given_back.len());
        let deltas = Deltas { blocked, ..Deltas::default() };
        let map = self.map_mut(section_id);
        let free = map.find_all(&given_back);
        map.unblock(&free);
        map.block(further).expect("they were looked at");
        let layout = map.layout().clone();
        let further: Vec<_> = further.iter().map(|seat| name(&layout, *seat)).collect();
        for seat in &given_back {
            self.note_seat(section_id, seat.clone(), None);
        }
        for seat in &further {
            self.note_seat(section_id, seat.clone(), Some(None));
        }
        let step = SectionStep::new(LogKind::Blocked, by, deltas);
        let (blocked, unblocked) = (further, given_back);
        self.note_section(section_id, SectionStep { reason, blocked, unblocked, ..step });
        Ok(self.counted(section_id))
    }

    /// Sets or replaces the numbered seats of a section; its capacity becomes that of the layout.
    /// The layout it has already changes nothing: it was laid by an earlier attempt (I12).
    ///
    /// The first refusal wins: those of [`Self::organized`], [`Refusal::CapacityInUse`] where seats
    /// were counted and some are in use, [`Refusal::SeatsInUse`].
    pub(super) fn lay(
        &mut self,
        section_id: SectionId,
        by: By,
        layout: Arc<Layout>,
    ) -> Result<Outcome, Refusal> {
        let inventory = self.organized(section_id, by, Permission::EventWrite)?;
        let versions = (layout.id(), inventory.version + 1);
        let map = match self.rows.maps.get(&section_id) {
            Some(map) if **map.layout() == *layout => return Ok(self.counted(section_id)),
            Some(map) => map.laid(layout.clone(), versions).map_err(|harmed| {
                let named = |(seat, harm)| (name(map.layout(), seat), harm);
                Refusal::SeatsInUse { seats: harmed.into_iter().map(named).collect() }
            })?,
            None if inventory.in_use() > 0 => {
                return Err(Refusal::CapacityInUse { minimum: inventory.in_use() });
            }
            None => SeatMap::empty(layout.clone(), versions),
        };

        // After this point it must succeed.
        let capacity = i64::from(layout.seats()) - inventory.capacity;
        let deltas = Deltas { capacity, ..Deltas::default() };
        let (section, _) = self.rows.sections.get_mut(&section_id).expect("it was found");
        section.layout_version = Some(versions.0);
        section.price = layout.lowest_price();
        self.note_section(section_id, SectionStep::new(LogKind::LaidOut, by, deltas));
        self.rows.maps.insert(section_id, map);
        self.maps_changed.insert(section_id);
        self.laid.insert(section_id, layout);
        Ok(self.counted(section_id))
    }

    /// Notes that a section has another name or price, which are written already: the same rights as for
    /// [`Self::organized`].
    pub(super) fn note_change(
        &mut self,
        section_id: SectionId,
        by: By,
    ) -> Result<Outcome, Refusal> {
        self.organized(section_id, by, Permission::EventWrite)?;
        let step = SectionStep::new(LogKind::SectionChanged, by, Deltas::default());
        self.note_section(section_id, step);
        Ok(self.counted(section_id))
    }

    /// The inventory of a section, for who may do this at its event: not found, then those of [`may`].
    fn organized(
        &self,
        section_id: SectionId,
        by: By,
        what: Permission,
    ) -> Result<&Inventory, Refusal> {
        const MISSING: Refusal = Refusal::NotFound { what: "section" };
        let (section, inventory) = self.rows.sections.get(&section_id).ok_or(MISSING)?;
        match may(by, what, &self.rows.terms[&section.event_id]) {
            Ok(()) => Ok(inventory),
            // Of an event that is hidden, so is its section.
            Err(Refusal::NotFound { .. }) => Err(MISSING),
            Err(refusal) => Err(refusal),
        }
    }

    fn give_back(&mut self, booking_id: BookingId, by: By) {
        let actor = by.unless_buyer(self.rows.bookings[&booking_id].user_id);
        let step = BookingStep::new(LogKind::Released, actor);
        self.end(booking_id, BookingStatus::Cancelled, step, held_back);
    }

    /// A booking, for its buyer, for a seller, or for us: not found, those of [`may_for_buyer`].
    fn owned(&self, booking_id: BookingId, by: By) -> Result<&Booking, Refusal> {
        let booking = self.rows.bookings.get(&booking_id);
        let booking = booking.ok_or(Refusal::NotFound { what: "booking" })?;
        if !by.is(booking.user_id) {
            may_for_buyer(by, &self.rows.terms[&booking.event_id])?;
        }
        Ok(booking)
    }

    /// A booking that a command has changed.
    fn shown(&self, booking_id: BookingId) -> Outcome {
        let booking = self.rows.bookings[&booking_id].clone();
        Outcome::Booking { booking, replayed: false, next_to_each_other: None }
    }

    /// A booking that was already as a command wants it.
    fn unchanged(&self, booking_id: BookingId) -> Outcome {
        let booking = self.rows.bookings[&booking_id].clone();
        Outcome::Booking { booking, replayed: true, next_to_each_other: None }
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

/// Two of the seats that were asked for have the same name in the layout.
fn duplicate(section_id: SectionId, asked: &[SeatName], names: &[SeatName]) -> Refusal {
    let mut before = HashMap::with_capacity(names.len());
    let mut pairs = names.iter().zip(asked);
    let found = pairs.find_map(|(name, again)| Some((before.insert(name, again)?, again)));
    let (first, again) = found.expect("fewer names than seats that were asked for");
    Refusal::DuplicateSeat { section_id, first: first.clone(), again: again.clone() }
}

fn count(seats: usize) -> i64 {
    i64::try_from(seats).expect("no more than a section has")
}

#[cfg(test)]
mod tests;
