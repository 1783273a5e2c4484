//! Requests a second across all instances: counted here, added up in the gate.
//!
//! No request waits for the gate. Each instance counts what it lets through, and a few times a
//! second sends to the gate those who use more than a small share of the limit; the gate's sum is
//! what all instances have let through in the same second. A caller that has used up the limit is
//! refused, and requests beyond the limit that were admitted before the instances had synchronized
//! are deducted from the following seconds. So a caller who hammers many instances gets the limit
//! over any longer time, and in one second the limit and what the instances let through in
//! [`SYNC_INTERVAL`].
//!
//! While the gate is unavailable, each instance enforces the limit alone.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// How often the counts are sent to the gate.
pub const SYNC_INTERVAL: Duration = Duration::from_millis(200);
/// What is counted together, in ms of the store's clock, which all instances share.
pub const WINDOW_MS: i64 = 1_000;
/// Callers that use less than this part of the limit are not sent.
const SHARE: u64 = 10;
/// Maximum number of callers sent in one turn, the heaviest users first.
pub const TOLD_PER_TURN_MAX: usize = 1_000;
/// Callers counted in one second; of more, the local limits alone decide.
const CALLERS_MAX: usize = 100_000;
/// Seconds that are this far behind come of a clock that was set back, not of requests that are late.
const WINDOWS_BACK_MAX: i64 = 10;
/// How many seconds' worth of the limit a caller may have to pay back.
const DEBT_SECONDS_MAX: u64 = 10;

/// What an instance knows of all callers.
pub struct Shared<K> {
    limit: u64,
    callers: Mutex<HashMap<K, Usage>>,
}

/// What a caller has used in a second.
#[derive(Clone, Copy, Default)]
struct Usage {
    /// Which second.
    window: i64,
    /// On all instances, as far as the gate knows.
    total: u64,
    /// Counted here and not yet sent to the gate.
    untold: u32,
    /// Used up before the second began.
    debt: u64,
}

impl Usage {
    fn used(&self) -> u64 {
        self.debt + self.total + u64::from(self.untold)
    }

    /// True if counts are sent to the gate, false if they are only read: a heavy user here is one
    /// elsewhere.
    fn is_worth_telling(&self, limit: u64) -> bool {
        self.used() > limit / SHARE
    }

    /// Goes on to another second: each of those that passed has paid for one limit.
    fn roll(&mut self, window: i64, limit: u64) {
        if self.window - window > WINDOWS_BACK_MAX {
            // The store's clock was set back. The counts belong to seconds that will occur again.
            *self = Self { window, ..Self::default() };
        }
        let Ok(passed @ 1..) = u64::try_from(window - self.window) else { return };
        let debt = (self.debt + self.total).saturating_sub(limit.saturating_mul(passed));
        // A large unsent count is still sent in the new second; a small one is dropped.
        let untold = if self.is_worth_telling(limit) { self.untold } else { 0 };
        *self = Self { window, total: 0, untold, debt: debt.min(limit * DEBT_SECONDS_MAX) };
    }
}

/// The second that an instant belongs to.
fn window_of(now_ms: i64) -> i64 {
    now_ms.div_euclid(WINDOW_MS)
}

impl<K: Clone + Eq + Hash> Shared<K> {
    /// Nobody has used anything.
    pub fn new(limit: u32) -> Self {
        Self { limit: u64::from(limit), callers: Mutex::default() }
    }

    /// Counts a request, or returns the seconds to wait.
    pub fn admit(&self, caller: &K, now_ms: i64) -> Result<(), u64> {
        let mut callers = self.callers.lock();
        let window = window_of(now_ms);
        if !callers.contains_key(caller) {
            if callers.len() >= CALLERS_MAX {
                return Ok(());
            }
            callers.insert(caller.clone(), Usage { window, ..Usage::default() });
        }
        let usage = callers.get_mut(caller).expect("it was there or has been inserted");
        usage.roll(window, self.limit);
        if usage.used() >= self.limit {
            return Err((usage.used() / self.limit).max(1));
        }
        usage.untold += 1;
        Ok(())
    }

