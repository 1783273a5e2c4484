//! Changes of a layout: what they do to the seats that are taken.
//!
//! A seat is the same in two layouts when it has the same name. One that is taken may neither move
//! nor vanish, because somebody has it on their ticket; its category, price and flags may change,
//! because what it was sold for is kept with its booking. Seats around it may come and go.

use super::SeatIndex;
use super::layout::Layout;
use super::taken::Taken;

/// What a new layout does to a taken seat that it may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// It has no seat of that name.
    Removed,
    /// It draws the seat elsewhere.
    Moved,
}

impl Harm {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Moved => "moved",
        }
    }
}

/// The taken seats that `new` moves or removes, as seats of `old`, in order.
#[must_use]
pub fn harmed(old: &Layout, new: &Layout, taken: &Taken) -> Vec<(SeatIndex, Harm)> {
    let harm = |seat: SeatIndex| match new.find_in(old.row(seat), old.number(seat)) {
        None => Some((seat, Harm::Removed)),
        Some(there) => (new.at(there) != old.at(seat)).then_some((seat, Harm::Moved)),
    };
    taken.iter().filter_map(harm).collect()
}
