//! `reservix-load`: puts load on a Reservix from the outside, and proves afterwards that nothing was
//! sold twice. It speaks HTTP alone and shares no code with the server.

mod api;
mod body;
mod ceiling;
mod cli;
mod hall;
mod ledger;
mod machine;
mod pace;
mod people;
mod plan;
mod progress;
mod proof;
mod pulse;
mod random;
mod record;
mod report;
mod roles;
mod run;
mod scenarios;
mod session;
mod setup;
mod spread;
mod stage;
mod summary;
mod target;
mod trouble;
mod wire;
mod wish;
mod worker;

use clap::Parser;
use cli::{Cli, Command, LoadArgs};
use plan::Plan;
use progress::Progress;
use report::series::{self, Verdict};
use report::{Report, compare, html, table};
use std::io::{IsTerminal, Write as _};
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
/// It was run, and no promise was found broken, but not all could be examined.
const NOT_PROVEN: u8 = 3;

fn main() -> ExitCode {
    let done = obey(&Cli::parse().command);
    let code = done.unwrap_or_else(|trouble| {
        let _ = writeln!(std::io::stderr(), "reservix-load: {trouble}");
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
        Command::Seats(args) => load(&args.into(), &args.halls.sale.load),
        Command::BestAvailable(args) => load(&args.into(), &args.halls.sale.load),
        Command::Get(args) => load(&args.into(), &args.load),
        Command::Ceiling(args) => load(&args.into(), &args.load),
        Command::ServeCeiling(args) => {
            runtime(None)?.block_on(ceiling::serve(&args.secret)).map(|()| KEPT)
        }
        Command::Show(args) => {
            let report = read(&args.report)?;
            page(args.html.as_deref(), || html::page(&report))?;
            print(&report);
            Ok(verdict(&report))
        }
        Command::Compare(args) => {
            let (before, after) = (read(&args.before)?, read(&args.after)?);
            page(args.html.as_deref(), || compare::page(&before, &after))?;
            tell(&compare::text(&before, &after, is_coloured()));
            Ok(KEPT)
        }
    }
}

fn load(plan: &Plan, args: &LoadArgs) -> Result<u8, Trouble> {
    for path in [&args.json, &args.html].into_iter().flatten() {
        may_be_written(path)?;
    }
    let progress = Progress::new(args.quiet);
    let done = runtime(args.threads)?.block_on(session::run(plan, &progress));
    progress.end();
    let report = done?;
    // The terminal first: a file that cannot be written does not cost the figures.
    print(&report);
    let json = args.json.as_deref().map_or(Ok(()), |path| {
        let json = serde_json::to_string_pretty(&report);
        let json = json.map_err(|error| Trouble::because("writing the report", error))?;
        write(path, &json)
    });
    // Nor does one that cannot be written cost the other.
    page(args.html.as_deref(), || html::page(&report)).and(json)?;
    Ok(verdict(&report))
}

fn page(path: Option<&Path>, page: impl FnOnce() -> String) -> Result<(), Trouble> {
    path.map_or(Ok(()), |path| write(path, &page()))
}

fn runtime(threads: Option<u32>) -> Result<tokio::runtime::Runtime, Trouble> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads as usize);
    }
    builder.enable_all().build().map_err(|error| Trouble::because("starting the runtime", error))
}

fn verdict(report: &Report) -> u8 {
    match series::verdict(&report.proof) {
        Verdict::Kept | Verdict::Unchecked => KEPT,
        Verdict::Broken => BROKEN,
        Verdict::Unproven => NOT_PROVEN,
    }
}

fn print(report: &Report) {
    tell(&table::text(report, is_coloured()));
    for note in &report.notes {
        tell(&format!("note: {note}\n"));
    }
}

/// Prints `text`. A reader that has seen enough, such as `head`, costs neither the files nor the code.
fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn is_coloured() -> bool {
    std::io::stdout().is_terminal()
}

fn read(path: &Path) -> Result<Report, Trouble> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| Trouble::because(&name, error))?;
    let report: Result<Report, _> = serde_json::from_str(&text);
    report.map(Report::completed).map_err(|error| Trouble::because(&name, error))
}

/// Whether a file can be written there, asked for before the load: minutes later it would be too late.
fn may_be_written(path: &Path) -> Result<(), Trouble> {
    let is_there = path.exists();
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| Trouble::because(path.display(), error))?;
    if !is_there {
        std::fs::remove_file(path).map_err(|error| Trouble::because(path.display(), error))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Trouble> {
    std::fs::write(path, text).map_err(|error| Trouble::because(path.display(), error))
}
