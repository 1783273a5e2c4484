//! Organizers: what they change of an event and of its sections while it is sold.
//!
//! The order of locks is that of PostgreSQL: the row of the event, then the inventory rows of its sections
//! where no batch may go on to sell by the terms of before.

use crate::database::Lock;
use crate::session::Connection;
use crate::store::SimStore;
use crate::world::{Step, Tried, cut, lock_all};
use engine::event::{EventCommand, decide};
use engine::{By, Error, Event, EventId, EventWithSections, LogEntry, SectionId, Timestamp};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use store::batch::{Decided, Earlier, Interrupt, Session as _, write_until};
use store::simulated::is_planted;
use tokio::time::Instant;

const DOING: &str = "changing an event";
/// How long a change tries, with all its attempts.
const PATIENCE: Duration = Duration::from_millis(3_500);

/// What a change of an event is decided on: also the capacity of the section that it resizes, and the clock.
type Found = (EventWithSections, Option<i64>, Timestamp);

impl SimStore {
    /// Changes an event as its organizer asks for; returns the version of the event that it wrote.
    pub async fn change_event(
        &self,
        event_id: EventId,
        by: By,
        command: EventCommand,
    ) -> Result<Option<i64>, Error> {
        let of = &self.committer;
        let (until, unknown) = (Instant::now() + PATIENCE, AtomicBool::new(false));
        let change = |mut session: Connection| {
            let command = &command;
            async move {
                let done = self.change(&mut session, event_id, by, command).await;
                (session, done)
            }
        };
        let changed = write_until(&of.sessions, &of.dice, until, &unknown, DOING, change).await;
        of.forget_event(event_id);
        let (version, decided) = changed?;
        if let Some(Decided { maps, .. }) = decided {
            of.keep_maps(maps);
        }
        Ok(version)
    }

    async fn change(
        &self,
        session: &mut Connection,
        event_id: EventId,
        by: By,
        command: &EventCommand,
    ) -> Result<(Option<i64>, Option<Decided>), Interrupt> {
        let (of, capacity, now) = session.lock_event(event_id, command.resizes()).await?;
        let changes = decide(&of, by, command, capacity, now)?;
        if command.stops_sales() && !is_planted("terms changed beside the sale") {
            let sections = of.sections.iter().map(|section| section.section_id).collect();
            session.lock_inventory(&sections).await?;
        }
        let version = changes.event.as_ref().map(|event| event.version);
        if let Some(event) = changes.event {
            session.write_event(event, changes.log).await?;
        }
        if changes.commands.is_empty() {
            return Ok((version, None));
        }
        let earlier = Earlier::of_section();
        let decided = self.committer.decide_in(session, &changes.commands, &earlier).await?;
        for answer in &decided.committed.answers {
            answer.clone()?;
        }
        Ok((version, Some(decided)))
    }
}

impl Connection {
    /// Locks the row of an event and reads it with its sections, and the capacity of one of them.
    async fn lock_event(
        &mut self,
        event_id: EventId,
        resizes: Option<SectionId>,
    ) -> Result<Found, Interrupt> {
        let no = self.no();
        self.step(Step::LockEvent, move |database| {
            match lock_all(database, no, [Lock::Event(event_id)]) {
                Tried::Done(()) => {}
                Tried::Waits => return Tried::Waits,
                Tried::Fails(interrupt) => return Tried::Fails(interrupt),
            }
            let tables = &database.tables;
            let of_event = tables.sections.values().map(|(section, _)| section);
            let of_event = of_event.filter(|section| section.event_id == event_id);
            let sections = of_event.cloned().collect();
            let event = tables.events[&event_id].clone();
            let capacity = resizes.and_then(|id| Some(tables.sections.get(&id)?.1.capacity));
            Tried::Done((EventWithSections { event, sections }, capacity, database.now))
        })
        .await
    }

    /// Writes the row of an event, with a row of the log.
    async fn write_event(&mut self, event: Event, log: Option<LogEntry>) -> Result<(), Interrupt> {
        let (no, written) = (self.no(), (event, log));
        self.step(Step::WriteEvent, move |database| {
            match database.transaction(no) {
                Some(transaction) => transaction.event = Some(written.clone()),
                None => return Tried::Fails(cut()),
            }
            Tried::Done(())
        })
        .await
    }
}
