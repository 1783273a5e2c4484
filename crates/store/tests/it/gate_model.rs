//! A model of the gate's protocol, run through many thousands of random schedules.
//!
//! Two instances sell one section of few numbered seats through one gate, by count and by name.
//! Between any two steps messages may be delayed, reordered, doubled or lost, an instance may
//! crash, an outcome may stay unknown, the gate may be flushed, set back to an old state, or have
//! its clock set. The gate and the instances apply the real rules ([`CheckedSnapshot`], [`Snapshot`],
//! [`CheckedMarks`], [`KnownMarks`]); the store is the truth. Commits tell the marks of seats only when they
//! changed some; an instance whose named seat the store had to refuse reads them beside what goes
//! on. After each step:
//!
//! - never oversold;
//! - a refusal that the store would not have made comes at most [`FRESH_MS`] after the refusing
//!   snapshot stopped being true, or after its commit was answered, whichever is later; after the
//!   gate's clock was set back, this holds again once the clock has caught up with itself;
//! - a seat that is refused by its marks was taken at the version of the snapshot they stand beside;
//! - no refusal by a snapshot after a newer settle arrived there and is still fresh;
//! - in the end every seat can be sold.
//!
//! A checker is only believed once it has caught something: the protocol without one of its parts,
//! and the gate as a counter that decides by itself, are caught by the same schedules.

mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

const FRESH_MS: i64 = 1_000;
const SEATS: i64 = 3;
const HOLD_MS: i64 = 4_000;
const STEPS: usize = 80;
/// Schedules of each kind, unless `RESERVIX_MODEL_SCHEDULES` says otherwise.
const SCHEDULES: u64 = 400_000;

/// The protocol, or one that lacks a part of it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a part that can be left out")]
struct Protocol {
    /// An older version does not replace a newer one.
    checks_versions: bool,
    /// What was not checked lately is not believed.
    lapses: bool,
    /// News is judged by when it was settled, not by when it arrives.
    judges_age: bool,
    /// The gate counts seats, and the store follows.
    counts: bool,
    /// Marks speak beside the snapshots they belong to.
    pairs: bool,
    /// A read of marks is good for what was known when it began, not when it ended.
    reads_behind: bool,
}

const OURS: Protocol = Protocol {
    checks_versions: true,
    lapses: true,
    judges_age: true,
    counts: false,
    pairs: true,
    reads_behind: true,
};

/// Runs schedules until one shows a violation; returns it with its seed. Else how many refusals there
/// were, so that nobody believes a model that never refuses.
fn explore(protocol: Protocol, schedules: u64) -> Result<(u64, u64), String> {
    let (mut refusals, mut seats_refused) = (0, 0);
    for seed in 0..schedules {
        let mut world = World::new(protocol, seed);
        let run = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..STEPS {
                world.step();
            }
            world.sell_out();
        }));
        if let Err(panic) = run {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            return Err(format!("schedule {seed}: {}", text.unwrap_or_default()));
        }
        refusals += world.refusals;
        seats_refused += world.seats_refused;
    }
    Ok((refusals, seats_refused))
}

#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the program")]
fn schedules() -> u64 {
    let wanted = std::env::var("RESERVIX_MODEL_SCHEDULES").ok();
    wanted.map_or(SCHEDULES, |text| text.parse().expect("a number of schedules"))
}

#[test]
fn i8_the_protocol_of_the_gate_is_safe_and_live() {
    match explore(OURS, schedules()) {
        Ok((refusals, seats)) => {
            println!("{refusals} refusals by counters, {seats} of named seats");
            assert!(refusals > schedules() / 2, "only {refusals} refusals");
            assert!(seats > schedules() / 4, "only {seats} refusals of named seats");
        }
        Err(violation) => panic!("{violation}"),
    }
}

/// The protocol without a part of it, and what the checker says to that.
fn caught(protocol: Protocol, said: &[&str]) {
    let Err(violation) = explore(protocol, SCHEDULES) else {
        panic!("nothing is wrong with {protocol:?}");
    };
    assert!(said.iter().any(|said| violation.contains(said)), "{violation}");
}

#[test]
fn without_versions_an_old_snapshot_refuses_after_a_newer_one() {
    caught(Protocol { checks_versions: false, ..OURS }, &["after version"]);
}

#[test]
fn without_freshness_a_wrong_refusal_has_no_end() {
    caught(Protocol { lapses: false, ..OURS }, &["stopped being true", "can be sold"]);
}

#[test]
fn without_the_age_of_news_a_late_message_makes_old_refusals_new() {
    caught(Protocol { judges_age: false, ..OURS }, &["stopped being true"]);
}

#[test]
fn a_gate_that_counts_and_decides_oversells_or_loses_seats() {
    caught(Protocol { counts: true, ..OURS }, &["oversold", "can be sold"]);
}

#[test]
fn marks_beside_any_fresh_snapshot_refuse_seats_that_are_free() {
    caught(Protocol { pairs: false, ..OURS }, &["was free at version"]);
}

#[test]
fn a_read_of_marks_that_counts_as_of_its_end_refuses_seats_that_are_free() {
    caught(Protocol { reads_behind: false, ..OURS }, &["was free at version"]);
}
