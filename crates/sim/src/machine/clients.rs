//! What clients and workers ask for, and what they hear.

use super::{Attempt, Machine, State};
use crate::check;
use crate::world::{Answered, Worked};
use engine::{
    BookingId, By, Command, Fault, Hold, IdempotencyKey, Outcome, SeatRequest, SectionId, UserId,
};
use server::simulated::sweep_once;
use std::collections::BTreeSet;
use suite::world::fingerprint;

impl Machine {
    /// A client asks for something, or a worker takes a turn.
    pub(super) fn ask(&mut self) -> Result<(), String> {
        let no = self.choices.pick("instance", self.instances.len());
        if self.swarm.workers > 0 && self.choices.happens("worker", self.swarm.workers) {
            return self.work(no);
        }
        let command = self.command();
        if self.swarm.poison > 0
            && let Command::Hold(hold) = &command
            && self.choices.happens("poison", self.swarm.poison)
        {
            self.world.lock().poison.insert(hold.booking_id);
            self.note("a command that makes its batch fail");
        }
        self.submit(no, command)
    }

    pub(super) fn submit(&mut self, no: usize, command: Command) -> Result<(), String> {
        let attempt = self.attempts.len();
        let asked_at = self.world.now();
        let words = self.words(&command);
        self.tell(|| format!("{words} at instance {no}  (attempt {attempt})"));
        self.attempts.push(Attempt {
            command: command.clone(),
            instance: no,
            asked_at,
            answered_at: None,
            state: State::Asked,
        });
        let shard = self.event_id.shard();
        let instance = &self.instances[no];
        let (Some(runtime), Some(parts)) = (&instance.runtime, &instance.parts) else {
            return Ok(());
        };
        let (lanes, world) = (parts.lanes.clone(), self.world.clone());
        runtime.spawn(async move {
            let answer = lanes.submit(shard, command).await;
            world.lock().answers.push(Answered { attempt, answer });
        });
        self.go_on(no);
        self.hear()
    }

    pub(super) fn work(&mut self, no: usize) -> Result<(), String> {
        let instance = &mut self.instances[no];
        let (Some(runtime), Some(parts)) = (&instance.runtime, &instance.parts) else {
            return Ok(());
        };
        if instance.is_working {
            return Ok(());
        }
        instance.is_working = true;
        let (world, store, lanes) = (self.world.clone(), parts.store.clone(), parts.lanes.clone());
        let (gate, reconcile) = (parts.gate.clone(), parts.reconcile.clone());
        let sweeps = self.choices.pick("work", 2) == 0;
        runtime.spawn(async move {
            let done = if sweeps {
                sweep_once(&*store, &lanes).await
            } else {
                reconcile.lock().await.turn(&*store, &*gate).await.map(|()| false)
            };
            world.lock().worked.push(Worked { instance: no, done });
        });
        self.note(if sweeps { "sweep" } else { "reconcile" });
        self.go_on(no);
        self.hear()
    }

    /// What a client may want now.
    pub(super) fn command(&mut self) -> Command {
        let known: Vec<BookingId> = self.known();
        let kind = if known.is_empty() { 0 } else { self.choices.pick("command", 10) };
        if self.swarm.keys && self.choices.happens("retry", 3) {
            let keyed = self.attempts.iter().filter_map(|attempt| match &attempt.command {
                Command::Hold(hold) if hold.key.is_some() => Some(hold.clone()),
                _ => None,
            });
            let keyed: Vec<_> = keyed.collect();
            if !keyed.is_empty() {
                let pick = self.choices.pick("which", keyed.len());
                let booking_id = self.booking_id();
                return Command::Hold(Hold { booking_id, ..keyed[pick].clone() });
            }
        }
        if kind < 4 {
            return Command::Hold(self.hold());
        }
        let booking_id = known[known.len() - 1 - self.choices.pick("which", known.len())];
        let by = By::User(self.buyer_of(booking_id));
        match kind {
            4 | 5 => Command::Confirm { booking_id, by },
            6 | 7 => Command::Extend { booking_id, by },
            8 => {
                let Hold { event_id, requests, .. } = self.hold();
                Command::Change { booking_id, by, event_id, expected: None, requests }
            }
            _ if self.choices.pick("how", 2) == 0 => Command::Release { booking_id, by },
            _ => Command::Cancel { booking_id, by },
        }
    }

