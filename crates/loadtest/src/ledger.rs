//! The answers that the client received: the history that the proof is based on.
//!
//! Each connection writes its own, and they are put together when the run is over. An entry is 32 bytes.
//! Up to [`ENTRIES_MAX`] entries everything is kept; beyond, a random sample of that size, and the sums.
//! The seats that were given by name are kept whole: there are no more of them than seats in the halls.

use crate::wish::{Seats, Wish};
use std::collections::HashMap;
use std::ops::AddAssign;
use std::time::Duration;
use tokio::time::Instant;

/// Entries of one run that are kept: 128 MB.
pub const ENTRIES_MAX: usize = 4_000_000;

/// An answer slower than this breaks a promise.
pub const SLOW: Duration = Duration::from_secs(5);

/// Offences are counted, and the first few are listed.
const TOLD_MAX: usize = 5;

/// What became of a hold, as far as its buyer knows from answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Asked for with a key, and no answer came.
    Unknown,
    /// Acknowledged, and left alone.
    Held,
    /// The answer to a key that was answered before.
    Repeated,
    /// Confirmed, and acknowledged.
    Confirmed,
    /// Confirmed, and no answer came.
    ConfirmUnknown,
    /// Cancelled, and acknowledged.
    Cancelled,
    /// Cancelled, and no answer came.
    CancelUnknown,
    /// The answer was that the hold is over.
    Lapsed,
}

/// One hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The booking's id; 0 if no answer had one.
    pub booking: u128,
    /// The number of the idempotency key; 0 if it had none.
    pub key: u64,
    /// The number of its buyer.
    pub buyer: u16,
    /// The number of its section.
    pub section: u32,
    /// Seats.
    pub seats: u8,
    /// What became of it.
    pub fate: Fate,
}

/// Offences against one promise.
#[derive(Clone, Debug, Default)]
pub struct Offences {
    /// How many.
    pub count: u64,
    /// The first few.
    pub told: Vec<String>,
}

impl Offences {
    /// One more.
    pub fn add(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(what());
        }
    }

    /// Those of somebody else too.
    pub fn append(&mut self, other: Self) {
        self.count += other.count;
        self.told.extend(other.told);
        self.told.truncate(TOLD_MAX);
    }
}

/// Seats of one section by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Held, and left alone.
    pub held: u64,
    /// Confirmed.
    pub confirmed: u64,
    /// Asked for without a key, and no answer came: nobody can ask what became of them.
    pub lost: u64,
    /// Asked for with a key, or confirmed or cancelled, and no answer came.
    pub unknown: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.held += other.held;
        self.confirmed += other.confirmed;
        self.lost += other.lost;
        self.unknown += other.unknown;
    }
}

/// The seats of a hold in a hall, as it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The booking's id.
    pub booking: u128,
    /// The number of its buyer.
    pub buyer: u16,
    /// The number of its section.
    pub section: u32,
    /// The seats.
    pub seats: Seats,
}

/// The history of one connection, and then of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The entries, or a sample of them.
    pub entries: Vec<Entry>,
    /// How many there were.
    pub entries_seen: u64,
    /// Sums over all entries, by section. Sections without any are missing: a connection that took a
    /// few turns has seen few of ten thousand.
    pub tallies: HashMap<u32, Tally>,
    /// The seats of every hold in a hall that was acknowledged.
    pub given: Vec<Given>,
    /// When holds end at the earliest, by the clock of the client; of those that are brief.
    pub ends: HashMap<u128, Instant>,
    /// What was asked for with the keys of [`Fate::Unknown`].
    pub wishes: HashMap<u64, Wish>,
    /// Answers of any kind.
    pub answers: u64,
    /// Requests without an answer.
    pub silences: u64,
    /// 5xx that are no 503, and answers that made no sense.
    pub failures: Offences,
    /// Answers slower than [`SLOW`].
    pub slow: Offences,
    /// 429 and 503 without `Retry-After`.
    pub unguided: Offences,
    /// A key that was answered with more than one booking, or refused after it had been accepted.
    pub two_for_a_key: Offences,
    /// More seats held at the same time than there are.
    pub crowded: Offences,
    /// Holds for which that was looked at.
    pub resold: u64,
    /// Confirms that were answered 200.
    pub confirms: u64,
    /// Confirms that were refused though the hold was live, or gave another booking.
    pub broken_holds: Offences,
    /// Holds in halls whose answer named other seats than were asked for, or none that there are.
    pub misnamed: Offences,
    /// Parties that were to sit together, and do not.
    pub split: Offences,
    /// Parties that were to sit together, and were given seats.
    pub together: u64,
    /// Answers 429.
    pub rate_limited: u64,
    entries_max: usize,
}

