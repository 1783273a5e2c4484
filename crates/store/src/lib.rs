//! Where Reservix keeps its state: stores, which say yes, and gates, which may only say no.
//!
//! A [`Store`] is the only truth: what it committed happened. A [`Gate`] stands in front of it and
//! refuses early and cheaply; lose it, and the system is slower, never wrong. The URL picks the
//! adapter ([`open_store`], [`open_gate`]), and no rule lives here: a store loads rows, calls
//! `engine::decide`, and writes the outcome.

pub mod clock;
mod epoch;
mod fill;
pub mod gate;
mod keys;
mod maps;
mod messages;
mod postgres;
mod rows;
mod slices;
mod sqlite;

use async_trait::async_trait;
use engine::account::{RefreshToken, User};
use engine::audit::Report;
use engine::event::{EventChange, EventCommand};
use engine::log::{Position, UnknownTimeline};
use engine::seats::Marks;
use engine::{
    Booking, BookingId, BookingStatus, By, Command, Committed, Error, Event, EventId, EventStatus,
    EventWithSections, Fault, IdempotencyKey, Inventory, KeyUse, LiveInventory, LogCursor, Money,
    Opening, Policy, Section, SectionChange, SectionId, Timestamp, UserId,
};
use sqlx::migrate::Migrator;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

pub use clock::Clock;
pub use epoch::Epoch;
pub use fill::{FILL_BOOKINGS_MAX, FILL_EVENTS_MAX, Fill, Filled, fill_store};
pub use gate::{Gate, check_gate_url, open_gate};
pub use maps::Laid;
pub use messages::Messages;
pub use sqlite::LOCK_FILE;

/// The whole of a store, as one object.
pub trait Store: Accounts + Events + Bookings + Seats + Log + Upkeep {}
impl<T: Accounts + Events + Bookings + Seats + Log + Upkeep> Store for T {}

/// Users and their refresh tokens.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Adds a user, or [`EmailTaken`](engine::Refusal::EmailTaken).
    async fn create_user(&self, user: &User) -> Result<(), Error>;
    /// The user with this address, however it is spelled; where two were the same before that was
    /// refused, the one whose spelling it is.
    async fn user_by_email(&self, email: &str) -> Result<Option<User>, Fault>;
    /// The user with this id.
    async fn user(&self, user_id: UserId) -> Result<Option<User>, Fault>;
    /// Changes a user's name (an inner `None` clears it) or address: not found, or
    /// [`EmailTaken`](engine::Refusal::EmailTaken).
    async fn update_user(
        &self,
        user_id: UserId,
        name: Option<Option<String>>,
        email: Option<String>,
    ) -> Result<User, Error>;
    /// Replaces the password hash `old`, and ends all families of the user; false when the hash
    /// is another one by now.
    async fn set_password(&self, user_id: UserId, old: &str, new: &str) -> Result<bool, Fault>;
    /// Replaces the hash `old` of a password by another one of the same password; its logins go on.
    async fn renew_password_hash(&self, user_id: UserId, old: &str, new: &str)
    -> Result<(), Fault>;
    /// Keeps the first token of a new family.
    async fn open_family(&self, token: &RefreshToken) -> Result<(), Fault>;
    /// Exchanges the token `spent` for one with the hash and the end of `next`, by the rule of
    /// [`RefreshToken::judge`]; or [`InvalidRefreshToken`](engine::Refusal::InvalidRefreshToken).
    async fn rotate(
        &self,
        spent: &[u8; 32],
        next: ([u8; 32], Timestamp),
    ) -> Result<RefreshToken, Error>;
    /// Ends the family of a token; unknown tokens have none.
    async fn end_family(&self, token_hash: &[u8; 32]) -> Result<(), Fault>;
}

/// A use of an idempotency key by the creation of an event or a section.
#[derive(Clone, Debug)]
pub struct CreationKey {
    /// Whose it is.
    pub user_id: UserId,
    /// The key.
    pub key: IdempotencyKey,
    /// The digest of the request.
    pub fingerprint: i64,
}

/// For how long the key of a creation is kept.
pub const CREATION_KEY_KEPT_MS: i64 = 24 * 60 * 60 * 1000;

/// What a creation led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created<Id> {
    /// The new resource, or the one that an earlier request with the same key made.
    pub id: Id,
    /// Whether it was there before.
    pub replayed: bool,
}

