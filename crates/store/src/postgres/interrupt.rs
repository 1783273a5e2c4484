//! What stops a piece of work on a session, and what to do about it.

use crate::unavailable;
use engine::{Error, Fault, Refusal};
use sqlx::Error as Driver;

/// Why a piece of work ended early.
#[derive(Debug)]
pub(super) enum Interrupt {
    /// The driver, or the database, failed.
    Driver(Driver),
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

impl From<Driver> for Interrupt {
    fn from(error: Driver) -> Self {
        Self::Driver(error)
    }
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
pub(super) enum Meaning {
    /// The session is gone: a new one may do it.
    Cut,
    /// Somebody else was in the way: the same session may do it again.
    Conflict,
    /// It is over.
    Final,
}

impl Interrupt {
    pub(super) fn meaning(&self) -> Meaning {
        match self {
            Self::Driver(error) if is_cut(error) => Meaning::Cut,
            // 40001 serialization_failure, 40P01 deadlock_detected.
            Self::Driver(error) if matches!(code(error).as_deref(), Some("40001" | "40P01")) => {
                Meaning::Conflict
            }
            Self::Changed | Self::SeatsDisagree => Meaning::Conflict,
            Self::Driver(_) | Self::Refused(_) | Self::Failed(_) | Self::KeyBusy => Meaning::Final,
        }
    }

    /// Whether a lock was not had in time.
    pub(super) fn is_lock_timeout(&self) -> bool {
        matches!(self, Self::Driver(error) if code(error).as_deref() == Some("55P03"))
    }

    /// Whether a seat was somebody's already: the last judge of I3.
    pub(super) fn is_seat_taken(&self) -> bool {
        let Self::Driver(Driver::Database(refused)) = self else { return false };
        refused.constraint() == Some("seats_taken_once")
    }

    /// What the caller gets.
    pub(super) fn into_error(self, doing: &'static str) -> Error {
        match self {
            Self::Driver(error) => failed(doing)(error).into(),
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
    pub(super) fn into_fault(self, doing: &'static str) -> Fault {
        match self.into_error(doing) {
            Error::Failed(fault) => fault,
            Error::Refused(refusal) => {
                Fault::Corrupt { what: format!("{doing} was refused: {refusal:?}") }
            }
        }
    }
}

fn code(error: &Driver) -> Option<String> {
    error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}

/// Whether the session is of no more use: its socket failed, its server ends or has become one that
/// only reads, or its plans are of a schema that was migrated since (0A000).
fn is_cut(error: &Driver) -> bool {
    match error {
        Driver::Io(_) | Driver::Tls(_) | Driver::Protocol(_) | Driver::WorkerCrashed => true,
        Driver::Database(_) => code(error).is_some_and(|code| {
            let is_ended = code.starts_with("08") || code.starts_with("57P");
            is_ended || matches!(code.as_str(), "25006" | "25P03" | "0A000")
        }),
        _ => false,
    }
}

/// Turns a failure of the driver into a fault: what a constraint or a type refuses is a mistake of
/// ours (classes 22, 23 and 42), a missing permission or a pooler that shares sessions out one of the
/// operator's, all else is a store that cannot answer now.
pub(super) fn failed(doing: &'static str) -> impl FnOnce(Driver) -> Fault {
    move |error| match code(&error) {
        Some(code) if code == "42501" => Fault::Unsuitable {
            what: format!("{doing}: {error}: the role in DATABASE_URL lacks a privilege: grant it"),
        },
        // A statement that we prepared is another's, or gone.
        Some(code) if matches!(code.as_str(), "42P05" | "26000") => Fault::Unsuitable {
            what: format!(
                "{doing}: {error}: a pooler between this process and PostgreSQL shares sessions \
                 between transactions; PgBouncer needs pool_mode = session"
            ),
        },
        Some(code) if ["22", "23", "42"].iter().any(|class| code.starts_with(class)) => {
            Fault::Corrupt { what: format!("{doing}: {error}") }
        }
        _ => unavailable(doing)(error),
    }
}
