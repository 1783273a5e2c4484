//! Which seats of a section are held, sold or blocked, as stores and gates keep it.
//!
//! As bytes: the format (1 byte, zero), the number of the layout (7 bytes, the highest first), the taken
//! seats as [`Taken::to_bytes`] writes them, and after them the bits of those that are sold and of those
//! that are blocked. A seat that is taken and neither is held.
//!
//! A release that keeps more of a seat than these three writes another format. One that does not know
//! it must leave such marks alone: it would write back less than it read.

use super::SeatIndex;
use super::taken::Taken;

/// How many bytes the format and the number of the layout take.
const LAYOUT_BYTES: usize = 8;

/// The format of these marks. Numbers of layouts have 52 bits, so the first of their eight bytes is free.
const FORMAT: u8 = 0;

/// Why a seat is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeatState {
    /// It is in a live hold.
    Held,
    /// It is in a confirmed booking.
    Sold,
    /// The organizer keeps it off sale.
    Blocked,
}

impl SeatState {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Sold => "sold",
            Self::Blocked => "blocked",
        }
    }
}

/// The states of all seats of a section. See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The layout they belong to, by its [`Layout::id`](super::Layout::id).
    pub layout_version: i64,
    pub(super) taken: Taken,
    pub(super) sold: Taken,
    pub(super) blocked: Taken,
}

impl Marks {
    /// All `seats` seats of a layout are free, at this version of the inventory.
    #[must_use]
    pub fn none(seats: u32, layout_version: i64, version: i64) -> Self {
        let none = Taken::none(seats, version);
        Self { layout_version, taken: none.clone(), sold: none.clone(), blocked: none }
    }

    /// The inventory's version at which a seat was last taken or released.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.taken.version()
    }

    /// How many seats there are.
    #[must_use]
    pub fn seats(&self) -> u32 {
        self.taken.seats()
    }

    /// How many of them are taken.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.taken.count()
    }

    /// Why `seat` is not free; `None` when it is.
    ///
    /// # Panics
    /// When there is no such seat.
    #[must_use]
    pub fn state(&self, seat: SeatIndex) -> Option<SeatState> {
        state(&self.taken, &self.sold, &self.blocked, seat)
    }

    /// The seats that are not free, in order.
    pub fn iter(&self) -> impl Iterator<Item = (SeatIndex, SeatState)> {
        self.taken.iter().filter_map(|seat| Some((seat, self.state(seat)?)))
    }

    /// Whether these are newer than `held`, which is still fresh: the rule of
    /// [`Snapshot::replaces`](crate::Snapshot::replaces).
    #[must_use]
    pub fn replaces(&self, held: &Self) -> bool {
        self.version() > held.version()
    }

    /// The bytes of a store or a gate, as the [module](self) says.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.layout_version.to_be_bytes().to_vec();
        bytes.extend(self.taken.to_bytes());
        bytes.extend(self.sold.bits());
        bytes.extend(self.blocked.bits());
        bytes
    }

    /// Whether these bytes are of a format that this release does not know.
    #[must_use]
    pub fn is_of_other_format(bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|format| *format != FORMAT)
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if Self::is_of_other_format(bytes) {
            return None;
        }
        let (layout_version, rest) = bytes.split_first_chunk::<LAYOUT_BYTES>()?;
        let (taken, rest) = Taken::split_from_bytes(rest)?;
        let (sold, rest) = Taken::split_from_bits(taken.seats(), taken.version(), rest)?;
        let (blocked, rest) = Taken::split_from_bits(taken.seats(), taken.version(), rest)?;
        let layout_version = i64::from_be_bytes(*layout_version);
        let apart = sold.iter().all(|seat| taken.has(seat) && !blocked.has(seat));
        let within = apart && blocked.iter().all(|seat| taken.has(seat));
        (within && rest.is_empty()).then_some(Self { layout_version, taken, sold, blocked })
    }
}

pub(super) fn state(
    taken: &Taken,
    sold: &Taken,
    blocked: &Taken,
    seat: SeatIndex,
) -> Option<SeatState> {
    if !taken.has(seat) {
        return None;
    }
    Some(match (sold.has(seat), blocked.has(seat)) {
        (true, _) => SeatState::Sold,
        (_, true) => SeatState::Blocked,
        _ => SeatState::Held,
    })
}
