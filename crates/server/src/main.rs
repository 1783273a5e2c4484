//! The binary `reservix`.

use std::process::ExitCode;

/// Small allocations of many threads are what a request is made of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::run_command()
}
