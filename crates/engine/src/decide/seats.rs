//! Which seats a hold gets, and who has a numbered seat.
//!
//! Counted sections need the counters alone. In numbered ones seats are found in the section's
//! [`SeatMap`], and each command sees what the ones before it took, so two parties of a batch never
//! fight for the same seats (I3).

use super::ledger::Ledger;
use super::{SeatRequest, SeatTaken};
use crate::booking::{Booking, BookingStatus, Item};
use crate::error::{Refusal, SeatConflict};
use crate::ids::{BookingId, SectionId};
use crate::money::Money;
use crate::seats::orphan::{Verdict, judge};
use crate::seats::{
    Layout, NoFit, PARTY_MAX, Party, SeatIndex, SeatMap, SeatName, Spelled, Why, any_has, pick,
};
use smol_str::SmolStrBuilder;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Seats by their sections.
pub(super) type SeatsBySection = BTreeMap<SectionId, Vec<SeatIndex>>;

/// What became of a numbered seat in this batch, at one step.
#[derive(Debug)]
pub(super) struct SeatFate {
    section_id: SectionId,
    seat: SeatName,
    /// Whether somebody had it before.
    was_taken: bool,
    /// Who has it now; an inner `None`: it is blocked.
    has_it: Option<Option<BookingId>>,
}

/// The seats that a hold gets, already marked in the maps.
pub(super) struct Placed {
    /// A number of seats of each section without numbered seats.
    counts: BTreeMap<SectionId, u32>,
    /// These of each numbered one.
    pub seats: SeatsBySection,
    /// The names of those that were asked for by name, in order.
    names: Vec<(SectionId, SeatIndex, SeatName)>,
}

impl Placed {
    fn name(&self, section_id: SectionId, seat: SeatIndex) -> Option<SeatName> {
        let key = |(section_id, seat, _): &(SectionId, SeatIndex, _)| (*section_id, *seat);
        let found = self.names.binary_search_by_key(&(section_id, seat), key);
        Some(self.names[found.ok()?].2.clone())
    }
}

/// What a hold has already, when it is to be changed: its seats count as free, and keep their price.
#[derive(Default)]
pub(super) struct Own<'a> {
    items: &'a [Item],
    /// What each of its numbered seats costs. A booking may have thousands, and may ask for as many others.
    prices: HashMap<(SectionId, &'a str), Money>,
}

impl<'a> Own<'a> {
    pub fn of(booking: &'a Booking) -> Self {
        let of_item = |item: &'a Item| {
            item.seat_names.iter().map(|number| ((item.section_id, &**number), item.unit_price))
        };
        Self { items: &booking.items, prices: booking.items.iter().flat_map(of_item).collect() }
    }

    fn counted(&self, section_id: SectionId) -> impl Iterator<Item = &'a Item> {
        let here = move |item: &&Item| item.section_id == section_id && item.seat_names.is_empty();
        self.items.iter().filter(here)
    }

    fn count(&self, section_id: SectionId) -> i64 {
        self.counted(section_id).map(|item| i64::from(item.seats)).sum()
    }

    fn price(&self, section_id: SectionId, number: &str) -> Option<Money> {
        self.prices.get(&(section_id, number)).copied()
    }
}

