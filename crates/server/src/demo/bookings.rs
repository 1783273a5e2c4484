//! A store full of bookings, to measure how cost grows with what is stored.

use crate::config::{Config, Environment};
use crate::{Failure, print, serve};
use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use std::time::{Duration, Instant};
use store::{FILL_BOOKINGS_MAX, FILL_EVENTS_MAX, Fill, Filled, fill_store};

/// How long between two lines about the progress.
const SILENCE: Duration = Duration::from_secs(2);

/// The options for bookings.
#[derive(clap::Args)]
pub(super) struct Bookings {
    /// Fill the configured store with N bookings, for measurements; refused in production
    ///
    /// Generates a year of sales, most of them for a few large events, with live holds at its end.
    /// The result passes `reservix audit`. With the embedded store, stop the server first.
    #[arg(id = "bookings", long = "bookings", value_name = "N", conflicts_with = "url",
        value_parser = clap::value_parser!(u64).range(1..=FILL_BOOKINGS_MAX))]
    pub(super) count: Option<u64>,
    /// The number of events
    #[arg(long, value_name = "M", requires = "bookings", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(FILL_EVENTS_MAX)))]
    events: u32,
    /// The seed: the same seed generates the same bookings, relative to the current time
    #[arg(long, requires = "bookings", default_value_t = 1)]
    seed: u64,
    /// Allow it if the store already has events
    #[arg(long, requires = "bookings")]
    beside_others: bool,
}

/// Fills the store with `count` bookings.
pub(super) async fn run(config: &Config, count: u64, bookings: &Bookings) -> Result<(), Failure> {
    if config.environment == Environment::Production {
        let why = "generated bookings must not be mixed with those of customers: ENVIRONMENT is \
             production";
        return Err(Failure::plain(why));
    }
    let Bookings { events, seed, beside_others, .. } = *bookings;
    let fill = Fill { bookings: count, events, seed, beside_others };
    let (begun, said) = (Instant::now(), Mutex::new(None::<Instant>));
    let tell = |filled: Filled| {
        let mut said = said.lock();
        if said.is_none_or(|at| at.elapsed() >= SILENCE) {
            *said = Some(Instant::now());
            // If this line cannot be written, the last one still can.
            let _ = print::line(progress(filled, count, begun.elapsed()));
        }
    };
    let options = serve::store_options(config, false);
    let filled = fill_store(config.store_url.expose_secret(), options, &fill, tell).await?;
    print::line(progress(filled, count, begun.elapsed()))?;
    print::line(format_args!("{} events; check them with `reservix audit`", filled.events))
}

fn progress(filled: Filled, count: u64, elapsed: Duration) -> String {
    let (bookings, rows, seconds) = (filled.bookings, filled.log_rows, elapsed.as_secs_f64());
    let rate = bookings as f64 / seconds.max(0.001);
    format!(
        "{bookings} of {count} bookings, {rows} log rows, after {seconds:.1} s \
         ({rate:.0} bookings a second)"
    )
}
