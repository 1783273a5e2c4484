//! What clients and workers ask for, and what they hear.

use super::{Attempt, Machine, Parts, State};
use crate::check;
use crate::world::{Answered, Organized, Worked};
use engine::{BookingId, Command, Error, Fault, Outcome, SeatRequest, SectionId, UserId};
use server::simulated::sweep_once;
use std::collections::BTreeSet;

impl Machine {
    /// A client asks for something, or a worker takes a turn.
    pub(super) fn ask(&mut self) -> Result<(), String> {
        let no = self.choices.pick("instance", self.instances.len());
        if self.swarm.workers > 0 && self.choices.happens("worker", self.swarm.workers) {
            return self.work(no);
        }
        if self.swarm.organizer > 0 && self.choices.happens("organizer", self.swarm.organizer) {
            return self.organize(no);
        }
        let command = self.command();
        if self.swarm.poison > 0
            && let Command::Hold(hold) = &command
            && self.choices.happens("poison", self.swarm.poison)
        {
            self.world.lock().poison.insert(hold.booking_id);
            self.checks.poisoned(hold.booking_id);
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
            heard: None,
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

    /// A worker takes a turn.
    pub(super) fn work(&mut self, no: usize) -> Result<(), String> {
        if self.choices.pick("work", 2) == 0 { self.sweep(no) } else { self.reconcile(no) }
    }

    pub(super) fn sweep(&mut self, no: usize) -> Result<(), String> {
        self.turn(no, "sweep", |parts| {
            let (store, lanes) = (parts.store.clone(), parts.lanes.clone());
            async move { sweep_once(&*store, &lanes).await }
        })
    }

    fn reconcile(&mut self, no: usize) -> Result<(), String> {
        self.turn(no, "reconcile", |parts| {
            let (store, gate) = (parts.store.clone(), parts.gate.clone());
            let reconcile = parts.reconcile.clone();
            async move { reconcile.lock().await.turn(&*store, &*gate).await.map(|()| false) }
        })
    }

    /// One turn of a worker, unless one is under way.
    fn turn<T: Future<Output = Result<bool, Fault>> + Send + 'static>(
        &mut self,
        no: usize,
        name: &str,
        turn: impl FnOnce(&Parts) -> T,
    ) -> Result<(), String> {
        let instance = &mut self.instances[no];
        let (Some(runtime), Some(parts)) = (&instance.runtime, &instance.parts) else {
            return Ok(());
        };
        if instance.is_working {
            return Ok(());
        }
        instance.is_working = true;
        let (turn, world) = (turn(parts), self.world.clone());
        runtime.spawn(async move {
            // One that panics is started again; unless it was made to, that is a finding.
            let done = tokio::spawn(turn).await.unwrap_or(Ok(false));
            world.lock().worked.push(Worked { instance: no, done });
        });
        self.note(name);
        self.go_on(no);
        self.hear()
    }

    /// A command in the words of the scenarios.
    pub(super) fn words(&self, command: &Command) -> String {
        let place = |id: &SectionId| {
            let at = self.sections.iter().position(|of| of == id).unwrap_or(0);
            char::from(b'A' + u8::try_from(at).expect("few"))
        };
        match command {
            Command::Hold(hold) => {
                let asks = hold.requests.iter().map(|ask| match ask {
                    SeatRequest::Seats { section_id, seats } => {
                        let names: Vec<_> = seats.iter().map(ToString::to_string).collect();
                        format!("{} {}", place(section_id), names.join(","))
                    }
                    SeatRequest::Best { sections, party } => {
                        format!("{} best {}", place(&sections[0]), party.number)
                    }
                    SeatRequest::Count { section_id, seats } => {
                        format!("{} {seats}", place(section_id))
                    }
                });
                let who = self.people.iter().position(|of| *of == hold.user_id).unwrap_or(9);
                let key = hold
                    .key
                    .as_ref()
                    .map_or(String::new(), |(key, _)| format!(" key={}", key.as_str()));
                let id = check::short(hold.booking_id);
                let beyond = if hold.overrides.is_empty() {
                    String::new()
                } else {
                    format!(" beyond {:?}", hold.overrides)
                };
                let sold = hold.seller.map_or(String::new(), |by| format!(" sold by {by:?}"));
                let asks = asks.collect::<Vec<_>>().join(" ");
                format!("hold {id} {asks} by=buyer{who}{key}{sold}{beyond}")
            }
            Command::Confirm { booking_id, .. }
            | Command::Release { booking_id, .. }
            | Command::Extend { booking_id, .. }
            | Command::Cancel { booking_id, .. }
            | Command::Change { booking_id, .. } => {
                format!("{} {}", check::name_of(command), check::short(*booking_id))
            }
            Command::Block { section_id, blocked, .. } => {
                format!("block {} {blocked:?}", place(section_id))
            }
            other => format!("{other:?}"),
        }
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

    /// What an organizer was told to be written is stored.
    fn is_written(&self, what: &str, version: Option<i64>) -> Result<(), String> {
        let inner = self.world.lock();
        let stored = inner.database.tables.events[&self.event_id].version;
        match version {
            Some(version) if stored < version => Err(format!(
                "I11: the organizer's {what} is acknowledged, and not committed: {version} {stored}"
            )),
            _ => Ok(()),
        }
    }

    /// Takes what was answered since.
    pub(super) fn hear(&mut self) -> Result<(), String> {
        loop {
            self.nothing_went_wrong()?;
            let mut inner = self.world.lock();
            let (answers, worked) =
                (std::mem::take(&mut inner.answers), std::mem::take(&mut inner.worked));
            let organized = std::mem::take(&mut inner.organized);
            drop(inner);
            if answers.is_empty() && worked.is_empty() && organized.is_empty() {
                return Ok(());
            }
            for Organized { instance, what, done } in organized {
                self.instances[instance].changes -= 1;
                let word = match &done {
                    Ok(version) => {
                        self.is_written(what, *version)?;
                        "done"
                    }
                    Err(Error::Refused(refusal)) => refusal.code().as_str(),
                    Err(Error::Failed(Fault::Overloaded { .. })) => "overloaded",
                    Err(Error::Failed(Fault::Unavailable { .. })) => "unavailable",
                    Err(Error::Failed(bug)) => return Err(format!("a bug: {bug:?}")),
                };
                self.tell(|| format!("the organizer's {what} -> {word}"));
                self.note(&format!("{what}: {word}"));
                self.mix_words(word);
            }
            for Worked { instance, done } in worked {
                self.instances[instance].is_working = false;
                if let Err(bug @ (Fault::Corrupt { .. } | Fault::Contradiction { .. })) = done {
                    return Err(format!("a worker found: {bug:?}"));
                }
            }
            for Answered { attempt, answer } in answers {
                let word = check::word_of(&answer);
                let told = check::told(&answer);
                self.tell(|| format!("attempt {attempt} -> {told}"));
                if word == "unavailable" && (self.is_over || self.is_calm()) {
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
                self.heard += 1;
                self.attempts[attempt].heard = Some(self.heard);
                self.attempts[attempt].state = State::Answered(answer);
            }
        }
    }
}