/// An event as lists show it: with sums in the place of its sections, of which it may have 1,000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCard {
    /// The event.
    pub event: Event,
    /// What its cheapest and its dearest seat cost; `None` when it has no section.
    pub prices: Option<(Money, Money)>,
    /// How many seats there are.
    pub capacity: i64,
    /// How many can be held now; seats of holds that are due count.
    pub available: i64,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Whether there may be older ones.
    pub has_more: bool,
}

/// Which events a list shows.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Who asks: drafts are shown to their organizer only.
    pub viewer: Option<UserId>,
    /// Only events of this organizer.
    pub organizer: Option<UserId>,
    /// Only events of this status.
    pub status: Option<EventStatus>,
    /// Only events whose title contains this, however it is spelled.
    pub title: Option<String>,
    /// Only events that are not over by then.
    pub from: Option<Timestamp>,
    /// Only events that start before.
    pub to: Option<Timestamp>,
}

/// Which bookings a list shows.
#[derive(Clone, Debug)]
pub struct BookingFilter {
    /// Only bookings of this user.
    pub user: Option<UserId>,
    /// Only bookings of this event.
    pub event: Option<EventId>,
    /// Only bookings whose status reads so now.
    pub status: Option<BookingStatus>,
}

/// The part of a list to show, newest first.
#[derive(Clone, Copy, Debug)]
pub struct Page<Id> {
    /// Only what is older than this.
    pub after: Option<Id>,
    /// At most so many.
    pub limit: u32,
}

/// The size of the items of the bookings of a page, as stored, from which on the page ends.
pub const PAGE_BYTES_MAX: usize = 256 * 1024;

/// Events and their sections.
#[async_trait]
pub trait Events: Send + Sync {
    /// Records an event with its sections, each with what it begins with. The caller has checked the
    /// sections against each other.
    async fn create_event(
        &self,
        event: &EventWithSections,
        openings: &[Opening],
        key: Option<&CreationKey>,
    ) -> Result<Created<EventId>, Error>;
    /// The event with this id, for whoever asks: visibility is the caller's business.
    async fn event(&self, event_id: EventId) -> Result<Option<EventWithSections>, Fault>;
    /// A page of events, with the sums of their sections.
    async fn events(
        &self,
        filter: &EventFilter,
        page: Page<EventId>,
    ) -> Result<Paged<EventCard>, Fault>;
    /// Changes an event by the rules of [`engine::event::decide`]. Gives the inventories that were
    /// changed with it.
    async fn change_event(
        &self,
        event_id: EventId,
        by: By,
        command: EventCommand,
    ) -> Result<Vec<Inventory>, Error>;
    /// Adds a section, as [`EventCommand::AddSection`]. A key makes its retries have one effect.
    async fn add_section(
        &self,
        section: &Section,
        opening: Opening,
        by: UserId,
        key: Option<&CreationKey>,
    ) -> Result<Created<SectionId>, Error>;
    /// [`EventCommand::Revise`].
    async fn revise_event(
        &self,
        event_id: EventId,
        by: UserId,
        expected: Option<i64>,
        change: EventChange,
    ) -> Result<Vec<Inventory>, Error> {
        self.change_event(event_id, by.into(), EventCommand::Revise { expected, change }).await
    }
    /// [`EventCommand::CallOff`]; its live bookings are cancelled later ([`Upkeep::to_cancel`]).
    async fn cancel_event(&self, event_id: EventId, by: UserId) -> Result<(), Error> {
        self.change_event(event_id, by.into(), EventCommand::CallOff).await.map(drop)
    }
    /// [`EventCommand::ReviseSection`]. Gives the inventory as it is then.
    async fn revise_section(
        &self,
        event_id: EventId,
        section_id: SectionId,
        by: UserId,
        expected: Option<i64>,
        change: SectionChange,
    ) -> Result<Inventory, Error> {
        let command = EventCommand::ReviseSection { section_id, expected, change };
        let changed = self.change_event(event_id, by.into(), command).await?;
        let inventory = changed.into_iter().find(|of| of.section_id == section_id);
        let missing = || Fault::Corrupt { what: "a section without inventory".to_owned() };
        Ok(inventory.ok_or_else(missing)?)
    }
}

/// What committed keys name.
pub type KeyedHolds = HashMap<(UserId, IdempotencyKey), (KeyUse, Booking)>;