impl Ledger {
    /// Finds seats for `requests` and marks them as held. A refusal changes nothing.
    ///
    /// The first refusal wins: [`Refusal::SoldOut`] (counted sections), [`Refusal::DuplicateSeat`],
    /// [`Refusal::SeatsUnavailable`] with all conflicts of all requests, [`Refusal::OrphanSeat`] if
    /// the event refuses them, then those of the parties in their order: [`Refusal::TooFewFit`],
    /// [`Refusal::NotTogether`].
    pub(super) fn place(
        &mut self,
        requests: &[SeatRequest],
        own: &Own<'_>,
        prevent_orphans: bool,
    ) -> Result<Placed, Refusal> {
        let mut counts = BTreeMap::new();
        let mut named: BTreeMap<SectionId, Vec<&SeatName>> = BTreeMap::new();
        let mut parties = Vec::new();
        for ask in requests {
            assert!(ask.seats() > 0, "a request without seats is refused before it is a command");
            match ask {
                SeatRequest::Count { section_id, seats }
                    if self.rows.maps.contains_key(section_id) =>
                {
                    if *seats > PARTY_MAX {
                        return Err(Refusal::TooManyToSelect { limit: PARTY_MAX });
                    }
                    parties.push((std::slice::from_ref(section_id), Party::of(*seats)));
                }
                SeatRequest::Count { section_id, seats } => {
                    *counts.entry(*section_id).or_insert(0) += seats;
                }
                SeatRequest::Seats { section_id, seats } => {
                    named.entry(*section_id).or_default().extend(seats);
                }
                SeatRequest::Best { sections, party } => parties.push((sections, party.clone())),
            }
        }
        for (section_id, seats) in &counts {
            let (available, requested) = (self.free_seats(*section_id, own), i64::from(*seats));
            if available < requested {
                return Err(Refusal::SoldOut { available, requested });
            }
        }
        let (seats, respelled) = self.find(&named)?;
        // Found in the order in which they were named.
        let found = seats.iter().flat_map(|(id, seats)| seats.iter().map(move |seat| (*id, *seat)));
        let names = found.zip(named.values().flatten());
        let mut names: Vec<_> = names
            .map(|((section_id, seat), name)| (section_id, seat, SeatName::clone(name)))
            .collect();
        // However it was spelled, a booking has the name as in the layout.
        names.retain(|(section_id, seat, _)| !respelled.contains(&(*section_id, *seat)));
        names.sort_unstable_by_key(|(section_id, seat, _)| (*section_id, *seat));
        let mut placed = Placed { counts, seats, names };
        if prevent_orphans {
            self.leaves_no_orphan(&placed.seats)?;
        }
        for (section_id, seats) in &placed.seats {
            self.map_mut(*section_id).hold(seats).expect("they were looked at");
        }
        for (sections, party) in parties {
            match self.give_best(sections, &party) {
                Ok(seats) => {
                    for (section_id, seats) in seats {
                        placed.seats.entry(section_id).or_default().extend(seats);
                    }
                }
                Err(refusal) => {
                    self.unplace(&placed.seats);
                    return Err(refusal);
                }
            }
        }
        for seats in placed.seats.values_mut() {
            seats.sort_unstable();
        }
        Ok(placed)
    }

    fn free_seats(&self, section_id: SectionId, own: &Own<'_>) -> i64 {
        self.rows.sections[&section_id].1.available() + own.count(section_id)
    }

    /// Releases seats that were placed by a command that was refused.
    pub(super) fn unplace(&mut self, seats: &SeatsBySection) {
        for (section_id, seats) in seats {
            self.map_mut(*section_id).free(seats);
        }
    }

    pub(super) fn map_mut(&mut self, section_id: SectionId) -> &mut SeatMap {
        let map = self.rows.maps.get_mut(&section_id);
        map.expect("a numbered section is loaded with its map")
    }

    /// The seats with these names, all of them free. Beside them those whose name is another than was
    /// asked for, though it compares equal.
    ///
    /// The first refusal wins: [`Refusal::DuplicateSeat`], also for seats of the same buyer, then
    /// [`Refusal::SeatsUnavailable`] with all that cannot be had.
    pub(super) fn find(
        &self,
        named: &BTreeMap<SectionId, Vec<&SeatName>>,
    ) -> Result<(SeatsBySection, BTreeSet<(SectionId, SeatIndex)>), Refusal> {
        let mut found = SeatsBySection::new();
        let mut respelled = BTreeSet::new();
        let mut conflicts = Vec::new();
        for (section_id, names) in named {
            let seats = found.entry(*section_id).or_default();
            let mut before = HashMap::new();
            for name in names {
                let map = self.rows.maps.get(section_id);
                let seat = map.and_then(|map| Some((map.layout().find_spelled(name)?, map)));
                let state = match seat {
                    Some((Spelled { seat, is_its_name }, map)) => {
                        if names.len() > 1
                            && let Some(first) = before.insert(seat, *name)
                        {
                            let (first, again) = (first.clone(), SeatName::clone(name));
                            let section_id = *section_id;
                            return Err(Refusal::DuplicateSeat { section_id, first, again });
                        }
                        match map.state(seat) {
                            None => {
                                seats.push(seat);
                                if !is_its_name {
                                    respelled.insert((*section_id, seat));
                                }
                                continue;
                            }
                            state => state,
                        }
                    }
                    None => None,
                };
                let seat = SeatName::clone(name);
                conflicts.push(SeatConflict { section_id: *section_id, seat, state });
            }
        }
        if conflicts.is_empty() {
            return Ok((found, respelled));
        }
        Err(Refusal::SeatsUnavailable { conflicts })
    }