    /// What is sent to the gate: the second, and the number of requests of each caller; none, where
    /// it is only asked for the sum. Forgets the idle.
    pub fn untold(&self, now_ms: i64) -> (i64, Vec<(K, u32)>) {
        let window = window_of(now_ms);
        let mut callers = self.callers.lock();
        callers.retain(|_, usage| {
            usage.roll(window, self.limit);
            usage.used() > 0
        });
        let worth = |(_, usage): &(&K, &mut Usage)| usage.is_worth_telling(self.limit);
        let mut told: Vec<_> = callers.iter_mut().filter(worth).collect();
        if told.len() > TOLD_PER_TURN_MAX {
            told.select_nth_unstable_by_key(TOLD_PER_TURN_MAX, |(_, usage)| {
                std::cmp::Reverse(usage.untold)
            });
            told.truncate(TOLD_PER_TURN_MAX);
        }
        let tell = |(caller, usage): (&K, &mut Usage)| {
            let count = std::mem::take(&mut usage.untold);
            usage.total += u64::from(count);
            (caller.clone(), count)
        };
        (window, told.into_iter().map(tell).collect())
    }

    /// Takes over what all instances have let through in a second.
    pub fn learn(&self, window: i64, told: &[(K, u32)], totals: &[i64]) {
        let mut callers = self.callers.lock();
        for ((caller, _), total) in told.iter().zip(totals) {
            if let Some(usage) = callers.get_mut(caller)
                && usage.window == window
            {
                usage.total = usage.total.max(u64::try_from(*total).unwrap_or(0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u32 = 200;

    /// Instances that share a gate, as the sums that it keeps.
    struct World {
        instances: Vec<Shared<u32>>,
        sums: HashMap<(i64, u32), i64>,
        is_away: bool,
    }

    impl World {
        fn of(instances: usize) -> Self {
            let instances = (0..instances).map(|_| Shared::new(LIMIT)).collect();
            Self { instances, sums: HashMap::new(), is_away: false }
        }

        fn sync(&mut self, now_ms: i64) {
            for instance in &self.instances {
                let (window, told) = instance.untold(now_ms);
                let mut add = |(caller, count): &(u32, u32)| {
                    let sum = self.sums.entry((window, *caller)).or_insert(0);
                    *sum += i64::from(*count);
                    *sum
                };
                let totals: Vec<_> = told.iter().map(&mut add).collect();
                if !self.is_away {
                    instance.learn(window, &told, &totals);
                }
            }
        }

        /// How many requests of one caller get through in each of these seconds, when every instance
        /// is asked so often in each ms.
        fn hammer(&mut self, seconds: i64, per_ms: u32) -> Vec<u32> {
            let mut let_through = Vec::new();
            for second in 0..seconds {
                let mut count = 0;
                for now_ms in second * 1_000..(second + 1) * 1_000 {
                    if now_ms % 200 == 0 {
                        self.sync(now_ms);
                    }
                    for instance in &self.instances {
                        let asked = (0..per_ms).filter(|_| instance.admit(&7, now_ms).is_ok());
                        count += u32::try_from(asked.count()).expect("few");
                    }
                }
                let_through.push(count);
            }
            let_through
        }
    }

    #[test]
    fn who_asks_many_instances_gets_the_limit_once() {
        // Each of the four is asked as often as the limit allows in all.
        let mut world = World::of(4);
        world.instances.iter().for_each(|instance| instance.admit(&7, 0).expect("the first"));
        let mut count = 0_u32;
        for now_ms in 0..20_000 {
            if now_ms % 200 == 0 {
                world.sync(now_ms);
            }
            if now_ms % 5 == 0 {
                let asked = world.instances.iter().filter(|it| it.admit(&7, now_ms).is_ok());
                count += u32::try_from(asked.count()).expect("few");
            }
        }
        let limit = LIMIT * 20;
        assert!(count <= limit * 12 / 10, "{count} of {limit}");
        assert!(count >= limit * 8 / 10, "{count} of {limit}");
    }

    #[test]
    fn what_was_let_through_too_much_is_paid_back() {
        let let_through = World::of(4).hammer(20, 100);
        // Nobody knows of the others yet.
        assert_eq!(let_through[0], 4 * LIMIT, "{let_through:?}");
        let all: u32 = let_through.iter().sum();
        assert!(all <= LIMIT * 23, "{let_through:?}");
        assert!(all >= LIMIT * 15, "{let_through:?}");
    }

    #[test]
    fn one_instance_gives_the_whole_limit_every_second() {
        let let_through = World::of(1).hammer(5, 1);
        assert!(let_through.iter().all(|count| (195..=205).contains(count)), "{let_through:?}");
    }

    #[test]
    fn without_the_gate_each_instance_keeps_the_limit_alone() {
        let mut world = World::of(2);
        world.is_away = true;
        let let_through = world.hammer(5, 1);
        assert!(let_through.iter().all(|count| (390..=410).contains(count)), "{let_through:?}");
    }

    #[test]
    fn those_who_use_little_are_not_told_of_and_are_forgotten() {
        let shared = Shared::new(LIMIT);
        for caller in 0..50 {
            for _ in 0..20 {
                shared.admit(&caller, 10).expect("a small share");
            }
        }
        assert!(shared.untold(20).1.is_empty());
        assert_eq!(shared.callers.lock().len(), 50);
        assert!(shared.untold(1_020).1.is_empty());
        assert!(shared.callers.lock().is_empty());
    }

    #[test]
    fn a_turn_tells_of_a_bounded_number_those_who_used_the_most_first() {
        let shared = Shared::new(LIMIT);
        let many = u32::try_from(TOLD_PER_TURN_MAX).expect("few") + 100;
        for caller in 0..many {
            let count = if caller < 100 { 21 } else { 40 };
            for _ in 0..count {
                shared.admit(&caller, 10).expect("within the limit");
            }
        }
        let (_, told) = shared.untold(20);
        assert_eq!(told.len(), TOLD_PER_TURN_MAX);
        assert!(told.iter().all(|(_, count)| *count == 40));
        let (_, told) = shared.untold(30);
        let others = told.iter().filter(|(_, count)| *count == 21).count();
        assert_eq!((told.len(), others), (TOLD_PER_TURN_MAX, 100), "the others come next");
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_waiting_until_it_has_caught_up() {
        let shared = Shared::new(LIMIT);
        let glitch_ms = 3_600_000;
        for _ in 0..LIMIT {
            shared.admit(&7, glitch_ms).expect("within the limit");
        }
        shared.admit(&7, glitch_ms).expect_err("used up");
        // What is a little late counts with the rest.
        shared.admit(&7, glitch_ms - 2_000).expect_err("used up");
        for _ in 0..LIMIT {
            shared.admit(&7, 10).expect("another second");
        }
        shared.admit(&7, 10).expect_err("used up");
        shared.untold(20);
        shared.admit(&7, 10 + WINDOW_MS).expect("the next second");
    }

    #[test]
    fn a_debt_ends() {
        let shared = Shared::new(LIMIT);
        for _ in 0..100 {
            shared.admit(&7, 10).expect("within the limit");
        }
        let (window, told) = shared.untold(20);
        shared.learn(window, &told, &[1_000_000]);
        let wait = shared.admit(&7, 900).expect_err("used up");
        assert!((2..=5_000).contains(&wait), "{wait}");
        let later = i64::try_from(DEBT_SECONDS_MAX + 2).expect("few") * WINDOW_MS;
        shared.admit(&7, 1_010).expect_err("still");
        shared.admit(&7, later).expect("paid");
    }
}