    /// A command in the words of the scenarios.
    pub(super) fn words(&self, command: &Command) -> String {
        let place = |id: &SectionId| {
            let at = self.sections.iter().position(|of| of == id).unwrap_or(0);
            char::from(b'A' + u8::try_from(at).expect("few"))
        };
        match command {
            Command::Hold(hold) => {
                let asks = hold
                    .requests
                    .iter()
                    .map(|ask| format!("{} {}", place(&ask.sections()[0]), ask.seats()));
                let who = self.people.iter().position(|of| *of == hold.user_id).unwrap_or(9);
                let key = hold
                    .key
                    .as_ref()
                    .map_or(String::new(), |(key, _)| format!(" key={}", key.as_str()));
                let id = check::short(hold.booking_id);
                format!("hold {id} {} by=buyer{who}{key}", asks.collect::<Vec<_>>().join(" "))
            }
            Command::Confirm { booking_id, .. }
            | Command::Release { booking_id, .. }
            | Command::Extend { booking_id, .. }
            | Command::Cancel { booking_id, .. }
            | Command::Change { booking_id, .. } => {
                format!("{} {}", check::name_of(command), check::short(*booking_id))
            }
            other => format!("{other:?}"),
        }
    }

    pub(super) fn booking_id(&mut self) -> BookingId {
        BookingId::new(self.world.now(), self.event_id.shard(), self.mint())
    }

    pub(super) fn hold(&mut self) -> Hold {
        let booking_id = self.booking_id();
        let user_id = self.people[self.choices.pick("buyer", self.people.len())];
        let mut requests = Vec::new();
        let mut left = self.sections.clone();
        let count =
            if self.swarm.carts { 1 + self.choices.pick("cart", left.len().min(2)) } else { 1 };
        for _ in 0..count {
            let section_id = left.remove(self.choices.pick("section", left.len()));
            let seats = 1 + u32::try_from(self.choices.pick("seats", 3)).expect("few");
            requests.push(SeatRequest::Count { section_id, seats });
        }
        let key = (self.swarm.keys && self.choices.pick("key", 2) == 1).then(|| {
            let key = IdempotencyKey::new(&format!("key-{}", self.attempts.len()));
            (key.expect("a key"), fingerprint(self.event_id, &requests))
        });
        Hold { booking_id, user_id, event_id: self.event_id, requests, key }
    }

    /// Bookings that clients know to exist.
    pub(super) fn known(&self) -> Vec<BookingId> {
        let mut known = BTreeSet::new();
        for attempt in &self.attempts {
            if let State::Answered(Ok((Outcome::Booking { booking, .. }, _))) = &attempt.state {
                known.insert(booking.booking_id);
            }
        }
        known.into_iter().collect()
    }

    pub(super) fn buyer_of(&self, booking_id: BookingId) -> UserId {
        self.world.lock().database.booking(booking_id).map_or(self.people[0], |of| of.user_id)
    }

    /// Takes what was answered since.
    pub(super) fn hear(&mut self) -> Result<(), String> {
        loop {
            let mut inner = self.world.lock();
            let (answers, worked) =
                (std::mem::take(&mut inner.answers), std::mem::take(&mut inner.worked));
            drop(inner);
            if answers.is_empty() && worked.is_empty() {
                return Ok(());
            }
            for Worked { instance, done } in worked {
                self.instances[instance].is_working = false;
                if let Err(Fault::Corrupt { what }) = done {
                    return Err(format!("a worker found: {what}"));
                }
            }
            for Answered { attempt, answer } in answers {
                let word = check::word_of(&answer);
                let told = check::told(&answer);
                self.tell(|| format!("attempt {attempt} -> {told}"));
                if word == "unavailable" && self.is_calm() {
                    return Err(format!("nothing was in the way of {:?}", self.attempts[attempt]));
                }
                let of = check::name_of(&self.attempts[attempt].command);
                self.note(&format!("{of}: {word}"));
                self.mix_words(&check::told(&answer));
                self.mix(attempt as u64);
                let inner = self.world.lock();
                self.checks.answered(&inner.database, &self.attempts, attempt, &answer)?;
                drop(inner);
                self.attempts[attempt].answered_at = Some(self.world.now());
                self.attempts[attempt].state = State::Answered(answer);
            }
        }
    }
}
