//! The one place that draws random values: what has to be repeatable takes them as arguments.

use rand::distr::uniform::{SampleRange, SampleUniform};
use rand::distr::{Distribution, StandardUniform};

/// A random value that nobody can guess, without a call of the system for each.
#[expect(clippy::disallowed_methods, reason = "the one source of randomness")]
pub fn random<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    rand::random()
}

/// A random value of a range. Panics when the range is empty.
#[expect(clippy::disallowed_methods, reason = "the one source of randomness")]
pub fn random_of<T: SampleUniform>(range: impl SampleRange<T>) -> T {
    rand::random_range(range)
}

/// Puts values into a random order.
#[expect(clippy::disallowed_methods, reason = "the one source of randomness")]
pub fn shuffle<T>(values: &mut [T]) {
    use rand::seq::SliceRandom as _;
    values.shuffle(&mut rand::rng());
}
