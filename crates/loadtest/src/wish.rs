//! What a buyer asks for in one hold.

use smallvec::SmallVec;

/// Seats of a hall, by their places in its drawing, in ascending order. Most holds have a few.
pub type Seats = SmallVec<[u32; 4]>;

/// Seats of one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A number of seats.
    Any(u8),
    /// These.
    Named(Seats),
    /// The best there are for a party.
    Best {
        /// How many.
        number: u8,
        /// True if they must be adjacent.
        adjacent: bool,
    },
}

impl Wish {
    /// How many seats it is about.
    pub fn number(&self) -> u8 {
        match self {
            Self::Any(number) | Self::Best { number, .. } => *number,
            Self::Named(seats) => u8::try_from(seats.len()).unwrap_or(u8::MAX),
        }
    }

    /// True if they must be adjacent.
    pub fn is_adjacent(&self) -> bool {
        matches!(self, Self::Best { adjacent: true, .. })
    }
}
