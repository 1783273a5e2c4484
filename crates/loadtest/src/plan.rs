//! The scenarios: what each needs, and what its connections do.

use crate::roles::Role;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Beyond any test: the section never sells out.
pub const SEATS_ENDLESS: u64 = 1_000_000_000;

/// For holds that are not to lapse: the longest that the API allows.
pub const HOLD_TTL_SECONDS_MAX: u32 = 86_400;

/// How much load, and for how long.
#[derive(Clone, Debug)]
pub struct Load {
    /// Connections of the main stream.
    pub connections: usize,
    /// Arrivals a second; none is a closed loop.
    pub rate: Option<f64>,
    /// Arrivals that may wait for a connection.
    pub backlog: u64,
    /// How long each run is measured.
    pub seconds: f64,
    /// How long each run warms up.
    pub warm_up: f64,
    /// Requests (turns) of a run at most, warm-up included.
    pub requests: u64,
    /// How many runs.
    pub runs: u64,
    /// No request waits longer.
    pub patience: Duration,
    /// Bookings that the proof reads again at most.
    pub verify: usize,
}

/// Where a session finds its people and events.
#[derive(Clone, Debug)]
pub struct Place {
    /// The base address.
    pub target: String,
    /// How many buyers to register.
    pub buyers: usize,
    /// A file of tokens instead.
    pub tokens: Option<PathBuf>,
    /// An event that exists instead of new ones.
    pub event: Option<uuid::Uuid>,
}

/// What the events of a run are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Venue {
    /// How many sections each.
    pub sections: usize,
    /// Seats per section.
    pub seats: u64,
    /// How long a hold lives.
    pub hold_ttl_seconds: u32,
}

impl Venue {
    /// One section that never sells out, and holds that last.
    pub const ENDLESS: Self =
        Self { sections: 1, seats: SEATS_ENDLESS, hold_ttl_seconds: HOLD_TTL_SECONDS_MAX };
}

/// Over how many events, and how unevenly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// How many events.
    pub events: usize,
    /// The slope of their weights, or of the sections' of a single event; 0 is even.
    pub zipf: f64,
    /// How many sections of each are used; none is all.
    pub sections: Option<usize>,
}

impl Spread {
    /// One section of one event.
    pub const ONE: Self = Self { events: 1, zipf: 0.0, sections: Some(1) };
    /// All sections of one event.
    pub const ALL: Self = Self { events: 1, zipf: 0.0, sections: None };
}

/// Halls: events with one section each, whose seats have numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Halls {
    /// Share of the seats, in random places, that are sold before the run.
    pub sold_before: f64,
    /// The best seats are those of the next hall once a party of this size found no seats.
    pub leave_at: u8,
    /// Whether a section without numbers is there to be compared with.
    pub compared: bool,
}

/// What is played on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// A server with events and bookings.
    Sale(Venue),
    /// A server that is only read.
    Pages,
    /// The tool's own bare endpoint.
    Ceiling,
}

/// A second stream.
#[derive(Clone, Debug)]
pub struct Beside {
    /// What it does.
    pub role: Role,
    /// Arrivals a second.
    pub rate: f64,
}

/// A scenario, ready to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// What the connections do.
    pub role: Role,
    /// What they do it on.
    pub ground: Ground,
    /// How the load is spread.
    pub spread: Spread,
    /// Whether seats have numbers.
    pub halls: Option<Halls>,
    /// What runs beside.
    pub beside: Option<Beside>,
    /// Whether everything is sold before the run.
    pub sold_before: bool,
    /// Whether the proof sells what is left, to the last seat.
    pub sells_out: bool,
    /// How much.
    pub load: Load,
    /// Where.
    pub place: Place,
    /// The path of a `get`, in which `{event}` is replaced by a new event.
    pub path: Option<String>,
    /// The options as given, for the report.
    pub settings: BTreeMap<String, String>,
}
