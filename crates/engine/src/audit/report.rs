//! What an audit found.

use std::fmt;

/// How many violations a report spells out; the rest is counted.
pub const VIOLATIONS_TOLD_MAX: usize = 100;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number, such as `I4`.
    pub invariant: &'static str,
    /// What is wrong, and where.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// What an audit looked at and found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sections compared.
    pub sections: u64,
    /// Bookings compared.
    pub bookings: u64,
    /// Rows of the log folded.
    pub log_rows: u64,
    /// Violations found.
    pub violations: u64,
    /// The first [`VIOLATIONS_TOLD_MAX`] of them.
    pub told: Vec<Violation>,
}

impl Report {
    /// Whether every invariant holds.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations == 0
    }

    /// Adds one that was found.
    pub fn tell(&mut self, invariant: &'static str, what: String) {
        self.violations += 1;
        if self.told.len() < VIOLATIONS_TOLD_MAX {
            self.told.push(Violation { invariant, what });
        }
    }

    /// Adds what an audit of other events found.
    pub fn add(&mut self, other: Self) {
        self.sections += other.sections;
        self.bookings += other.bookings;
        self.log_rows += other.log_rows;
        self.violations += other.violations;
        let room = VIOLATIONS_TOLD_MAX - self.told.len();
        self.told.extend(other.told.into_iter().take(room));
    }
}
