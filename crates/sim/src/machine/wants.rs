//! What clients and organizers may want next.

use super::Machine;
use crate::world::Organized;
use engine::access::{Override, Overrides};
use engine::event::{EventChange, EventCommand, Transfer};
use engine::seats::{Party, SeatName};
use engine::{
    Blocked, BookingId, By, Command, EventDate, EventStatus, Hold, IdempotencyKey, OrgId,
    SeatRequest, SectionChange, SectionId, Timestamp, UserId,
};
use suite::world::fingerprint;

/// How long a day is.
const DAY_MS: i64 = 24 * 3_600_000;

/// That an event takes place so many days after this.
pub fn takes_place(now: Timestamp, days: i64) -> EventChange {
    let timezone = "UTC".parse().expect("a time zone");
    let date = EventDate::parse(&now.plus_ms(days * DAY_MS).to_string(), timezone);
    let date = Some((date.expect("an instant"), timezone));
    EventChange { date, ..EventChange::default() }
}

impl Machine {
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
                return Command::Hold(self.again(&keyed[pick]));
            }
        }
        if kind < 4 {
            return Command::Hold(self.hold());
        }
        let booking_id = known[known.len() - 1 - self.choices.pick("which", known.len())];
        let user_id = self.buyer_of(booking_id);
        let by = if self.choices.happens("somebody else", 20) {
            By::User(UserId::new(self.world.now(), engine::Shard::pick(0), 999))
        } else if self.swarm.sellers && self.choices.happens("for the buyer", 5) {
            self.one_of_them()
        } else {
            By::User(user_id)
        };
        match kind {
            4 | 5 => Command::Confirm { booking_id, by },
            6 | 7 => Command::Extend { booking_id, by },
            8 => {
                let expected = self.choices.happens("expects a version", 4);
                let expected = expected.then(|| [1, 2][self.choices.pick("version", 2)]);
                let Hold { event_id, requests, .. } = self.hold();
                let overrides = self.overrides(!by.is(user_id));
                Command::Change { booking_id, by, user_id, event_id, expected, requests, overrides }
            }
            _ if self.choices.pick("how", 2) == 0 => Command::Release { booking_id, by },
            _ => Command::Cancel { booking_id, by },
        }
    }

    /// The same hold once more; sometimes its key comes with other words, which is refused.
    fn again(&mut self, hold: &Hold) -> Hold {
        let booking_id = self.booking_id();
        let mut again = Hold { booking_id, ..hold.clone() };
        if let Some((_, fingerprint)) = &mut again.key
            && self.choices.happens("other words", 20)
        {
            *fingerprint = fingerprint.wrapping_add(1);
        }
        again
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
            requests.push(self.seats_of(section_id));
        }
        let sells = self.swarm.sellers && self.choices.happens("sells", 4);
        let seller = sells.then(|| self.one_of_them());
        let overrides = self.overrides(sells);
        let key = (self.swarm.keys && self.choices.pick("key", 2) == 1).then(|| {
            let key = IdempotencyKey::new(&format!("key-{}", self.attempts.len()));
            (key.expect("a key"), fingerprint(self.event_id, &requests))
        });
        let event_id = self.event_id;
        Hold { booking_id, user_id, seller, overrides, event_id, requests, key }
    }

    /// The limits that a seller goes beyond.
    fn overrides(&mut self, sells: bool) -> Overrides {
        let mut named = |limit: &Override| sells && self.choices.happens(limit.as_str(), 6);
        Override::ALL.into_iter().filter(&mut named).collect()
    }

    fn seats_of(&mut self, section_id: SectionId) -> SeatRequest {
        if self.choices.happens("elsewhere", 60) {
            return SeatRequest::Count { section_id: self.no_section(), seats: 1 };
        }
        let is_numbered = self.halls.contains_key(&section_id);
        let number = 1 + u32::try_from(self.choices.pick("seats", 3)).expect("few");
        match if is_numbered { self.choices.pick("chosen by", 6) } else { 0 } {
            0 => SeatRequest::Count { section_id, seats: number },
            1 => {
                let adjacent = self.choices.pick("together", 2) == 1;
                let party = Party { adjacent, ..Party::of(number) };
                SeatRequest::Best { sections: vec![section_id], party }
            }
            _ => SeatRequest::Seats { section_id, seats: self.names(section_id, number) },
        }
    }

    /// The id of a section that is not there.
    fn no_section(&mut self) -> SectionId {
        SectionId::new(self.world.now(), self.event_id.shard(), self.mint())
    }

    /// Names of neighbours in a section with numbered seats.
    fn names(&mut self, section_id: SectionId, number: u32) -> Vec<SeatName> {
        let layout = self.halls[&section_id].clone();
        let all = layout.seats().min(8);
        let first = u32::try_from(self.choices.pick("seat", all as usize)).expect("few");
        let seats = first..(first + number).min(layout.seats());
        seats.map(|seat| SeatName::from(layout.name(seat).to_string())).collect()
    }

    /// What an organizer wants: seats kept off sale, by way of the lanes, or a change of the event.
    pub(super) fn organize(&mut self, no: usize) -> Result<(), String> {
        let by = self.one_of_them();
        let section_id = self.sections[self.choices.pick("section", self.sections.len())];
        let is_numbered = self.halls.contains_key(&section_id);
        let kind = self.choices.pick("changes", 12);
        let soon = self.world.now().plus_ms(400);
        let expected = self.choices.happens("expects a version of the event", 12).then_some(1);
        let revise = |change| EventCommand::Revise { expected, change };
        let (what, command) = match kind {
            0 | 1 => {
                let number = self.choices.pick("blocked", 3);
                let by_name = is_numbered && !self.choices.happens("counted", 6);
                let blocked = if by_name {
                    let number = u32::try_from(number).expect("few");
                    Blocked::Seats(self.names(section_id, number))
                } else {
                    Blocked::Count(i64::try_from(number).expect("few"))
                };
                let elsewhere = self.choices.happens("elsewhere", 60);
                let section_id = if elsewhere { self.no_section() } else { section_id };
                return self.submit(no, Command::Block { section_id, by, blocked, reason: None });
            }
            2 if self.choices.happens("call off", 4) => ("call off", EventCommand::CallOff),
            2 | 3 => {
                let closed = [EventStatus::Closed, EventStatus::OnSale];
                let status = Some(closed[self.choices.pick("status", 2)]);
                ("change of status", revise(EventChange { status, ..EventChange::default() }))
            }
            4 => {
                let cap = [None, Some(2), Some(5)][self.choices.pick("cap", 3)];
                let max_seats_per_user = Some(cap);
                let change = EventChange { max_seats_per_user, ..EventChange::default() };
                ("change of the cap", revise(change))
            }
            5 => {
                let end = [None, Some(soon)][self.choices.pick("end", 2)];
                let change = EventChange { sales_end: Some(end), ..EventChange::default() };
                ("change of the end of sales", revise(change))
            }
            6 => {
                let prevent_orphans = Some(self.choices.pick("orphans", 2) == 1);
                let change = EventChange { prevent_orphans, ..EventChange::default() };
                ("change of the rule of orphans", revise(change))
            }
            8 => {
                let start = [None, Some(soon)][self.choices.pick("begin", 2)];
                let change = EventChange { sales_start: Some(start), ..EventChange::default() };
                ("change of the begin of sales", revise(change))
            }
            9 => {
                let days = [365, -1][self.choices.pick("date", 2)];
                ("change of the date", revise(takes_place(soon, days)))
            }
            10 => {
                let most = [None, Some(2)][self.choices.pick("seats of a booking", 2)];
                let max_seats_per_booking = Some(most);
                let change = EventChange { max_seats_per_booking, ..EventChange::default() };
                ("change of the seats of a booking", revise(change))
            }
            11 => {
                let own = self.team_gets_it(expected);
                return self.change(no, ("transfer", own.0, own.1));
            }
            _ => {
                let capacity = Some([2, 5, 12][self.choices.pick("capacity", 3)]);
                let change = SectionChange { capacity, ..SectionChange::default() };
                let of = EventCommand::ReviseSection { section_id, expected: None, change };
                ("change of a capacity", of)
            }
        };
        self.change(no, (what, by, command))
    }

    /// The event goes to the team, or back.
    fn team_gets_it(&mut self, expected: Option<i64>) -> (By, EventCommand) {
        let personal = OrgId::from(self.people[0]);
        let (own, team) = (self.organizer(), self.for_team());
        let (to, by, into) = match self.choices.pick("goes to", 2) {
            0 => (self.team(), own, team),
            _ => (personal, team, own),
        };
        (by, EventCommand::Transfer(Transfer { to, into, expected }))
    }

    /// Has an instance change the event.
    fn change(
        &mut self,
        no: usize,
        (what, by, command): (&'static str, By, EventCommand),
    ) -> Result<(), String> {
        self.tell(|| format!("the organizer's {what} at instance {no}: {command:?}"));
        let instance = &mut self.instances[no];
        let (Some(runtime), Some(parts)) = (&instance.runtime, &instance.parts) else {
            return Ok(());
        };
        instance.changes += 1;
        let (store, world, event_id) = (parts.store.clone(), self.world.clone(), self.event_id);
        runtime.spawn(async move {
            let done = store.change_event(event_id, by, command).await;
            world.lock().organized.push(Organized { instance: no, what, done });
        });
        self.go_on(no);
        self.hear()
    }
}
