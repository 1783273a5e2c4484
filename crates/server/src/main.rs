//! Reservix: seats that are held for ten minutes, then confirmed or lost, and never oversold.

mod catalog;
mod cli;
mod config;
mod demo;
mod http;
mod lane;
mod metrics;
mod serve;
mod work;

use std::fmt;
use std::process::ExitCode;

/// Small allocations of many threads are what a request is made of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(cli::run()),
        Err(error) => Err(Failure::new("starting the runtime", error)),
    };
    done.unwrap_or_else(|failure| {
        eprintln!("reservix: {failure}");
        ExitCode::FAILURE
    })
}

/// Why a command could not do its work, told to the person who gave it.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// What was being done, and what came in between.
    pub fn new(doing: impl fmt::Display, error: impl std::error::Error) -> Self {
        let mut told = format!("{doing}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            told = format!("{told}: {cause}");
            source = cause.source();
        }
        Self(told)
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