/// Bookings and the inventory they live on.
#[async_trait]
pub trait Bookings: Send + Sync {
    /// Decides and commits a batch in one transaction: all of it, or nothing and a fault.
    ///
    /// Each command gets its own answer; a refused one changes nothing.
    async fn commit(&self, commands: &[Command]) -> Result<Committed, Fault>;
    /// The bookings that these keys name (I6).
    async fn keyed_holds(&self, keys: &[(UserId, IdempotencyKey)]) -> Result<KeyedHolds, Fault>;
    /// The booking with this id, for whoever asks.
    async fn booking(&self, booking_id: BookingId) -> Result<Option<Booking>, Fault>;
    /// A page of bookings. It also ends when its items have [`PAGE_BYTES_MAX`] as they are stored, since
    /// one booking may name thousands of seats; it has at least one.
    async fn bookings(
        &self,
        filter: &BookingFilter,
        page: Page<BookingId>,
    ) -> Result<Paged<Booking>, Fault>;
    /// The live counters of all sections of these events.
    async fn inventories(&self, events: &[EventId]) -> Result<Vec<LiveInventory>, Fault>;
}

/// Numbered seats, for readers.
#[async_trait]
pub trait Seats: Send + Sync {
    /// The layout of a section; `None` when it has none.
    async fn layout(&self, section_id: SectionId) -> Result<Option<Laid>, Fault>;
    /// Which seats of a section are not free; `None` when it has no layout.
    async fn marks(&self, section_id: SectionId) -> Result<Option<Marks>, Fault>;
}

/// Rows of the log that one page of messages is made of, at most.
pub const MESSAGE_ROWS_MAX: u32 = 1_000;

/// The log, for those who follow it.
#[async_trait]
pub trait Log: Send + Sync {
    /// What happened after `cursor`, as far as it is settled: nothing that comes later stands before
    /// anything that was given. A page ends after `limit` rows of the log, at most
    /// [`MESSAGE_ROWS_MAX`], or when what they say has [`PAGE_BYTES_MAX`]; it may have no message
    /// and still go on.
    async fn messages_after(
        &self,
        cursor: LogCursor,
        limit: u32,
    ) -> Result<Result<Messages, UnknownTimeline>, Fault>;
}

/// Counters and log of one moment.
#[derive(Debug)]
pub struct Reckoning {
    /// All inventories.
    pub inventories: Vec<Inventory>,
    /// The rows after the cursor, added up for each section; `version` counts the rows.
    pub folded: Vec<Inventory>,
    /// The rows that are in the counters, and that a reader may not pass yet, because transactions
    /// before theirs are still under way; added up alike.
    pub unsettled: Vec<Inventory>,
    /// Where the part that is folded ended.
    pub cursor: Position,
}

/// What workers and the person on call need.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// The store's clock, or the best estimate of it.
    fn now(&self) -> Timestamp;
    /// How many batches at once it gains from, at most `wanted`.
    fn lanes(&self, wanted: usize) -> usize;
    /// What it is, for the start-up line. No secrets.
    fn describe(&self) -> String;
    /// Which history of the database this is; a process may find itself in another one at any moment.
    fn epoch(&self) -> Epoch;
    /// Tells of each other epoch from now on.
    fn epochs(&self) -> watch::Receiver<Epoch>;
    /// Draws another epoch: after the database was replaced by a copy of itself, so that nothing which
    /// was kept or shown before is taken for what is there now.
    async fn begin_epoch(&self) -> Result<Epoch, Fault>;
    /// Whether the store answers.
    async fn ping(&self) -> Result<(), Fault>;
    /// Sections with holds that are due, longest overdue first, with the end of their oldest one.
    async fn due_sections(&self, limit: u32) -> Result<Vec<(SectionId, Timestamp)>, Fault>;
    /// Live bookings of events that were called off. When an event has none left, it is done.
    async fn to_cancel(&self, limit: u32) -> Result<Vec<BookingId>, Fault>;
    /// Counters beside the log after `cursor`, of one moment.
    async fn reckon(&self, cursor: Position) -> Result<Reckoning, Fault>;
    /// Checks I1 to I5 over everything that is stored, as of one moment, without blocking anyone.
    async fn audit(&self) -> Result<Report, Fault>;
    /// Makes the counters, the marks, the taken seats and the index of expiry of a section agree with its
    /// bookings and its log ([`engine::repair`]); tells what was wrong. With `dry_run` it only tells.
    /// [`Fault::Contradiction`] where bookings and log say different things: then nothing is changed.
    async fn repair(&self, section_id: SectionId, dry_run: bool) -> Result<Vec<String>, Error>;
    /// Removes what nobody can use any more: old keys and refresh tokens. Tells how many rows.
    async fn purge(&self, limit: u32) -> Result<u64, Fault>;
    /// Brings the schema to `version`; `None`: to the newest. Tells the steps taken.
    async fn migrate(&self, version: Option<i64>) -> Result<Vec<Migration>, Fault>;
    /// Every migration this binary knows, in order, and whether it is applied.
    async fn migrations(&self) -> Result<Vec<(Migration, bool)>, Fault>;
    /// Finishes what is under way and closes.
    async fn close(&self);
}

