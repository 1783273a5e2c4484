//! Every promise of the store and of the rules below it, in one binary.
//!
//! [`scenario`] runs stories in plain text and [`property`] runs random ones against an independent
//! model, both on the pure rules and on every store. [`conformance`] and [`gate`] are the suites
//! that any store and any gate must pass; [`gate_model`] explores the gate's protocol. [`sqlite`] and
//! [`postgres`] are each about one store alone, [`fill`] about stores that were filled to be measured, and
//! [`fences`] about who may depend on what.

mod backend;
mod conformance;
mod fences;
mod fill;
mod gate;
mod gate_model;
mod halls;
mod model;
mod postgres;
mod property;
mod pure;
mod scenario;
mod seating;
mod sqlite;
mod world;
