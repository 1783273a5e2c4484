//! What clients and workers ask for, and what they hear.

use super::Machine;
use crate::check;
use crate::machine::{Attempt, State};
use crate::world::Answered;
use engine::access::{Override, Overrides};
use engine::seats::{Party, SeatName};
use engine::{
    BookingId, By, Command, Error, Fault, Hold, IdempotencyKey, Outcome, SeatRequest, SectionId,
};
use server::simulated::{Decided, sweep_once};
use suite::world::fingerprint;

impl Machine {
    /// Clients ask for something, all at one moment.
    pub(super) fn ask(&mut self, left: &mut usize) -> Result<(), String> {
        let count = 1 + self.choices.pick("at once", self.swarm.at_once.min(*left));
        *left -= count;
        for _ in 0..count {
            let command = self.command();
            self.submit(command);
        }
        self.go_on()
    }

    /// A client asks for something; the process hears it when it goes on.
    pub(super) fn submit(&mut self, command: Command) {
        let attempt = self.attempts.len();
        let words = self.words(&command);
        self.tell(|| format!("{words}  (attempt {attempt})"));
        self.attempts.push(Attempt {
            command: command.clone(),
            instance: 0,
            asked_at: self.shared.now(),
            answered_at: None,
            heard: None,
            state: State::Asked,
        });
        let Some(process) = &self.process else { return };
        let (lanes, shared) = (process.lanes.clone(), self.shared.clone());
        let shard = self.event_id.shard();
        process.runtime.spawn(async move {
            let answer = lanes.submit(shard, command).await;
            shared.lock().answers.push(Answered { attempt, answer });
        });
    }

    /// A worker takes a turn.
    pub(super) fn work(&mut self) -> Result<(), String> {
        let sweeps = self.choices.pick("work", 2) == 0;
        self.take_turn(sweeps)
    }

    /// The sweep takes a turn, or else reconcile.
    pub(super) fn take_turn(&mut self, sweeps: bool) -> Result<(), String> {
        let what = if sweeps { "embedded: sweep" } else { "embedded: reconcile" };
        self.note(what);
        self.tell(|| what.to_owned());
        let Some(process) = &self.process else { return Ok(()) };
        let (port, lanes, shared) =
            (process.port.clone(), process.lanes.clone(), self.shared.clone());
        let (gate, reconcile) = (process.gate.clone(), process.reconcile.clone());
        process.runtime.spawn(async move {
            let done = if sweeps {
                sweep_once(&*port, &lanes).await
            } else {
                reconcile.lock().await.turn(&*port, &*gate).await.map(|()| false)
            };
            shared.lock().worked.push(done);
        });
        self.go_on()
    }

    /// What a client may want now.
    fn command(&mut self) -> Command {
        if self.swarm.keys && self.choices.happens("retry", 4) {
            let keyed = self.attempts.iter().filter_map(|attempt| match &attempt.command {
                Command::Hold(hold) if hold.key.is_some() => Some(hold.clone()),
                _ => None,
            });
            let keyed: Vec<_> = keyed.collect();
            if !keyed.is_empty() {
                let pick = keyed.len() - 1 - self.choices.pick("which", keyed.len());
                let booking_id = self.booking_id();
                return Command::Hold(Hold { booking_id, ..keyed[pick].clone() });
            }
        }
        let inner = self.shared.lock();
        let bookings = inner.oracle.tables.bookings.values();
        let known: Vec<_> = bookings.map(|of| (of.booking_id, of.user_id)).collect();
        drop(inner);
        let kind = if known.is_empty() { 0 } else { self.choices.pick("command", 12) };
        if kind < 6 {
            return Command::Hold(self.hold());
        }
        let pick = known.len() - 1 - self.choices.pick("which", known.len());
        let (booking_id, user_id) = known[pick];
        let by = By::User(user_id);
        match kind {
            6 | 7 => Command::Confirm { booking_id, by },
            8 => Command::Extend { booking_id, by },
            9 => {
                let Hold { event_id, requests, .. } = self.hold();
                let overrides = Overrides::NONE;
                let expected = None;
                Command::Change { booking_id, by, user_id, event_id, expected, requests, overrides }
            }
            10 => Command::Release { booking_id, by },
            _ => Command::Cancel { booking_id, by },
        }
    }

    pub(super) fn booking_id(&mut self) -> BookingId {
        BookingId::new(self.shared.now(), self.event_id.shard(), self.mint())
    }

    fn hold(&mut self) -> Hold {
        let booking_id = self.booking_id();
        let user_id = self.people[self.choices.pick("buyer", self.people.len())];
        let mut left = self.sections.clone();
        let most = if self.swarm.carts { left.len().min(2) } else { 1 };
        let mut requests = Vec::new();
        for _ in 0..=self.choices.pick("cart", most) {
            let section_id = left.remove(self.choices.pick("section", left.len()));
            requests.push(self.seats_of(section_id));
        }
        let key = (self.swarm.keys && self.choices.pick("key", 2) == 1).then(|| {
            let key = IdempotencyKey::new(&format!("key-{}", self.attempts.len()));
            (key.expect("a key"), fingerprint(self.event_id, &requests))
        });
        // The organizer sells to a buyer, or somebody who may not.
        let sells = self.choices.happens("sells", 12);
        let seller = sells.then(|| By::User(self.people[self.choices.pick("seller", 2)]));
        let overrides = Override::ALL.into_iter();
        let overrides =
            overrides.filter(|limit| sells && self.choices.happens(limit.as_str(), 3)).collect();
        let event_id = self.event_id;
        Hold { booking_id, user_id, seller, overrides, event_id, requests, key }
    }

