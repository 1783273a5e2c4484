//! What a random sequence is made of: small worlds, few names, and much time passing, so that
//! buyers meet each other.

use engine::{EventStatus, Policy};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any as whatever, prop_oneof};
use std::fmt;

/// People in a world; the first ones organize its events, and everybody buys.
pub const PEOPLE: usize = 4;

/// A world and what happens in it.
#[derive(Clone, Debug)]
pub struct Sequence {
    pub policy: Policy,
    pub events: Vec<Draft>,
    pub steps: Vec<Step>,
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.policy)?;
        self.events.iter().try_for_each(|event| writeln!(f, "{event:?}"))?;
        let mut steps = self.steps.iter().enumerate();
        steps.try_for_each(|(number, step)| writeln!(f, "step {number}: {step:?}"))
    }
}

/// An event; instants are milliseconds from the beginning.
#[derive(Clone, Debug)]
pub struct Draft {
    pub capacities: Vec<i64>,
    pub settings: Settings,
}

/// What an organizer may set. An event is over long after everything, if nothing is said.
#[derive(Clone, Debug)]
pub struct Settings {
    pub status: EventStatus,
    pub sales_start: Option<i64>,
    pub sales_end: Option<i64>,
    pub over_at: Option<i64>,
    pub max_seats_per_booking: Option<u32>,
    pub max_seats_per_user: Option<u32>,
    pub hold_ttl_ms: Option<i64>,
    pub cancellable_until: Option<i64>,
}

/// One step. Events, sections, people and bookings are picked by numbers of any size.
#[derive(Clone, Debug)]
pub enum Step {
    Batch(Vec<Op>),
    Wait {
        ms: i64,
    },
    /// To the end of a recent hold, or just beside it.
    WaitForEnd {
        recent: usize,
        beside_ms: i64,
    },
    Revise {
        event: usize,
        by: By,
        settings: Settings,
    },
    CallOff {
        event: usize,
    },
}

/// Who does something with a booking or a section.
#[derive(Clone, Copy, Debug)]
pub enum By {
    Owner,
    Person(usize),
    System,
}

/// A command. `recent` counts attempts to hold from the latest one backwards.
#[derive(Clone, Debug)]
pub enum Op {
    Hold {
        by: usize,
        requests: Vec<(usize, u32)>,
        foreign: bool,
        key: Option<u8>,
    },
    /// The same request again, with the same key.
    Retry {
        recent: usize,
    },
    Confirm {
        recent: usize,
        by: By,
    },
    Release {
        recent: usize,
        by: By,
    },
    Extend {
        recent: usize,
        by: By,
    },
    Cancel {
        recent: usize,
        by: By,
    },
    Resize {
        section: usize,
        by: By,
        capacity: i64,
    },
    Block {
        section: usize,
        by: By,
        blocked: i64,
    },
    Retire {
        section: usize,
    },
}

/// Any sequence.
pub fn any() -> impl Strategy<Value = Sequence> {
    let policy = (5..60_i64, 1..150_i64, 1..8_u32, option::weighted(0.2, 1..8_u32));
    let policy = policy.prop_map(|(hold_ttl_ms, hold_max_life_ms, seats, cap)| Policy {
        hold_ttl_ms,
        hold_max_life_ms,
        max_seats_per_booking: seats,
        max_seats_per_user: cap,
    });
    let draft = (vec(0..9_i64, 1..4), settings())
        .prop_map(|(capacities, settings)| Draft { capacities, settings });
    let sequence = (policy, vec(draft, 1..3), vec(step(), 1..25));
    sequence.prop_map(|(policy, events, steps)| Sequence { policy, events, steps })
}

fn settings() -> impl Strategy<Value = Settings> {
    let status = prop_oneof![
        30 => Just(EventStatus::OnSale),
        1 => Just(EventStatus::Draft),
        1 => Just(EventStatus::Closed),
    ];
    let instants = (
        option::weighted(0.1, -50..50_i64),
        option::weighted(0.1, 50..300_i64),
        option::weighted(0.1, 0..300_i64),
        option::weighted(0.4, 0..300_i64),
    );
    let limits = (
        option::weighted(0.2, 1..8_u32),
        option::weighted(0.3, 1..8_u32),
        option::weighted(0.3, 5..60_i64),
    );
    (status, instants, limits).prop_map(|(status, instants, limits)| Settings {
        status,
        sales_start: instants.0,
        sales_end: instants.1,
        over_at: instants.2,
        cancellable_until: instants.3,
        max_seats_per_booking: limits.0,
        max_seats_per_user: limits.1,
        hold_ttl_ms: limits.2,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let beside = prop_oneof![Just(-1_i64), Just(0), Just(1)];
    prop_oneof![
        60 => vec(op(), 1..6).prop_map(Step::Batch),
        12 => (1..40_i64).prop_map(|ms| Step::Wait { ms }),
        12 => (0..6_usize, beside)
            .prop_map(|(recent, beside_ms)| Step::WaitForEnd { recent, beside_ms }),
        4 => (whatever::<usize>(), by(), settings())
            .prop_map(|(event, by, settings)| Step::Revise { event, by, settings }),
        1 => whatever::<usize>().prop_map(|event| Step::CallOff { event }),
    ]
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![
        16 => Just(By::Owner),
        2 => (0..PEOPLE).prop_map(By::Person),
        1 => Just(By::System),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let section = || 0..6_usize;
    let requests = vec((section(), 1..5_u32), 1..4);
    let hold = (0..PEOPLE, requests, proptest::bool::weighted(0.03), option::of(0..4_u8));
    let recent = || 0..6_usize;
    prop_oneof![
        10 => hold.prop_map(|(by, requests, foreign, key)| Op::Hold { by, requests, foreign, key }),
        3 => recent().prop_map(|recent| Op::Retry { recent }),
        6 => (recent(), by()).prop_map(|(recent, by)| Op::Confirm { recent, by }),
        2 => (recent(), by()).prop_map(|(recent, by)| Op::Release { recent, by }),
        2 => (recent(), by()).prop_map(|(recent, by)| Op::Extend { recent, by }),
        3 => (recent(), by()).prop_map(|(recent, by)| Op::Cancel { recent, by }),
        1 => (section(), by(), 0..12_i64)
            .prop_map(|(section, by, capacity)| Op::Resize { section, by, capacity }),
        1 => (section(), by(), 0..5_i64)
            .prop_map(|(section, by, blocked)| Op::Block { section, by, blocked }),
        1 => section().prop_map(|section| Op::Retire { section }),
    ]
}
