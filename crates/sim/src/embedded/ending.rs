//! Reads that are compared with a scan, and the end of a run, when everything has to come right.

use super::Machine;
use super::files::stand_still;
use crate::check;
use crate::machine::State;
use engine::{Booking, BookingStatus, Command, Error, EventStatus, Fault, Hold};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use store::simulated::{Sqlite, disarm, fired};
use store::{BookingFilter, Bookings as _, Books as _, PageRequest};

/// How long a run goes on after its last fault: until the lists are written, and one failure was waited for.
const QUIET_MS: i64 = 3_000;

/// Sweeps until nothing of a called-off event is live.
const SWEEPS: usize = 3;

/// All of a list, by pages of this size.
async fn all_pages(
    store: &Sqlite,
    filter: &BookingFilter,
    limit: u32,
) -> Result<Vec<Booking>, Fault> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.bookings(filter, PageRequest { after, limit }).await?;
        after = page.items.last().map(|booking| booking.booking_id);
        found.extend(page.items);
        if !page.has_more {
            return Ok(found);
        }
    }
}

impl Machine {
    /// Somebody reads a list, or what is left.
    pub(super) fn look(&mut self) -> Result<(), String> {
        if self.choices.pick("look", 4) == 3 {
            return self.look_at_counters();
        }
        let buyer = Some(self.people[self.choices.pick("buyer", self.people.len())]);
        let event = Some(self.event_id);
        let (user, event) =
            [(buyer, None), (None, event), (buyer, event)][self.choices.pick("list", 3)];
        let status = [None, Some(BookingStatus::Hold), Some(BookingStatus::Confirmed)]
            [self.choices.pick("status", 3)];
        let limit = [3, 100][self.choices.pick("page", 2)];
        self.look_at(&BookingFilter { user, event, status }, limit)
    }

    fn look_at(&mut self, filter: &BookingFilter, limit: u32) -> Result<(), String> {
        let Some(process) = &self.process else { return Ok(()) };
        let store = process.port.store.clone();
        // Where the tail is read from the log, a part of it may be written.
        let read = AssertUnwindSafe(|| stand_still(all_pages(&store, filter, limit)));
        let found = match catch_unwind(read) {
            Ok(Ok(found)) => found,
            Ok(Err(fault)) if fired().is_none() => {
                return Err(format!("a list cannot be read: {fault:?}"));
            }
            Err(panic) if fired().is_none() => resume_unwind(panic),
            _ => {
                drop(store);
                return self.settle();
            }
        };
        self.tell(|| format!("a list of {} bookings is read: {filter:?}", found.len()));
        self.note("embedded: a list");
        self.mix(found.len() as u64);
        self.shared.lock().oracle.compare_list(filter, self.shared.now(), &found)
    }

    fn look_at_counters(&mut self) -> Result<(), String> {
        let Some(process) = &self.process else { return Ok(()) };
        let event_id = self.event_id;
        let found = stand_still(process.port.store.inventories(&[event_id]))
            .map_err(|fault| format!("counters cannot be read: {fault:?}"))?;
        self.tell(|| "counters are read".to_owned());
        self.note("embedded: counters");
        self.shared.lock().oracle.compare_counters(self.shared.now(), found)
    }

    /// Compares all that is stored with what the rules say.
    pub(super) fn compare(&mut self) -> Result<(), String> {
        let Some(process) = &self.process else { return Ok(()) };
        let content = process.runtime.block_on(process.port.store.content());
        let content = content.map_err(|fault| format!("the file cannot be read: {fault:?}"))?;
        self.shared.lock().oracle.compare(&content)
    }

    /// Faults are over: what was asked is answered, retries find what their keys name, lists are what a scan
    /// finds, and the audit finds nothing.
    pub(super) fn end(&mut self) -> Result<(), String> {
        disarm();
        self.tell(|| "no more faults".to_owned());
        self.shared.advance(QUIET_MS);
        self.go_on()?;
        if self.attempts.iter().any(|attempt| matches!(attempt.state, State::Asked)) {
            return Err("with no fault there is no answer of the embedded store".to_owned());
        }
        // Lists that could not be read when the process began are read when somebody asks for them.
        self.look_at(&BookingFilter { user: None, event: Some(self.event_id), status: None }, 100)?;
        let mut settled = false;
        let unknown: Vec<_> = self.attempts.iter().filter(|of| of.is_unknown()).cloned().collect();
        for attempt in unknown {
            if let Command::Hold(hold) = &attempt.command
                && let Some((key, _)) = &hold.key
            {
                let name = (hold.caller(), key.clone());
                let had = {
                    let inner = self.shared.lock();
                    inner.oracle.tables.keys.get(&name).map(|used| used.booking_id)
                };
                let (booking_id, no) = (self.booking_id(), self.attempts.len());
                self.submit(Command::Hold(Hold { booking_id, ..hold.clone() }));
                self.shared.advance(1);
                self.go_on()?;
                match &self.attempts[no].state {
                    State::Answered(answer) => check::retried(had, answer)?,
                    other => return Err(format!("with no fault there is no answer: {other:?}")),
                }
                self.note("embedded: a retry of what is unknown");
                settled = true;
            }
        }
        self.nothing_refused_is_there()?;
        self.nothing_called_off_is_live()?;
        if settled {
            let event = Some(self.event_id);
            self.look_at(&BookingFilter { user: None, event, status: None }, 100)?;
        }
        let user = Some(self.people[self.choices.pick("buyer", self.people.len())]);
        self.look_at(&BookingFilter { user, event: None, status: None }, 100)?;
        self.look_at_counters()?;
        self.compare()?;
        let Some(process) = &self.process else { return Ok(()) };
        let report = stand_still(process.port.store.audit());
        let report = report.map_err(|fault| format!("the audit fails: {fault:?}"))?;
        if report.is_clean() {
            Ok(())
        } else {
            Err(format!("the audit of the embedded store found: {:?}", report.told))
        }
    }

    /// Of an event that was called off, workers cancel all bookings.
    fn nothing_called_off_is_live(&mut self) -> Result<(), String> {
        let status = self.shared.lock().oracle.tables.events[&self.event_id].terms.status;
        if status != EventStatus::Cancelled {
            return Ok(());
        }
        for _ in 0..SWEEPS {
            self.shared.advance(1);
            self.take_turn(true)?;
        }
        self.note("embedded: called off");
        let inner = self.shared.lock();
        let mut bookings = inner.oracle.tables.bookings.values();
        match bookings.find(|booking| booking.status.is_live()) {
            Some(booking) => Err(format!("called off, and live: {booking:?}")),
            None => Ok(()),
        }
    }

    /// A hold that was refused, or called overloaded, is nowhere (I12).
    fn nothing_refused_is_there(&self) -> Result<(), String> {
        let inner = self.shared.lock();
        for attempt in &self.attempts {
            if let Command::Hold(hold) = &attempt.command
                && let State::Answered(Err(
                    Error::Failed(Fault::Overloaded { .. }) | Error::Refused(_),
                )) = &attempt.state
                && inner.oracle.tables.bookings.contains_key(&hold.booking_id)
            {
                return Err(format!("refused, and committed: {attempt:?}"));
            }
        }
        Ok(())
    }
}
