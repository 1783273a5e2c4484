//! The organizer: what is changed of the event while it is sold, through the store and by the rules.

use super::Machine;
use super::oracle::Oracle;
use super::process::UnderWay;
use crate::machine::takes_place;
use engine::event::{EventChange, EventCommand, decide};
use engine::{
    Blocked, By, Command, Error, EventId, EventStatus, EventWithSections, Inventory, Ledger,
    Refusal, SectionChange, SectionId, Timestamp,
};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use store::Events as _;
use store::simulated::{CommitFault, CommitOf, fired, has_crashed};

impl Machine {
    /// The organizer keeps seats off sale, or changes the event.
    pub(super) fn organize(&mut self) -> Result<(), String> {
        let by = By::User(self.people[0]);
        let section_id = self.sections[self.choices.pick("section", self.sections.len())];
        if self.choices.pick("organizes", 3) == 1 {
            let number = self.choices.pick("blocked", 3);
            let is_numbered = self.hall.as_ref().is_some_and(|(of, _)| *of == section_id);
            let blocked = if is_numbered {
                Blocked::Seats(self.names(u32::try_from(number).expect("few")))
            } else {
                Blocked::Count(i64::try_from(number).expect("few"))
            };
            self.submit(Command::Block { section_id, by, blocked, reason: None });
            return self.go_on();
        }
        let (what, command) = self.change_of(section_id);
        let now = self.shared.now();
        self.tell(|| format!("the organizer's {what}: {command:?}"));
        let Some(process) = &self.process else { return Ok(()) };
        self.shared.lock().under_way = Some((UnderWay::Change(command.clone()), now));
        let change = process.port.store.change_event(self.event_id, by, command.clone());
        let done = catch_unwind(AssertUnwindSafe(|| process.runtime.block_on(change)));
        let done = match done {
            Ok(done) => done,
            Err(_) if has_crashed() => return self.settle(),
            Err(panic) => resume_unwind(panic),
        };
        let mut inner = self.shared.lock();
        inner.under_way = None;
        let word = match &done {
            Err(Error::Failed(_)) if fired() == Some((CommitOf::Write, CommitFault::Fails)) => {
                "unavailable"
            }
            Err(Error::Failed(fault)) => {
                return Err(format!("the embedded store cannot change an event: {fault:?}"));
            }
            done => {
                let ruled = inner.oracle.change(self.event_id, by, &command, now);
                if !is_same(done, &ruled) {
                    return Err(format!(
                        "the embedded store changes an event otherwise: {done:?}, the rules say \
                         {ruled:?}"
                    ));
                }
                ruled.as_ref().map_or_else(|refusal| refusal.code().as_str(), |_| "done")
            }
        };
        drop(inner);
        if word == "done" {
            self.sync();
        }
        self.note(&format!("embedded: {what}: {word}"));
        self.mix_words(word);
        self.settle()
    }

    /// What is changed of the event, or of a section.
    fn change_of(&mut self, section_id: SectionId) -> (&'static str, EventCommand) {
        let revise = |change| EventCommand::Revise { expected: None, change };
        match self.choices.pick("changes", 8) {
            0 => {
                let cap = [None, Some(2), Some(5)][self.choices.pick("to", 3)];
                let max_seats_per_user = Some(cap);
                let change = EventChange { max_seats_per_user, ..EventChange::default() };
                ("change of the cap", revise(change))
            }
            1 => {
                let capacity = Some([3, 8, 30][self.choices.pick("to", 3)]);
                let change = SectionChange { capacity, ..SectionChange::default() };
                let of = EventCommand::ReviseSection { section_id, expected: None, change };
                ("change of a capacity", of)
            }
            2 => {
                let price = Some(suite::world::usd([900, 2_000][self.choices.pick("to", 2)]));
                let change = SectionChange { price, ..SectionChange::default() };
                let of = EventCommand::ReviseSection { section_id, expected: None, change };
                ("change of a price", of)
            }
            3 if self.choices.happens("calls off", 3) => ("calling off", EventCommand::CallOff),
            5 => {
                let soon = self.shared.now().plus_ms(400);
                let start = [None, Some(soon)][self.choices.pick("to", 2)];
                let change = EventChange { sales_start: Some(start), ..EventChange::default() };
                ("change of the begin of sales", revise(change))
            }
            6 => {
                let days = [365, 365, -1][self.choices.pick("to", 3)];
                ("change of the date", revise(takes_place(self.shared.now(), days)))
            }
            7 => {
                let most = [None, Some(2)][self.choices.pick("to", 2)];
                let max_seats_per_booking = Some(most);
                let change = EventChange { max_seats_per_booking, ..EventChange::default() };
                ("change of the seats of a booking", revise(change))
            }
            _ => {
                let both = [EventStatus::OnSale, EventStatus::OnSale, EventStatus::Closed];
                let status = Some(both[self.choices.pick("to", 3)]);
                ("change of status", revise(EventChange { status, ..EventChange::default() }))
            }
        }
    }
}

fn is_same(done: &Result<Vec<Inventory>, Error>, ruled: &Result<Vec<Inventory>, Refusal>) -> bool {
    match (done, ruled) {
        (Ok(done), Ok(ruled)) => done == ruled,
        (Err(Error::Refused(done)), Err(ruled)) => done == ruled,
        _ => false,
    }
}

impl Oracle {
    /// Changes an event by the rules, all of it or nothing. Returns the counters that were changed with it.
    pub(super) fn change(
        &mut self,
        event_id: EventId,
        by: By,
        command: &EventCommand,
        now: Timestamp,
    ) -> Result<Vec<Inventory>, Refusal> {
        let tables = &mut self.tables;
        let event = tables.events[&event_id].clone();
        let sections = tables.sections.values().map(|(section, _)| section.clone()).collect();
        let of = EventWithSections { event, sections };
        let capacity = command.resizes().and_then(|id| Some(tables.sections.get(&id)?.1.capacity));
        let changes = decide(&of, by, command, capacity, now)?;
        assert!(changes.opened.is_none() && changes.repriced.is_none(), "not asked for here");
        let log = tables.log.len();
        // What the commands are decided on.
        tables.events.extend(changes.event.clone().map(|event| (event_id, event)));
        if let Some((section, _)) = &changes.revised {
            let row = tables.sections.get_mut(&section.section_id).expect("of this event");
            row.0 = section.clone();
        }
        tables.log.extend(changes.log.clone());
        if changes.commands.is_empty() {
            return Ok(Vec::new());
        }
        let rows = tables.load(&changes.commands, now, &self.policy);
        let mut ledger = Ledger::open(rows, now, self.policy).expect("its tables agree");
        let answers = changes.commands.iter().map(|command| ledger.decide(command));
        let answers: Vec<_> = answers.collect();
        let ended = ledger.end_batch();
        let refused = answers.iter().find_map(|answer| answer.as_ref().err().cloned());
        let refused = refused.or_else(|| changes.may_stand(&ended.inventories).err());
        if let Some(refusal) = refused {
            tables.events.insert(event_id, of.event);
            for section in of.sections {
                let row = tables.sections.get_mut(&section.section_id).expect("of this event");
                row.0 = section;
            }
            tables.log.truncate(log);
            return Err(refusal);
        }
        Ok(tables.committed(now, answers, ended).inventories)
    }
}
