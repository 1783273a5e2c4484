//! Filling a store with generated bookings, to measure how cost grows with the stored data.
//!
//! What is written is consistent after every part, down to the log: the audit finds nothing, and the
//! store can be used as if everything had happened. It is written in bulk, beside the rules: so this is
//! for measuring, and the caller keeps it away from production.

mod book;
mod dice;
mod plan;

use crate::{Instance as _, Schema as _, StoreKind, StoreOptions, postgres, sqlite, unavailable};
use engine::{Changes, EventWithSections, Fault, Timestamp};
use plan::Plan;

/// The maximum number of bookings of one fill.
pub const FILL_BOOKINGS_MAX: u64 = 100_000_000;
/// The maximum number of events of one fill: their counters are kept in memory while it runs.
pub const FILL_EVENTS_MAX: u32 = 100_000;
/// Bookings written in one transaction; two times as many are in memory.
const PART_BOOKINGS: usize = 50_000;

/// What to fill a store with. The same seed generates the same bookings, relative to the current
/// time.
#[derive(Clone, Debug)]
pub struct Fill {
    /// How many bookings: 1 to [`FILL_BOOKINGS_MAX`].
    pub bookings: u64,
    /// How many events: 1 to [`FILL_EVENTS_MAX`]. A few have most of the bookings (Zipf).
    pub events: u32,
    /// Where chance begins.
    pub seed: u64,
    /// Whether the store may have events already; else it is refused.
    pub beside_others: bool,
}

/// What has been written so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Events.
    pub events: u64,
    /// Bookings.
    pub bookings: u64,
    /// Rows of the log.
    pub log_rows: u64,
}

/// A part of the past, written in one transaction. Each leaves the books balanced.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one part is under way at a time")]
pub(crate) enum Part {
    /// Events with the capacities of their sections, in the order of their creation.
    Events(Vec<(EventWithSections, Vec<i64>)>),
    /// Bookings in the state they ended in, with all that was logged of them. Its inventories carry
    /// their next expiry.
    Bookings(Changes),
}

/// A store while it is being filled.
pub(crate) trait Bulk {
    /// Whether it has events.
    async fn has_events(&mut self) -> Result<bool, Fault>;
    /// Its clock.
    async fn now(&mut self) -> Result<Timestamp, Fault>;
    /// Writes a part in one transaction.
    async fn write(&mut self, part: &Part) -> Result<(), Fault>;
    /// Updates the statistics of the query planner.
    async fn finish(&mut self) -> Result<(), Fault>;
}

/// Fills the store that the scheme of `url` names, and brings its schema up to date before; `tell` is
/// called after every part. Parts that were written stay if the rest fails.
pub async fn fill_store(
    url: &str,
    options: StoreOptions,
    fill: &Fill,
    tell: impl Fn(Filled) + Send,
) -> Result<Filled, Fault> {
    let policy = options.policy;
    match StoreKind::open(url)? {
        StoreKind::Sqlite(path) => {
            let store = sqlite::Sqlite::open(path, options)?;
            store.migrate(None).await?;
            let filled = run(&mut store.bulk().await?, fill, policy, tell).await;
            store.close().await;
            filled
        }
        StoreKind::Postgres => {
            let store = postgres::Postgres::open(url, options).await?;
            store.migrate(None).await?;
            let filled = run(&mut store.bulk().await?, fill, policy, tell).await;
            store.close().await;
            filled
        }
    }
}

async fn run(
    bulk: &mut impl Bulk,
    fill: &Fill,
    policy: engine::Policy,
    tell: impl Fn(Filled) + Send,
) -> Result<Filled, Fault> {
    const DOING: &str = "filling the store";
    if !fill.beside_others && bulk.has_events().await? {
        let why = "it already has events; `--beside-others` adds to them";
        return Err(unavailable(DOING)(why));
    }
    let mut filled = Filled::default();
    let (mut plan, mut now) = (Plan::new(fill, policy, bulk.now().await?), bulk.now().await?);
    let mut part = plan.next(now);
    while let Some(written) = part {
        // The next part is made while this one is written.
        let ahead = tokio::task::spawn_blocking(move || {
            let part = plan.next(now);
            (plan, part)
        });
        bulk.write(&written).await?;
        filled.add(&written);
        tell(filled);
        now = bulk.now().await?;
        (plan, part) = ahead.await.map_err(unavailable(DOING))?;
    }
    bulk.finish().await?;
    Ok(filled)
}

impl Filled {
    fn add(&mut self, part: &Part) {
        match part {
            Part::Events(events) => {
                self.events += events.len() as u64;
                self.log_rows +=
                    events.iter().map(|(_, sections)| sections.len() as u64).sum::<u64>();
            }
            Part::Bookings(changes) => {
                self.bookings += changes.created.len() as u64;
                self.log_rows += changes.log.len() as u64;
            }
        }
    }
}
