//! `reservix-load`: puts load on a Reservix from the outside, and proves afterwards that nothing was
//! sold twice. It speaks HTTP alone and shares no code with the server.

mod api;
mod body;
mod ceiling;
mod cli;
mod ledger;
mod machine;
mod pace;
mod people;
mod plan;
mod progress;
mod proof;
mod record;
mod report;
mod roles;
mod run;
mod scenarios;
mod session;
mod setup;
mod stage;
mod summary;
mod target;
mod trouble;
mod wire;
mod worker;

use clap::Parser;
use cli::{Cli, Command, LoadArgs};
use plan::Plan;
use progress::Progress;
use report::Report;
use std::path::Path;
use std::process::ExitCode;
use tokio::runtime::Builder;
use trouble::Trouble;

/// Small allocations of many threads are what a request is made of, here and at the ceiling.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Every promise was kept.
const KEPT: u8 = 0;
/// A promise was broken.
const BROKEN: u8 = 1;
/// It could not be run.
const NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    let done = obey(&Cli::parse().command);
    let code = done.unwrap_or_else(|trouble| {
        eprintln!("reservix-load: {trouble}");
        NOT_RUN
    });
    ExitCode::from(code)
}

fn obey(command: &Command) -> Result<u8, Trouble> {
    match command {
        Command::Hold(args) => load(&args.into(), &args.sale.load),
        Command::Pairs(args) => load(&args.into(), &args.sale.load),
        Command::Onsale(args) => load(&args.into(), &args.sale.load),
        Command::Soldout(args) => load(&args.into(), &args.sale.load),
        Command::Retries(args) => load(&args.into(), &args.sale.load),
        Command::Expiry(args) => load(&args.into(), &args.sale.load),
        Command::Reads(args) => load(&args.into(), &args.sale.load),
        Command::Mixed(args) => load(&args.into(), &args.sale.load),
        Command::Get(args) => load(&args.into(), &args.load),
        Command::Ceiling(args) => load(&args.into(), &args.load),
        Command::ServeCeiling(args) => {
            runtime(None)?.block_on(ceiling::serve(&args.secret)).map(|()| KEPT)
        }
        Command::Show(args) => {
            let report = read(&args.report)?;
            print(&report);
            Ok(verdict(&report))
        }
        Command::Compare(args) => {
            let (_before, _after) = (read(&args.before)?, read(&args.after)?);
            Ok(KEPT)
        }
    }
}

fn load(plan: &Plan, args: &LoadArgs) -> Result<u8, Trouble> {
    let progress = Progress::new(args.quiet);
    let done = runtime(args.threads)?.block_on(session::run(plan, &progress));
    progress.end();
    let report = done?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report);
        let json = json.map_err(|error| Trouble::because("writing the report", error))?;
        write(path, &json)?;
    }
    print(&report);
    Ok(verdict(&report))
}

fn runtime(threads: Option<u32>) -> Result<tokio::runtime::Runtime, Trouble> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads as usize);
    }
    builder.enable_all().build().map_err(|error| Trouble::because("starting the runtime", error))
}

fn verdict(report: &Report) -> u8 {
    if report.proof.holds { KEPT } else { BROKEN }
}

fn print(report: &Report) {
    for figure in &report.summary {
        println!("{:32} {:12.2} {}", figure.name, figure.median, figure.unit);
    }
    for check in &report.proof.checks {
        let verdict = if check.holds { "ok" } else { "BROKEN" };
        println!("{verdict:6} {}: {}", check.name, check.detail);
    }
    report.notes.iter().for_each(|note| println!("note: {note}"));
}

fn read(path: &Path) -> Result<Report, Trouble> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| Trouble::because(&name, error))?;
    serde_json::from_str(&text).map_err(|error| Trouble::because(&name, error))
}

fn write(path: &Path, text: &str) -> Result<(), Trouble> {
    std::fs::write(path, text).map_err(|error| Trouble::because(path.display(), error))
}
