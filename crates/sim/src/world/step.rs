//! Steps of the database and of the gate's server, and what becomes of them.

/// What is asked of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    Commit,
    Claim,
    KeyedHolds,
    Read,
    Survey,
    LockBuyers,
    LockInventory,
    LoadSections,
    LoadEvents,
    LoadDue,
    LoadBookings,
    LoadBuyers,
    Marks,
    Layout,
    SeatsTaken,
    Write,
    OneTrip,
    DueSections,
    Reckon,
    LockEvent,
    WriteEvent,
    GateRead,
    GateMarks,
    GateForget,
    GateTold,
}

impl Step {
    /// Whether it may leave something behind by itself.
    pub fn commits(self) -> bool {
        matches!(self, Self::Commit | Self::OneTrip)
    }

    /// Whether it only means something inside a transaction.
    pub fn needs_transaction(self) -> bool {
        let alone = matches!(self, Self::OneTrip | Self::Read | Self::DueSections | Self::Reckon);
        !alone && !self.is_of_gate()
    }

    /// Whether the gate is asked, and not the database.
    pub fn is_of_gate(self) -> bool {
        matches!(self, Self::GateRead | Self::GateMarks | Self::GateForget | Self::GateTold)
    }
}

/// What becomes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It happens, and its answer arrives.
    Happens,
    /// The connection is cut before it happens.
    CutBefore,
    /// It happens, and the connection is cut before its answer arrives.
    CutAfter,
    /// The connection is cut, and it happens so much later, in milliseconds: of a COMMIT only.
    CutLater(u16),
    /// It happens, and its answer arrives so much later, in milliseconds.
    Late(u16),
    /// It waits for a lock for too long.
    TimesOut,
}

impl Fate {
    /// Another number for each.
    pub fn code(self) -> u64 {
        match self {
            Self::Happens => 0,
            Self::CutBefore => 1,
            Self::CutAfter => 2,
            Self::TimesOut => 3,
            Self::CutLater(ms) => 4 << 16 | u64::from(ms),
            Self::Late(ms) => 5 << 16 | u64::from(ms),
        }
    }
}
