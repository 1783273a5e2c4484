//! Transfers: how an event goes from one organization to another.
//!
//! The one who transfers it acts for both: for the one that has it, which gives it away, and for the
//! one that gets it, as if the event were created there. Bookings, sections, the id and the shard stay. A
//! series is of one organization, so the event leaves its series.

use super::{Event, EventChanges};
use crate::access::{AccessAction, AccessEntry, By, Noted, Permission, may};
use crate::error::Refusal;
use crate::ids::OrgId;
use crate::log::{LogEntry, LogKind};
use crate::time::Timestamp;

/// What is asked for: that another organization has the event from now on.
///
/// The first refusal wins: those of [`may`] for [`Permission::OrgWrite`] at the event; those of [`may`] for
/// [`Permission::EventWrite`] at the organization that gets it; [`Refusal::VersionMismatch`]. An event may
/// also be transferred when it was called off or is over.
///
/// Where that organization has the event already, nothing is changed, whatever its version is, and only
/// [`Permission::EventWrite`] is needed there: so a retry of a transfer is no refusal.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// The organization that gets it.
    pub to: OrgId,
    /// How the same person acts there.
    pub into: By,
    /// The version that the event is believed to have.
    pub expected: Option<i64>,
}

impl Transfer {
    /// Decides it, for somebody who acts as `by` for the organization that has the event.
    ///
    /// # Panics
    /// When another person would act there: who acts is ours to find out.
    pub(super) fn decide(
        &self,
        mut event: Event,
        by: By,
        now: Timestamp,
    ) -> Result<EventChanges, Refusal> {
        assert_eq!(by.actor(), self.into.actor(), "one person acts for both");
        let from = event.terms.organizer_id;
        if from == self.to {
            may(self.into, Permission::EventWrite, &event.terms)?;
            return Ok(EventChanges::default());
        }
        may(by, Permission::OrgWrite, &event.terms)?;
        may(self.into, Permission::EventWrite, &self.to)?;
        if self.expected.is_some_and(|expected| expected != event.version) {
            return Err(Refusal::VersionMismatch { version: event.version });
        }
        event.terms.organizer_id = self.to;
        event.series_id = None;
        event.touch(now);
        let entry = |org_id| AccessEntry {
            at: now,
            org_id,
            actor: by.actor(),
            action: AccessAction::EventTransferred,
            target: Some(event.terms.event_id.uuid()),
            before: Some(Noted::Organization(from)),
            after: Some(Noted::Organization(self.to)),
        };
        Ok(EventChanges {
            entries: vec![entry(from), entry(self.to)],
            log: Some(LogEntry::of_event(&event, LogKind::EventChanged, by, now)),
            event: Some(event),
            ..EventChanges::default()
        })
    }
}

#[cfg(test)]
mod tests;
