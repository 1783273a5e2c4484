//! Best available: which free seats to assign to a party.
//!
//! A seat is *wanted* when it is free, its category is one of those asked for, its price is within
//! the highest asked for, and it is meant for such a party: accessible seats and the companion
//! seats beside them are never wanted by a party that asks for no accessible one. A *choice* is a
//! set of `number` wanted seats of which exactly `accessible` are accessible, and in which nobody
//! is alone: it is *together* (all of it adjacent in one stretch, also when it is one
//! seat) or it is *split*, each of its seats beside another of them. A party that asked for
//! `adjacent` has no split choices. [`pick`] returns the smallest choice by this order, which is
//! total:
//!
//! 1. **its kind**: together and leaving no [orphan](super::orphan) < together and leaving one <
//!    split, in one section < split, across sections. Without `prevent_orphans` the first two are
//!    one kind;
//! 2. **its distance**: the sum, over its seats, of the squared distance to the focal point of
//!    their section;
//! 3. **its seats**, as an ascending list of (place of the section among those asked, seat): the
//!    list that is smaller at the first difference.
//!
//! A party is refused exactly when it has no choice.
//!
//! **Speed.** Stretches come in the order of their nearest free seat. When even that distance,
//! `number` times, is more than the best distance found, no later stretch can be better, and the
//! search ends; stretches with fewer adjacent free seats are skipped. Only a party that is
//! split needs more, see `groups`.

use super::groups::{self, Candidate};
use super::layout::{CLASSES, Kind, Layout, class_of};
use super::orphan::orphans;
use super::seating::Seating;
use super::{PARTY_ACCESSIBLE_MAX, PARTY_MAX, SeatIndex};
use crate::text::folded;
use std::sync::Arc;

/// Who looks for seats, and what kind of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// How many seats, 1 to [`PARTY_MAX`].
    pub number: u32,
    /// Only seats of the categories with these names; unset: of any.
    pub categories: Option<Vec<Arc<str>>>,
    /// The highest price of one seat, in minor units of the event's currency; unset: any.
    pub max_price: Option<i64>,
    /// How many of the seats have to be accessible, at most [`PARTY_ACCESSIBLE_MAX`] and `number`.
    pub accessible: u32,
    /// Whether seats that leave an orphan are given only when there are no others together.
    pub prevent_orphans: bool,
    /// True if only adjacent seats are accepted.
    pub adjacent: bool,
}

impl Party {
    /// A party of `number` that takes seats of any category and price, rather leaves no orphan, and
    /// may be split.
    #[must_use]
    pub fn of(number: u32) -> Self {
        Self {
            number,
            categories: None,
            max_price: None,
            accessible: 0,
            prevent_orphans: true,
            adjacent: false,
        }
    }

    /// Whether its numbers are within the limits that [`pick`] asks for.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        (1..=PARTY_MAX).contains(&self.number)
            && self.accessible <= PARTY_ACCESSIBLE_MAX.min(self.number)
    }
}

/// The seats a party gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its seats, in order: the place of their section among those asked, and the seat.
    pub seats: Vec<(usize, SeatIndex)>,
    /// True if all of them are adjacent.
    pub next_to_each_other: bool,
    /// Whether a seat beside them would be left alone.
    pub leaves_orphan: bool,
    /// The sum of the squared distances to the focal points.
    pub distance: u64,
}

impl Choice {
    /// Its seats in the section with this place among those asked.
    pub fn in_section(&self, place: usize) -> impl Iterator<Item = SeatIndex> {
        self.seats.iter().filter(move |(at, _)| *at == place).map(|(_, seat)| *seat)
    }
}

/// That there is no choice for a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFit {
    /// The largest number of adjacent wanted seats, at most `accessible` of them accessible.
    pub largest_contiguous_block: u32,
    /// Why there is none.
    pub why: Why,
}

/// Why there is no choice for a party: the first reason that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Fewer accessible seats are wanted than were asked for.
    TooFewAccessible {
        /// How many there are.
        available: u32,
    },
    /// Fewer seats are wanted than were asked for.
    TooFew {
        /// How many there are, with no more accessible ones than were asked for.
        available: u32,
    },
    /// There are enough, but not adjacent ones as requested.
    Apart,
    /// There are enough, but somebody would sit alone.
    SomebodyAlone,
}

