//! Orphans: single free seats that a choice of seats would leave behind.
//!
//! A seat is alone when it is free and no neighbour of it is; an aisle or the end of a row is no
//! neighbour. It is an *orphan* of a choice that takes a neighbour of it: before, two could have
//! sat there. What a seat is for and what it costs plays no part. A seat that was alone already is
//! nobody's orphan, and taking it leaves none.

use super::best::{Party, pick};
use super::layout::{Kind, Layout};
use super::seating::Seating;
use super::taken::Taken;
use super::{PARTY_ACCESSIBLE_MAX, PARTY_MAX, SeatIndex};
use std::collections::BTreeSet;

/// What is to be said of a choice of seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves nobody's seat alone.
    Fine,
    /// It leaves these seats alone, although the same number of adjacent seats that leaves none
    /// alone is available.
    Leaves(Vec<SeatIndex>),
    /// It leaves these seats alone, and so does every other choice of that size.
    Unavoidable(Vec<SeatIndex>),
}

/// The orphans of `choice`, a set of free seats, in order.
#[must_use]
pub fn orphans(layout: &Layout, taken: &Taken, choice: &[SeatIndex]) -> Vec<SeatIndex> {
    let chosen: BTreeSet<SeatIndex> = choice.iter().copied().collect();
    let stays = |seat: &SeatIndex| !taken.has(*seat) && !chosen.contains(seat);
    let beside = chosen.iter().flat_map(|seat| layout.neighbours(*seat)).filter(stays);
    let alone = beside.filter(|seat| !layout.neighbours(*seat).any(|other| stays(&other)));
    alone.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Judges `choice`, a set of free seats of one section.
///
/// Another choice of that size is the same number of adjacent free seats, anywhere in the section
/// and at any price, with as many accessible seats among them, that [`pick`] would give. Choices of
/// more than [`PARTY_MAX`] seats, or with more than [`PARTY_ACCESSIBLE_MAX`] accessible ones, have
/// no other.
#[must_use]
pub fn judge(seating: &Seating, choice: &[SeatIndex]) -> Verdict {
    let (layout, taken) = (seating.layout(), seating.taken());
    let orphans = orphans(layout, taken, choice);
    if orphans.is_empty() {
        return Verdict::Fine;
    }
    let accessible = choice.iter().filter(|seat| layout.kind(**seat) == Kind::Accessible).count();
    let number = u32::try_from(choice.len()).unwrap_or(u32::MAX);
    let accessible = u32::try_from(accessible).unwrap_or(u32::MAX);
    if number > PARTY_MAX || accessible > PARTY_ACCESSIBLE_MAX {
        return Verdict::Unavoidable(orphans);
    }
    let party = Party { accessible, adjacent: true, ..Party::of(number) };
    match pick(&[seating], &party) {
        Ok(choice) if !choice.leaves_orphan => Verdict::Leaves(orphans),
        Ok(_) | Err(_) => Verdict::Unavoidable(orphans),
    }
}
