//! The naive model of numbered seats: who has which seat, in one map.

use crate::world::usd;
use engine::seats::{Draft, SeatState};
use engine::{BookingId, BookingStatus, Money, Refusal, SeatRequest, SectionId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// A seat: its section and its name.
pub type Seat = (SectionId, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Booking(BookingId),
    Blocked,
}

/// A booking.
#[derive(Clone, Debug)]
pub struct Deal {
    pub status: BookingStatus,
    pub ends_at: Timestamp,
    pub version: i64,
    /// Its numbered seats, each with its price.
    pub seats: BTreeMap<Seat, Money>,
    /// Seats that are counted.
    pub count: u32,
}

/// The section that counts its seats.
pub struct Counted {
    pub section_id: SectionId,
    pub capacity: u32,
    pub blocked: u32,
}

pub struct Model {
    pub drafts: BTreeMap<SectionId, Draft>,
    pub owners: BTreeMap<Seat, Owner>,
    pub deals: BTreeMap<BookingId, Deal>,
    pub counted: Counted,
}

/// What an answer has to be.
#[derive(Debug)]
pub enum Expected {
    /// Exactly this refusal.
    Refused(Refusal),
    /// A refusal of a party, whose seats cannot be had.
    NoParty,
    /// All of these seats, so many that are counted, and so many more numbered ones beside each
    /// other where it says so.
    Given { named: BTreeSet<Seat>, count: u32, party: Option<(u32, bool)> },
}

impl Model {
    /// The rows of a section, as names with what stands beside what: runs of seats without an
    /// aisle.
    fn stretches(&self, section_id: SectionId) -> Vec<Vec<String>> {
        let mut stretches = Vec::new();
        for row in &self.drafts[&section_id].rows {
            for (at, seat) in row.seats.iter().enumerate() {
                if at == 0 || seat.aisle_before {
                    stretches.push(Vec::new());
                }
                let name = format!("{}-{}", row.label, seat.number);
                stretches.last_mut().expect("just pushed").push(name);
            }
        }
        stretches
    }

    pub fn names(&self, section_id: SectionId) -> Vec<String> {
        self.stretches(section_id).concat()
    }

    fn price(&self, (section_id, name): &Seat) -> Money {
        let draft = &self.drafts[section_id];
        let rows = draft.rows.iter();
        let mut seats = rows.flat_map(|row| row.seats.iter().map(move |seat| (row, seat)));
        let found = seats.find(|(row, seat)| format!("{}-{}", row.label, seat.number) == *name);
        let (_, seat) = found.expect("a seat of the section");
        let mut categories = draft.categories.iter();
        categories.find(|one| one.name == seat.category).expect("its category").price
    }

    /// Whether nobody has this seat but `own`.
    fn is_free(&self, seat: &Seat, own: Option<BookingId>) -> bool {
        match self.owners.get(seat) {
            None => true,
            Some(owner) => own.is_some_and(|own| *owner == Owner::Booking(own)),
        }
    }

    pub fn state(&self, seat: &Seat) -> Option<SeatState> {
        Some(match self.owners.get(seat)? {
            Owner::Blocked => SeatState::Blocked,
            Owner::Booking(id) if self.deals[id].status == BookingStatus::Hold => SeatState::Held,
            Owner::Booking(_) => SeatState::Sold,
        })
    }

    /// Runs of free seats in these sections, when `gone` are taken too.
    fn runs(
        &self,
        sections: &[SectionId],
        own: Option<BookingId>,
        gone: &BTreeSet<Seat>,
    ) -> Vec<usize> {
        let mut runs = Vec::new();
        for section_id in sections {
            for stretch in self.stretches(*section_id) {
                let mut run = 0;
                for name in stretch {
                    let seat = (*section_id, name);
                    if self.is_free(&seat, own) && !gone.contains(&seat) {
                        run += 1;
                    } else {
                        runs.push(run);
                        run = 0;
                    }
                }
                runs.push(run);
            }
        }
        runs
    }

    /// What asking for seats has to come to; `own` is the hold that is to be changed. There is at
    /// most one party among the asks.
    pub fn judge(&self, requests: &[SeatRequest], own: Option<BookingId>) -> Expected {
        let mut count = 0;
        let mut named = BTreeSet::new();
        let mut conflicts = Vec::new();
        let mut party = None;
        let mut names: Vec<(SectionId, &str)> = Vec::new();
        for ask in requests {
            match ask {
                SeatRequest::Count { section_id, seats }
                    if *section_id == self.counted.section_id =>
                {
                    count += seats;
                }
                SeatRequest::Count { section_id, seats } => {
                    party = Some((vec![*section_id], *seats, false));
                }
                SeatRequest::Seats { section_id, seats } => {
                    names.extend(seats.iter().map(|name| (*section_id, &**name)));
                }
                SeatRequest::Best { sections, party: best } => {
                    party = Some((sections.clone(), best.number, best.adjacent));
                }
            }
        }
        let own_count = own.map_or(0, |own| self.deals[&own].count);
        let available = self.counted_free() + own_count;
        if available < count {
            let (available, requested) = (i64::from(available), i64::from(count));
            return Expected::Refused(Refusal::SoldOut { available, requested });
        }
        names.sort_by_key(|(section_id, _)| *section_id);
        let is_known = |section_id: SectionId, name: &str| {
            self.drafts.contains_key(&section_id)
                && self.names(section_id).iter().any(|known| known == name)
        };
        let mut before = BTreeSet::new();
        let mut known = names.iter().filter(|(section_id, name)| is_known(*section_id, name));
        if let Some((section_id, name)) = known.find(|seat| !before.insert(**seat)) {
            return Expected::Refused(duplicate(*section_id, name));
        }
        for (section_id, name) in names {
            let seat = (section_id, name.to_owned());
            let state = if !is_known(section_id, name) {
                None
            } else if self.is_free(&seat, own) {
                named.insert(seat);
                continue;
            } else {
                self.state(&seat)
            };
            conflicts.push(engine::SeatConflict { section_id, seat: name.into(), state });
        }
        if !conflicts.is_empty() {
            return Expected::Refused(Refusal::SeatsUnavailable { conflicts });
        }
        if let Some((sections, number, adjacent)) = &party {
            let runs = self.runs(sections, own, &named);
            if !fits(&runs, *number as usize, *adjacent) {
                return Expected::NoParty;
            }
        }
        Expected::Given {
            named,
            count,
            party: party.map(|(_, number, adjacent)| (number, adjacent)),
        }
    }

    /// True if all these seats are adjacent.
    pub fn are_together(&self, seats: &BTreeSet<Seat>) -> bool {
        let Some((section_id, _)) = seats.first() else { return false };
        let is_ours = |name: &String| seats.contains(&(*section_id, name.clone()));
        let runs = self.stretches(*section_id);
        let mut parts = runs.iter().map(|run| {
            run.split(|name| !is_ours(name)).map(<[String]>::len).max().unwrap_or_default()
        });
        parts.any(|longest| longest == seats.len())
    }

    fn counted_free(&self) -> u32 {
        let live = self.deals.values().filter(|deal| deal.status.is_live());
        self.counted.capacity - self.counted.blocked - live.map(|deal| deal.count).sum::<u32>()
    }

    /// Replaces the seats of a booking by these.
    pub fn give(&mut self, booking_id: BookingId, deal: &Deal, seats: &BTreeSet<Seat>) {
        let before = self.free(booking_id);
        let price = |seat: &Seat| before.get(seat).copied().unwrap_or_else(|| self.price(seat));
        let seats = seats.iter().map(|seat| (seat.clone(), price(seat))).collect();
        for seat in BTreeMap::keys(&seats) {
            let twice = self.owners.insert(seat.clone(), Owner::Booking(booking_id));
            assert_eq!(twice, None, "seat {seat:?} was somebody's");
        }
        self.deals.insert(booking_id, Deal { seats, ..*deal });
    }

    /// Releases the seats of a booking, and returns them with their prices.
    fn free(&mut self, booking_id: BookingId) -> BTreeMap<Seat, Money> {
        self.owners.retain(|_, owner| *owner != Owner::Booking(booking_id));
        self.deals.get(&booking_id).map(|deal| deal.seats.clone()).unwrap_or_default()
    }

    pub fn end(&mut self, booking_id: BookingId, status: BookingStatus) {
        self.free(booking_id);
        let deal = self.deals.get_mut(&booking_id).expect("it is there");
        deal.status = status;
        deal.version += 1;
    }

    /// What a new layout does to seats that somebody has, in the order of the old one.
    pub fn harmed(&self, section_id: SectionId, new: &Draft) -> Vec<(String, &'static str)> {
        let places = |draft: &Draft| -> Vec<(String, engine::seats::Point)> {
            let rows = draft.rows.iter();
            let named = rows.flat_map(|row| row.seats.iter().map(move |seat| (row, seat)));
            named.map(|(row, seat)| (format!("{}-{}", row.label, seat.number), seat.at)).collect()
        };
        let now: BTreeMap<_, _> = places(new).into_iter().collect();
        let mut harmed = Vec::new();
        for (name, at) in places(&self.drafts[&section_id]) {
            if self.owners.contains_key(&(section_id, name.clone())) {
                match now.get(&name) {
                    None => harmed.push((name, "removed")),
                    Some(there) if *there != at => harmed.push((name, "moved")),
                    Some(_) => {}
                }
            }
        }
        harmed
    }

    /// `(capacity, held, sold, blocked)` of a section.
    pub fn counters(&self, section_id: SectionId) -> (i64, i64, i64, i64) {
        if section_id == self.counted.section_id {
            let of = |status| {
                let deals = self.deals.values().filter(|deal| deal.status == status);
                deals.map(|deal| i64::from(deal.count)).sum()
            };
            let Counted { capacity, blocked, .. } = self.counted;
            let (held, sold) = (of(BookingStatus::Hold), of(BookingStatus::Confirmed));
            return (capacity.into(), held, sold, blocked.into());
        }
        let states: Vec<_> = self
            .owners
            .keys()
            .filter(|(of, _)| *of == section_id)
            .filter_map(|seat| self.state(seat))
            .collect();
        let many = |state| states.iter().filter(|of| **of == state).count();
        let [held, sold, blocked] =
            [SeatState::Held, SeatState::Sold, SeatState::Blocked].map(many);
        let count = |seats: usize| i64::try_from(seats).expect("a small hall");
        (count(self.names(section_id).len()), count(held), count(sold), count(blocked))
    }

    /// What its seats cost together; those that are counted cost 12.50.
    pub fn total(&self, booking_id: BookingId) -> i64 {
        let deal = &self.deals[&booking_id];
        let counted = i64::from(deal.count) * usd(1_250).minor;
        deal.seats.values().map(|price| price.minor).sum::<i64>() + counted
    }
}

/// Whether a party of `number` can sit in free runs of these lengths, nobody of it alone.
#[must_use]
pub fn fits(runs: &[usize], number: usize, adjacent: bool) -> bool {
    if number == 1 || adjacent {
        return runs.iter().any(|run| *run >= number);
    }
    let mut sums = BTreeSet::from([0]);
    for run in runs {
        let more = |sum: &usize| (2..=*run).map(move |group| sum + group).collect::<Vec<_>>();
        let more: Vec<usize> = sums.iter().flat_map(more).collect();
        sums.extend(more);
    }
    // A group within a run may also be beside another one, as one of both sizes.
    sums.contains(&number)
}

/// A seat is named twice.
pub fn duplicate(section_id: SectionId, name: &str) -> Refusal {
    Refusal::DuplicateSeat { section_id, first: name.into(), again: name.into() }
}
