//! The end of a run: no more faults, and everything has to come right.

use super::{BATCHES_END_S, FRESH_MS, Machine, State};
use crate::check;
use crate::check::Checks;
use engine::{Command, Error, Hold, SeatRequest, Shard, Timestamp, UserId};
use server::simulated::Decided;
use std::sync::atomic::Ordering;

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
        let unknown: Vec<_> = self.attempts.iter().filter(|of| of.is_unknown()).cloned().collect();
        for attempt in unknown {
            if let Command::Hold(hold) = &attempt.command
                && let Some((key, _)) = &hold.key
            {
                let had = {
                    let inner = self.world.lock();
                    let name = (hold.user_id, key.clone());
                    inner.database.tables.keys.get(&name).map(|used| used.booking_id)
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
        for section_id in self.sections.clone() {
            let left = {
                let inner = self.world.lock();
                let (_, inventory) = &inner.database.tables.sections[&section_id];
                let due: i64 = inner
                    .database
                    .tables
                    .due(section_id, inner.database.now)
                    .map(|held| i64::from(held.seats))
                    .sum();
                inventory.available() + due
            };
            let Ok(mut left) = u32::try_from(left) else {
                return Err(format!("{left} seats are left of a section"));
            };
            while left > 0 {
                let seats = if self.swarm.capped { left.min(4) } else { left };
                let (booking_id, who) = (self.booking_id(), self.mint());
                let user_id = UserId::new(self.world.now(), Shard::pick(1), who);
                let requests = vec![SeatRequest::Count { section_id, seats }];
                let event_id = self.event_id;
                let hold = Hold { booking_id, user_id, event_id, requests, key: None };
                let answer = self.answer_of(Command::Hold(hold))?;
                if answer.is_err() {
                    return Err(format!("a seat that is left cannot be had: {answer:?}"));
                }
                left -= seats;
            }
        }
        let report = self.world.lock().database.tables.audit();
        if report.violations > 0 {
            return Err(format!("the audit found: {report:?}"));
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

    pub(super) fn answer_of(&mut self, command: Command) -> Result<Result<Decided, Error>, String> {
        let attempt = self.attempts.len();
        self.submit(0, command)?;
        self.settle()?;
        match &self.attempts[attempt].state {
            State::Answered(answer) => Ok(answer.clone()),
            other => Err(format!("with no fault there is no answer: {other:?}")),
        }
    }
}
