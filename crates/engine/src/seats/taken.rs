//! Which seats of a section are taken: one bit each, with the version they were committed at.
//!
//! Taken is whatever is not free: held, sold or blocked. Taking a seat that is taken and releasing
//! one that is free are refused whole (I3), so what was counted is always what was set.
//!
//! As bytes: the version (8 bytes) and the number of seats (4 bytes), both with the highest byte
//! first, then the bits, the first seat in the highest bit of the first byte. That is the order of
//! `GETBIT`, `SETBIT` and `BITCOUNT` of Redis, from bit 96 on.

use super::SeatIndex;

/// The number of bytes before the bits.
pub const HEADER_BYTES: usize = 12;

/// Seats of which a change was refused, because they had what it would have given them (I3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflicts {
    /// The seats, in the order in which they were asked for.
    pub seats: Vec<SeatIndex>,
}

/// The taken seats of a section. See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    version: i64,
    seats: u32,
    count: u32,
    /// Seat `i` is bit `63 - i % 64` of word `i / 64`; the bits after the last seat are zero.
    words: Vec<u64>,
}

/// By which seats one [`Taken`] differs from an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Free before, taken now.
    pub taken: Vec<SeatIndex>,
    /// Taken before, free now.
    pub released: Vec<SeatIndex>,
}

impl Taken {
    /// Whether the same seats are taken, at whatever version.
    pub(super) fn has_seats_of(&self, other: &Self) -> bool {
        (self.seats, &self.words) == (other.seats, &other.words)
    }

    /// All `seats` seats are free, at `version`.
    #[must_use]
    pub fn none(seats: u32, version: i64) -> Self {
        Self { version, seats, count: 0, words: vec![0; seats.div_ceil(64) as usize] }
    }

    /// The inventory's version that these bits belong to.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Says which version of the inventory these bits belong to.
    pub fn stamp(&mut self, version: i64) {
        self.version = version;
    }

    /// How many seats there are.
    #[must_use]
    pub fn seats(&self) -> u32 {
        self.seats
    }

    /// How many of them are taken.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether `seat` is taken.
    ///
    /// # Panics
    /// When there is no such seat.
    #[must_use]
    pub fn has(&self, seat: SeatIndex) -> bool {
        assert!(seat < self.seats, "there is no seat {seat}");
        self.words[word(seat)] & bit(seat) != 0
    }

    /// Takes `seats`, all or none: [`Conflicts`] are those that are taken, do not exist or are
    /// named twice (I3). Does not change the version.
    pub fn take(&mut self, seats: &[SeatIndex]) -> Result<(), Conflicts> {
        self.set(seats, true)
    }

    /// Releases `seats`, all or none: [`Conflicts`] are those that are free, do not exist or are
    /// named twice. Does not change the version.
    pub fn release(&mut self, seats: &[SeatIndex]) -> Result<(), Conflicts> {
        self.set(seats, false)
    }

    fn set(&mut self, seats: &[SeatIndex], to: bool) -> Result<(), Conflicts> {
        let mut conflicts = Vec::new();
        let mut done = Vec::with_capacity(seats.len());
        for seat in seats.iter().copied() {
            if seat < self.seats && self.has(seat) != to {
                self.words[word(seat)] ^= bit(seat);
                done.push(seat);
            } else {
                conflicts.push(seat);
            }
        }
        if !conflicts.is_empty() {
            for seat in done {
                self.words[word(seat)] ^= bit(seat);
            }
            return Err(Conflicts { seats: conflicts });
        }
        let change = u32::try_from(seats.len()).expect("no more than there are seats");
        self.count = if to { self.count + change } else { self.count - change };
        Ok(())
    }

    /// The taken seats, in order.
    pub fn iter(&self) -> impl Iterator<Item = SeatIndex> {
        ones(self.words.iter().copied())
    }

    /// What changed from `earlier` to this; `None` when they are of different layouts.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Difference> {
        let pairs = || self.words.iter().zip(&earlier.words);
        (self.seats == earlier.seats).then(|| Difference {
            taken: ones(pairs().map(|(now, before)| now & !before)).collect(),
            released: ones(pairs().map(|(now, before)| before & !now)).collect(),
        })
    }

    /// The bytes of a store or a gate, as the [module](self) says.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + bitmap_bytes(self.seats));
        bytes.extend(self.version.to_be_bytes());
        bytes.extend(self.seats.to_be_bytes());
        bytes.extend(self.bits());
        bytes
    }

    /// The bits alone.
    pub(super) fn bits(&self) -> impl Iterator<Item = u8> {
        let bits = self.words.iter().flat_map(|word| word.to_be_bytes());
        bits.take(bitmap_bytes(self.seats))
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (taken, rest) = Self::split_from_bytes(bytes)?;
        rest.is_empty().then_some(taken)
    }

    /// Reads what [`Self::to_bytes`] wrote, and returns the bytes behind it.
    pub(super) fn split_from_bytes(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (version, rest) = bytes.split_first_chunk()?;
        let (seats, rest) = rest.split_first_chunk()?;
        Self::split_from_bits(u32::from_be_bytes(*seats), i64::from_be_bytes(*version), rest)
    }

    /// Reads the bits of `seats` seats, and returns the bytes behind them.
    pub(super) fn split_from_bits(seats: u32, version: i64, bits: &[u8]) -> Option<(Self, &[u8])> {
        let (bits, rest) = bits.split_at_checked(bitmap_bytes(seats))?;
        let mut taken = Self::none(seats, version);
        for (word, bytes) in taken.words.iter_mut().zip(bits.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_be_bytes(whole);
        }
        taken.count = taken.words.iter().map(|word| word.count_ones()).sum();
        let beyond = taken.iter().last().is_some_and(|last| last >= seats);
        (!beyond).then_some((taken, rest))
    }
}

fn bitmap_bytes(seats: u32) -> usize {
    seats.div_ceil(8) as usize
}

fn word(seat: SeatIndex) -> usize {
    seat as usize / 64
}

fn bit(seat: SeatIndex) -> u64 {
    1 << (63 - seat % 64)
}

/// The places of the bits that are set, in order.
fn ones(words: impl Iterator<Item = u64>) -> impl Iterator<Item = SeatIndex> {
    (0..).step_by(64).zip(words).flat_map(|(first, mut word): (u32, u64)| {
        std::iter::from_fn(move || {
            let place = word.leading_zeros();
            (place < 64).then(|| {
                word &= !bit(place);
                first + place
            })
        })
    })
}
