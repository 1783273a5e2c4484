//! Failures of the driver and of the database, and what they mean.

use crate::batch::{DriverError, Meaning};
use crate::unavailable;
use engine::Fault;
use sqlx::Error as Driver;

pub(super) use crate::batch::Interrupt;

impl From<Driver> for Interrupt {
    fn from(error: Driver) -> Self {
        Self::Driver(Box::new(error))
    }
}

impl DriverError for Driver {
    fn meaning(&self) -> Meaning {
        if is_cut(self) {
            return Meaning::Cut;
        }
        // 40001 serialization_failure, 40P01 deadlock_detected.
        match code(self).as_deref() {
            Some("40001" | "40P01") => Meaning::Conflict,
            _ => Meaning::Final,
        }
    }

    fn into_fault(self: Box<Self>, doing: &'static str) -> Fault {
        failed(doing)(*self)
    }
}

/// Whether a lock was not had in time.
pub(super) fn is_lock_timeout(error: &Driver) -> bool {
    code(error).as_deref() == Some("55P03")
}

/// Whether a seat was somebody's already: the last judge of I3.
pub(super) fn is_seat_taken(error: &Driver) -> bool {
    let Driver::Database(refused) = error else { return false };
    refused.constraint() == Some("seats_taken_once")
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
