//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use uuid::Uuid;

/// Puts load on a Reservix from the outside, and proves afterwards that nothing was sold twice.
///
/// Ends with 0 if every promise was kept, 1 if one was broken, 2 if it could not be run, 3 if not all could
/// be proven: the server went away, or the proof was interrupted.
#[derive(Debug, Parser)]
#[command(name = "reservix-load", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Hold single seats of one hot section that never sells out
    Hold(HoldArgs),
    /// Hold a seat and confirm it, again and again
    Pairs(PairsArgs),
    /// Rush several sections until they are sold: buyers hold, think, confirm, give back, forget
    Onsale(OnsaleArgs),
    /// Storm a section that is sold out, with confirms of earlier holds beside it
    Soldout(SoldoutArgs),
    /// Send each hold several times with the same key
    Retries(RetriesArgs),
    /// Let waves of short holds lapse, and see how soon each seat is held again
    Expiry(ExpiryArgs),
    /// Read an event and its seats, with holds beside it
    Reads(ReadsArgs),
    /// Some of everything: reads, holds, confirms, cancels, retries
    Mixed(MixedArgs),
    /// Hold seats by their names in numbered halls, sometimes those that somebody else wants too
    Seats(SeatsArgs),
    /// Hold the best available seats of numbered halls for parties
    BestAvailable(BestAvailableArgs),
    /// Get one path
    Get(GetArgs),
    /// Measure what HTTP, a token check and JSON cost alone, at a bare endpoint of the tool's own
    Ceiling(CeilingArgs),
    /// Show a report again
    Show(ShowArgs),
    /// Set two reports side by side
    Compare(CompareArgs),
    #[command(hide = true)]
    ServeCeiling(ServeCeilingArgs),
}

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Connections, each kept alive and used by one buyer at a time
    #[arg(long, short, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub connections: u32,
    /// Arrivals a second (open loop); without it the next request is sent when the last is answered
    #[arg(long, short, value_parser = rate)]
    pub rate: Option<f64>,
    /// Arrivals that may wait for a connection before they are dropped [default: as many as connections]
    #[arg(long)]
    pub backlog: Option<u64>,
    /// How long each run is measured [default: 10; onsale 60]
    #[arg(long, short, value_parser = seconds)]
    pub seconds: Option<f64>,
    /// How long each run warms up before it is measured [default: 2; onsale and expiry 0]
    #[arg(long, value_parser = seconds)]
    pub warm_up: Option<f64>,
    /// End a run after so many requests, those of the warm-up included
    #[arg(long)]
    pub requests: Option<u64>,
    /// How many runs; the summary has their median and spread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub runs: u64,
    /// Threads of the client [default: one for each core]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub threads: Option<u32>,
    /// Milliseconds after which a request counts as not answered
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub timeout_ms: u64,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as a page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct SaleArgs {
    /// The server
    #[arg(default_value = "http://127.0.0.1:8000")]
    pub target: String,
    /// Buyers to register
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub buyers: u32,
    /// Take the buyers' access tokens from a file, one a line, instead of registering them
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// Use an event that exists instead of making new ones. Its seats are taken for good!
    #[arg(long, value_name = "ID")]
    pub event: Option<Uuid>,
    /// Bookings that the proof reads again; of more, a random sample of this size
    #[arg(long, default_value_t = 10_000)]
    pub verify: u32,
    #[command(flatten)]
    pub load: LoadArgs,
}

#[derive(Debug, Args)]
pub struct SpreadArgs {
    /// Events to make, over which the load is spread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000),
        conflicts_with = "event")]
    pub events: u32,
    /// How unevenly events are picked: the one of rank k with a weight of 1/k^ZIPF, 0 is evenly. Of a
    /// single event it is said of the sections [default: 1 for several events, 0 for one]
    #[arg(long, value_parser = slope)]
    pub zipf: Option<f64>,
}

#[derive(Debug, Args)]
pub struct HoldArgs {
    /// Send a new Idempotency-Key with each hold
    #[arg(long)]
    pub keys: bool,
    /// Confirm holds that were made before the run, so many a second, beside the load
    #[arg(long, default_value_t = 0.0, value_parser = share_of_load)]
    pub confirms_beside: f64,
    /// Sections of each event
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub sections: u32,
    #[command(flatten)]
    pub spread: SpreadArgs,
    #[command(flatten)]
    pub sale: SaleArgs,
}

#[derive(Debug, Args)]
pub struct PairsArgs {
    /// Send a new Idempotency-Key with each hold
    #[arg(long)]
    pub keys: bool,
    /// Sections of each event
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub sections: u32,
    #[command(flatten)]
    pub spread: SpreadArgs,
    #[command(flatten)]
    pub sale: SaleArgs,
}

#[derive(Debug, Args)]
pub struct MindArgs {
    /// Milliseconds between a hold and its buyer's decision, on average
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub think_ms: u64,
    /// Share of buyers who forget their hold
    #[arg(long, default_value_t = 0.10, value_parser = share)]
    pub abandon: f64,
    /// Share of buyers who give it back
    #[arg(long, default_value_t = 0.05, value_parser = share)]
    pub cancel: f64,
}

