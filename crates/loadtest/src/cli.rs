//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use uuid::Uuid;

/// Generates load on a Reservix server over HTTP, and then proves that nothing was sold twice.
///
/// Exit code 0: every promise was kept. 1: a promise was broken. 2: the run failed to start. 3: not
/// every promise could be checked, because the server became unavailable or the proof was
/// interrupted.
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
    /// Hold a seat and confirm it, repeatedly
    Pairs(PairsArgs),
    /// Sell out several sections: buyers hold, think, then confirm, cancel or abandon
    Onsale(OnsaleArgs),
    /// Send holds to a sold-out section, while earlier holds are confirmed
    Soldout(SoldoutArgs),
    /// Send each hold several times with the same key
    Retries(RetriesArgs),
    /// Let waves of short holds expire, and measure how soon each seat is held again
    Expiry(ExpiryArgs),
    /// Read an event and its seats, while seats are held
    Reads(ReadsArgs),
    /// A mix of reads, holds, confirms, cancellations and retries
    Mixed(MixedArgs),
    /// Hold seats by name in sections with numbered seats, partly in conflict with other buyers
    Seats(SeatsArgs),
    /// Hold the best available seats of sections with numbered seats for groups
    BestAvailable(BestAvailableArgs),
    /// Read one path
    Get(GetArgs),
    /// Measure the cost of HTTP, the token check and JSON alone, on a bare endpoint of this tool
    Ceiling(CeilingArgs),
    /// Show a stored report
    Show(ShowArgs),
    /// Compare two reports
    Compare(CompareArgs),
    #[command(hide = true)]
    ServeCeiling(ServeCeilingArgs),
}

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Connections; each is kept alive and used by one buyer at a time
    #[arg(long, short, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub connections: u32,
    /// Arrivals per second (open loop); without it, a connection sends its next request after the
    /// previous answer
    #[arg(long, short, value_parser = rate)]
    pub rate: Option<f64>,
    /// Maximum arrivals that wait for a connection; further ones are dropped [default: the number
    /// of connections]
    #[arg(long)]
    pub backlog: Option<u64>,
    /// Measured seconds of each run [default: 10; onsale 60]
    #[arg(long, short, value_parser = seconds)]
    pub seconds: Option<f64>,
    /// Seconds of warm-up before each run is measured [default: 2; onsale and expiry 0]
    #[arg(long, value_parser = seconds)]
    pub warm_up: Option<f64>,
    /// End a run after this number of requests, including those of the warm-up
    #[arg(long)]
    pub requests: Option<u64>,
    /// Number of runs; the summary has their median and spread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub runs: u64,
    /// Threads of the client [default: one per core]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub threads: Option<u32>,
    /// Timeout of a request in milliseconds
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub timeout_ms: u64,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as an HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Do not show progress
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct SaleArgs {
    /// The URL of the server
    #[arg(default_value = "http://127.0.0.1:8000")]
    pub target: String,
    /// Buyers to register
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub buyers: u32,
    /// Read the buyers' access tokens from a file, one per line, instead of registering buyers
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// Use an existing event instead of creating new ones. Its seats stay sold!
    #[arg(long, value_name = "ID")]
    pub event: Option<Uuid>,
    /// Maximum bookings that the proof reads again; if there are more, a random sample
    #[arg(long, default_value_t = 10_000)]
    pub verify: u32,
    #[command(flatten)]
    pub load: LoadArgs,
}

#[derive(Debug, Args)]
pub struct SpreadArgs {
    /// Events to create; the load is spread over them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000),
        conflicts_with = "event")]
    pub events: u32,
    /// Skew of the choice of events: the event of rank k has the weight 1/k^ZIPF; 0 is uniform.
    /// With a single event, it applies to its sections [default: 1 for several events, 0 for one]
    #[arg(long, value_parser = slope)]
    pub zipf: Option<f64>,
}

