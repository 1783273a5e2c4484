//! What the model says of every answer, and of all that is stored.

use super::drive::Drive;
use super::model::{Deal, Expected, Owner, Seat, duplicate};
use crate::halls::{Taken, layout as layout_of};
use engine::decide::Needs;
use engine::{
    Blocked, Booking, BookingId, BookingStatus, Command, Committed, Outcome, Refusal, SeatRequest,
    SectionId, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

impl Drive<'_> {
    /// Compares what a batch was answered, and lets the model do the same.
    pub(super) fn compare(&mut self, commands: &[Command], committed: &Committed) {
        let now = self.clock.now();
        let touched = self.touched(commands);
        for expired in committed.bookings.iter().filter(|of| of.status == BookingStatus::Expired) {
            let deal = &self.model.deals[&expired.booking_id];
            assert!(deal.status == BookingStatus::Hold && deal.ends_at <= now, "{expired:?}");
            self.model.end(expired.booking_id, BookingStatus::Expired);
        }
        for deal in self.model.deals.values().filter(|deal| deal.status == BookingStatus::Hold) {
            let sections = deal.seats.keys().map(|(section_id, _)| *section_id);
            let counted = (deal.count > 0).then_some(self.model.counted.section_id);
            let here = sections.chain(counted).any(|section_id| touched.contains(&section_id));
            assert!(!here || deal.ends_at > now, "{deal:?} was not retired");
        }
        for (command, answer) in commands.iter().zip(&committed.answers) {
            self.told.push(format!("{command:?} -> {answer:?}"));
            self.follow(command, answer, now);
        }
    }

    /// The sections that a batch locks whatever it finds.
    fn touched(&self, commands: &[Command]) -> BTreeSet<SectionId> {
        let needs = Needs::of(commands);
        let deals = needs.bookings.iter().filter_map(|id| self.model.deals.get(id));
        let seats = deals.clone().flat_map(|deal| deal.seats.keys());
        let seats = seats.map(|(section_id, _)| *section_id);
        let counted = deals.filter(|deal| deal.count > 0);
        let counted = counted.map(|_| self.model.counted.section_id);
        needs.sections.iter().copied().chain(seats).chain(counted).collect()
    }

    fn follow(&mut self, command: &Command, answer: &Result<Outcome, Refusal>, now: Timestamp) {
        match command {
            Command::Hold(hold) => {
                let ends_at = now.plus_ms(600_000);
                let (status, seats) = (BookingStatus::Hold, BTreeMap::new());
                let deal = Deal { status, ends_at, version: 1, seats, count: 0 };
                self.follow_asks(&hold.requests, None, hold.booking_id, deal, answer);
            }
            Command::Change { booking_id, expected, requests, .. } => {
                let Some(deal) = self.model.deals.get(booking_id).cloned() else {
                    assert_eq!(*answer, Err(Refusal::NotFound { what: "booking" }));
                    return;
                };
                let refused = match deal.status {
                    BookingStatus::Confirmed => Some(Refusal::NotChangeable),
                    BookingStatus::Cancelled => Some(Refusal::BookingCancelled),
                    BookingStatus::Expired => {
                        Some(Refusal::HoldExpired { expired_at: deal.ends_at })
                    }
                    BookingStatus::Hold => expected
                        .filter(|expected| *expected != deal.version)
                        .map(|_| Refusal::VersionMismatch { version: deal.version }),
                };
                if let Some(refused) = refused {
                    assert_eq!(*answer, Err(refused), "{command:?}");
                    return;
                }
                let next = Deal { version: deal.version + 1, ..deal };
                self.follow_asks(requests, Some(*booking_id), *booking_id, next, answer);
            }
            Command::Block { section_id, blocked, .. } => {
                self.follow_block(*section_id, blocked, answer);
            }
            Command::Lay { section_id, layout, .. } => {
                let new = layout.draft();
                let harmed = self.model.harmed(*section_id, &new);
                if let Err(Refusal::SeatsInUse { seats }) = answer {
                    let told = seats.iter().map(|(seat, harm)| (seat.to_string(), harm.as_str()));
                    assert_eq!(told.collect::<Vec<_>>(), harmed);
                } else {
                    assert!(answer.is_ok() && harmed.is_empty(), "{harmed:?}: {answer:?}");
                    self.layouts.insert(*section_id, layout_of(&new));
                    self.model.drafts.insert(*section_id, new);
                }
            }
            Command::Note { .. } | Command::Retire { .. } => assert_eq!(*answer, Ok(Outcome::Done)),
            Command::Confirm { booking_id, .. } => {
                if answer.is_ok() {
                    self.step(*booking_id, BookingStatus::Confirmed);
                }
            }
            Command::Release { booking_id, .. } | Command::Cancel { booking_id, .. } => {
                if answer.is_ok() {
                    self.step(*booking_id, BookingStatus::Cancelled);
                }
            }
            Command::Extend { booking_id, .. } => {
                if let Ok(Outcome::Booking { booking, .. }) = answer {
                    let deal = self.model.deals.get_mut(booking_id).expect("it is there");
                    (deal.ends_at, deal.version) = (booking.expires_at, booking.version);
                }
            }
            Command::Resize { .. } => unreachable!("nobody resizes here"),
        }
    }

    fn step(&mut self, booking_id: BookingId, next: BookingStatus) {
        let deal = self.model.deals.get_mut(&booking_id).expect("it is there");
        if deal.status == next {
            return;
        }
        assert!(deal.status.may_become(next), "{deal:?} -> {next:?}");
        if next == BookingStatus::Confirmed {
            deal.status = next;
            deal.version += 1;
        } else {
            self.model.end(booking_id, next);
        }
    }

    fn follow_asks(
        &mut self,
        requests: &[SeatRequest],
        own: Option<BookingId>,
        booking_id: BookingId,
        deal: Deal,
        answer: &Result<Outcome, Refusal>,
    ) {
        let expected = self.model.judge(requests, own);
        let booking = match (&expected, answer) {
            (Expected::Refused(refusal), answer) => {
                assert_eq!(answer.as_ref().err(), Some(refusal), "{requests:?}");
                return;
            }
            (Expected::NoParty, Err(Refusal::TooFewFit { .. } | Refusal::NotTogether { .. })) => {
                return;
            }
            (Expected::Given { .. }, Ok(Outcome::Booking { booking, .. })) => booking,
            _ => panic!("{requests:?}: expected {expected:?}, got {answer:?}"),
        };
        let Expected::Given { named, count, party } = expected else { unreachable!("given") };
        let seats: BTreeSet<Seat> =
            booking.seat_names().map(|(of, name)| (of, name.to_string())).collect();
        let chosen: BTreeSet<Seat> = seats.difference(&named).cloned().collect();
        assert!(named.is_subset(&seats), "{requests:?}: {booking:?}");
        assert_eq!(seats.len(), booking.seat_names().count(), "I3: a seat twice in {booking:?}");
        let (number, adjacent) = party.unwrap_or((0, false));
        assert_eq!(chosen.len(), number as usize, "{requests:?}: {booking:?}");
        assert!(!adjacent || self.model.are_together(&chosen), "{requests:?}: {booking:?}");
        // A change to what it has already is none.
        let has = |had: &Deal| had.seats.keys().eq(&seats) && had.count == count;
        let stays = own.is_some_and(|own| has(&self.model.deals[&own]));
        let version = deal.version - i64::from(stays);
        self.model.give(booking_id, &Deal { version, count, ..deal }, &seats);
        let together = party.map(|_| self.model.are_together(&seats));
        let Ok(Outcome::Booking { next_to_each_other, .. }) = answer else { unreachable!("given") };
        assert_eq!(*next_to_each_other, together, "{requests:?}: {booking:?}");
        self.compare_booking(booking);
    }

    fn follow_block(
        &mut self,
        section_id: SectionId,
        blocked: &Blocked,
        answer: &Result<Outcome, Refusal>,
    ) {
        let Blocked::Seats(names) = blocked else {
            let Blocked::Count(number) = blocked else { unreachable!("the other kind") };
            let (capacity, held, sold, _) = self.model.counters(section_id);
            assert_eq!(answer.is_ok(), held + sold + number <= capacity, "{answer:?}");
            if answer.is_ok() {
                self.model.counted.blocked = u32::try_from(*number).expect("a small number");
            }
            return;
        };
        let mut before = BTreeSet::new();
        if let Some(again) = names.iter().find(|name| !before.insert(*name)) {
            assert_eq!(*answer, Err(duplicate(section_id, again)));
            return;
        }
        let wanted: BTreeSet<Seat> =
            names.iter().map(|name| (section_id, name.to_string())).collect();
        let owner = |seat: &Seat| self.model.owners.get(seat).copied();
        let known = self.model.names(section_id);
        let conflicts = wanted.iter().filter(|seat| owner(seat) != Some(Owner::Blocked));
        let conflicts = conflicts.filter(|seat| owner(seat).is_some() || !known.contains(&seat.1));
        let conflict = |seat: &Seat| engine::SeatConflict {
            section_id,
            seat: seat.1.as_str().into(),
            state: self.model.state(seat),
        };
        let conflicts: Vec<_> = conflicts.map(conflict).collect();
        if !conflicts.is_empty() {
            assert_eq!(*answer, Err(Refusal::SeatsUnavailable { conflicts }));
            return;
        }
        assert!(answer.is_ok(), "{answer:?}");
        let is_here = |seat: &Seat| seat.0 == section_id;
        self.model.owners.retain(|seat, owner| *owner != Owner::Blocked || !is_here(seat));
        self.model.owners.extend(wanted.into_iter().map(|seat| (seat, Owner::Blocked)));
    }

    fn compare_booking(&self, booking: &Booking) {
        let deal = &self.model.deals[&booking.booking_id];
        let numbered = booking.items.iter().filter(|item| !item.seat_names.is_empty());
        let seats: BTreeMap<Seat, _> = numbered
            .flat_map(|item| {
                assert_eq!(item.seats as usize, item.seat_names.len(), "{booking:?}");
                item.seat_names
                    .iter()
                    .map(|name| ((item.section_id, name.to_string()), item.unit_price))
            })
            .collect();
        let count: u32 = booking
            .items
            .iter()
            .filter(|item| item.section_id == self.model.counted.section_id)
            .map(|item| item.seats)
            .sum();
        assert_eq!((booking.status, booking.version), (deal.status, deal.version), "{booking:?}");
        assert_eq!((&seats, count), (&deal.seats, deal.count), "{booking:?}");
        assert_eq!(booking.total_price().minor, self.model.total(booking.booking_id));
    }

    /// Compares all that is stored.
    pub(super) async fn compare_everything(&self, committed: &Committed) {
        for section_id in self.numbered {
            let (found, marks) = self.backend.seat_map(section_id).await;
            assert_eq!(found, self.layouts[&section_id]);
            let told = marks.iter().map(|(seat, state)| (found.name(seat).to_string(), state));
            let seats = self.model.owners.keys().filter(|seat| seat.0 == section_id);
            let states = seats.map(|seat| (seat.1.clone(), self.model.state(seat).expect("taken")));
            assert_eq!(
                told.collect::<BTreeMap<_, _>>(),
                states.collect::<BTreeMap<_, _>>(),
                "the states of {section_id}"
            );
            if let Some((_, last)) = committed.marks.iter().find(|(of, _)| *of == section_id) {
                assert_eq!(*last, marks, "what the batch said it left");
            }
        }
        let taken = self.model.owners.iter().map(|((section_id, name), owner)| {
            let whose = match owner {
                Owner::Booking(booking_id) => Some(*booking_id),
                Owner::Blocked => None,
            };
            ((*section_id, name.as_str().into()), whose)
        });
        assert_eq!(self.backend.seats_taken(self.event_id).await, taken.collect::<Taken>());
        for live in self.backend.inventories(self.event_id).await {
            let engine::Inventory { section_id, capacity, held, sold, blocked, .. } =
                live.inventory;
            let expected = self.model.counters(section_id);
            assert_eq!((capacity, held, sold, blocked), expected, "the counters of {section_id}");
        }
        let bookings = self.backend.bookings(self.event_id).await;
        assert_eq!(bookings.len(), self.model.deals.len());
        for booking in &bookings {
            self.compare_booking(booking);
        }
    }
}
