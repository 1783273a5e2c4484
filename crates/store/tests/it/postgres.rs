//! The store of many instances alone: its locks, its time-outs, its network, its server.
//!
//! Beside the tests of a guarantee stand negative controls: the same test, on a store whose SQL a
//! proxy rewrites on its way, without the clause that carries the guarantee. A control passes when
//! the checker notices.

mod driver;
mod fork;
mod keys;
mod log;
mod lost;
mod order;
mod organizations;
mod plans;
mod pooler;
mod schema;
mod seats;
mod start;
mod stuck;
mod transfers;
mod trip;
mod waits;

use crate::world::{self, options};
use engine::account::{RefreshToken, User};
use engine::{
    Booking, BookingId, By, Command, EventWithSections, Fault, Hold, IdempotencyKey, Inventory,
    Outcome, Overrides, Policy, Refusal, SeatRequest, SectionId, UserId,
};
use engine::{EventId, Timestamp};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use std::error::Error as _;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Store, open_store};
use suite::world::{ManualClock, Mint, POLICY, opened};
use testbed::proxy::Proxy;
use testbed::steps::Steps;

/// A database of its own with a store on it.
struct Stand {
    store: Arc<dyn Store>,
    clock: ManualClock,
    mint: Mint,
    url: String,
    /// Whether it is on the server that all tests share.
    is_guest: bool,
}

/// An event on sale, with its sections in the order of their ids.
struct Sale {
    event_id: EventId,
    organizer_id: UserId,
    sections: Vec<SectionId>,
}

impl Drop for Stand {
    fn drop(&mut self) {
        if self.is_guest {
            let name = self.url.rsplit('/').next().expect("a name at the end");
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            testbed::postgres::shared().sql("postgres", &drop);
        }
    }
}

impl Stand {
    /// On the server that all tests share, with a clock that is set by hand.
    async fn new() -> Self {
        let clock = ManualClock::new();
        let url = world::postgres_database(&clock).await;
        Self::at(url, clock, true).await
    }

    /// On a server of the test's own, with the clock of the machine.
    async fn on(server: &testbed::postgres::Postgres) -> Self {
        let stand = Self::at(server.create_database(), ManualClock::new(), false).await;
        stand.store.migrate(None).await.expect("the schema is made");
        stand
    }

    /// On a server of the test's own, with a clock that is set by hand.
    async fn with_clock(server: &testbed::postgres::Postgres) -> Self {
        let stand = Self::on(server).await;
        let by_hand = world::clock_by_hand(&stand.clock);
        stand.raw().await.run(by_hand).await;
        stand
    }

    async fn at(url: String, clock: ManualClock, is_guest: bool) -> Self {
        let store = open(&url, POLICY, &clock).await;
        Self { store, mint: Mint::new(&clock), clock, url, is_guest }
    }

    /// Another instance on the same database.
    async fn another(&self) -> Arc<dyn Store> {
        open(&self.url, POLICY, &self.clock).await
    }

    /// Another instance, which reaches the database through `proxy`.
    async fn behind(&self, proxy: &Proxy) -> Arc<dyn Store> {
        open(&proxy.in_place_of(&self.url), POLICY, &self.clock).await
    }

    /// A proxy of this database's server, whose requests count in `steps`.
    fn proxy(&self, steps: &Steps) -> Proxy {
        let address = self.url.split(['@', '/']).nth(3).expect("user@address/name");
        Proxy::to_counted(address.parse().expect("an address"), steps)
    }

    /// A session that is not the store's.
    async fn raw(&self) -> Raw {
        Raw(PgConnection::connect(&self.url).await.expect("the server answers"))
    }

    async fn sale_with(
        &self,
        capacities: &[i64],
        set: impl FnOnce(&mut EventWithSections),
    ) -> Sale {
        let organizer_id = self.mint.user();
        let mut new = self.mint.event_on_sale(organizer_id);
        let event_id = new.event.terms.event_id;
        let section = |number: usize| self.mint.section_of(event_id, &format!("S{number}"));
        new.sections = (0..capacities.len()).map(section).collect();
        set(&mut new);
        self.store
            .create_event(&new, suite::world::owner(&new), &opened(capacities), None)
            .await
            .expect("the event is recorded");
        let sections = new.sections.iter().map(|section| section.section_id).collect();
        Sale { event_id, organizer_id, sections }
    }

    async fn sale(&self, capacities: &[i64]) -> Sale {
        self.sale_with(capacities, |_| ()).await
    }

    /// A request of a new user for seats; sections are named by their place.
    fn hold(&self, sale: &Sale, requests: &[(usize, u32)]) -> Hold {
        let ask = |(place, seats): &(usize, u32)| SeatRequest::Count {
            section_id: sale.sections[*place],
            seats: *seats,
        };
        Hold {
            booking_id: self.mint.booking(sale.event_id),
            user_id: self.mint.user(),
            seller: None,
            overrides: Overrides::NONE,
            event_id: sale.event_id,
            requests: requests.iter().map(ask).collect(),
            key: None,
        }
    }

    /// The same with a key.
    fn keyed(&self, sale: &Sale, requests: &[(usize, u32)], name: &str) -> Hold {
        Hold { key: Some((key(name), 1)), ..self.hold(sale, requests) }
    }

    async fn held(&self, sale: &Sale, requests: &[(usize, u32)]) -> Booking {
        booking(one(&*self.store, Command::Hold(self.hold(sale, requests))).await)
    }

    async fn stored(&self, booking_id: BookingId) -> Option<Booking> {
        self.store.booking(booking_id).await.expect("the store answers")
    }

