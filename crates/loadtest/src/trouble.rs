//! Why a session could not run: printed as one line; the process exits with status 2.

use std::fmt;

/// What was being done, and what was in the way.
#[derive(Debug)]
pub struct Trouble(String);

impl Trouble {
    /// What is wrong, for the user of the tool.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// `doing` failed with `error`.
    pub fn because(doing: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self(format!("{doing}: {error}"))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
