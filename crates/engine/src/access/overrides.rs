//! What a seller may go beyond, where a request names it.

use std::fmt;

/// A limit of an event that a seller with `booking.override` may go beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Override {
    /// The live seats of one buyer at an event.
    BuyerLimit,
    /// The start and the end of the sale, and that an organizer has closed it. Of a draft, of an event
    /// that was called off and of one that is over, nothing is sold.
    SaleWindow,
    /// That no single seats are left between others.
    Orphans,
}

impl Override {
    /// All of them, in the order of their bits.
    pub const ALL: [Self; 3] = [Self::BuyerLimit, Self::SaleWindow, Self::Orphans];

    /// The word in the API and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BuyerLimit => "buyer_limit",
            Self::SaleWindow => "sale_window",
            Self::Orphans => "orphans",
        }
    }

    /// The one with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|limit| limit.as_str() == word)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of limits that a request goes beyond.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Overrides(u8);

impl Overrides {
    /// None: all limits apply.
    pub const NONE: Self = Self(0);

    /// Whether it goes beyond this limit.
    #[must_use]
    pub const fn has(self, limit: Override) -> bool {
        self.0 & limit.bit() != 0
    }

    /// Whether it goes beyond none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its members, in the order of their bits.
    pub fn iter(self) -> impl Iterator<Item = Override> {
        Override::ALL.into_iter().filter(move |limit| self.has(*limit))
    }
}

impl FromIterator<Override> for Overrides {
    fn from_iter<T: IntoIterator<Item = Override>>(all: T) -> Self {
        Self(all.into_iter().fold(0, |bits, limit| bits | limit.bit()))
    }
}

impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Override::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_it_was_made_of_in_the_words_of_the_api() {
        for bits in 0..1 << Override::ALL.len() {
            let of = |limit: &Override| bits & limit.bit() != 0;
            let some: Overrides = Override::ALL.into_iter().filter(of).collect();
            assert_eq!(some.is_empty(), bits == 0);
            assert!(Override::ALL.iter().all(|limit| some.has(*limit) == of(limit)));
            let words: Vec<_> = some.iter().map(Override::as_str).collect();
            let read: Option<Overrides> = words.into_iter().map(Override::parse).collect();
            assert_eq!(read, Some(some));
        }
        assert_eq!(Override::parse("Orphans"), None);
    }
}