    async fn inventory(&self, sale: &Sale, place: usize) -> Inventory {
        let all = self.store.inventories(&[sale.event_id]).await.expect("the store answers");
        let mut all = all.into_iter().map(|live| live.inventory);
        all.find(|it| it.section_id == sale.sections[place]).expect("every section has one")
    }

    /// The invariants that the audit finds broken.
    async fn broken(&self) -> Vec<&'static str> {
        let report = self.store.audit().await.expect("the store answers");
        report.told.iter().map(|violation| violation.invariant).collect()
    }

    async fn assert_sound(&self) {
        let report = self.store.audit().await.expect("the store answers");
        assert!(report.is_clean(), "the audit finds {:?}", report.told);
    }

    /// Closes all `stores` on this database, and its own; returns how many deadlocks there were.
    async fn deadlocks(&self, stores: &[&dyn Store]) -> i64 {
        const SQL: &str =
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        self.close_all(stores).await;
        self.raw().await.int(SQL).await
    }

    /// Closes all `stores` on this database, and its own. The sessions have told what they did then.
    async fn close_all(&self, stores: &[&dyn Store]) {
        const SQL: &str = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'reservix'";
        for store in stores.iter().copied().chain([&*self.store]) {
            store.close().await;
        }
        let mut raw = self.raw().await;
        let start = Instant::now();
        while raw.int(SQL).await > 0 {
            assert!(start.elapsed() < Duration::from_secs(5), "some sessions do not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sessions that begin from now on look for deadlocks after 20 ms, not after a second.
    async fn find_deadlocks_soon(&self) {
        let name = self.url.rsplit('/').next().expect("a name at the end");
        let set = format!("ALTER DATABASE {name} SET deadlock_timeout = '20ms'");
        self.raw().await.run(set).await;
    }

    fn user(&self, email: &str) -> User {
        User {
            user_id: self.mint.user(),
            email: email.to_owned(),
            name: None,
            password_hash: "$argon2id$".to_owned(),
            created_at: self.clock.now(),
        }
    }

    fn token(&self, user_id: UserId, number: u8) -> RefreshToken {
        let family_id = uuid::Uuid::from_slice(self.mint.user().as_bytes()).expect("16 bytes");
        let expires_at = Timestamp::from_unix_ms(4_000_000_000_000);
        let token_hash = [number; 32];
        RefreshToken { token_hash, family_id, user_id, expires_at, spent_at: None }
    }
}

async fn open(url: &str, policy: Policy, clock: &ManualClock) -> Arc<dyn Store> {
    open_store(url, options(policy, clock)).await.expect("the store opens")
}

/// A session in the hands of a test.
struct Raw(PgConnection);

impl Raw {
    /// Runs statements whose text the test has made itself.
    async fn run(&mut self, sql: impl Into<String>) {
        let sql = sql.into();
        let done = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut self.0).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    async fn rows(&mut self, sql: impl Into<String>) -> Vec<PgRow> {
        let sql = sql.into();
        let rows = sqlx::query(AssertSqlSafe(sql.clone())).fetch_all(&mut self.0).await;
        rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The first column of the first row.
    async fn int(&mut self, sql: impl Into<String>) -> i64 {
        self.rows(sql).await[0].get(0)
    }

    /// The first column of every row.
    async fn texts(&mut self, sql: impl Into<String>) -> Vec<String> {
        self.rows(sql).await.iter().map(|row| row.get(0)).collect()
    }

    /// How many sessions of stores on this database are in a state.
    async fn sessions(&mut self, state: &str) -> i64 {
        self.int(format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
             AND application_name = 'reservix' AND state = '{state}'"
        ))
        .await
    }

    /// Waits until `count` sessions of stores on this database wait for a lock.
    async fn until_waiting(&mut self, count: i64) {
        const SQL: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
            AND datname = current_database() AND application_name = 'reservix'";
        let start = Instant::now();
        while self.int(SQL).await != count {
            assert!(start.elapsed() < Duration::from_secs(5), "nobody waits for a lock");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Locks the inventory of a section as a batch does.
fn lock_section(section_id: SectionId) -> String {
    format!("SELECT 1 FROM inventory WHERE section_id = '{section_id}' FOR NO KEY UPDATE")
}

async fn one(store: &dyn Store, command: Command) -> Result<Outcome, Refusal> {
    let mut committed = store.commit(&[command]).await.expect("the store answers");
    committed.answers.pop().expect("one command, one answer")
}

fn booking(answer: Result<Outcome, Refusal>) -> Booking {
    match answer {
        Ok(Outcome::Booking { booking, .. }) => booking,
        other => panic!("expected a booking, got {other:?}"),
    }
}

fn confirm(booking: &Booking) -> Command {
    Command::Confirm { booking_id: booking.booking_id, by: By::User(booking.user_id) }
}

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::new(text).expect("visible characters")
}

/// A fault that says: come again. With all that lies beneath it.
#[track_caller]
fn unavailable<T: Debug>(result: Result<T, Fault>) -> String {
    match result {
        Err(fault @ Fault::Unavailable { .. }) => chain(&fault),
        other => panic!("expected an unavailable store, got {other:?}"),
    }
}

/// A fault with all that lies beneath it.
pub(crate) fn chain(fault: &Fault) -> String {
    let causes = std::iter::successors(fault.source(), |&cause| cause.source());
    causes.fold(fault.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What a future comes to, and how long that takes.
async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let value = future.await;
    (value, start.elapsed())
}

#[track_caller]
fn assert_between(took: Duration, least_ms: u64, most_ms: u64) {
    let range = Duration::from_millis(least_ms)..Duration::from_millis(most_ms);
    assert!(range.contains(&took), "took {took:?}, not {range:?}");
}