    fn leaves_no_orphan(&self, chosen: &SeatsBySection) -> Result<(), Refusal> {
        for (section_id, seats) in chosen {
            let map = &self.rows.maps[section_id];
            if let Verdict::Leaves(orphans) = judge(map.seating(), seats) {
                let seats = orphans.iter().map(|seat| name(map.layout(), *seat)).collect();
                return Err(Refusal::OrphanSeat { seats });
            }
        }
        Ok(())
    }

    /// Picks the best seats of these sections for a party, and marks them as held.
    fn give_best(
        &mut self,
        sections: &[SectionId],
        party: &Party,
    ) -> Result<SeatsBySection, Refusal> {
        let seating = |section_id| {
            let map = self.rows.maps.get(section_id);
            Ok(map.ok_or(Refusal::NotFound { what: "section" })?.seating())
        };
        let seatings = sections.iter().map(seating).collect::<Result<Vec<_>, Refusal>>()?;
        if party.categories.as_ref().is_some_and(|names| !any_has(&seatings, names)) {
            return Err(Refusal::NotFound { what: "category" });
        }
        let choice = pick(&seatings, party).map_err(|no_fit| refusal(no_fit, party))?;
        let mut seats = SeatsBySection::new();
        for (place, seat) in choice.seats {
            seats.entry(sections[place]).or_default().push(seat);
        }
        for (section_id, seats) in &seats {
            self.map_mut(*section_id).hold(seats).expect("free seats were picked");
        }
        Ok(seats)
    }

    /// The items of a booking with these seats: one for each section and price. What it had before keeps
    /// its price.
    pub(super) fn items(&self, placed: &Placed, own: &Own<'_>) -> Vec<Item> {
        let mut items = Vec::new();
        let sections = placed.counts.keys().chain(placed.seats.keys());
        let sections: BTreeSet<_> = sections.copied().collect();
        for section_id in sections {
            let (section, _) = &self.rows.sections[&section_id];
            let mut by_price: Vec<(Money, u32, Vec<SeatName>)> = Vec::new();
            let mut add = |price: Money, seats: u32, number: Option<SeatName>| {
                let found = by_price.iter().position(|(other, ..)| *other == price);
                let at = found.unwrap_or_else(|| {
                    by_price.push((price, 0, Vec::new()));
                    by_price.len() - 1
                });
                by_price[at].1 += seats;
                by_price[at].2.extend(number);
            };
            if let Some(seats) = placed.counts.get(&section_id) {
                let mut left = *seats;
                for kept in own.counted(section_id) {
                    let seats = left.min(kept.seats);
                    left -= seats;
                    add(kept.unit_price, seats, None);
                }
                add(section.price, left, None);
            }
            if let Some(seats) = placed.seats.get(&section_id) {
                let layout = self.rows.maps[&section_id].layout();
                for seat in seats {
                    let number = placed.name(section_id, *seat);
                    let number = number.unwrap_or_else(|| name(layout, *seat));
                    let price = own.price(section_id, &number).unwrap_or(layout.price(*seat));
                    add(price, 1, Some(number));
                }
            }
            let item = |(unit_price, seats, seat_names)| Item {
                section_id,
                section_name: section.name.clone(),
                seats,
                seat_names,
                unit_price,
            };
            // The sections of an event have one currency.
            by_price.sort_by_key(|(price, ..)| price.minor);
            let with_seats = by_price.into_iter().filter(|(_, seats, _)| *seats > 0);
            items.extend(with_seats.map(item));
        }
        items
    }

