//! What the rules must do, tested on the rules alone and on every store.
//!
//! A [`Backend`] is something that decides commands and keeps what came of them. Two kinds of tests
//! run on any of them: [`scenario`] runs stories in plain text, and [`property`] and [`seating`]
//! run random sequences beside a naive model that shares no code with the rules. [`PureRules`] is
//! the backend without a store: the rules over hash maps, so that a rule can be tried in seconds.
//! Bugs are planted into it to show that the tests find them.
//!
//! ```text
//! scenario  property  seating ──▶ Backend ◀── PureRules   run by engine/tests
//!                                        ◀── each store   run by store/tests
//! ```
//! For tests only. It knows the rules and nothing else: no store, no runtime.

mod backend;
pub mod halls;
mod model;
pub mod property;
pub mod pure;
pub mod scenario;
pub mod seating;
pub mod world;

pub use backend::{Backend, Kind};
pub use pure::{Pure, PureRules};
