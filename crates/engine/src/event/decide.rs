//! How events and their sections come to be and are changed: a store locks and loads the event, asks
//! here, and writes the decision, in one transaction.
//!
//! What concerns seats is left to a batch of [`Command`]s, which the store decides in the same
//! transaction once the rows of the event are written, as it would decide those of a lane.

use super::{
    Event, EventChange, EventStatus, EventWithSections, Opening, REPRICED_SEATS_MAX, Section,
    SectionChange, Transfer, may_change_currency, may_join,
};
use crate::access::{AccessEntry, By, Permission, may};
use crate::decide::Command;
use crate::error::Refusal;
use crate::ids::SectionId;
use crate::inventory::Inventory;
use crate::log::{Deltas, Detail, LogEntry, LogKind};
use crate::money::Currency;
use crate::seats::{Layout, Marks};
use crate::series::{self, Series};
use crate::time::Timestamp;
use std::sync::Arc;

/// A change of an event that is there.
#[derive(Clone, Debug)]
pub enum EventCommand {
    /// Edits it.
    Revise {
        /// The version that its editor believes it to have.
        expected: Option<i64>,
        /// What is to be changed.
        change: EventChange,
    },
    /// Calls it off; its live bookings are cancelled later.
    CallOff,
    /// Adds a section.
    AddSection {
        /// The section.
        section: Section,
        /// What it begins with.
        opening: Opening,
    },
    /// Changes a section, whole or not at all.
    ReviseSection {
        /// The section.
        section_id: SectionId,
        /// The version that its editor believes the event to have.
        expected: Option<i64>,
        /// What is to be changed.
        change: SectionChange,
    },
    /// Gives it to another organization.
    Transfer(Transfer),
}

impl EventCommand {
    /// Whether no batch may be under way at the event's sections while it is decided: one might go on
    /// to sell by the terms of before, or to change seats for the organization of before (I13).
    #[must_use]
    pub fn stops_sales(&self) -> bool {
        matches!(self, Self::Revise { .. } | Self::CallOff | Self::Transfer(_))
    }

    /// The section of which [`decide`] has to know the capacity.
    #[must_use]
    pub fn resizes(&self) -> Option<SectionId> {
        match self {
            Self::ReviseSection { section_id, change, .. } => {
                change.capacity.and(Some(*section_id))
            }
            Self::Revise { .. } | Self::CallOff | Self::AddSection { .. } | Self::Transfer(_) => {
                None
            }
        }
    }

    /// What tells the counters of the sections it changes, when it was done by an earlier attempt.
    #[must_use]
    pub fn again(&self, of: &EventWithSections) -> Vec<Command> {
        let all = of.sections.iter().map(|section| section.section_id);
        let sections: Vec<_> = match self {
            Self::Revise { change, .. } if change.currency.is_some() => all.collect(),
            Self::Revise { .. } | Self::CallOff | Self::AddSection { .. } | Self::Transfer(_) => {
                Vec::new()
            }
            Self::ReviseSection { section_id, .. } => vec![*section_id],
        };
        sections.into_iter().map(|section_id| Command::Retire { section_id }).collect()
    }
}

/// A section as it begins.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The section.
    pub section: Section,
    /// Its place among the sections of its event.
    pub position: usize,
    /// Its counters.
    pub inventory: Inventory,
    /// Its layout and its marks, if its seats have numbers.
    pub seats: Option<(Arc<Layout>, Marks)>,
    /// The first row of its log.
    pub log: LogEntry,
}

impl Opened {
    fn new(section: &Section, opening: &Opening, position: usize, by: By, now: Timestamp) -> Self {
        let deltas = Deltas { capacity: opening.capacity(), ..Deltas::default() };
        let mut inventory = Inventory::empty(section.section_id, section.event_id);
        inventory.apply(deltas);
        let mut section = section.clone();
        section.layout_version = opening.layout().map(|layout| layout.id());
        let seats = opening.layout().map(|layout| {
            let marks = Marks::none(layout.seats(), layout.id(), inventory.version);
            (layout.clone(), marks)
        });
        let detail = Detail::Section {
            section: section.clone(),
            inventory: inventory.clone(),
            blocked: Vec::new(),
            unblocked: Vec::new(),
        };
        let log = LogEntry {
            at: now,
            version: inventory.version,
            detail: Some(Box::new(detail)),
            actor: Some(by.actor()),
            ..LogEntry::of_section(section.section_id, LogKind::Opened, deltas)
        };
        Self { section, position, inventory, seats, log }
    }
}

