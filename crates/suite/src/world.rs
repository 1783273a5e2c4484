//! What every test starts from: a clock set by hand, ids, and events ready for sale.

use engine::{
    BookingId, By, Currency, Event, EventDate, EventId, EventStatus, EventWithSections, Money,
    Opening, OrgId, Policy, SeatRequest, Section, SectionId, Series, SeriesId, Shard, Terms,
    Timestamp, UserId,
};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The configuration's defaults.
pub const POLICY: Policy = Policy {
    hold_ttl_ms: 600_000,
    hold_max_life_ms: 1_800_000,
    max_seats_per_booking: 50,
    max_seats_per_user: None,
};

/// A clock that does not move until it is set. Clones show the same time.
#[derive(Clone)]
pub struct ManualClock(Arc<Dial>);

struct Dial {
    ms: AtomicI64,
    watchers: Mutex<Vec<Watcher>>,
}

type Watcher = Box<dyn Fn(Timestamp) + Send>;

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualClock {
    /// A clock that shows the first instant of 2030.
    #[must_use]
    pub fn new() -> Self {
        let ms = AtomicI64::new(1_893_456_000_000);
        Self(Arc::new(Dial { ms, watchers: Mutex::default() }))
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.0.ms.load(Ordering::SeqCst))
    }

    /// Moves it. Returns when every watcher has been called.
    pub fn advance_ms(&self, ms: i64) {
        self.0.ms.fetch_add(ms, Ordering::SeqCst);
        let now = self.now();
        self.0.watchers.lock().iter().for_each(|watcher| watcher(now));
    }

    /// Calls `watcher` with the present time, and again whenever the clock is moved.
    pub fn watch(&self, watcher: impl Fn(Timestamp) + Send + 'static) {
        let mut watchers = self.0.watchers.lock();
        watcher(self.now());
        watchers.push(Box::new(watcher));
    }
}

/// The owner of the personal organization that an event is of.
///
/// # Panics
/// When it is a team's.
#[must_use]
pub fn owner(of: &EventWithSections) -> By {
    By::User(of.event.terms.organizer_id.owner().expect("no team"))
}

/// Makes ids: of one millisecond and shard, a later one is greater.
pub struct Mint {
    clock: ManualClock,
    made: AtomicU64,
}

impl Mint {
    /// Makes ids at the times that `clock` shows.
    #[must_use]
    pub fn new(clock: &ManualClock) -> Self {
        Self { clock: clock.clone(), made: AtomicU64::new(1) }
    }

    fn next(&self) -> u64 {
        self.made.fetch_add(1, Ordering::SeqCst)
    }

    /// An id of a user.
    #[must_use]
    pub fn user(&self) -> UserId {
        UserId::new(self.clock.now(), Shard::pick(0), self.next())
    }

    /// An id of an event.
    #[must_use]
    pub fn event(&self) -> EventId {
        EventId::new(self.clock.now(), Shard::pick(7), self.next())
    }

    /// A series of its own shard.
    #[must_use]
    pub fn series(&self, organizer_id: impl Into<OrgId>, shard: u64) -> Series {
        let now = self.clock.now();
        Series {
            series_id: SeriesId::new(now, Shard::pick(shard), self.next()),
            organizer_id: organizer_id.into(),
            title: "Season".to_owned(),
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }

    /// An event on sale in this series, still without sections.
    #[must_use]
    pub fn event_in(&self, series: &Series) -> EventWithSections {
        let mut new = self.event_on_sale(series.organizer_id);
        let shard = series.series_id.shard();
        new.event.terms.event_id = EventId::new(self.clock.now(), shard, self.next());
        new.event.series_id = Some(series.series_id);
        new
    }

    /// An id of a section of this event.
    #[must_use]
    pub fn section(&self, event_id: EventId) -> SectionId {
        SectionId::new(self.clock.now(), event_id.shard(), self.next())
    }

    /// An id of a booking of this event.
    #[must_use]
    pub fn booking(&self, event_id: EventId) -> BookingId {
        BookingId::new(self.clock.now(), event_id.shard(), self.next())
    }

    /// An event on sale that takes place in a year, still without sections.
    #[must_use]
    pub fn event_on_sale(&self, organizer_id: impl Into<OrgId>) -> EventWithSections {
        let now = self.clock.now();
        let date = now.plus_ms(365 * 24 * 3_600_000).to_string();
        let timezone = "UTC".parse().expect("a time zone");
        let date = EventDate::parse(&date, timezone).expect("an instant");
        let terms = Terms {
            event_id: self.event(),
            organizer_id: organizer_id.into(),
            status: EventStatus::OnSale,
            sales_start: None,
            sales_end: None,
            over_at: date.over_at(),
            max_seats_per_booking: None,
            max_seats_per_user: None,
            hold_ttl_ms: None,
            cancellable_until: None,
            prevent_orphans: false,
        };
        let event = Event {
            terms,
            series_id: None,
            title: "Concert".to_owned(),
            description: None,
            venue: None,
            date,
            timezone,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        EventWithSections { event, sections: Vec::new() }
    }

    /// A section whose seats cost 12.50 USD each.
    #[must_use]
    pub fn section_of(&self, event_id: EventId, name: &str) -> Section {
        Section {
            section_id: self.section(event_id),
            event_id,
            name: name.into(),
            price: usd(1250),
            layout_version: None,
        }
    }
}

/// What sections with these capacities begin with.
#[must_use]
pub fn opened(capacities: &[i64]) -> Vec<Opening> {
    capacities.iter().map(|capacity| (*capacity).into()).collect()
}

/// An amount of US dollars, in cents.
#[must_use]
pub fn usd(minor: i64) -> Money {
    Money { minor, currency: Currency::parse("USD").expect("a currency") }
}

/// A digest of what a hold asks for, as a server makes it of the request's body.
#[must_use]
pub fn fingerprint(event_id: EventId, requests: &[SeatRequest]) -> i64 {
    let bytes = requests.iter().flat_map(|ask| {
        ask.sections()[0].as_bytes().iter().copied().chain(ask.seats().to_be_bytes())
    });
    let bytes = event_id.as_bytes().iter().copied().chain(bytes);
    bytes.fold(17, |sum: i64, byte| sum.wrapping_mul(31).wrapping_add(i64::from(byte)))
}