/// Returns the best seats of `sections` for `party`, by the order that the [module](self) states.
/// Nothing is taken.
///
/// # Panics
/// When the party is not [within limits](Party::is_within_limits): a request is checked before.
pub fn pick(sections: &[&Seating], party: &Party) -> Result<Choice, NoFit> {
    assert!(party.is_within_limits(), "a party out of limits: {party:?}");
    let pools: Vec<SeatPool> =
        sections.iter().map(|seating| SeatPool::new(seating, party)).collect();
    let choice = together(&pools, party);
    let choice = choice.or_else(|| if party.adjacent { None } else { split(&pools, party) });
    choice.ok_or_else(|| refusal(&pools, party))
}

/// The seats of one section that suit a party.
struct SeatPool<'a> {
    seating: &'a Seating,
    layout: &'a Layout,
    /// Whether seats of a class will do.
    classes: [bool; CLASSES],
    /// The categories that will do, one bit each.
    categories: u64,
}

/// Whether one of `sections` has a category with one of these names, whatever is free.
#[must_use]
pub fn any_has(sections: &[&Seating], names: &[Arc<str>]) -> bool {
    sections.iter().any(|seating| named_categories(seating.layout(), names) != 0)
}

/// The categories with these names, one bit each; for each name that none has, those whose name
/// compares equal.
fn named_categories(layout: &Layout, names: &[Arc<str>]) -> u64 {
    let mask = |is_meant: &dyn Fn(&str) -> bool| {
        let all = layout.categories().iter().enumerate();
        all.filter(|(_, one)| is_meant(&one.name)).fold(0, |mask, (at, _)| mask | 1 << at)
    };
    let meant = |name: &Arc<str>| match mask(&|category| *category == **name) {
        0 => {
            let name = folded(name);
            mask(&|category| folded(category) == name)
        }
        exact => exact,
    };
    names.iter().map(meant).fold(0, std::ops::BitOr::bitor)
}

/// Adjacent seats, better ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Window {
    distance: u64,
    section: usize,
    first: SeatIndex,
}

impl<'a> SeatPool<'a> {
    fn new(seating: &'a Seating, party: &Party) -> Self {
        let layout = seating.layout();
        let mut pool = Self { seating, layout, classes: [false; CLASSES], categories: 0 };
        let named = party.categories.as_ref().map(|names| named_categories(layout, names));
        for (at, category) in layout.categories().iter().enumerate() {
            let named = named.is_none_or(|named| named & (1 << at) != 0);
            if named && party.max_price.is_none_or(|most| category.price.minor <= most) {
                pool.categories |= 1 << at;
                pool.classes[class_of(at, Kind::Ordinary)] = true;
                pool.classes[class_of(at, Kind::Accessible)] = party.accessible > 0;
                pool.classes[class_of(at, Kind::Companion)] = party.accessible > 0;
            }
        }
        pool
    }

    fn wants(&self, seat: SeatIndex) -> bool {
        self.classes[self.layout.class(seat)] && !self.seating.taken().has(seat)
    }

    fn is_accessible(&self, seat: SeatIndex) -> bool {
        self.layout.kind(seat) == Kind::Accessible
    }

    /// Shows every window of the party in a stretch, with its distance.
    fn windows(&self, stretch: usize, party: &Party, mut show: impl FnMut(SeatIndex, u64)) {
        let (mut run, mut distance, mut accessible) = (0, 0, 0);
        for seat in self.layout.stretches()[stretch].seats.clone() {
            if !self.wants(seat) {
                (run, distance, accessible) = (0, 0, 0);
                continue;
            }
            if run == party.number {
                let left = seat - party.number;
                distance -= self.layout.distance(left);
                accessible -= u32::from(self.is_accessible(left));
            } else {
                run += 1;
            }
            distance += self.layout.distance(seat);
            accessible += u32::from(self.is_accessible(seat));
            if run == party.number && accessible == party.accessible {
                show(seat + 1 - party.number, distance);
            }
        }
    }

    /// Whether taking `number` seats from `first` on leaves a seat beside them alone.
    fn leaves_orphan(&self, stretch: usize, first: SeatIndex, number: u32) -> bool {
        let seats = &self.layout.stretches()[stretch].seats;
        let free = |seat: SeatIndex| seats.contains(&seat) && !self.seating.taken().has(seat);
        let before = |step| first.checked_sub(step).is_some_and(free);
        let end = first + number;
        before(1) && !before(2) || free(end) && !free(end + 1)
    }