    fn seats_of(&mut self, section_id: SectionId) -> SeatRequest {
        let seats = 1 + u32::try_from(self.choices.pick("seats", 3)).expect("few");
        let is_numbered = self.hall.as_ref().is_some_and(|(of, _)| *of == section_id);
        match if is_numbered { self.choices.pick("chosen by", 4) } else { 0 } {
            0 => SeatRequest::Count { section_id, seats },
            1 => {
                let party = Party { adjacent: true, ..Party::of(seats) };
                SeatRequest::Best { sections: vec![section_id], party }
            }
            _ => SeatRequest::Seats { section_id, seats: self.names(seats) },
        }
    }

    /// Names of neighbours in the section with numbered seats.
    pub(super) fn names(&mut self, number: u32) -> Vec<SeatName> {
        let (_, layout) = self.hall.as_ref().expect("there is one");
        let layout = layout.clone();
        let first = self.choices.pick("seat", layout.seats() as usize);
        let first = u32::try_from(first).expect("few");
        let seats = first..(first + number).min(layout.seats());
        seats.map(|seat| SeatName::from(layout.name(seat).to_string())).collect()
    }

    /// A command in the words of the scenarios.
    fn words(&self, command: &Command) -> String {
        let place = |id: &SectionId| {
            let at = self.sections.iter().position(|of| of == id).unwrap_or(0);
            char::from(b'A' + u8::try_from(at).expect("few"))
        };
        let asks = |requests: &[SeatRequest]| {
            let asks =
                requests.iter().map(|ask| format!("{} {}", place(&ask.sections()[0]), ask.seats()));
            asks.collect::<Vec<_>>().join(" ")
        };
        let name = check::name_of(command);
        match command {
            Command::Hold(hold) => {
                let buyer = self.people.iter().position(|of| *of == hold.user_id).unwrap_or(9);
                let key = hold.key.as_ref().map(|(key, _)| format!(" key={}", key.as_str()));
                let (id, asks) = (check::short(hold.booking_id), asks(&hold.requests));
                format!("hold {id} {asks} by=buyer{buyer}{}", key.unwrap_or_default())
            }
            Command::Change { booking_id, requests, .. } => {
                format!("{name} {} {}", check::short(*booking_id), asks(requests))
            }
            Command::Confirm { booking_id, .. }
            | Command::Release { booking_id, .. }
            | Command::Extend { booking_id, .. }
            | Command::Cancel { booking_id, .. } => {
                format!("{name} {}", check::short(*booking_id))
            }
            other => format!("{other:?}"),
        }
    }

    /// Takes what was answered since.
    pub(super) fn hear(&mut self) -> Result<(), String> {
        let mut inner = self.shared.lock();
        let answers = std::mem::take(&mut inner.answers);
        let worked = std::mem::take(&mut inner.worked);
        drop(inner);
        for done in worked {
            if let Err(fault @ (Fault::Corrupt { .. } | Fault::Contradiction { .. })) = done {
                return Err(format!("a worker of the embedded store found: {fault:?}"));
            }
        }
        for Answered { attempt, answer } in answers {
            let (word, told) = (check::word_of(&answer), check::told(&answer));
            self.tell(|| format!("attempt {attempt} -> {told}"));
            let of = check::name_of(&self.attempts[attempt].command);
            self.note(&format!("embedded: {of}: {word}"));
            self.mix_words(&told);
            self.mix(attempt as u64);
            self.is_so(attempt, &answer)?;
            self.attempts[attempt].answered_at = Some(self.shared.now());
            self.attempts[attempt].state = State::Answered(answer);
        }
        Ok(())
    }

    /// What is acknowledged is committed (I11).
    fn is_so(&self, no: usize, answer: &Result<Decided, Error>) -> Result<(), String> {
        match answer {
            Ok((Outcome::Booking { booking, replayed, .. }, _)) => {
                let inner = self.shared.lock();
                let stored = inner.oracle.tables.bookings.get(&booking.booking_id);
                let Some(stored) = stored else {
                    return Err(format!("I11: acknowledged, and not committed: {booking:?}"));
                };
                let is_new = stored.version == booking.version;
                if stored.version < booking.version || is_new && stored != booking {
                    return Err(format!("I11: acknowledged {booking:?}, committed {stored:?}"));
                }
                match &self.attempts[no].command {
                    Command::Hold(hold) if !replayed && hold.booking_id != booking.booking_id => {
                        Err(format!("another hold is answered: {hold:?} by {booking:?}"))
                    }
                    _ => Ok(()),
                }
            }
            Err(Error::Failed(fault @ (Fault::Corrupt { .. } | Fault::Contradiction { .. }))) => {
                Err(format!("the embedded store has a bug: {fault:?}"))
            }
            _ => Ok(()),
        }
    }
}