/// A step of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// What is lost when it is taken back: the head of its `down.sql`, after `-- Lost:`.
    pub lost: String,
}

/// The migrations of a store, in order.
fn migrations_of(migrator: &Migrator) -> impl Iterator<Item = Migration> {
    let up = migrator.iter().filter(|step| step.migration_type.is_up_migration());
    up.map(|step| {
        let is_back = |other: &&sqlx::migrate::Migration| {
            other.version == step.version && other.migration_type.is_down_migration()
        };
        let back = migrator.iter().find(is_back).map_or("", |back| back.sql.as_str());
        let (version, name) = (step.version, step.description.to_string());
        Migration { version, name, lost: lost_by(back) }
    })
}

/// What the head of a `down.sql` says is lost by it; empty when it says nothing.
fn lost_by(sql: &str) -> String {
    let head = sql.lines().map_while(|line| line.strip_prefix("--"));
    let words = head.map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>();
    words.join(" ").strip_prefix("Lost:").map_or_else(String::new, |told| told.trim().to_owned())
}

/// How to open a store.
#[derive(Clone)]
pub struct StoreOptions {
    /// Limits of events that set none of their own.
    pub policy: Policy,
    /// The present time, where the database has no clock of its own.
    pub clock: Clock,
    /// Readers at once.
    pub pool_size: u32,
    /// Reads only, beside a running server.
    pub read_only: bool,
    /// Refuses a database whose settings would let it lose what it acknowledged (I11); else it is
    /// told in the log.
    pub strict: bool,
}

/// Opens the store that the scheme of `url` names: `sqlite:PATH`, or `postgres://…`.
pub async fn open_store(url: &str, options: StoreOptions) -> Result<Arc<dyn Store>, Fault> {
    Ok(match Place::open(url)? {
        Place::Sqlite(path) => {
            let is_reader = options.read_only;
            let store = sqlite::Sqlite::open(path, options)?;
            if !is_reader {
                store.open_timeline().await?;
            }
            Arc::new(store)
        }
        Place::Postgres => Arc::new(postgres::Postgres::open(url, options).await?),
    })
}

/// What the scheme of a URL names.
enum Place<'a> {
    Sqlite(&'a Path),
    Postgres,
}

impl<'a> Place<'a> {
    fn open(url: &'a str) -> Result<Self, Fault> {
        let wrong =
            |what| Fault::Unsuitable { what: format!("DATABASE_URL cannot be used: {what}") };
        Self::of(url).map_err(wrong)
    }

    fn of(url: &'a str) -> Result<Self, String> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.ends_with('/') || path.contains(['?', '#']) {
                return Err("must be sqlite:// and the path of a file, without a query".to_owned());
            }
            if path.starts_with(":memory:") {
                return Err("must name a file: the store outlives its process".to_owned());
            }
            return Ok(Self::Sqlite(path.as_ref()));
        }
        let scheme = url.split(':').next().unwrap_or_default();
        if matches!(scheme, "postgres" | "postgresql") {
            return Ok(Self::Postgres);
        }
        // A driver of another language: `postgresql+asyncpg`.
        let hint = scheme.split('+').next().filter(|base| base.starts_with("postgres"));
        let hint = hint.map_or("", |_| "; leave out the driver: postgres://");
        Err(format!(
            "there is no store with the scheme {scheme:?}; there are sqlite and postgres{hint}"
        ))
    }
}

/// Says why a URL of a store can never work. It opens nothing, and repeats no secret.
pub fn check_store_url(url: &str) -> Result<(), String> {
    match Place::of(url)? {
        Place::Sqlite(_) => Ok(()),
        Place::Postgres => postgres::check_url(url),
    }
}

/// Makes the one cryptography this binary has that of the whole process; the TLS of both databases
/// asks for it. Doing it again changes nothing.
fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Turns a failure of what we stand on into a fault that says what was being done.
fn unavailable<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    doing: &'static str,
) -> impl FnOnce(E) -> Fault {
    move |source| Fault::Unavailable { doing, source: Arc::from(source.into()) }
}
