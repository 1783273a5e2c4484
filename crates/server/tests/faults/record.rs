//! What the buyers asked for, what they were told, and when.

use std::time::Duration;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Hold,
    Confirm,
    Cancel,
    Look,
}

/// Which of the two events of a show it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Sold out all the time, but for what is cancelled.
    Scarce,
    /// Never sold out.
    Plenty,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// An answer; `code` is that of a problem, or empty.
    Answer { status: u16, code: String, retry_after: bool },
    /// The connection was refused or broke.
    Broken(String),
    /// Nothing, for longer than a client waits.
    Silence,
}

/// One request, from the first byte to the last; times since the stage began.
#[derive(Clone, Debug)]
pub struct Record {
    pub op: Op,
    pub which: Which,
    pub instance: usize,
    pub started: Duration,
    pub ended: Duration,
    /// The hold's end as the buyer knows it at the earliest, for a confirm or a cancel.
    pub deadline: Option<Duration>,
    pub heard: Heard,
}

impl Record {
    /// Whether the buyer got what was asked for.
    pub fn is_success(&self) -> bool {
        matches!(self.heard, Heard::Answer { status: 200 | 201, .. })
    }
}

/// How far a step of a booking went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Not asked for.
    No,
    /// Asked for; nobody knows what became of it.
    Sent,
    /// Answered with success.
    Acknowledged,
}

/// One key of one buyer, and what was heard of it.
#[derive(Clone, Debug)]
pub struct Try {
    pub buyer: usize,
    pub which: Which,
    pub key: String,
    pub seats: i64,
    /// The booking, once it was acknowledged.
    pub booking_id: Option<String>,
    pub confirm: Asked,
    pub cancel: Asked,
}

/// All that the buyers wrote down.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub records: Vec<Record>,
    pub tries: Vec<Try>,
    /// Operations that a buyer gave up after trying for long.
    pub given_up: Vec<String>,
}

/// Successes in a row, of one kind on one instance, that count as normal again.
const STREAK: usize = 5;

/// How long after `from` buying was normal again: holds and confirms on all `instances` succeed, one
/// after the other. `None`: not yet.
pub fn healed_after(records: &[Record], from: Duration, instances: &[usize]) -> Option<Duration> {
    let mut latest = Duration::ZERO;
    for op in [Op::Hold, Op::Confirm] {
        for instance in instances {
            let is_meant = |record: &&Record| {
                record.op == op
                    && record.which == Which::Plenty
                    && record.instance == *instance
                    && record.started >= from
            };
            let mut meant: Vec<_> = records.iter().filter(is_meant).collect();
            meant.sort_by_key(|record| record.ended);
            let streak = meant.windows(STREAK).find(|some| some.iter().all(|one| one.is_success()));
            latest = latest.max(streak?[0].ended.saturating_sub(from));
        }
    }
    Some(latest)
}