/// A new event with its sections, each with what it begins with, in the same order: its row of the
/// log, and its sections as they begin. The caller has checked the sections against each other.
///
/// `series` is the one that the event names, if it is there. Refuses somebody who may create no events
/// of that organization ([`may`]), and what [`series::may_begin`] refuses.
pub fn create(
    new: &EventWithSections,
    by: By,
    series: Option<&Series>,
    openings: &[Opening],
    now: Timestamp,
) -> Result<(LogEntry, Vec<Opened>), Refusal> {
    may(by, Permission::EventWrite, &new.event.terms.organizer_id)?;
    series::may_begin(&new.event, series)?;
    let log = LogEntry::of_event(&new.event, LogKind::EventCreated, by, now);
    let opened = new.sections.iter().zip(openings).enumerate();
    let opened = opened.map(|(at, (section, opening))| Opened::new(section, opening, at, by, now));
    Ok((log, opened.collect()))
}

/// What a store has to write for a change of an event, in the order of the fields. All of it is empty
/// when there is nothing to change.
#[derive(Debug, Default)]
pub struct EventChanges {
    /// The event as it is from now on.
    pub event: Option<Event>,
    /// Whether its live bookings are to be cancelled from now on.
    pub calls_off: bool,
    /// A new section.
    pub opened: Option<Opened>,
    /// A section with another name or price, and whether it has another name: the one it has may be
    /// kept beside one that compares equal.
    pub revised: Option<(Section, bool)>,
    /// The currency that all sections get, with [`Repricing`].
    pub repriced: Option<Currency>,
    /// A row of the log.
    pub log: Option<LogEntry>,
    /// Entries of access logs, each of another organization.
    pub entries: Vec<AccessEntry>,
    /// What a batch has to decide when all this is written.
    pub commands: Vec<Command>,
    /// Whether prices get another currency.
    pub(super) changes_currency: bool,
}

impl EventChanges {
    /// Whether the change is allowed, now that the batch has left these inventories:
    /// [`Refusal::CurrencyInUse`].
    pub fn may_stand(&self, inventories: &[Inventory]) -> Result<(), Refusal> {
        if self.changes_currency { may_change_currency(inventories.iter()) } else { Ok(()) }
    }
}

