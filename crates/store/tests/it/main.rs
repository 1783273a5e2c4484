//! Every promise of the store, in one binary.
//!
//! [`suites`] runs the stories and the random sequences of the crate `suite` on every store.
//! [`conformance`] and [`gate`] are the suites that any store and any gate must pass;
//! [`gate_model`] explores the gate's protocol. [`seats`] is about numbered seats beyond single
//! commands, [`sqlite`] and [`postgres`] are each about one store alone, [`fill`] about stores that
//! were filled to be measured, and [`fences`] about who may depend on what.

mod conformance;
mod fences;
mod fill;
mod gate;
mod gate_model;
mod packed;
mod postgres;
mod raw;
mod seats;
mod sqlite;
mod suites;
mod world;
