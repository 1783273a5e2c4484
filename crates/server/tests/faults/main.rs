//! The table of faults: real instances on real PostgreSQL and Redis, and what breaks under them.
//!
//! Each row plays one fault while buyers hold, confirm, cancel and look, on two instances in turn:
//!
//! ```text
//! buyers ──▶ instance 0 ──▶ proxy ─┬─▶ PostgreSQL ◀─┬─ proxy ◀── instance 1 ◀── buyers
//!                      └──▶ proxy ─┴─▶   Redis    ◀─┴─ proxy ◀──┘
//! ```
//!
//! What the buyers were told is then held against what is on file (`verdict`): no 500, no oversell, no
//! lost acknowledgement, no wait over 5 s, no hold that was refused at its confirm. How soon buying
//! works again is measured and printed in a table, also in `target/faults.md`; a row fails only at five
//! times its goal, because a busy machine is no defect.
//!
//! The rows take turns: each wants the whole machine. `scripts/faults` plays them again and again, or
//! at random.
//!
//! Beside the table, `revocation` proves on four instances without Redis how soon a withdrawn right ends.

mod fault;
mod flush;
mod fork;
mod hall;
mod instances;
mod judge;
mod lies;
mod load;
mod overload;
mod random;
mod record;
mod revocation;
mod row;
mod rows;
mod stage;
mod step_sweep;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod verdict;

/// Held by the test that runs now.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Ends a check with a violation unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($violation:tt)+) => {
        if !$holds {
            return Err(format!($($violation)+));
        }
    };
}
use ensure;