/// Decides a change of an event at `now`, the clock read under its lock. `capacity` is that of the
/// section that [`EventCommand::resizes`] names, also read under the lock of the event: nothing else
/// changes it.
///
/// The first refusal wins: those of [`may`]; then
/// - for an edit those of [`Event::may_edit`] and [`Event::revise`],
/// - for a section that is added those of [`Event::may_edit`] and [`may_join`],
/// - for one that is changed not found, those of [`Event::may_edit`], [`Section::revise`] and
///   [`may_join`],
/// - for a transfer those that [`Transfer`] names.
///
/// To call off an event that was called off, to add a section that is there, to give an event to the
/// organization that has it, and to set what is so already, changes nothing: no version rises, and the log
/// gets no row.
pub fn decide(
    of: &EventWithSections,
    by: By,
    command: &EventCommand,
    capacity: Option<i64>,
    now: Timestamp,
) -> Result<EventChanges, Refusal> {
    let mut event = of.event.clone();
    match command {
        EventCommand::Revise { expected, change } => {
            event.may_edit(by, *expected)?;
            event.revise(change.clone(), now)?;
            let is_other = |currency: &Currency| {
                of.sections.iter().any(|section| section.price.currency != *currency)
            };
            let repriced = change.currency.filter(is_other);
            if event == of.event {
                if repriced.is_none() {
                    return Ok(EventChanges::default());
                }
                event.touch(now);
            }
            let log = Some(LogEntry::of_event(&event, LogKind::EventChanged, by, now));
            let changes_currency = repriced.is_some();
            let event = Some(event);
            Ok(EventChanges { event, repriced, log, changes_currency, ..EventChanges::default() })
        }
        EventCommand::CallOff => {
            may(by, Permission::EventCancel, &event.terms)?;
            if event.terms.status == EventStatus::Cancelled {
                return Ok(EventChanges::default());
            }
            event.cancel(now);
            let log = Some(LogEntry::of_event(&event, LogKind::EventCalledOff, by, now));
            let event = Some(event);
            Ok(EventChanges { event, calls_off: true, log, ..EventChanges::default() })
        }
        EventCommand::Transfer(transfer) => transfer.decide(event, by, now),
        EventCommand::AddSection { section, opening } => {
            if of.sections.iter().any(|other| other.section_id == section.section_id) {
                return Ok(EventChanges::default());
            }
            event.may_edit(by, None)?;
            may_join(section, &of.sections)?;
            event.touch(now);
            let opened = Opened::new(section, opening, of.sections.len(), by, now);
            let (event, opened) = (Some(event), Some(opened));
            Ok(EventChanges { event, opened, ..EventChanges::default() })
        }
        EventCommand::ReviseSection { section_id, expected, change } => {
            may(by, Permission::EventWrite, &event.terms)?;
            let before = of.sections.iter().find(|section| section.section_id == *section_id);
            let before = before.ok_or(Refusal::NotFound { what: "section" })?;
            event.may_edit(by, *expected)?;
            let mut section = before.clone();
            section.revise(change.name.clone(), change.price, change.layout.as_deref())?;
            may_join(&section, &of.sections)?;
            let change = &change.without_what_is_so(before, capacity);
            let changes_seats = change.capacity.is_some() || change.layout.is_some();
            if section == *before && !changes_seats {
                // Holds that are due are retired, and the section is answered as it is.
                let commands = commands(*section_id, by, change);
                return Ok(EventChanges { commands, ..EventChanges::default() });
            }
            event.touch(now);
            let is_renamed = section.name != before.name;
            // A layout brings its prices with it, and its own row of the log says so.
            let is_noted = is_renamed || (change.layout.is_none() && section.price != before.price);
            let mut commands = commands(*section_id, by, change);
            if is_noted {
                commands.push(Command::Note { section_id: *section_id, by });
            }
            Ok(EventChanges {
                event: Some(event),
                changes_currency: section.price.currency != before.price.currency,
                revised: Some((section, is_renamed)),
                commands,
                ..EventChanges::default()
            })
        }
    }
}

/// What a change of a section means for its seats; at least, holds that are due are retired.
fn commands(section_id: SectionId, by: By, change: &SectionChange) -> Vec<Command> {
    vec![match (&change.layout, change.capacity) {
        (Some(layout), _) => Command::Lay { section_id, by, layout: layout.clone() },
        (None, Some(capacity)) => Command::Resize { section_id, by, capacity },
        (None, None) => Command::Retire { section_id },
    }]
}

/// Changes the currency of all prices of an event. A section with numbered seats gets a layout of
/// its own, so that a cached copy of the old one is recognized as old.
#[derive(Debug)]
pub struct Repricing {
    currency: Currency,
    by: By,
    seats: usize,
    commands: Vec<Command>,
}

impl Repricing {
    /// Nothing is repriced yet.
    #[must_use]
    pub fn to(currency: Currency, by: By) -> Self {
        Self { currency, by, seats: 0, commands: Vec::new() }
    }

    /// Adds a section, with the layout it has: [`Refusal::TooManyToReprice`] beyond
    /// [`REPRICED_SEATS_MAX`].
    pub fn add(&mut self, section_id: SectionId, layout: Option<&Layout>) -> Result<(), Refusal> {
        let by = self.by;
        self.commands.push(match layout {
            Some(layout) => {
                self.seats += layout.seats() as usize;
                if self.seats > REPRICED_SEATS_MAX {
                    return Err(Refusal::TooManyToReprice { limit: REPRICED_SEATS_MAX });
                }
                let layout = Arc::new(layout.in_currency(self.currency));
                Command::Lay { section_id, by, layout }
            }
            None => Command::Note { section_id, by },
        });
        Ok(())
    }

    /// What a batch has to decide.
    #[must_use]
    pub fn commands(self) -> Vec<Command> {
        self.commands
    }
}
