//! Who acts, and what they may.
//!
//! Every command and every change of an event carries a [`By`], and one function, [`may`], judges it
//! on the terms of the event, or on the series, as read under the lock. What a buyer may do with a
//! booking of their own needs no permission: it is [`By::is`].

use crate::error::Refusal;
use crate::event::Terms;
use crate::ids::UserId;

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// A person with an account, or with a token that says who they are.
    User(UserId),
    /// We, carrying out what was decided before: the rest of an event that was called off.
    System,
}

impl By {
    /// Whether this is that person.
    #[must_use]
    pub fn is(self, user_id: UserId) -> bool {
        self == Self::User(user_id)
    }

    /// The person; none when it is us.
    #[must_use]
    pub fn user_id(self) -> Option<UserId> {
        match self {
            Self::User(user_id) => Some(user_id),
            Self::System => None,
        }
    }

    /// Who the log names: nobody when it was the buyer.
    #[must_use]
    pub fn unless_buyer(self, buyer: UserId) -> Option<Self> {
        (!self.is(buyer)).then_some(self)
    }
}

impl From<UserId> for By {
    fn from(user_id: UserId) -> Self {
        Self::User(user_id)
    }
}

/// What may be done by its organizer, and may not even be there for others.
pub trait Owned {
    /// Whose it is.
    fn organizer_id(&self) -> UserId;
    /// Whether it exists for `user`.
    fn visible_to(&self, user: Option<UserId>) -> bool;
}

impl Owned for Terms {
    fn organizer_id(&self) -> UserId {
        self.organizer_id
    }

    fn visible_to(&self, user: Option<UserId>) -> bool {
        Self::visible_to(self, user)
    }
}

/// What somebody wants to do at an event that is not theirs as a buyer, or with a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// See what is not public of it: all counters, and the list of its bookings.
    EventRead,
    /// Edit the event, its sections and their layouts.
    EventWrite,
    /// Call it off, which cannot be undone.
    EventCancel,
    /// Take seats off sale.
    InventoryWrite,
    /// See a booking of somebody else.
    BookingRead,
    /// Cancel a booking of somebody else.
    BookingCancel,
    /// See a series.
    SeriesRead,
    /// Edit a series, and create events in it.
    SeriesWrite,
}

impl Permission {
    /// What does not exist for those who may not even see it.
    fn hidden(self) -> &'static str {
        match self {
            Self::EventRead | Self::EventWrite | Self::EventCancel => "event",
            Self::InventoryWrite => "section",
            Self::BookingRead | Self::BookingCancel => "booking",
            Self::SeriesRead | Self::SeriesWrite => "series",
        }
    }

    /// True if the refusal may reveal that the resource exists, at an event that is no draft.
    fn is_about_public(self) -> bool {
        match self {
            Self::EventRead | Self::EventWrite | Self::EventCancel | Self::InventoryWrite => true,
            Self::BookingRead | Self::BookingCancel | Self::SeriesRead | Self::SeriesWrite => false,
        }
    }
}

/// Whether `by` may do this at the event with these terms, or with this series. An organizer may do all of
/// it, nobody else any of it.
///
/// The first refusal wins: not found (a draft, a booking or a series of somebody else),
/// [`Refusal::NotOrganizer`].
pub fn may(by: By, what: Permission, of: &impl Owned) -> Result<(), Refusal> {
    let By::User(user_id) = by else { return Ok(()) };
    if user_id == of.organizer_id() {
        return Ok(());
    }
    if what.is_about_public() && of.visible_to(Some(user_id)) {
        Err(Refusal::NotOrganizer)
    } else {
        Err(Refusal::NotFound { what: what.hidden() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventStatus;
    use crate::ids::{EventId, Shard};
    use crate::time::Timestamp;

    const PERMISSIONS: [Permission; 6] = [
        Permission::EventRead,
        Permission::EventWrite,
        Permission::EventCancel,
        Permission::InventoryWrite,
        Permission::BookingRead,
        Permission::BookingCancel,
    ];

    fn user(number: u64) -> UserId {
        UserId::new(Timestamp::from_unix_ms(0), Shard::pick(0), number)
    }

    fn terms(status: EventStatus) -> Terms {
        Terms {
            event_id: EventId::new(Timestamp::from_unix_ms(0), Shard::pick(0), 1),
            organizer_id: user(1),
            status,
            sales_start: None,
            sales_end: None,
            over_at: Timestamp::from_unix_ms(1),
            max_seats_per_booking: None,
            max_seats_per_user: None,
            hold_ttl_ms: None,
            cancellable_until: None,
            prevent_orphans: false,
        }
    }

    #[test]
    fn organizers_and_the_system_may_everything_and_nobody_else_anything() {
        for status in EventStatus::ALL {
            for what in PERMISSIONS {
                assert_eq!(may(By::User(user(1)), what, &terms(status)), Ok(()));
                assert_eq!(may(By::System, what, &terms(status)), Ok(()));
                may(By::User(user(2)), what, &terms(status)).expect_err("a stranger");
            }
        }
    }

    #[test]
    fn a_refusal_tells_a_stranger_no_more_than_they_can_see() {
        let refused = |what, status| may(By::User(user(2)), what, &terms(status)).unwrap_err();
        let missing = |what| Refusal::NotFound { what };
        for (what, name) in [
            (Permission::EventRead, "event"),
            (Permission::EventWrite, "event"),
            (Permission::EventCancel, "event"),
            (Permission::InventoryWrite, "section"),
        ] {
            assert_eq!(refused(what, EventStatus::Draft), missing(name));
            assert_eq!(refused(what, EventStatus::OnSale), Refusal::NotOrganizer);
        }
        for what in [Permission::BookingRead, Permission::BookingCancel] {
            assert_eq!(refused(what, EventStatus::Draft), missing("booking"));
            assert_eq!(refused(what, EventStatus::OnSale), missing("booking"));
        }
    }
}
