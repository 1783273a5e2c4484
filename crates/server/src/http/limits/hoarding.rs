//! Seats that a buyer takes off sale: a sliding window of one `HOLD_TTL`, counted in seats.
//!
//! A hold counts from when it is made, and again from when it is extended, until a hold that began then
//! would have ended; confirming or cancelling it gives its seats back before that. Who has reached the
//! limit gets no other hold, though one hold always fits where nothing is counted. So nobody keeps more
//! seats off sale without buying them than the limit, or twice the limit with extensions.
//!
//! Each instance counts what it lets through. Of those who use more than a small share of their limit,
//! the gate's sums are what all instances have let through: told and read a few times a second, so that
//! in this time, and while the gate is away, each instance decides alone. A gate that has lost its sums
//! begins to count anew.

use super::subscriber;
use crate::caller::Caller;
use engine::UserId;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

/// Of how many parts a window consists: the current one, and as many whole ones as make a `HOLD_TTL`.
pub const SLICES: usize = 5;
/// The same, as a difference of two slices.
const SLICES_APART: i64 = 5;
/// Those who use less than this part of their limit are not told to the gate.
const SHARE: i64 = 10;
/// Callers told in one turn, each with a sum for each slice.
pub const TOLD_PER_TURN_MAX: usize = 200;
/// Callers that an instance counts; more are let through.
const CALLERS_MAX: usize = 250_000;
/// Over how many maps callers are spread, each with a lock.
const SHARDS: usize = 16;

/// Who takes seats off sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hoarder {
    /// A buyer with an account.
    Buyer(UserId),
    /// A buyer without one.
    Visitor(UserId),
    /// All visitors at an address.
    Address(IpAddr),
}

impl Hoarder {
    /// Its name before it is digested.
    pub fn text(&self) -> String {
        match self {
            Self::Buyer(user_id) => format!("buyer {user_id}"),
            Self::Visitor(user_id) => format!("visitor {user_id}"),
            Self::Address(address) => format!("address {address}"),
        }
    }
}

/// As whom a caller takes seats off sale: nobody, where it sells to others.
fn hoarders(caller: &Caller) -> impl Iterator<Item = Hoarder> {
    let both = match *caller {
        Caller::User(user_id) => [Some(Hoarder::Buyer(user_id)), None],
        Caller::Visitor { user_id, from } => {
            [Some(Hoarder::Visitor(user_id)), Some(Hoarder::Address(subscriber(from)))]
        }
        Caller::Key(_) => [None, None],
    };
    both.into_iter().flatten()
}

/// How many seats each may take off sale within a `HOLD_TTL`.
#[derive(Clone, Copy, Debug)]
pub struct SeatLimits {
    /// A buyer with an account.
    pub buyer: u32,
    /// A buyer without one.
    pub visitor: u32,
    /// All visitors at an address.
    pub address: u32,
}

impl SeatLimits {
    fn of(&self, hoarder: &Hoarder) -> i64 {
        i64::from(match hoarder {
            Hoarder::Buyer(_) => self.buyer,
            Hoarder::Visitor(_) => self.visitor,
            Hoarder::Address(_) => self.address,
        })
    }
}

/// Why somebody gets no hold now.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany {
    /// The limit, in seats.
    pub limit: i64,
    /// After how many seconds what was asked for would fit.
    pub wait: u64,
}

/// What an instance counts.
pub struct Hoarding {
    limits: SeatLimits,
    slice_ms: i64,
    shards: [Mutex<HashMap<Hoarder, Taken>>; SHARDS],
    hasher: RandomState,
    /// Whose counts the gate gets in the next turn, where there is one.
    pending: Option<Mutex<HashSet<Hoarder>>>,
}

/// Seats in each slice, the newest first. Where they were taken at another instance than given back, a sum
/// may be negative.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// Which slice is the newest.
    slice: i64,
    /// With those that were not told yet.
    seats: [i32; SLICES],
    /// Counted here, and not yet told.
    untold: [i32; SLICES],
}

impl Taken {
    /// Goes on to another slice.
    fn roll(&mut self, slice: i64) {
        let passed = slice - self.slice;
        if !(-SLICES_APART..SLICES_APART).contains(&passed) {
            // All of it has passed, or the store's clock was set back.
            *self = Self { slice, ..Self::default() };
        } else if passed > 0 {
            let passed = usize::try_from(passed).expect("it is positive");
            for counts in [&mut self.seats, &mut self.untold] {
                counts.rotate_right(passed);
                counts[..passed].fill(0);
            }
            self.slice = slice;
        }
    }