#[derive(Debug, Args)]
pub struct HoldArgs {
    /// Send a new Idempotency-Key with each hold
    #[arg(long)]
    pub keys: bool,
    /// Confirms per second, in addition to the load, of holds made before the run
    #[arg(long, default_value_t = 0.0, value_parser = share_of_load)]
    pub confirms_beside: f64,
    /// Sections per event
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
    /// Sections per event
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
    /// Share of buyers who abandon their hold
    #[arg(long, default_value_t = 0.10, value_parser = share)]
    pub abandon: f64,
    /// Share of buyers who cancel their hold
    #[arg(long, default_value_t = 0.05, value_parser = share)]
    pub cancel: f64,
}

#[derive(Debug, Args)]
pub struct OnsaleArgs {
    /// Sections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub sections: u32,
    /// Seats per section
    #[arg(long, default_value_t = 2_500, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub seats: u64,
    /// Lifetime of a hold in seconds
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
    /// Seats that are sold before the run
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub seats: u64,
    /// Confirms per second of holds made before the run
    #[arg(long, default_value_t = 50.0, value_parser = share_of_load)]
    pub confirms_beside: f64,
    #[command(flatten)]
    pub sale: SaleArgs,
}

#[derive(Debug, Args)]
pub struct RetriesArgs {
    /// Number of requests with each key
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
    /// Lifetime of a hold in seconds
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
    /// Holds per second, in addition to the reads
    #[arg(long, default_value_t = 200.0, value_parser = share_of_load)]
    pub holds_beside: f64,
    #[command(flatten)]
    pub sale: SaleArgs,
}

#[derive(Debug, Args)]
pub struct MixedArgs {
    /// Sections per event
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub sections: u32,
    /// Seats per section
    #[arg(long, default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub seats: u64,
    /// Lifetime of a hold in seconds
    #[arg(long, default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub hold_ttl: u32,
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
    /// Seats per hall
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub seats: u64,
    /// Halls to create, each in an event of its own; the run ends when all are full
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000),
        conflicts_with = "event")]
    pub halls: u32,
    /// Share of the seats sold before the run, at random places
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub sold_before: f64,
    /// Share of holds of one seat in a section without numbered seats, for comparison
    #[arg(long, default_value_t = 0.0, value_parser = share, conflicts_with = "event")]
    pub counted: f64,
    #[command(flatten)]
    pub sale: SaleArgs,
}

#[derive(Debug, Args)]
pub struct SeatsArgs {
    /// Maximum seats of a hold; each requests 1 to this number
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub most: u8,
    /// Share of holds that request seats in the part of another connection
    #[arg(long, default_value_t = 0.05, value_parser = share)]
    pub collide: f64,
    #[command(flatten)]
    pub halls: HallsArgs,
}

#[derive(Debug, Args)]
pub struct BestAvailableArgs {
    /// Maximum seats of a group; each has 1 to this number
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub most: u8,
    /// Share of groups that require adjacent seats
    #[arg(long, default_value_t = 1.0, value_parser = share)]
    pub adjacent: f64,
    /// Continue with the next hall when a group of this size found no seats; 1: when the hall is
    /// full
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub leave_at: u8,
    #[command(flatten)]
    pub halls: HallsArgs,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// The URL of the server
    #[arg(default_value = "http://127.0.0.1:8000")]
    pub target: String,
    /// The path; {event} is replaced by the id of an event that is created for the run
    #[arg(long, default_value = "/health/live")]
    pub path: String,
    #[command(flatten)]
    pub load: LoadArgs,
}

#[derive(Debug, Args)]
pub struct CeilingArgs {
    /// The endpoint: hold (POST with token and JSON) or plain (GET of JSON in the size of an event)
    #[arg(long, default_value = "hold", value_parser = ["hold", "plain"])]
    pub path: String,
    /// Send a new Idempotency-Key with each hold
    #[arg(long)]
    pub keys: bool,
    /// Number of different tokens
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub buyers: u32,
    #[command(flatten)]
    pub load: LoadArgs,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A report written with --json
    pub report: PathBuf,
    /// Write it as an HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The report to compare with
    pub before: PathBuf,
    /// The report to compare
    pub after: PathBuf,
    /// Write the comparison as an HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ServeCeilingArgs {
    /// The key that signs tokens
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
