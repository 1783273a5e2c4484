//! Epochs: which history of a database this is.
//!
//! A version says how often something was changed, and so which of two states is newer, in one
//! history. A database that was replaced by an older copy of itself begins a second history, in
//! which the same versions occur again with other contents. So whatever is kept or shown under a
//! version is kept or shown under an epoch and a version: what was kept in the history that was
//! left is not found in the one that goes on.

use crate::random::random;
use std::fmt;

/// Names one history of one database, by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// One that nobody has.
    #[must_use]
    pub fn draw() -> Self {
        Self(random())
    }

    /// That of a gate that does not know one yet.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn from_stored(stored: i64) -> Self {
        Self(stored.cast_unsigned())
    }

    pub(crate) fn to_stored(self) -> i64 {
        self.0.cast_signed()
    }
}

/// Sixteen hexadecimal digits.
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