    /// Seats in each slice, the oldest first, as they count when this part of the newest one has passed.
    fn weighed(&self, slice_ms: i64, passed_ms: i64) -> [i64; SLICES] {
        // What was given back in a slice was taken in it or before.
        let mut given_back = 0;
        let mut weighed = self.seats.map(|seats| {
            let left = i64::from(seats) - given_back;
            given_back = (-left).max(0);
            left.max(0)
        });
        weighed.reverse();
        let part = weighed[0] * (slice_ms - passed_ms);
        weighed[0] = part / slice_ms + i64::from(part % slice_ms > 0);
        weighed
    }

    /// How much there would be to tell.
    fn weight(&self) -> i64 {
        let seats = self.seats.iter().map(|seats| i64::from((*seats).max(0)));
        let untold = self.untold.iter().map(|seats| i64::from(*seats).abs());
        seats.chain(untold).sum()
    }

    /// Counts seats from now on.
    fn add(&mut self, seats: i32) {
        self.seats[0] = self.seats[0].saturating_add(seats);
        self.untold[0] = self.untold[0].saturating_add(seats);
    }

    /// Gives seats back, those first that have counted for the longest; returns how many of them were not
    /// counted here.
    fn give_back(&mut self, mut seats: i32) -> i32 {
        for slice in (0..SLICES).rev() {
            let part = seats.min(self.seats[slice].max(0));
            self.seats[slice] -= part;
            self.untold[slice] -= part;
            seats -= part;
        }
        seats
    }
}

/// What the gate gets of one caller: the newest slice, and the seats of each, from it backwards.
pub type Told = (Hoarder, i64, [i32; SLICES]);

impl Hoarding {
    /// Nobody has taken anything.
    pub fn new(limits: SeatLimits, hold_ttl: Duration, is_shared: bool) -> Self {
        let ttl_ms = i64::try_from(hold_ttl.as_millis()).unwrap_or(i64::MAX);
        Self {
            limits,
            slice_ms: (ttl_ms / (SLICES_APART - 1)).max(1),
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            pending: is_shared.then(Mutex::default),
        }
    }

    /// Counts the seats of a hold that this caller asks for, or says why there is no room for it.
    pub fn take(&self, caller: &Caller, seats: u32, now_ms: i64) -> Result<(), TooMany> {
        for hoarder in hoarders(caller) {
            let taken = self.change(&hoarder, now_ms, |taken, passed_ms| {
                self.fits(&hoarder, taken, (seats, passed_ms))?;
                taken.add(counted(seats));
                Ok(())
            });
            if let Some(Err(refused)) = taken {
                // What was counted for those before.
                for before in hoarders(caller).take_while(|before| *before != hoarder) {
                    self.change(&before, now_ms, |taken, _| self.returned(taken, seats));
                }
                return Err(refused);
            }
        }
        Ok(())
    }

    /// Counts the seats of a hold of this caller that was extended.
    pub fn extended(&self, caller: &Caller, seats: u32, now_ms: i64) {
        for hoarder in hoarders(caller) {
            self.change(&hoarder, now_ms, |taken, _| {
                self.returned(taken, seats);
                taken.add(counted(seats));
            });
        }
    }

    /// Gives back the seats of a hold of this caller that was confirmed, cancelled, or not made.
    pub fn give_back(&self, caller: &Caller, seats: u32, now_ms: i64) {
        for hoarder in hoarders(caller) {
            self.change(&hoarder, now_ms, |taken, _| self.returned(taken, seats));
        }
    }

    /// Gives seats back that were taken here, or at another instance.
    fn returned(&self, taken: &mut Taken, seats: u32) {
        let elsewhere = taken.give_back(counted(seats));
        if self.pending.is_some() {
            taken.add(-elsewhere);
        }
    }

