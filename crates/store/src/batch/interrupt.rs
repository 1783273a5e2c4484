//! What stops a piece of work on a session, and what to do about it.

use crate::unavailable;
use engine::{Error, Fault, Refusal};
use std::fmt;

/// A failure of the driver, or of the database.
pub trait DriverError: fmt::Debug + Send + Sync {
    /// What it means for the work that it stopped.
    fn meaning(&self) -> Meaning;
    /// What the caller gets.
    fn into_fault(self: Box<Self>, doing: &'static str) -> Fault;
}

/// Why a piece of work ended early.
#[derive(Debug)]
pub enum Interrupt {
    /// The driver, or the database, failed.
    Driver(Box<dyn DriverError>),
    /// The request was refused.
    Refused(Refusal),
    /// What was found makes no sense.
    Failed(Fault),
    /// Somebody else is claiming an idempotency key of the batch, for longer than a lock is waited for.
    KeyBusy,
    /// What was read without a lock had changed when the locks were there: to be done again.
    Changed,
    /// A seat that was given away is somebody's, or one that was given back is nobody's: the marks on
    /// which it was decided are wrong (I3). To be done again on marks that are rebuilt.
    SeatsDisagree,
}

impl From<Refusal> for Interrupt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for Interrupt {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// What an interrupt means for the work it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The session is gone: a new one may do it.
    Cut,
    /// Somebody else was in the way: the same session may do it again.
    Conflict,
    /// It is over.
    Final,
}

impl Interrupt {
    /// What it means for the work that it stopped.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        match self {
            Self::Driver(error) => error.meaning(),
            Self::Changed | Self::SeatsDisagree => Meaning::Conflict,
            Self::Refused(_) | Self::Failed(_) | Self::KeyBusy => Meaning::Final,
        }
    }

    /// What the caller gets.
    #[must_use]
    pub fn into_error(self, doing: &'static str) -> Error {
        match self {
            Self::Driver(error) => error.into_fault(doing).into(),
            Self::Refused(refusal) => refusal.into(),
            Self::Failed(fault) => fault.into(),
            Self::KeyBusy => Refusal::IdempotencyInFlight.into(),
            Self::Changed => unavailable(doing)("the rows change too often").into(),
            Self::SeatsDisagree => {
                unavailable(doing)("the taken seats contradict their marks").into()
            }
        }
    }

    /// What the caller of a read gets; reads refuse nothing.
    #[must_use]
    pub fn into_fault(self, doing: &'static str) -> Fault {
        match self.into_error(doing) {
            Error::Failed(fault) => fault,
            Error::Refused(refusal) => {
                Fault::Corrupt { what: format!("{doing} was refused: {refusal:?}") }
            }
        }
    }
}
