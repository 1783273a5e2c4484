//! A section's layout with its taken seats, and what a quick choice needs of them.
//!
//! For each stretch it knows the largest number of adjacent free seats and how near its
//! nearest free seat is, and it keeps the stretches that have free seats in the order of that.
//! Taking or releasing seats looks again at their stretches and at nothing else, so it costs as
//! much as the rows it touches, whatever the size of the hall.

use super::SeatIndex;
use super::layout::Layout;
use super::taken::{Conflicts, Taken};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is known of the free seats of a stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Free {
    /// The largest number of adjacent ones.
    pub longest: u32,
    /// The squared distance of the nearest to the focal point.
    pub nearest: u64,
}

/// A layout with its taken seats. See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seating {
    layout: Arc<Layout>,
    taken: Taken,
    free: Vec<Free>,
    /// Stretches with free seats by their largest number of adjacent ones (the last one: so
    /// many and more), the nearest first: (distance of its nearest, place of the stretch).
    order: [BTreeSet<(u64, u32)>; LONGEST_APART],
}

/// Up to this number of adjacent seats, stretches are kept apart: a large party need not look at
/// those that cannot take it.
const LONGEST_APART: usize = 8;

/// Where stretches with this number of adjacent free seats are kept, of which there is at least
/// one.
fn apart(longest: u32) -> usize {
    (longest as usize).min(LONGEST_APART) - 1
}

impl Seating {
    /// Puts a layout and its taken seats together; `None` unless they have equally many seats.
    #[must_use]
    pub fn new(layout: Arc<Layout>, taken: Taken) -> Option<Self> {
        if layout.seats() != taken.seats() {
            return None;
        }
        let stretches = u32::try_from(layout.stretches().len()).expect("no more than seats");
        let free = vec![Free::default(); stretches as usize];
        let mut seating = Self { layout, taken, free, order: Default::default() };
        for stretch in 0..stretches {
            seating.look_again(stretch, None);
        }
        Some(seating)
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn layout_arc(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The taken seats.
    #[must_use]
    pub fn taken(&self) -> &Taken {
        &self.taken
    }

    /// Takes `seats` as [`Taken::take`] does.
    pub fn take(&mut self, seats: &[SeatIndex]) -> Result<(), Conflicts> {
        self.taken.take(seats)?;
        self.look_again_at(seats, true);
        Ok(())
    }

    /// Releases `seats` as [`Taken::release`] does.
    pub fn release(&mut self, seats: &[SeatIndex]) -> Result<(), Conflicts> {
        self.taken.release(seats)?;
        self.look_again_at(seats, false);
        Ok(())
    }

    /// Says which version of the inventory the taken seats belong to.
    pub fn stamp(&mut self, version: i64) {
        self.taken.stamp(version);
    }

    /// Replaces the taken seats by `now`, looking again only where they differ. Whether it could:
    /// else they are of another layout, and nothing changed.
    #[must_use]
    pub fn follow(&mut self, now: &Taken) -> bool {
        let Some(difference) = now.since(&self.taken) else { return false };
        self.taken.clone_from(now);
        self.look_again_at(&difference.taken, true);
        self.look_again_at(&difference.released, false);
        true
    }

    /// Stretches with at least `number` adjacent free seats, the nearest first, as (distance of
    /// the nearest seat, place).
    pub(super) fn order(&self, number: u32) -> impl Iterator<Item = (u64, usize)> {
        let mut parts: Vec<_> = self.order[apart(number)..]
            .iter()
            .map(|part| part.iter().copied().peekable())
            .filter_map(|mut part| part.peek().is_some().then_some(part))
            .collect();
        let merged = std::iter::from_fn(move || {
            let heads = parts.iter_mut().enumerate();
            let heads = heads.filter_map(|(at, part)| Some((*part.peek()?, at)));
            let (_, at) = heads.min()?;
            parts[at].next()
        });
        let merged = merged.map(|(nearest, stretch)| (nearest, stretch as usize));
        merged.filter(move |(_, stretch)| self.free[*stretch].longest >= number)
    }

    /// Looks again at the stretches of `seats`, all of which were just taken, or released.
    fn look_again_at(&mut self, seats: &[SeatIndex], were_taken: bool) {
        let mut rest = seats;
        while let Some(first) = rest.first() {
            let stretch = self.layout.stretch_index(*first);
            let here = |seat: &&SeatIndex| self.layout.stretch_index(**seat) == stretch;
            let (seats, others) = rest.split_at(rest.iter().take_while(here).count());
            rest = others;
            let Free { longest, nearest } = self.free[stretch as usize];
            let distances = seats.iter().map(|seat| self.layout.distance(*seat));
            let changed = distances.min().expect("the first one is here");
            // Only who takes the nearest seat has to look for the next.
            let nearest = match (longest, were_taken) {
                (0, _) => None,
                (_, true) => (changed > nearest).then_some(nearest),
                (_, false) => Some(changed.min(nearest)),
            };
            self.look_again(stretch, nearest);
        }
    }

    /// Looks again at a stretch, whose nearest free seat may be known.
    fn look_again(&mut self, stretch: u32, nearest: Option<u64>) {
        let place = stretch as usize;
        let seats = self.layout.stretches()[place].seats.clone();
        let (mut longest, mut run) = (0, 0);
        for seat in seats.clone() {
            run = if self.taken.has(seat) { 0 } else { run + 1 };
            longest = longest.max(run);
        }
        let nearest = nearest.unwrap_or_else(|| {
            let free = seats.filter(|seat| !self.taken.has(*seat));
            free.map(|seat| self.layout.distance(seat)).min().unwrap_or(u64::MAX)
        });
        let key = |free: Free| (free.longest > 0).then(|| (apart(free.longest), free.nearest));
        let now = Free { longest, nearest };
        let before = std::mem::replace(&mut self.free[place], now);
        if key(before) == key(now) {
            return;
        }
        if let Some((apart, nearest)) = key(before) {
            self.order[apart].remove(&(nearest, stretch));
        }
        if let Some((apart, nearest)) = key(now) {
            self.order[apart].insert((nearest, stretch));
        }
    }
}