    fn fits(
        &self,
        hoarder: &Hoarder,
        taken: &Taken,
        (seats, passed_ms): (u32, i64),
    ) -> Result<(), TooMany> {
        let (limit, seats) = (self.limits.of(hoarder), i64::from(seats));
        let weighed = taken.weighed(self.slice_ms, passed_ms);
        let level: i64 = weighed.iter().sum();
        if level == 0 || level + seats <= limit {
            return Ok(());
        }
        let mut surplus = level - (limit - seats).max(0);
        let (mut wait_ms, mut left_ms) = (0, self.slice_ms - passed_ms);
        for part in weighed {
            if surplus <= part {
                wait_ms += left_ms * surplus / part.max(1);
                break;
            }
            surplus -= part;
            wait_ms += left_ms;
            left_ms = self.slice_ms;
        }
        Err(TooMany { limit, wait: u64::try_from(wait_ms).unwrap_or(0) / 1_000 + 1 })
    }

    /// Changes what is counted for somebody, told how much of the newest slice has passed; not where too
    /// many others are counted.
    fn change<T>(
        &self,
        hoarder: &Hoarder,
        now_ms: i64,
        change: impl FnOnce(&mut Taken, i64) -> T,
    ) -> Option<T> {
        let mut shard = self.shards[self.shard_of(hoarder)].lock();
        if !shard.contains_key(hoarder) && shard.len() >= CALLERS_MAX / SHARDS {
            return None;
        }
        let (slice, passed_ms) = self.slice_of(now_ms);
        let taken = shard.entry(*hoarder).or_insert(Taken { slice, ..Taken::default() });
        taken.roll(slice);
        let done = change(taken, passed_ms);
        if let Some(pending) = &self.pending
            && taken.untold != [0; SLICES]
            && taken.weight() > self.limits.of(hoarder) / SHARE
        {
            pending.lock().insert(*hoarder);
        }
        Some(done)
    }

    /// Forgets those for whom nothing counts.
    pub fn forget_idle(&self, now_ms: i64) {
        let (slice, _) = self.slice_of(now_ms);
        for shard in &self.shards {
            shard.lock().retain(|_, taken| {
                taken.roll(slice);
                taken.weight() > 0
            });
        }
    }

    /// What the gate gets now.
    pub fn untold(&self, now_ms: i64) -> Vec<Told> {
        let Some(pending) = &self.pending else { return Vec::new() };
        let now: Vec<_> = {
            let mut pending = pending.lock();
            let some: Vec<_> = pending.iter().take(TOLD_PER_TURN_MAX).copied().collect();
            for hoarder in &some {
                pending.remove(hoarder);
            }
            some
        };
        let (slice, _) = self.slice_of(now_ms);
        let tell = |hoarder: Hoarder| {
            let mut shard = self.shards[self.shard_of(&hoarder)].lock();
            let taken = shard.get_mut(&hoarder)?;
            taken.roll(slice);
            Some((hoarder, taken.slice, std::mem::take(&mut taken.untold)))
        };
        now.into_iter().filter_map(tell).collect()
    }

    /// Takes over what all instances have let through, one sum for each slice of each that was told;
    /// none where the gate was away: it is sent again.
    pub fn learn(&self, told: &[Told], sums: Option<&[i64]>) {
        for (place, (hoarder, slice, counts)) in told.iter().enumerate() {
            let mut shard = self.shards[self.shard_of(hoarder)].lock();
            let Some(taken) = shard.get_mut(hoarder) else { continue };
            let passed = usize::try_from(taken.slice - slice).unwrap_or(SLICES);
            for (older, newer) in (passed..SLICES).zip(0..) {
                match sums {
                    None => taken.untold[older] += counts[newer],
                    Some(sums) => {
                        let sum = sums[place * SLICES + newer];
                        let sum = i32::try_from(sum).unwrap_or(i32::MAX);
                        taken.seats[older] = sum.saturating_add(taken.untold[older]);
                    }
                }
            }
        }
    }

    /// For how long the gate keeps the sums of a slice, in ms.
    pub fn kept_ms(&self) -> u64 {
        let slices = SLICES as u64 + 1;
        self.slice_ms.unsigned_abs().saturating_mul(slices)
    }

    fn slice_of(&self, now_ms: i64) -> (i64, i64) {
        (now_ms.div_euclid(self.slice_ms), now_ms.rem_euclid(self.slice_ms))
    }

    fn shard_of(&self, hoarder: &Hoarder) -> usize {
        usize::try_from(self.hasher.hash_one(hoarder) % SHARDS as u64).expect("it is small")
    }
}

/// As it is counted.
fn counted(seats: u32) -> i32 {
    i32::try_from(seats).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
