//! Looking through the bookings of called-off events, a part at a time.
//!
//! No index lists the live bookings of an event. So they are searched in the order of their ids, from
//! where the part before ended. What was live is handed out to be cancelled; after the last booking it
//! begins again, until a whole pass has met nobody live. A called-off event gets no new bookings, so
//! that is the end of it. Each instance makes passes of its own.

use crate::rows::{self, Columns};
use engine::{BookingId, EventId, Fault};
use parking_lot::Mutex;
use std::collections::HashMap;

/// Bookings that one statement looks at, at most.
pub(crate) const LOOKED_AT_MAX: u32 = 10_000;
/// Statements of one turn that find bookings, at most: what is left is for the next.
pub(crate) const PARTS_MAX: usize = 20;
/// Called-off events of one turn, at most.
pub(crate) const EVENTS_MAX: u32 = 100;

/// The passes under way.
#[derive(Default)]
pub(crate) struct Passes(Mutex<HashMap<EventId, Pass>>);

#[derive(Clone, Copy, Default)]
struct Pass {
    /// The last booking that was looked at.
    after: Option<BookingId>,
    met_live: bool,
}

/// What the next bookings of an event came to.
pub(crate) struct Taken {
    /// A whole pass has met nobody live.
    pub is_done: bool,
    /// There were none: the pass is over.
    pub is_end: bool,
}

impl Passes {
    /// Forgets the passes of all other events: somebody else has ended them.
    pub(crate) fn keep(&self, events: &[EventId]) {
        self.0.lock().retain(|event_id, _| events.contains(event_id));
    }

    /// Where the pass through an event goes on: behind this booking.
    pub(crate) fn after(&self, event_id: EventId) -> Option<BookingId> {
        self.0.lock().get(&event_id).and_then(|pass| pass.after)
    }

    /// Takes the next bookings of an event, in their order, and adds the live ones to `live`.
    pub(crate) fn take(
        &self,
        event_id: EventId,
        part: &[impl Columns],
        live: &mut Vec<BookingId>,
    ) -> Result<Taken, Fault> {
        let before = live.len();
        let mut last = None;
        for row in part {
            let booking_id = rows::booking_id(row, "booking_id")?;
            last = Some(booking_id);
            if row.flag("live")? {
                live.push(booking_id);
            }
        }
        let is_done = self.note(event_id, last, live.len() > before);
        Ok(Taken { is_done, is_end: last.is_none() })
    }

    /// Takes note of the last booking that was looked at, if there was any, and of whether any was live.
    /// Returns whether the event is done.
    fn note(&self, event_id: EventId, last: Option<BookingId>, met_live: bool) -> bool {
        let mut passes = self.0.lock();
        let pass = passes.entry(event_id).or_default();
        if let Some(last) = last {
            *pass = Pass { after: Some(last), met_live: pass.met_live || met_live };
            return false;
        }
        !passes.remove(&event_id).unwrap_or_default().met_live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn booking(place: u8) -> BookingId {
        BookingId::from_slice(&[place; 16]).expect("16 bytes")
    }

    #[test]
    fn an_event_is_done_after_a_whole_pass_that_met_nobody() {
        let (passes, event) = (Passes::default(), EventId::from_slice(&[7; 16]).expect("16 bytes"));
        assert_eq!(passes.after(event), None);
        assert!(!passes.note(event, Some(booking(1)), true));
        assert_eq!(passes.after(event), Some(booking(1)));
        assert!(!passes.note(event, Some(booking(2)), false));
        assert!(!passes.note(event, None, false), "this pass has met one");
        assert_eq!(passes.after(event), None, "it begins again");
        assert!(!passes.note(event, Some(booking(2)), false));
        passes.keep(&[event]);
        assert_eq!(passes.after(event), Some(booking(2)));
        assert!(passes.note(event, None, false));
        assert!(passes.note(event, None, false), "an event without bookings is done at once");
        assert!(!passes.note(event, Some(booking(1)), true));
        passes.keep(&[]);
        assert_eq!(passes.after(event), None);
    }
}
