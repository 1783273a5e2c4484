//! Bugs planted into the pure rules of numbered seats: the sequences are only believed once they
//! have caught them.

use crate::backend::{Backend, Kind, at_once};
use crate::pure::{Commit, Pure, PureRules, Tables};
use crate::world::ManualClock;
use async_trait::async_trait;
use engine::{Booking, Command, Committed, Policy, Timestamp};
use std::sync::Arc;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A seat that was given back is still somebody's.
    KeepsRow,
    /// A seat that somebody has is noted for nobody.
    LosesRow,
    /// A seat that somebody has is marked as free.
    ForgetsMark,
    /// A seat that was sold is marked as held.
    ForgetsSale,
    /// A booking has a seat that it was not given.
    MovesSeat,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::KeepsRow, Self::LosesRow, Self::ForgetsMark, Self::ForgetsSale, Self::MovesSeat];

    /// Does it, where a batch gives occasion to.
    fn spoil(self, tables: &mut Tables, committed: &Committed) {
        let last = committed.bookings.iter().rev();
        let ended = last.clone().find(|of| !of.status.is_live());
        let live = last.clone().find(|of| of.status.is_live() && of.seat_names().next().is_some());
        let seat = |of: &Booking| {
            of.seat_names().next().map(|(section_id, name)| (section_id, name.clone()))
        };
        match self {
            Self::KeepsRow => {
                let row = ended.and_then(|of| Some((seat(of)?, Some(of.booking_id))));
                tables.taken.extend(row);
            }
            Self::LosesRow => {
                live.and_then(seat).and_then(|seat| tables.taken.remove(&seat));
            }
            Self::ForgetsMark | Self::ForgetsSale => {
                let Some((section_id, name)) = live.and_then(seat) else { return };
                let mut map = tables.map(section_id).expect("it has seats");
                let seats = map.find_all(&[name]);
                map.free(&seats);
                if self == Self::ForgetsSale {
                    map.hold(&seats).expect("they were freed just now");
                }
                let (_, marks) = tables.layouts.get_mut(&section_id).expect("it has a layout");
                *marks = map.marks().to_bytes();
            }
            Self::MovesSeat => {
                let Some(live) = live else { return };
                let booking = tables.bookings.get_mut(&live.booking_id).expect("it is there");
                let numbered = Arc::make_mut(&mut booking.items)
                    .iter_mut()
                    .find(|item| !item.seat_names.is_empty());
                numbered.expect("it has a seat").seat_names[0] = "Z-9".into();
            }
        }
    }
}

#[async_trait]
impl Kind for Bug {
    async fn open(&self, policy: Policy, clock: &ManualClock) -> Box<dyn Backend> {
        Box::new(Pure::committing(*self, policy, clock))
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        at_once(future)
    }
}

impl Commit for Bug {
    fn commit(
        &self,
        tables: &mut Tables,
        commands: &[Command],
        now: Timestamp,
        policy: Policy,
    ) -> Committed {
        let committed = PureRules.commit(tables, commands, now, policy);
        self.spoil(tables, &committed);
        committed
    }
}