#[derive(Debug, Args)]
pub struct OnsaleArgs {
    /// Sections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub sections: u32,
    /// Seats of each section
    #[arg(long, default_value_t = 2_500, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub seats: u64,
    /// Seconds that a hold lives
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub hold_ttl: u32,
    #[command(flatten)]
    pub mind: MindArgs,
    #[command(flatten)]
    pub sale: SaleArgs,
}

#[derive(Debug, Args)]
pub struct SoldoutArgs {
    /// Send a new Idempotency-Key with each hold
    #[arg(long)]
    pub keys: bool,
    /// Seats that are sold before the storm
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub seats: u64,
    /// Confirms a second of holds that were made before the storm
    #[arg(long, default_value_t = 50.0, value_parser = share_of_load)]
    pub confirms_beside: f64,
    #[command(flatten)]
    pub sale: SaleArgs,
}

#[derive(Debug, Args)]
pub struct RetriesArgs {
    /// How often each key is sent
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(2..=10_000))]
    pub repeats: u64,
    #[command(flatten)]
    pub sale: SaleArgs,
}

#[derive(Debug, Args)]
pub struct ExpiryArgs {
    /// Seats of the section
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub seats: u64,
    /// Seconds that a hold lives
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub hold_ttl: u32,
    #[command(flatten)]
    pub sale: SaleArgs,
}

#[derive(Debug, Args)]
pub struct ReadsArgs {
    /// Sections of the event
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub sections: u32,
    /// Holds a second beside the reads
    #[arg(long, default_value_t = 200.0, value_parser = share_of_load)]
    pub holds_beside: f64,
    #[command(flatten)]
    pub sale: SaleArgs,
}

#[derive(Debug, Args)]
pub struct MixedArgs {
    /// Sections of each event
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub sections: u32,
    /// Seats of each section
    #[arg(long, default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub seats: u64,
    #[command(flatten)]
    pub mind: MindArgs,
    #[command(flatten)]
    pub spread: SpreadArgs,
    #[command(flatten)]
    pub sale: SaleArgs,
}

#[derive(Debug, Args)]
pub struct HallsArgs {
    /// Send a new Idempotency-Key with each hold
    #[arg(long)]
    pub keys: bool,
    /// Seats of each hall
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub seats: u64,
    /// Halls to make, each an event of its own; when all are full, the run ends
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000),
        conflicts_with = "event")]
    pub halls: u32,
    /// Share of the seats that is sold before the run, in random places
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub sold_before: f64,
    /// Share of holds of one seat in a section without numbers, to compare with
    #[arg(long, default_value_t = 0.0, value_parser = share, conflicts_with = "event")]
    pub counted: f64,
    #[command(flatten)]
    pub sale: SaleArgs,
}

#[derive(Debug, Args)]
pub struct SeatsArgs {
    /// Most seats of a hold; each asks for one to so many
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub most: u8,
    /// Share of holds that ask for seats where somebody else is choosing
    #[arg(long, default_value_t = 0.05, value_parser = share)]
    pub collide: f64,
    #[command(flatten)]
    pub halls: HallsArgs,
}

#[derive(Debug, Args)]
pub struct BestAvailableArgs {
    /// Most seats of a party; each has one to so many
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub most: u8,
    /// Share of parties that must sit together
    #[arg(long, default_value_t = 1.0, value_parser = share)]
    pub adjacent: f64,
    /// Go on to the next hall once a party of so many found no room; 1 is when a hall is full
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub leave_at: u8,
    #[command(flatten)]
    pub halls: HallsArgs,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// The server
    #[arg(default_value = "http://127.0.0.1:8000")]
    pub target: String,
    /// The path; {event} stands for the id of an event that is made for it
    #[arg(long, default_value = "/health/live")]
    pub path: String,
    #[command(flatten)]
    pub load: LoadArgs,
}

#[derive(Debug, Args)]
pub struct CeilingArgs {
    /// What is measured: hold (POST with token and JSON), or plain (GET of JSON of an event's size)
    #[arg(long, default_value = "hold", value_parser = ["hold", "plain"])]
    pub path: String,
    /// Send a new Idempotency-Key with each hold
    #[arg(long)]
    pub keys: bool,
    /// Different tokens
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub buyers: u32,
    #[command(flatten)]
    pub load: LoadArgs,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A report that was written with --json
    pub report: PathBuf,
    /// Write it as a page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The report that is compared with
    pub before: PathBuf,
    /// The report that is compared
    pub after: PathBuf,
    /// Write the comparison as a page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ServeCeilingArgs {
    /// With which tokens are signed
    #[arg(long)]
    pub secret: String,
}

fn number(text: &str, from: f64, to: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (from..=to).contains(&number) {
        Ok(number)
    } else {
        Err(format!("not between {from} and {to}"))
    }
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.001, 10_000_000.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.0, 86_400.0)
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0)
}

fn slope(text: &str) -> Result<f64, String> {
    number(text, 0.0, 10.0)
}

fn share_of_load(text: &str) -> Result<f64, String> {
    number(text, 0.0, 100_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
