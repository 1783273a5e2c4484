//! Permissions and roles: sixteen things that a member of an organization may do, and which of five roles
//! may do them. One table says it all.

use std::fmt;

/// What a role or a key may do at an organization. Each is a bit of [`Permissions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Permission {
    /// See drafts, all counters and figures, and series; nothing about persons.
    EventRead,
    /// Create and edit events, their sections and layouts, and series.
    EventWrite,
    /// Call an event off, which cannot be undone.
    EventCancel,
    /// Take seats off sale.
    InventoryWrite,
    /// See bookings of others.
    BookingRead,
    /// See the names and addresses of buyers.
    ContactRead,
    /// Hold and confirm for a buyer.
    BookingSell,
    /// Sell beyond the limits of an event.
    BookingOverride,
    /// Cancel bookings of others.
    BookingCancel,
    /// Refund payments.
    PaymentWrite,
    /// Edit vouchers and prices.
    OfferWrite,
    /// Scan tickets.
    CheckIn,
    /// Read the access log and the feed of the organization.
    LogRead,
    /// Edit keys and webhooks.
    IntegrationWrite,
    /// Invite, change and remove members, within the own permissions.
    MemberWrite,
    /// Rename the organization, choose its owners, and give events away.
    OrgWrite,
}

/// Who of `owner manager box_office analyst check_in` has a permission.
type Row = (Permission, &'static str, [bool; 5]);

const YES: bool = true;
const NO: bool = false;

#[rustfmt::skip]
const TABLE: [Row; 16] = {
    use Permission as P;
    [
        //                                              owner manager box_office analyst check_in
        (P::EventRead,        "event.read",        [YES, YES, YES, YES, YES]),
        (P::EventWrite,       "event.write",       [YES, YES, NO,  NO,  NO]),
        (P::EventCancel,      "event.cancel",      [YES, YES, NO,  NO,  NO]),
        (P::InventoryWrite,   "inventory.write",   [YES, YES, YES, NO,  NO]),
        (P::BookingRead,      "booking.read",      [YES, YES, YES, YES, NO]),
        (P::ContactRead,      "contact.read",      [YES, YES, YES, NO,  NO]),
        (P::BookingSell,      "booking.sell",      [YES, YES, YES, NO,  NO]),
        (P::BookingOverride,  "booking.override",  [YES, YES, YES, NO,  NO]),
        (P::BookingCancel,    "booking.cancel",    [YES, YES, YES, NO,  NO]),
        (P::PaymentWrite,     "payment.write",     [YES, YES, NO,  NO,  NO]),
        (P::OfferWrite,       "offer.write",       [YES, YES, NO,  NO,  NO]),
        (P::CheckIn,          "check_in",          [YES, YES, YES, NO,  YES]),
        (P::LogRead,          "log.read",          [YES, YES, NO,  YES, NO]),
        (P::IntegrationWrite, "integration.write", [YES, YES, NO,  NO,  NO]),
        (P::MemberWrite,      "member.write",      [YES, YES, NO,  NO,  NO]),
        (P::OrgWrite,         "org.write",         [YES, NO,  NO,  NO,  NO]),
    ]
};

impl Permission {
    /// All of them, in the order of their bits.
    pub const ALL: [Self; 16] = {
        let mut all = [Self::EventRead; 16];
        let mut at = 0;
        while at < all.len() {
            all[at] = TABLE[at].0;
            at += 1;
        }
        all
    };

    /// The word in the API and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The permission with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.as_str() == word)
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Permissions(u32);

impl Permissions {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// What an operator of the installation may do at every organization: read what is of no person.
    pub const OPERATOR: Self = Self(
        Permission::EventRead.bit() | Permission::BookingRead.bit() | Permission::LogRead.bit(),
    );

    /// Those for which `has` is true.
    #[must_use]
    pub fn those(has: impl Fn(Permission) -> bool) -> Self {
        Permission::ALL.into_iter().filter(|what| has(*what)).collect()
    }

    /// Whether this permission is among them.
    #[must_use]
    pub const fn has(self, what: Permission) -> bool {
        self.0 & what.bit() != 0
    }

    /// Whether all of `others` are among them.
    #[must_use]
    pub const fn covers(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Those of both.
    #[must_use]
    pub const fn union(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its members, in the order of the table.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |what| self.has(*what))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<T: IntoIterator<Item = Permission>>(all: T) -> Self {
        Self(all.into_iter().fold(0, |bits, what| bits | what.bit()))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::as_str)).finish()
    }
}

/// What a member of an organization is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// May everything. A team always has one.
    Owner,
    /// Everything but the organization itself.
    Manager,
    /// Sells, cancels and takes seats off sale.
    BoxOffice,
    /// Reads figures and bookings, without persons.
    Analyst,
    /// Stands at the door.
    CheckIn,
}

impl Role {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 5] =
        [Self::Owner, Self::Manager, Self::BoxOffice, Self::Analyst, Self::CheckIn];

    /// The word in the API, in the store and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Manager => "manager",
            Self::BoxOffice => "box_office",
            Self::Analyst => "analyst",
            Self::CheckIn => "check_in",
        }
    }

    /// The role with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// What it may do.
    #[must_use]
    pub fn permissions(self) -> Permissions {
        Permissions::those(|what| TABLE[what as usize].2[self as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_permission_stands_at_its_bit_and_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Permission::ALL.iter().map(|what| what.as_str()).collect();
        assert_eq!(names.len(), Permission::ALL.len());
        for (at, what) in Permission::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, at, "{what}");
        }
    }

    #[test]
    fn an_owner_may_everything_and_each_other_role_less_than_a_manager() {
        let [owner, manager, others @ ..] = Role::ALL.map(Role::permissions);
        assert!(Permission::ALL.into_iter().all(|what| owner.has(what)));
        let beyond = Permissions::those(|what| !manager.has(what));
        assert_eq!(beyond.iter().collect::<Vec<_>>(), [Permission::OrgWrite]);
        for other in others {
            assert!(manager.covers(other) && !other.covers(manager), "{other:?}");
            assert!(other.has(Permission::EventRead), "who works there sees its events");
        }
    }

    #[test]
    fn persons_are_seen_by_those_who_deal_with_them_only() {
        let sees = |role: Role| role.permissions().has(Permission::ContactRead);
        assert_eq!(Role::ALL.map(sees), [true, true, true, false, false]);
        let [.., analyst, door] = Role::ALL.map(Role::permissions);
        assert_eq!(
            analyst.iter().map(Permission::as_str).collect::<Vec<_>>(),
            ["event.read", "booking.read", "log.read"]
        );
        assert_eq!(
            door.iter().map(Permission::as_str).collect::<Vec<_>>(),
            ["event.read", "check_in"]
        );
    }

    #[test]
    fn a_role_is_read_as_it_is_written() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("Owner"), None);
    }
}