    /// True if all numbered seats of a booking are adjacent, when some of them were chosen for
    /// its buyer.
    pub(super) fn next_to_each_other(
        &self,
        requests: &[SeatRequest],
        booking: &Booking,
    ) -> Option<bool> {
        let chosen = requests.iter().any(|ask| match ask {
            SeatRequest::Count { section_id, .. } => self.rows.maps.contains_key(section_id),
            SeatRequest::Best { .. } => true,
            SeatRequest::Seats { .. } => false,
        });
        chosen.then(|| {
            let mut sections = booking.seat_names().map(|(section_id, _)| section_id);
            let Some(section_id) = sections.next() else { return false };
            let Some(map) = self.rows.maps.get(&section_id) else { return false };
            let seats = booking.seat_names().map(|(_, number)| map.layout().find(number));
            let seats: Option<Vec<SeatIndex>> = seats.collect();
            sections.all(|other| other == section_id)
                && seats.is_some_and(|seats| map.layout().are_beside_each_other(&seats))
        })
    }

    /// The numbered seats of a live booking.
    pub(super) fn numbered(&self, booking: &Booking) -> SeatsBySection {
        let mut seats = SeatsBySection::new();
        for (section_id, number) in booking.seat_names() {
            let found = self.rows.maps[&section_id].layout().find(number);
            let found = found.expect("a live seat is in the layout");
            seats.entry(section_id).or_default().push(found);
        }
        seats
    }

    /// Notes whose the numbered seats of `booking` are after a step of its life, and marks them so in
    /// the maps. A new hold's seats are marked already.
    pub(super) fn pass_on(&mut self, booking: &Booking, next: BookingStatus) {
        if next != BookingStatus::Hold {
            for (section_id, seats) in self.numbered(booking) {
                match next {
                    BookingStatus::Confirmed => self.map_mut(section_id).sell(&seats),
                    _ => self.map_mut(section_id).free(&seats),
                }
                self.maps_changed.insert(section_id);
            }
        }
        let has_it = matches!(next, BookingStatus::Hold).then_some(booking.booking_id);
        if next != BookingStatus::Confirmed {
            for (section_id, number) in booking.seat_names() {
                self.note_seat(section_id, number.clone(), has_it.map(Some));
            }
        }
    }

    /// Notes that `seat` was given to somebody, or that nobody has it any more.
    pub(super) fn note_seat(
        &mut self,
        section_id: SectionId,
        seat: SeatName,
        has_it: Option<Option<BookingId>>,
    ) {
        self.maps_changed.insert(section_id);
        let was_taken = has_it.is_none();
        self.seat_fates.push(SeatFate { section_id, seat, was_taken, has_it });
    }
}

/// What the store has to remove and to add: how each seat was before its first step, and is after its
/// last.
pub(super) fn seat_rows(mut fates: Vec<SeatFate>) -> (Vec<(SectionId, SeatName)>, Vec<SeatTaken>) {
    fates.sort_by(|a, b| (a.section_id, &a.seat).cmp(&(b.section_id, &b.seat)));
    let (mut freed, mut taken) = (Vec::new(), Vec::new());
    for steps in fates.chunk_by(|a, b| (a.section_id, &a.seat) == (b.section_id, &b.seat)) {
        let (SeatFate { section_id, seat, was_taken, .. }, last) =
            (&steps[0], &steps[steps.len() - 1]);
        if *was_taken {
            freed.push((*section_id, seat.clone()));
        }
        if let Some(booking_id) = last.has_it {
            taken.push(SeatTaken { section_id: *section_id, seat: seat.clone(), booking_id });
        }
    }
    (freed, taken)
}

/// The name of a seat.
pub(super) fn name(layout: &Layout, seat: SeatIndex) -> SeatName {
    let (row, number) = (layout.row(seat), layout.number(seat));
    let mut name = SmolStrBuilder::new();
    name.push_str(row);
    name.push('-');
    name.push_str(number);
    name.finish()
}

fn refusal(no_fit: NoFit, party: &Party) -> Refusal {
    let (requested, largest_contiguous_block) = (party.number, no_fit.largest_contiguous_block);
    let too_few = |available, requested, accessible| Refusal::TooFewFit {
        available,
        requested,
        accessible,
        largest_contiguous_block,
    };
    match no_fit.why {
        Why::TooFewAccessible { available } => too_few(available, party.accessible, true),
        Why::TooFew { available } => too_few(available, requested, false),
        why @ (Why::Apart | Why::SomebodyAlone) => Refusal::NotTogether {
            requested,
            alone: why == Why::SomebodyAlone,
            largest_contiguous_block,
        },
    }
}
