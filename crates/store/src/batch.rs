//! The batch on a store that many instances write: claim, lock, load, decide, write, commit; and again,
//! where somebody was in the way or an answer was lost.
//!
//! What is the same on every such store is here, and what each of its statements does is a [`Session`]'s.
//! PostgreSQL has one, and so has a database that is simulated, so that what runs here can be tried with
//! any order of events and any loss.

mod attempt;
mod clock;
mod commit;
mod interrupt;
mod kept;
mod load;
mod maps;
mod session;
mod trip;

pub use attempt::write_until;
pub use clock::Estimate;
pub(crate) use commit::WRITE_PATIENCE;
pub use commit::{Committer, Decided, Earlier};
pub use interrupt::{DriverError, Interrupt, Meaning};
pub use kept::{Kept, KeptRow, Writers};
pub use load::{Key, Loaded};
pub use session::{
    Counted, LoadedSections, NextExpiries, Session, Sessions, StoredMarks, Surveyed, counted,
    settled_keys,
};
pub use trip::{BEHIND_MAX_MS, Found, OneTrip};
