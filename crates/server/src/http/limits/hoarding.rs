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
/// Callers are spread over so many maps, each with a lock.
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
    /// Who is told to the gate in the next turn, where there is one.
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

/// What is told of one caller: the newest slice, and the seats of each, from it backwards.
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

    /// What is told to the gate now.
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
    /// none where the gate was away: it is told again.
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
mod tests {
    use super::*;
    use engine::{Shard, Timestamp};

    const LIMITS: SeatLimits = SeatLimits { buyer: 100, visitor: 20, address: 50 };
    const TTL: Duration = Duration::from_mins(10);
    const TTL_MS: i64 = 600_000;
    /// The beginning of a slice.
    const NOW: i64 = 1_000 * TTL_MS;

    fn id(number: u64) -> UserId {
        UserId::new(Timestamp::from_unix_ms(1), Shard::pick(0), number)
    }

    fn buyer(number: u64) -> Caller {
        Caller::User(id(number))
    }

    fn visitor(number: u64, last: u8) -> Caller {
        Caller::Visitor { user_id: id(number), from: IpAddr::from([192, 0, 2, last]) }
    }

    fn alone() -> Hoarding {
        Hoarding::new(LIMITS, TTL, false)
    }

    /// How many seats somebody gets who asks for one after the other.
    fn gets(of: &Hoarding, caller: &Caller, now_ms: i64) -> usize {
        (0..1_000).take_while(|_| of.take(caller, 1, now_ms).is_ok()).count()
    }

    #[test]
    fn what_is_not_bought_counts_until_its_hold_would_have_ended() {
        let of = alone();
        assert_eq!(gets(&of, &buyer(1), NOW), 100);
        assert_eq!(gets(&of, &buyer(2), NOW), 100, "each counts alone");
        let refused = of.take(&buyer(1), 1, NOW + 1).expect_err("full");
        assert_eq!(refused.limit, 100);
        assert!((598..=608).contains(&refused.wait), "{refused:?}");
        assert_eq!(gets(&of, &buyer(1), NOW + TTL_MS - 1), 0);
        // The slice of its beginning leaves little by little.
        let half = gets(&of, &buyer(1), NOW + TTL_MS + TTL_MS / 8);
        assert!((49..=51).contains(&half), "{half}");
        assert_eq!(gets(&of, &buyer(2), NOW + TTL_MS + TTL_MS / 4), 100);
    }

    #[test]
    fn who_waits_as_long_as_was_said_gets_it() {
        for (taken, asked, later_ms) in [(100, 1, 0), (95, 30, 200_000), (100, 100, 590_000)] {
            let of = alone();
            of.take(&buyer(1), taken, NOW).expect("it is empty");
            let now_ms = NOW + later_ms;
            let wait = of.take(&buyer(1), asked, now_ms).expect_err("full").wait;
            let wait_ms = i64::try_from(wait).expect("short") * 1_000;
            of.take(&buyer(1), asked, now_ms + wait_ms - 2_000).expect_err("not yet");
            of.take(&buyer(1), asked, now_ms + wait_ms).expect("as was said");
        }
    }

    #[test]
    fn buying_and_cancelling_give_back_at_once_and_never_more_than_was_taken() {
        let of = alone();
        for round in 0..10 {
            of.take(&buyer(1), 100, NOW + round).expect("what was bought does not count");
            of.give_back(&buyer(1), 100, NOW + round);
        }
        of.give_back(&buyer(1), 100, NOW);
        assert_eq!(gets(&of, &buyer(1), NOW + 10), 100, "nobody saves up");
        // A hold of an earlier slice goes first.
        let later = NOW + TTL_MS / 2;
        of.give_back(&buyer(1), 40, later);
        assert_eq!(gets(&of, &buyer(1), later), 40);
        assert_eq!(gets(&of, &buyer(1), NOW + TTL_MS + TTL_MS / 4), 60);
    }

    #[test]
    fn what_was_extended_counts_from_then_on() {
        let of = alone();
        of.take(&buyer(1), 60, NOW).expect("it is empty");
        of.extended(&buyer(1), 60, NOW + TTL_MS / 2);
        assert_eq!(gets(&of, &buyer(1), NOW + TTL_MS / 2), 40, "it counts once");
        assert_eq!(gets(&of, &buyer(1), NOW + TTL_MS + TTL_MS / 4), 0);
    }

    #[test]
    fn one_hold_always_fits_where_nothing_counts() {
        let of = alone();
        of.take(&visitor(1, 1), 45, NOW).expect("it is the only one");
        of.take(&visitor(1, 1), 1, NOW).expect_err("it is not");
        // Also where the address has room for it no more.
        let refused = of.take(&visitor(2, 1), 6, NOW).expect_err("45 of 50 at this address");
        assert_eq!(refused.limit, 50);
        of.take(&visitor(2, 2), 6, NOW).expect("elsewhere, and not counted by what was refused");
        assert_eq!(gets(&of, &visitor(2, 2), NOW), 14);
    }

