//! Who acts beside the buyers: the organizer, for himself or for a team, and strangers.

use super::Machine;
use crate::database::Database;
use engine::access::{Actor, Grant, Permission, Role, may};
use engine::{BookingId, By, Command, OrgId, Shard, UserId};

impl Machine {
    /// The organizer, as the owner of a personal organization, which has the event at the beginning.
    pub(super) fn organizer(&self) -> By {
        By::User(self.people[0])
    }

    /// A team that the organizer owns, too.
    pub(super) fn team(&self) -> OrgId {
        OrgId::from(UserId::new(self.start, Shard::pick(0), 777))
    }

    /// The organizer, as the owner of the team.
    pub(super) fn for_team(&self) -> By {
        let actor = Actor::User(self.people[0]);
        By::Acting(Grant { actor, org_id: self.team(), can: Role::Owner.permissions(), only: None })
    }

    /// A member of the personal organization who may read figures, and nothing else.
    fn analyst(&self) -> By {
        let (actor, org_id) = (Actor::User(self.people[1]), OrgId::from(self.people[0]));
        By::Acting(Grant { actor, org_id, can: Role::Analyst.permissions(), only: None })
    }

    /// Who organizes or sells: mostly who may.
    pub(super) fn one_of_them(&mut self) -> By {
        match self.choices.pick("acts as", 9) {
            5 | 6 => self.for_team(),
            7 => By::User(self.people[1]),
            8 => self.analyst(),
            _ => self.organizer(),
        }
    }

    /// Who has sold these was allowed to when it was committed (I13).
    pub(super) fn sold_by_right(
        &self,
        database: &Database,
        created: &[BookingId],
    ) -> Result<(), String> {
        if created.is_empty() {
            return Ok(());
        }
        for attempt in &self.attempts {
            if let Command::Hold(hold) = &attempt.command
                && let Some(seller) = hold.seller
                && !seller.is(hold.user_id)
                && created.contains(&hold.booking_id)
                && let terms = &database.tables.events[&hold.event_id].terms
            {
                let mut needed = vec![Permission::BookingSell];
                needed.extend((!hold.overrides.is_empty()).then_some(Permission::BookingOverride));
                if let Some(Err(refusal)) =
                    needed.into_iter().map(|what| may(seller, what, terms)).find(Result::is_err)
                {
                    return Err(format!(
                        "I13: sold by somebody who may not, {refusal:?}: {hold:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}
