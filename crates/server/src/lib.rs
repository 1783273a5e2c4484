//! Reservix: seats that are held for ten minutes, then confirmed or lost, and never oversold.

mod caller;
mod catalog;
mod cli;
mod config;
mod core;
mod cutoffs;
mod demo;
mod erase;
mod fresh;
mod http;
mod huge_pages;
mod lane;
mod leaving;
mod log;
mod metrics;
mod news;
mod operator;
mod print;
mod probe;
mod pulse;
mod quiet;
mod random;
mod rights;
mod serve;
mod vitals;
mod work;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

/// What a process ends with whose code panicked where nobody catches it.
const PANICKED: u8 = 101;

/// What a simulation runs of a process: its lanes and its workers, without a process around them.
pub mod simulated {
    pub use crate::lane::{Decided, Desk, Lanes, Sizes};
    pub use crate::metrics::Metrics;
    pub use crate::vitals::Vitals;
    pub use crate::work::{Reconcile, sweep_once};
}

/// Runs the command that the arguments name.
#[must_use]
pub fn run_command() -> ExitCode {
    // What the log has queued is written before the process ends, also after a panic.
    let code = catch_unwind(AssertUnwindSafe(run)).unwrap_or(ExitCode::from(PANICKED));
    log::flush();
    code
}

/// How long the end of a command waits for work that blocks a thread.
const BLOCKING_GRACE: Duration = Duration::from_secs(1);

fn run() -> ExitCode {
    huge_pages::refuse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(cli::run());
            // A start that was stopped may still read: each of its writes is whole or not there.
            runtime.shutdown_timeout(BLOCKING_GRACE);
            done
        }
        Err(error) => Err(Failure::new("starting the runtime", error)),
    };
    done.unwrap_or_else(|failure| {
        log::last_words(&format!("reservix: {failure}"));
        ExitCode::FAILURE
    })
}

/// An error with all its causes, in one line. No display of ours contains its source; a cause that a
/// library has reported already is not reported again.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !told.ends_with(&more) {
            told = format!("{told}: {more}");
        }
        source = cause.source();
    }
    told
}

/// Why a command failed, for the person who ran it.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// What was being done, and what came in between.
    pub fn new(doing: impl fmt::Display, error: impl std::error::Error) -> Self {
        Self(format!("{doing}: {}", chain(&error)))
    }

    /// What is wrong, in the reader's words.
    pub fn plain(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<engine::Fault> for Failure {
    fn from(fault: engine::Fault) -> Self {
        Self::new("cannot go on", fault)
    }
}
