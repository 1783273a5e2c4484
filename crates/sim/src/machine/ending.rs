//! The end of a run: no more faults, and everything has to come right.

use super::{Attempt, BATCHES_END_S, FRESH_MS, Machine, NARROW, State, takes_place};
use crate::check;
use crate::check::Checks;
use engine::{
    Booking, BookingStatus, By, Command, Error, EventStatus, Fault, Hold, IdempotencyKey,
    Overrides, SeatRequest, Shard, Timestamp, UserId,
};
use server::simulated::Decided;
use std::sync::atomic::Ordering;

/// Turns of the sweep after which nothing is left of an event that was called off.
const SWEEPS_MAX: usize = 10;
/// Holds after which a lane knows its pace.
const PACED_BY: usize = 10;

impl Machine {
    /// Faults are over: whatever was asked is answered, retries settle what is unknown, everything can be
    /// sold, and the books agree.
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.tell(|| "no more faults".to_owned());
        let mut inner = self.world.lock();
        inner.down_until = Timestamp::from_unix_ms(0);
        inner.poison.clear();
        drop(inner);
        for instance in &mut self.instances {
            instance.frozen_until_ms = 0;
            let parts = instance.parts.as_ref();
            if let Some(panics) = parts.and_then(|parts| parts.panics.as_ref()) {
                panics.store(false, Ordering::Relaxed);
            }
        }
        self.settle_all()?;
        self.nobody_hangs()?;
        self.is_over = true;
        // Not before: a batch under way may have read what was spoiled, and rebuilds it.
        self.world.lock().database.mend_marks();
        let unknown: Vec<_> = self.attempts.iter().filter(|of| of.is_unknown()).cloned().collect();
        for attempt in unknown {
            if let Command::Hold(hold) = &attempt.command
                && let Some((key, fingerprint)) = &hold.key
            {
                let had = {
                    let inner = self.world.lock();
                    let name = (hold.caller(), key.clone());
                    let used = inner.database.tables.keys.get(&name);
                    // With other words it is refused.
                    let used = used.filter(|used| used.fingerprint == *fingerprint);
                    used.map(|used| used.booking_id)
                };
                let booking_id = self.booking_id();
                let again = Command::Hold(Hold { booking_id, ..hold.clone() });
                let answer = self.answer_of(again)?;
                check::retried(had, &answer)?;
            }
        }
        Checks::finished(&self.world.lock().database, &self.attempts)?;
        // All holds end, and every seat that is left is sold to one buyer.
        let longest = self.policy.hold_max_life_ms + FRESH_MS;
        self.world.advance(longest + 1_000);
        self.time_passes(false)?;
        if self.is_called_off() {
            self.cancel_the_rest()?;
        } else {
            self.reopen();
            self.lanes_are_fair()?;
            self.sell_the_rest()?;
        }
        self.mix_rows();
        let report = self.world.lock().database.tables.audit();
        if report.violations > 0 {
            return Err(format!("the audit found: {report:?}"));
        }
        Ok(())
    }

    /// Workers and organizers have come to an end, too.
    fn nobody_hangs(&self) -> Result<(), String> {
        for (no, instance) in self.instances.iter().enumerate() {
            if instance.is_working || instance.changes > 0 {
                let changes = instance.changes;
                return Err(format!("instance {no} hangs: {changes} changes, or a worker"));
            }
        }
        Ok(())
    }

    /// The rows of this run, for the digest of it.
    fn mix_rows(&mut self) {
        let rows: Vec<i64> = {
            let tables = &self.world.lock().database.tables;
            let of_sections = tables
                .sections
                .values()
                .flat_map(|(_, of)| [of.capacity, of.held, of.sold, of.blocked, of.version]);
            let of_bookings = tables.bookings.values().flat_map(|of| {
                [of.status as i64, i64::from(of.seats()), of.version, of.updated_at.unix_ms()]
            });
            let counts = [tables.log.len(), tables.keys.len(), tables.taken.len()];
            let counts = counts.map(|count| i64::try_from(count).expect("few"));
            of_sections.chain(of_bookings).chain(counts).collect()
        };
        for value in rows {
            self.mix(value.cast_unsigned());
        }
    }

    fn is_called_off(&self) -> bool {
        let inner = self.world.lock();
        inner.database.tables.events[&self.event_id].terms.status == EventStatus::Cancelled
    }

    /// Every booking of an event that was called off is cancelled by the sweep.
    fn cancel_the_rest(&mut self) -> Result<(), String> {
        for _ in 0..SWEEPS_MAX {
            self.sweep(0)?;
            self.settle()?;
        }
        let inner = self.world.lock();
        let is_live =
            |of: &&Booking| matches!(of.status, BookingStatus::Hold | BookingStatus::Confirmed);
        match inner.database.tables.bookings.values().find(is_live) {
            Some(left) => Err(format!("a booking outlives its event: {left:?}")),
            None => Ok(()),
        }
    }

    /// The event goes on sale again, as it was at the beginning.
    fn reopen(&mut self) {
        let mut inner = self.world.lock();
        let mut event = inner.database.tables.events[&self.event_id].clone();
        event.terms.status = EventStatus::OnSale;
        (event.terms.sales_start, event.terms.sales_end) = (None, None);
        event.terms.prevent_orphans = false;
        event.terms.max_seats_per_booking = None;
        let (date, _) = takes_place(inner.database.now, 365).date.expect("a date");
        event.terms.over_at = date.over_at();
        event.version += 1;
        inner.database.put_event(event);
    }

    /// With nothing in the way, a burst of holds is queued and not refused, and a confirm does not wait
    /// behind it.
    fn lanes_are_fair(&mut self) -> Result<(), String> {
        if !self.swarm.narrow {
            return Ok(());
        }
        let no = self.attempts.len() % self.instances.len();
        // The pace of the past is forgotten, and a lane that sheds finds that it need not.
        for _ in 0..PACED_BY {
            let confirm = self.confirm_of_nothing();
            drop(self.answer_at(no, confirm)?);
        }
        let first = self.attempts.len();
        for of_burst in 0..=2 * NARROW.batch_max {
            // With a key, so that none is refused before it is queued.
            let key = IdempotencyKey::new(&format!("burst-{of_burst}")).expect("a key");
            let hold = Hold { key: Some((key, 1)), ..self.hold() };
            self.submit(no, Command::Hold(hold))?;
        }
        let confirm = self.attempts.len();
        let command = self.confirm_of_nothing();
        self.submit(no, command)?;
        while matches!(self.attempts[confirm].state, State::Asked) {
            self.event(&mut 0, false)?;
        }
        let of_burst = &self.attempts[first..confirm];
        let is_shed = |of: &&Attempt| {
            matches!(of.state, State::Answered(Err(Error::Failed(Fault::Overloaded { .. }))))
        };
        if let Some(shed) = of_burst.iter().find(is_shed) {
            return Err(format!("a hold is refused for want of capacity at a calm time: {shed:?}"));
        }
        self.settle()?;
        // Where seats are short, a gate may have refused before the confirm what would have come after it.
        let is_later = |of: &Attempt| of.heard > self.attempts[confirm].heard;
        let is_refused = |of: &Attempt| matches!(of.state, State::Answered(Err(Error::Refused(_))));
        let of_burst = &self.attempts[first..confirm];
        if !of_burst.iter().any(|of| is_later(of) || is_refused(of)) {
            return Err("a confirm waits for all holds before it".to_owned());
        }
        self.world.advance(self.policy.hold_max_life_ms + FRESH_MS);
        self.time_passes(false)
    }

    /// A command that is decided by the store, and changes nothing.
    fn confirm_of_nothing(&mut self) -> Command {
        Command::Confirm { booking_id: self.booking_id(), by: By::User(self.people[0]) }
    }

    fn sell_the_rest(&mut self) -> Result<(), String> {
        for section_id in self.sections.clone() {
            let left = {
                let inner = self.world.lock();
                let (_, inventory) = &inner.database.tables.sections[&section_id];
                let due = inner.database.tables.due(section_id, inner.database.now);
                inventory.available() + due.map(|held| i64::from(held.seats)).sum::<i64>()
            };
            let Ok(mut left) = u32::try_from(left) else {
                return Err(format!("{left} seats are left of a section"));
            };
            let cap = {
                let inner = self.world.lock();
                inner.database.tables.events[&self.event_id].terms.max_seats_per_user
            };
            // Numbered ones one by one: a party would want to sit together.
            let most = if self.halls.contains_key(&section_id) { 1 } else { cap.unwrap_or(left) };
            while left > 0 {
                let seats = left.min(most);
                let (booking_id, who) = (self.booking_id(), self.mint());
                let user_id = UserId::new(self.world.now(), Shard::pick(1), who);
                let requests = vec![SeatRequest::Count { section_id, seats }];
                let event_id = self.event_id;
                let hold = Hold {
                    booking_id,
                    user_id,
                    seller: None,
                    overrides: Overrides::NONE,
                    event_id,
                    requests,
                    key: None,
                };
                let answer = self.answer_of(Command::Hold(hold))?;
                if answer.is_err() {
                    return Err(format!("a seat that is left cannot be had: {answer:?}"));
                }
                left -= seats;
            }
        }
        Ok(())
    }

    pub(super) fn settle(&mut self) -> Result<(), String> {
        while self.is_asked() || !self.world.lock().pending.is_empty() {
            self.event(&mut 0, false)?;
        }
        Ok(())
    }

    /// The same, until no batch tries again either whose clients have left.
    pub(super) fn settle_all(&mut self) -> Result<(), String> {
        for _ in 0..BATCHES_END_S {
            self.settle()?;
            self.world.advance(1_000);
            self.time_passes(false)?;
        }
        self.settle()
    }

    /// The answer of one instance after the other.
    fn answer_of(&mut self, command: Command) -> Result<Result<Decided, Error>, String> {
        self.answer_at(self.attempts.len() % self.instances.len(), command)
    }

    fn answer_at(&mut self, no: usize, command: Command) -> Result<Result<Decided, Error>, String> {
        let attempt = self.attempts.len();
        self.submit(no, command)?;
        self.settle()?;
        match &self.attempts[attempt].state {
            State::Answered(answer) => Ok(answer.clone()),
            other => Err(format!("with no fault there is no answer: {other:?}")),
        }
    }
}
