//! Chance that a seed repeats (`SplitMix64`), also in another version of this program.

/// A generator of numbers.
#[derive(Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// The generator that begins at `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number of `0..bound`; 0 when that is empty.
    pub(super) fn roll(&mut self, bound: u64) -> u64 {
        self.bits() % bound.max(1)
    }

    /// [`Self::roll`] for a span of milliseconds.
    pub(super) fn span_ms(&mut self, bound_ms: i64) -> i64 {
        let bound = u64::try_from(bound_ms).unwrap_or(0);
        i64::try_from(self.roll(bound)).expect("below an i64")
    }
}
