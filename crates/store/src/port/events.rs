//! Events and their sections.

use super::{ChangeNote, PageRequest, Paged};
use async_trait::async_trait;
use engine::access::Confined;
use engine::event::{EventChange, EventCommand, Transfer};
use engine::{
    By, Error, Event, EventId, EventStatus, EventWithSections, Fault, IdempotencyKey, Inventory,
    Money, Opening, OrgId, Section, SectionChange, SectionId, SeriesId, Timestamp, UserId,
};

/// A use of an idempotency key by the creation of an event or a section.
#[derive(Clone, Debug)]
pub struct CreationKey {
    /// Whose it is.
    pub user_id: UserId,
    /// The key.
    pub key: IdempotencyKey,
    /// The digest of the request.
    pub fingerprint: i64,
}

/// For how long the key of a creation is kept.
pub const CREATION_KEY_KEPT_MS: i64 = 24 * 60 * 60 * 1000;

/// What a creation led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created<Id> {
    /// The new resource, or the one that an earlier request with the same key made.
    pub id: Id,
    /// Whether it was there before.
    pub replayed: bool,
}

/// An event as lists show it: with sums in the place of its sections, of which it may have 1,000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCard {
    /// The event.
    pub event: Event,
    /// What its cheapest and its dearest seat cost; `None` when it has no section.
    pub prices: Option<(Money, Money)>,
    /// How many seats there are.
    pub capacity: i64,
    /// How many can be held now; seats of holds that are due count.
    pub available: i64,
}

/// An organization, or only some of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The organization.
    pub org_id: OrgId,
    /// These events of it; `None`: all.
    pub events: Confined,
}

/// Which events a list shows.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Drafts of which organizations are shown: at most 101.
    pub drafts_of: Vec<Place>,
    /// Whether all drafts are shown, whose ever they are.
    pub all_drafts: bool,
    /// Only events of these places; `None`: of all organizations.
    pub places: Option<Vec<Place>>,
    /// Only events of this series.
    pub series: Option<SeriesId>,
    /// Only events of this status.
    pub status: Option<EventStatus>,
    /// Only events whose title contains this, however it is spelled.
    pub title: Option<String>,
    /// Only events that are not over by then.
    pub from: Option<Timestamp>,
    /// Only events that start before.
    pub to: Option<Timestamp>,
}

/// Events and their sections.
#[async_trait]
pub trait Events: Send + Sync {
    /// Records an event with its sections, each with what it begins with, by the rules of
    /// [`engine::event::create`]. The caller has checked the sections against each other. The series it
    /// names has to be there, and be of the same organization.
    async fn create_event(
        &self,
        event: &EventWithSections,
        by: By,
        openings: &[Opening],
        key: Option<&CreationKey>,
    ) -> Result<Created<EventId>, Error>;
    /// The event with this id, for any caller: the caller checks visibility.
    async fn event(&self, event_id: EventId) -> Result<Option<EventWithSections>, Fault>;
    /// A page of events, with the sums of their sections.
    async fn events(
        &self,
        filter: &EventFilter,
        page: PageRequest<EventId>,
    ) -> Result<Paged<EventCard>, Fault>;
    /// Changes an event by the rules of [`engine::event::decide`]. Returns the inventories that
    /// were changed with it.
    async fn change_event(
        &self,
        event_id: EventId,
        by: By,
        command: EventCommand,
    ) -> Result<Vec<Inventory>, Error>;
    /// Gives an event to another organization, by the rules of [`Transfer`], with an entry in the access
    /// log of both. Once it has returned, no batch is under way that was decided under the organization of
    /// before (I13). The same change made twice has one effect.
    async fn transfer_event(
        &self,
        event_id: EventId,
        by: By,
        transfer: Transfer,
        change: &ChangeNote,
    ) -> Result<(), Error>;
    /// Adds a section, as [`EventCommand::AddSection`]. A key makes its retries have one effect.
    async fn add_section(
        &self,
        section: &Section,
        opening: Opening,
        by: By,
        key: Option<&CreationKey>,
    ) -> Result<Created<SectionId>, Error>;
    /// [`EventCommand::Revise`].
    async fn revise_event(
        &self,
        event_id: EventId,
        by: By,
        expected: Option<i64>,
        change: EventChange,
    ) -> Result<Vec<Inventory>, Error> {
        self.change_event(event_id, by, EventCommand::Revise { expected, change }).await
    }
    /// [`EventCommand::CallOff`]; its live bookings are cancelled later
    /// ([`Sweep::to_cancel`](super::Sweep::to_cancel)).
    async fn cancel_event(&self, event_id: EventId, by: By) -> Result<(), Error> {
        self.change_event(event_id, by, EventCommand::CallOff).await.map(drop)
    }
    /// [`EventCommand::ReviseSection`]. Returns the inventory after the change.
    async fn revise_section(
        &self,
        event_id: EventId,
        section_id: SectionId,
        by: By,
        expected: Option<i64>,
        change: SectionChange,
    ) -> Result<Inventory, Error> {
        let command = EventCommand::ReviseSection { section_id, expected, change };
        let changed = self.change_event(event_id, by, command).await?;
        let inventory = changed.into_iter().find(|of| of.section_id == section_id);
        let missing = || Fault::Corrupt { what: "a section without inventory".to_owned() };
        Ok(inventory.ok_or_else(missing)?)
    }
}