    #[test]
    fn visitors_of_an_address_share_its_limit_and_users_do_not() {
        let of = alone();
        assert_eq!(gets(&of, &visitor(1, 7), NOW), 20);
        assert_eq!(gets(&of, &visitor(2, 7), NOW), 20);
        assert_eq!(gets(&of, &visitor(3, 7), NOW), 10);
        assert_eq!(gets(&of, &visitor(3, 8), NOW), 10, "of its own limit that is the rest");
    }

    #[test]
    fn a_clock_that_was_set_back_forgets_what_was_counted_in_the_future() {
        let of = alone();
        of.take(&buyer(1), 100, NOW + 100 * TTL_MS).expect("it is empty");
        assert_eq!(gets(&of, &buyer(1), NOW), 100);
    }

    #[test]
    fn the_idle_are_forgotten() {
        let of = alone();
        for number in 0..1_000 {
            of.take(&buyer(number), 1, NOW).expect("it is empty");
        }
        let count = || of.shards.iter().map(|shard| shard.lock().len()).sum::<usize>();
        of.forget_idle(NOW + TTL_MS);
        assert_eq!(count(), 1_000);
        of.forget_idle(NOW + 2 * TTL_MS);
        assert_eq!(count(), 0);
    }

    /// Instances that share a gate, as the sums that it keeps.
    struct World {
        instances: Vec<Hoarding>,
        sums: HashMap<(Hoarder, i64), i64>,
    }

    impl World {
        fn of(instances: usize) -> Self {
            let instances = (0..instances).map(|_| Hoarding::new(LIMITS, TTL, true)).collect();
            Self { instances, sums: HashMap::new() }
        }

        fn sync(&mut self, now_ms: i64) {
            for of in &self.instances {
                let told = of.untold(now_ms);
                let sums = told.iter().flat_map(|(hoarder, slice, counts)| {
                    (0..).zip(counts).map(move |(older, count)| (*hoarder, slice - older, *count))
                });
                let sums: Vec<_> = sums.collect();
                let mut add = |(hoarder, slice, count): (Hoarder, i64, i32)| {
                    let sum = self.sums.entry((hoarder, slice)).or_insert(0);
                    *sum += i64::from(count);
                    *sum
                };
                let sums: Vec<_> = sums.into_iter().map(&mut add).collect();
                of.learn(&told, Some(&sums));
            }
        }
    }

    #[test]
    fn who_goes_from_one_instance_to_the_next_gets_the_limit_little_more_than_once() {
        let mut world = World::of(4);
        let mut got = 0;
        for second in 0..120 {
            for no in 0..4 {
                got += usize::from(
                    world.instances[no].take(&buyer(1), 1, NOW + second * 1_000).is_ok(),
                );
            }
            world.sync(NOW + second * 1_000);
        }
        assert!((100..=115).contains(&got), "{got}");
    }

    #[test]
    fn what_is_bought_at_another_instance_is_given_back_at_all() {
        let mut world = World::of(2);
        let mut now_ms = NOW;
        for round in 0..20 {
            let (here, there) = (round % 2, (round + 1) % 2);
            world.instances[here].take(&buyer(1), 50, now_ms).unwrap_or_else(|refused| {
                panic!("round {round}: {refused:?}");
            });
            world.sync(now_ms);
            now_ms += 40_000;
            world.instances[there].give_back(&buyer(1), 50, now_ms);
            // Both hear of it.
            world.sync(now_ms);
            world.instances[here].take(&buyer(1), 1, now_ms).expect("there is room");
            world.instances[here].give_back(&buyer(1), 1, now_ms);
            world.sync(now_ms);
        }
    }

    #[test]
    fn what_the_gate_did_not_hear_is_told_again() {
        let of = Hoarding::new(LIMITS, TTL, true);
        of.take(&buyer(1), 50, NOW).expect("it is empty");
        let told = of.untold(NOW);
        assert_eq!(told, [(Hoarder::Buyer(id(1)), NOW / (TTL_MS / 4), [50, 0, 0, 0, 0])]);
        of.learn(&told, None);
        assert!(of.untold(NOW).is_empty(), "not before something else happens");
        of.take(&buyer(1), 1, NOW + TTL_MS / 4).expect("there is room");
        let (_, _, counts) = of.untold(NOW + TTL_MS / 4)[0];
        assert_eq!(counts, [1, 50, 0, 0, 0]);
        // Who takes little is not told of.
        of.take(&buyer(2), 4, NOW).expect("it is empty");
        assert!(of.untold(NOW).is_empty());
    }
}
