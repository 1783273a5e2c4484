//! What is hard to get right: races, each with its negative control, and crashes.
//!
//! The tests take turns: each wants the whole machine, and some measure time.

mod crash;
mod disk;
mod races;
mod sabotage;
#[path = "../support/mod.rs"]
mod support;

/// Held by the test that runs now.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What a checker found: the figures of a clean run, or the first violation.
type Verdict = Result<String, String>;

/// Ends a checker with a violation unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($violation:tt)+) => {
        if !$holds {
            return Err(format!($($violation)+));
        }
    };
}
use ensure;