impl Ledger {
    /// For one of `connections`.
    pub fn new(connections: usize) -> Self {
        Self { entries_max: (ENTRIES_MAX / connections.max(1)).max(1), ..Self::default() }
    }

    /// Notes what became of a hold. A hold is noted once, when its buyer is done with it.
    pub fn note(&mut self, entry: Entry) {
        let seats = u64::from(entry.seats);
        let tally = self.tallies.entry(entry.section).or_default();
        match entry.fate {
            Fate::Held => tally.held += seats,
            Fate::Confirmed => tally.confirmed += seats,
            Fate::Unknown | Fate::ConfirmUnknown | Fate::CancelUnknown => tally.unknown += seats,
            Fate::Repeated | Fate::Cancelled | Fate::Lapsed => {}
        }
        self.entries_seen += 1;
        if self.entries.len() < self.entries_max {
            self.entries.push(entry);
        } else {
            let place = crate::random::random_of(0..self.entries_seen);
            if let Some(kept) = usize::try_from(place).ok().and_then(|it| self.entries.get_mut(it))
            {
                *kept = entry;
            }
        }
    }

    /// Notes when a hold ends at the earliest. What does not fit is not known to be live.
    pub fn note_end(&mut self, booking: u128, at: Instant) {
        if self.ends.len() < self.entries_max {
            self.ends.insert(booking, at);
        }
    }

    /// A hold without a key that was never answered.
    pub fn lose(&mut self, section: u32, seats: u8) {
        self.tallies.entry(section).or_default().lost += u64::from(seats);
    }

    /// The sums of a section.
    pub fn tally(&self, section: u32) -> Tally {
        self.tallies.get(&section).copied().unwrap_or_default()
    }

    /// Whether every entry was kept.
    pub fn is_whole(&self) -> bool {
        self.entries.len() as u64 == self.entries_seen
    }

    /// Adds another connection's history.
    pub fn append(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.entries_seen += other.entries_seen;
        for (section, part) in other.tallies {
            *self.tallies.entry(section).or_default() += part;
        }
        self.given.extend(other.given);
        self.wishes.extend(other.wishes);
        self.ends.extend(other.ends);
        self.answers += other.answers;
        self.silences += other.silences;
        self.rate_limited += other.rate_limited;
        self.resold += other.resold;
        self.confirms += other.confirms;
        self.together += other.together;
        self.failures.append(other.failures);
        self.slow.append(other.slow);
        self.unguided.append(other.unguided);
        self.two_for_a_key.append(other.two_for_a_key);
        self.crowded.append(other.crowded);
        self.broken_holds.append(other.broken_holds);
        self.misnamed.append(other.misnamed);
        self.split.append(other.split);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(booking: u128, fate: Fate) -> Entry {
        Entry { booking, key: 0, buyer: 0, section: 0, seats: 2, fate }
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 32);
    }

    #[test]
    fn beyond_its_limit_a_ledger_keeps_a_sample_and_the_sums() {
        let mut ledger = Ledger::new(ENTRIES_MAX / 10);
        for booking in 1..=1_000 {
            ledger.note(entry(booking, Fate::Confirmed));
        }
        assert_eq!((ledger.entries.len(), ledger.entries_seen), (10, 1_000));
        assert_eq!(ledger.tally(0).confirmed, 2_000);
        assert!(!ledger.is_whole());
        assert!(
            ledger.entries.iter().any(|kept| kept.booking > 10),
            "the later ones are in it too"
        );
    }

    #[test]
    fn ledgers_add_up() {
        let mut sum = Ledger::default();
        for booking in 1..=2 {
            let mut ledger = Ledger::new(1);
            ledger.note(entry(booking, Fate::Held));
            ledger.lose(1, 3);
            ledger.failures.add(|| format!("offence {booking}"));
            sum.append(ledger);
        }
        assert_eq!((sum.tally(0).held, sum.tally(1).lost), (4, 6));
        assert_eq!((sum.failures.count, sum.failures.told.len()), (2, 2));
        assert!(sum.is_whole());
    }
}
