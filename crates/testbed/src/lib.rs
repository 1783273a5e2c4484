//! Private servers, and what can go wrong between them, for the tests of Reservix.
//!
//! [`postgres::Postgres`], [`redis::Redis`], [`redis::Cluster`], [`redis::Sentinel`] and
//! [`pgbouncer::PgBouncer`] start real servers on loopback, each with a data folder of its own;
//! they can be killed, paused and started again on the same port. [`proxy::Proxy`] is between a
//! client and any of them and injects the faults of a network; [`steps::Steps`] makes it fail at
//! the k-th request, so that a test can sweep all the places where a connection can break.
//!
//! Everything here blocks the calling thread, for at most [`START_LIMIT`] and a little; none of
//! it needs a runtime, and all of it may be called inside one. What goes wrong is a panic that
//! says so: a missing program names its Debian package, a server that does not start shows its
//! log. Nothing outlives the test process, even one that is killed (see `keeper`).
//!
//! Linux only: it reads `/proc`. For development; no part of a release depends on it.

mod keeper;
mod machine;
pub mod pgbouncer;
pub mod postgres;
pub mod proxy;
pub mod redis;
mod server;
pub mod steps;

pub use machine::START_LIMIT;