    /// The stretches that may have this number of adjacent wanted seats.
    fn stretches(&self, number: u32) -> impl Iterator<Item = (u64, usize)> {
        self.seating.order(number).filter(|(_, stretch)| {
            self.layout.stretches()[*stretch].categories & self.categories != 0
        })
    }
}

/// The best choice of the first two kinds.
fn together(pools: &[SeatPool], party: &Party) -> Option<Choice> {
    let (mut calm, mut any): (Option<Window>, Option<Window>) = (None, None);
    let number = party.number;
    for (section, pool) in pools.iter().enumerate() {
        for (nearest, stretch) in pool.stretches(number) {
            let goal = if party.prevent_orphans { calm } else { any };
            if goal.is_some_and(|goal| u64::from(number) * nearest > goal.distance) {
                break;
            }
            pool.windows(stretch, party, |first, distance| {
                let window = Window { distance, section, first };
                if any.is_none_or(|best| window < best) {
                    any = Some(window);
                }
                if party.prevent_orphans
                    && calm.is_none_or(|best| window < best)
                    && !pool.leaves_orphan(stretch, first, number)
                {
                    calm = Some(window);
                }
            });
        }
    }
    let Window { distance, section, first } = calm.or(any)?;
    let pool = &pools[section];
    let stretch = pool.layout.stretch_index(first) as usize;
    Some(Choice {
        seats: (first..first + number).map(|seat| (section, seat)).collect(),
        next_to_each_other: true,
        leaves_orphan: pool.leaves_orphan(stretch, first, number),
        distance,
    })
}

/// The best choice of the last two kinds.
fn split(pools: &[SeatPool], party: &Party) -> Option<Choice> {
    let candidates: Vec<Vec<Candidate>> =
        pools.iter().enumerate().map(|(section, pool)| candidates(section, pool)).collect();
    let within = candidates.iter().filter_map(|seats| groups::nearest(seats, party));
    let best = within.min_by_key(|(distance, _)| *distance);
    let across = || (pools.len() > 1).then(|| groups::nearest(&candidates.concat(), party))?;
    let (distance, seats) = best.or_else(across)?;
    let leaves_orphan = pools.iter().enumerate().any(|(section, pool)| {
        let here = seats.iter().filter(|(at, _)| *at == section).map(|(_, seat)| *seat);
        let here: Vec<SeatIndex> = here.collect();
        !orphans(pool.layout, pool.seating.taken(), &here).is_empty()
    });
    Some(Choice { seats, next_to_each_other: false, leaves_orphan, distance })
}

/// The wanted seats of a section that have a wanted neighbour, in order.
fn candidates(section: usize, pool: &SeatPool) -> Vec<Candidate> {
    let mut stretches: Vec<usize> = pool.stretches(2).map(|(_, stretch)| stretch).collect();
    stretches.sort_unstable();
    let mut found = Vec::new();
    for stretch in stretches {
        let seats = pool.layout.stretches()[stretch].seats.clone();
        let wants = |seat: SeatIndex| seats.contains(&seat) && pool.wants(seat);
        for seat in seats.clone().filter(|seat| wants(*seat)) {
            let follows = seat.checked_sub(1).is_some_and(wants);
            if follows || wants(seat + 1) {
                found.push(Candidate {
                    section,
                    seat,
                    follows,
                    distance: pool.layout.distance(seat),
                    accessible: pool.is_accessible(seat),
                });
            }
        }
    }
    found
}

fn refusal(pools: &[SeatPool], party: &Party) -> NoFit {
    let (mut others, mut accessible, mut largest) = (0, 0, 0);
    for pool in pools {
        for (_, stretch) in pool.stretches(1) {
            let seats = pool.layout.stretches()[stretch].seats.clone();
            let (mut first, mut inside) = (seats.start, 0);
            for seat in seats {
                if !pool.wants(seat) {
                    (first, inside) = (seat + 1, 0);
                    continue;
                }
                if pool.is_accessible(seat) {
                    (accessible, inside) = (accessible + 1, inside + 1);
                } else {
                    others += 1;
                }
                while inside > party.accessible {
                    inside -= u32::from(pool.is_accessible(first));
                    first += 1;
                }
                largest = largest.max(seat + 1 - first);
            }
        }
    }
    let why = if accessible < party.accessible {
        Why::TooFewAccessible { available: accessible }
    } else if others < party.number - party.accessible {
        Why::TooFew { available: others + party.accessible }
    } else if party.adjacent {
        Why::Apart
    } else {
        Why::SomebodyAlone
    };
    NoFit { largest_contiguous_block: largest, why }
}
