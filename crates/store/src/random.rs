//! The one place that draws random values: what has to be repeatable takes them as arguments.

use rand::distr::uniform::{SampleRange, SampleUniform};
use rand::distr::{Distribution, StandardUniform};
use std::sync::Arc;

/// Random values for code that is also run where they must be the same each time.
pub type Dice = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Those that nobody can guess.
#[must_use]
pub fn dice() -> Dice {
    Arc::new(random)
}

/// A random value that nobody can guess, without a call of the system for each.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one source of randomness")]
pub fn random<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    rand::random()
}

/// A random value of a range. Panics when the range is empty.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one source of randomness")]
pub fn random_of<T: SampleUniform>(range: impl SampleRange<T>) -> T {
    rand::random_range(range)
}
