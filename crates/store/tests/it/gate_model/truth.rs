//! The store of the model, what it tells, and the dice.

use super::{HOLD_MS, SEATS};
use engine::seats::Marks;
use engine::{EventId, SectionId, Shard, Snapshot, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::gate::KnownMarks;

/// Small, seeded, good enough to wander (`SplitMix64`).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % sides
    }

    pub fn ms(&mut self, at_most: i64) -> i64 {
        let sides = u64::try_from(at_most).expect("not negative") + 1;
        i64::try_from(self.roll(sides)).expect("small")
    }

    pub fn seats(&mut self) -> i64 {
        1 + self.ms(1)
    }

    pub fn name(&mut self) -> Names {
        NAMES[usize::try_from(self.roll(3)).expect("small")]
    }
}

/// Seats by their names, one bit each, the first seat in the highest.
pub type Names = u8;

/// Seats, and until when.
pub struct Held {
    pub seats: i64,
    /// Which, where the store decides.
    pub names: Names,
    pub ends_at: i64,
}

/// The truth, and when it was what.
pub struct Store {
    pub version: i64,
    pub holds: BTreeMap<u64, Held>,
    pub sold: i64,
    pub sold_names: Names,
    pub next_id: u64,
    /// The version at which a seat last changed.
    pub marks_version: i64,
    /// Which seats were taken at each version.
    pub taken_at: Vec<Names>,
    /// When each version was committed, at its index.
    pub committed_at: Vec<i64>,
}

impl Store {
    pub fn in_use(&self, now: i64) -> i64 {
        let live = self.holds.values().filter(|held| held.ends_at > now);
        self.sold + live.map(|held| held.seats).sum::<i64>()
    }

    pub fn taken(&self, now: i64) -> Names {
        let live = self.holds.values().filter(|held| held.ends_at > now);
        live.fold(self.sold_names, |names, held| names | held.names)
    }

    pub fn retire(&mut self, now: i64) -> bool {
        let before = self.holds.len();
        self.holds.retain(|_, held| held.ends_at > now);
        let changed = before != self.holds.len();
        self.changed(changed, now);
        changed
    }

    pub fn changed(&mut self, changed: bool, now: i64) {
        if changed {
            self.version += 1;
            self.committed_at.push(now);
            self.taken_at.push(self.taken(now));
        }
    }

    pub fn hold(&mut self, seats: i64, names: Names, now: i64) {
        self.next_id += 1;
        self.holds.insert(self.next_id, Held { seats, names, ends_at: now + HOLD_MS });
    }

    /// Carries out a command in one transaction; whatever it comes to, this is what is locked. Also the
    /// marks, if seats were taken or released.
    pub fn commit(&mut self, command: Command, now: i64, unchecked: bool) -> Told {
        let mut seats_changed = self.retire(now);
        let changed = match command {
            Command::Hold(seats) => {
                let fits = unchecked || self.in_use(now) + seats <= SEATS;
                if fits {
                    let free = NAMES.into_iter().filter(|name| self.taken(now) & name == 0);
                    let wanted = usize::try_from(seats).expect("few");
                    let names = free.take(wanted).fold(0, |names, name| names | name);
                    self.hold(seats, names, now);
                }
                fits
            }
            Command::Name(name) => {
                let free = self.taken(now) & name == 0;
                if free {
                    self.hold(1, name, now);
                }
                free
            }
            Command::Confirm => match self.holds.pop_first() {
                Some((_, held)) => {
                    self.sold += held.seats;
                    self.sold_names |= held.names;
                    true
                }
                None => false,
            },
            Command::Release => self.holds.pop_last().is_some(),
            Command::Extend => match self.holds.values_mut().next() {
                Some(held) => {
                    held.ends_at = now + HOLD_MS;
                    true
                }
                None => false,
            },
            // The sale is undone, so that there is always something to do.
            Command::Cancel if self.sold > 0 => {
                self.sold -= 1;
                self.sold_names &= self.sold_names.wrapping_sub(1);
                true
            }
            Command::Cancel | Command::Sweep => false,
        };
        self.changed(changed, now);
        seats_changed |= changed && !matches!(command, Command::Extend);
        if seats_changed {
            self.marks_version = self.version;
        }
        let seen = seats_changed.then(|| KnownMarks::read(section(), self.marks(), None));
        Told { snapshot: Some(self.snapshot(now)), seen }
    }

    /// What a reader of the marks finds: a hold has its seats until it is retired.
    pub fn marks(&self) -> Arc<Marks> {
        let taken = self.holds.values().fold(self.sold_names, |names, held| names | held.names);
        let mut bytes = [0; 23];
        bytes[8..16].copy_from_slice(&self.marks_version.to_be_bytes());
        bytes[16..20].copy_from_slice(&u32::try_from(SEATS).expect("few").to_be_bytes());
        (bytes[20], bytes[21]) = (taken, self.sold_names);
        Arc::new(Marks::from_bytes(&bytes).expect("marks of few seats"))
    }

    pub fn snapshot(&self, now: i64) -> Snapshot {
        Snapshot {
            section_id: section(),
            version: self.version,
            capacity: SEATS,
            available: SEATS - self.in_use(now),
            next_expiry: self
                .holds
                .values()
                .map(|held| Timestamp::from_unix_ms(held.ends_at))
                .min(),
        }
    }
}

pub fn section() -> SectionId {
    let at = Timestamp::from_unix_ms(0);
    SectionId::new(at, EventId::new(at, Shard::pick(1), 1).shard(), 2)
}

/// The names of all seats.
pub const NAMES: [Names; 3] = [0x80, 0x40, 0x20];

/// What is told to the gate.
#[derive(Clone)]
pub struct Told {
    pub snapshot: Option<Snapshot>,
    pub seen: Option<KnownMarks>,
}

#[derive(Clone, Copy, Debug)]
pub enum Command {
    Hold(i64),
    /// Holds the seat with this name.
    Name(Names),
    Confirm,
    Release,
    Extend,
    Cancel,
    Sweep,
}
