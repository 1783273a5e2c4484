//! Wrong secrets of an address: a few a minute, counted before anything is read for them.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;

/// Wrong ones of an address a minute.
pub const GUESSES_PER_MINUTE: u32 = 20;
const MINUTE_MS: i64 = 60_000;

/// How many secrets of each address are being checked, or were wrong, in which minute.
#[derive(Default)]
pub struct Guesses(Mutex<HashMap<IpAddr, Minute>>);

#[derive(Clone, Copy)]
struct Minute {
    number: i64,
    guesses: u32,
}

/// A secret that is being checked. It counts until it is dropped, and longer if it was wrong: so of many
/// that are sent at once no more are looked at than of those sent one after the other.
#[must_use]
pub struct Guess<'a> {
    /// Whose it is; none when there are no limits.
    of: Option<(&'a Guesses, IpAddr, i64)>,
}

impl Guesses {
    /// Counts one of this address; else how many seconds to wait.
    pub fn begin(&self, from: IpAddr, now_ms: i64) -> Result<Guess<'_>, u64> {
        let number = now_ms.div_euclid(MINUTE_MS);
        let mut all = self.0.lock();
        let minute = all.entry(from).or_insert(Minute { number, guesses: 0 });
        if minute.number != number {
            *minute = Minute { number, guesses: 0 };
        }
        if minute.guesses >= GUESSES_PER_MINUTE {
            let left_ms = MINUTE_MS - now_ms.rem_euclid(MINUTE_MS);
            return Err(u64::try_from(left_ms).expect("it is positive").div_ceil(1_000));
        }
        minute.guesses += 1;
        Ok(Guess { of: Some((self, from, number)) })
    }

    /// Forgets what was counted in earlier minutes.
    pub fn forget_idle(&self, now_ms: i64) {
        let number = now_ms.div_euclid(MINUTE_MS);
        self.0.lock().retain(|_, minute| minute.number >= number);
    }
}

impl Guess<'_> {
    /// One that nobody counts.
    pub fn uncounted() -> Self {
        Self { of: None }
    }

    /// It goes on counting.
    pub fn was_wrong(mut self) {
        self.of = None;
    }
}

impl Drop for Guess<'_> {
    fn drop(&mut self) {
        let Some((guesses, from, number)) = self.of else { return };
        if let Some(minute) = guesses.0.lock().get_mut(&from)
            && minute.number == number
        {
            minute.guesses -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_ones_count_for_a_minute_and_right_ones_do_not() {
        let guesses = Guesses::default();
        let (from, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let now = 1_800_000_030_000;
        for _ in 0..100 {
            drop(guesses.begin(from, now).expect("right ones"));
        }
        for _ in 0..GUESSES_PER_MINUTE {
            guesses.begin(from, now).expect("within the limit").was_wrong();
        }
        assert_eq!(guesses.begin(from, now).err(), Some(30));
        assert_eq!(guesses.begin(from, now + 29_999).err(), Some(1));
        drop(guesses.begin(other, now).expect("somebody else"));
        let next = now + 30_000;
        guesses.begin(from, next).expect("another minute").was_wrong();
        guesses.forget_idle(next);
        assert_eq!(guesses.0.lock().len(), 1, "who was not seen since is forgotten");
    }

    #[test]
    fn of_many_at_once_no_more_are_checked_than_one_after_the_other() {
        let guesses = Guesses::default();
        let from = IpAddr::from([192, 0, 2, 1]);
        let begun = (0..GUESSES_PER_MINUTE).map(|_| guesses.begin(from, 0).expect("it is checked"));
        let mut under_way: Vec<_> = begun.collect();
        assert!(guesses.begin(from, 0).is_err());
        drop(under_way.pop());
        drop(guesses.begin(from, 0).expect("one was right"));
        // Those of an earlier minute take nothing from this one.
        let now = guesses.begin(from, MINUTE_MS).expect("another minute");
        drop(under_way);
        assert_eq!(guesses.0.lock()[&from].guesses, 1);
        drop(now);
    }
}
