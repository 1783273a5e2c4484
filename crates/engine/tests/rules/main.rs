//! The rules, tested where they live: I1 to I7 on the pure rules, without a store.
//!
//! [`scenarios`] tells the stories of `tests/scenarios`, [`sequences`] and [`seats`] run random
//! sequences against a naive model. The crate `suite` holds all three, and every store has to pass
//! them, too.

mod again;
mod large;
mod retiring;
mod scenarios;
mod seats;
mod sequences;
