//! Ids: time-ordered UUIDs (version 8) that carry the shard of their event.
//!
//! ```text
//! 48 bits  milliseconds since 1970      4 bits   version (8)
//! 10 bits  shard                        2 bits   random
//!  2 bits  variant                     62 bits   random
//! ```
//! An event draws its shard at creation, or copies that of its series, which has drawn it; sections and
//! bookings copy that of their event. So an id alone names its lane, the hash tag of its keys in the
//! gate and, once one database is too small, its database.
//! The shard only routes, it proves nothing: any UUID parses, and an unknown one is not found.

use crate::time::Timestamp;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// How many shards there are.
pub const SHARDS: u16 = 1 << 10;

const SHARD_SHIFT: u32 = 66;

/// The shard of a series, of an event and of everything in it, below [`SHARDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(u16);

impl Shard {
    /// The shard for a random number; every shard is equally likely.
    #[must_use]
    pub fn pick(random: u64) -> Self {
        Self(u16::try_from(random % u64::from(SHARDS)).expect("SHARDS fits in 16 bits"))
    }

    /// The shard as an index below [`SHARDS`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

fn sharded(at: Timestamp, shard: Shard, random: u64) -> Uuid {
    let random = u128::from(random);
    let bits = (u128::from(at.unix_ms().unsigned_abs()) & 0xFFFF_FFFF_FFFF) << 80
        | 8 << 76
        | u128::from(shard.0) << SHARD_SHIFT
        | (random >> 62) << 64
        | 0b10 << 62
        | random & ((1 << 62) - 1);
    Uuid::from_u128(bits)
}

fn shard_of(id: Uuid) -> Shard {
    let bits = (id.as_u128() >> SHARD_SHIFT) & u128::from(SHARDS - 1);
    Shard(u16::try_from(bits).expect("masked to 10 bits"))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// The id as it is stored: 16 bytes, in order of creation.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The id that was stored as these bytes; `None` unless there are 16.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }

            /// The id as a UUID.
            #[must_use]
            pub fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            /// Reads the hyphenated form only, in either case.
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                if text.len() != 36 {
                    return Err(NotAnId);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| NotAnId)
            }
        }
    };
}

macro_rules! sharded_id {
    ($(#[$doc:meta])* $name:ident) => {
        id!($(#[$doc])* $name);

        impl $name {
            /// A new id, made at `at` in `shard`, with 64 random bits.
            #[must_use]
            pub fn new(at: Timestamp, shard: Shard, random: u64) -> Self {
                Self(sharded(at, shard, random))
            }

            /// The shard this id routes to.
            #[must_use]
            pub fn shard(self) -> Shard {
                shard_of(self.0)
            }
        }
    };
}

id!(
    /// Names an organization: a team, or the personal one of a user, which has the id of its user.
    ///
    /// The highest bit of the time is set in the id of a team, and in no other id of ours before the
    /// year 6429. So an id alone says whose a personal organization is, and no user owns a team because
    /// their ids are equal.
    OrgId
);
sharded_id!(
    /// Names an event.
    EventId
);
sharded_id!(
    /// Names a series of events.
    SeriesId
);
sharded_id!(
    /// Names a section of an event.
    SectionId
);
sharded_id!(
    /// Names a booking.
    BookingId
);
sharded_id!(
    /// Names a user. Its shard is random and routes nothing.
    UserId
);

sharded_id!(
    /// Names an invitation to an organization. Its shard is random and routes nothing.
    InvitationId
);

sharded_id!(
    /// Names a key of an organization. Its shard is random and routes nothing.
    KeyId
);

id!(
    /// Names something of which only this is known.
    AnyId
);

macro_rules! any {
    ($($name:ident)*) => {
        $(
            impl From<$name> for AnyId {
                fn from(id: $name) -> Self {
                    Self(id.0)
                }
            }

            impl From<AnyId> for $name {
                /// What it names if it is of this kind.
                fn from(id: AnyId) -> Self {
                    Self(id.0)
                }
            }
        )*
    };
}
any!(EventId OrgId);

/// The highest bit of the time.
const TEAM: u128 = 1 << 127;
/// Where the version of a UUID stands.
const VERSION_SHIFT: u32 = 76;
/// Where its variant stands.
const VARIANT_SHIFT: u32 = 62;

impl OrgId {
    /// The id of a new team, made at `at`, with 74 random bits.
    #[must_use]
    pub fn team(at: Timestamp, random: (u64, u64)) -> Self {
        let id = sharded(at, Shard::pick(random.0), random.1);
        Self(Uuid::from_u128(id.as_u128() | TEAM))
    }

    /// Whether it is that of a team.
    #[must_use]
    pub fn is_team(self) -> bool {
        let bits = self.0.as_u128();
        bits & TEAM != 0 && (bits >> VERSION_SHIFT) & 0xF == 8
    }

    /// Whose personal organization it is; `None`: it is a team's.
    #[must_use]
    pub fn owner(self) -> Option<UserId> {
        (!self.is_team()).then_some(UserId(self.0))
    }
}

impl From<UserId> for OrgId {
    /// The personal organization of a user. A token of somebody else may name a user with the id of a
    /// team: that user has none.
    fn from(user_id: UserId) -> Self {
        Self(user_id.0)
    }
}

impl UserId {
    /// The buyer whom an organization calls `reference`: always the same one, and another one for every
    /// other organization.
    ///
    /// 121 bits of a digest, in the form of our ids; its time and its shard say nothing. It is never the id
    /// of a team.
    #[must_use]
    pub fn of_customer(org_id: OrgId, reference: &CustomerRef) -> Self {
        let digest = Sha256::new().chain_update(org_id.as_bytes()).chain_update(&*reference.0);
        let digest = digest.finalize();
        let bits = u128::from_be_bytes(digest[..16].try_into().expect("a digest is longer"));
        let fixed = TEAM | 0xF << VERSION_SHIFT | 0b11 << VARIANT_SHIFT;
        let form = 8 << VERSION_SHIFT | 0b10 << VARIANT_SHIFT;
        Self(Uuid::from_u128((bits & !fixed) | form))
    }
}

impl BookingId {
    /// The short form for people: eight letters and digits that cannot be confused when read aloud.
    ///
    /// Forty random bits of the id in Crockford's base 32. It finds a booking among a person's
    /// own; it proves nothing and is not unique by construction.
    #[must_use]
    pub fn reference(self) -> String {
        self.reference_ascii().into_iter().map(char::from).collect()
    }

    /// [`Self::reference`] in ASCII.
    #[must_use]
    pub fn reference_ascii(self) -> [u8; 8] {
        const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let bits = self.0.as_u128();
        let digit = |place: usize| (bits >> (place * 5)) & 31;
        std::array::from_fn(|at| {
            ALPHABET[usize::try_from(digit(7 - at)).expect("masked to 5 bits")]
        })
    }
}

/// The text is no hyphenated UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a hyphenated UUID")
    }
}

impl std::error::Error for NotAnId {}

/// The key by which a client names one attempt, so that its retries have one effect (I6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// The longest key, in characters.
    pub const LENGTH_MAX: usize = 255;

    /// A key of 1 to [`Self::LENGTH_MAX`] visible ASCII characters; `None` for anything else.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let visible = text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        (visible && (1..=Self::LENGTH_MAX).contains(&text.len())).then(|| Self(text.into()))
    }

    /// The key as the client sent it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an organization calls one of its customers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerRef(Box<str>);

impl CustomerRef {
    /// The longest reference, in characters.
    pub const LENGTH_MAX: usize = 128;

    /// A reference of 1 to [`Self::LENGTH_MAX`] visible ASCII characters; `None` for anything else.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let visible = text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        (visible && (1..=Self::LENGTH_MAX).contains(&text.len())).then(|| Self(text.into()))
    }

    /// The reference as the organization wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_its_shard_and_its_time() {
        for index in 0..u64::from(SHARDS) {
            let shard = Shard::pick(index);
            let at = Timestamp::from_unix_ms(1_800_000_000_000);
            let id = BookingId::new(at, shard, u64::MAX - index);
            assert_eq!(id.shard(), shard);
            assert_eq!(id.uuid().get_version_num(), 8);
            let later = BookingId::new(at.plus_ms(1), Shard::pick(0), 0);
            assert!(id < later, "ids sort by the time they were made");
        }
    }

    #[test]
    fn the_id_of_a_team_is_no_users() {
        let at = Timestamp::from_unix_ms(1_800_000_000_000);
        for random in [(0, 0), (u64::MAX, u64::MAX), (77, 1)] {
            let team = OrgId::team(at, random);
            assert_eq!(team.uuid().get_version_num(), 8);
            assert_eq!((team.is_team(), team.owner()), (true, None));
            let namesake = UserId::from_slice(team.as_bytes()).expect("16 bytes");
            assert_eq!(OrgId::from(namesake).owner(), None, "a foreign id owns no team");
            let user = UserId::new(at, Shard::pick(random.0), random.1);
            assert_eq!(OrgId::from(user).owner(), Some(user));
        }
        let foreign: UserId = "f47ac10b-58cc-4372-a567-0e02b2c3d479".parse().expect("a UUID");
        assert_eq!(OrgId::from(foreign).owner(), Some(foreign), "version 4: a user of a shop");
    }

    #[test]
    fn a_customer_has_one_id_at_each_organization_and_never_that_of_a_team() {
        let at = Timestamp::from_unix_ms(1_800_000_000_000);
        let org_id = OrgId::team(at, (1, 2));
        let other = OrgId::from(UserId::new(at, Shard::pick(1), 2));
        let mut ids = std::collections::HashSet::new();
        for number in 0..200 {
            let reference = CustomerRef::new(&format!("cust-{number}")).expect("visible");
            let id = UserId::of_customer(org_id, &reference);
            assert_eq!(UserId::of_customer(org_id, &reference), id, "the same each time");
            assert_eq!((id.uuid().get_version_num(), (id.uuid().as_u128() >> 62) & 3), (8, 0b10));
            assert_eq!(OrgId::from(id).owner(), Some(id), "it is no team");
            assert!(ids.insert(id) && ids.insert(UserId::of_customer(other, &reference)));
        }
    }

    #[test]
    fn a_reference_of_a_customer_has_1_to_128_visible_characters() {
        for good in ["!", "~", "Cust-42", &"r".repeat(128)] {
            assert_eq!(CustomerRef::new(good).expect("visible").as_str(), good);
        }
        for bad in ["", "two words", "tab\t", "nul\0", "ü", "\u{7f}", &"r".repeat(129)] {
            assert!(CustomerRef::new(bad).is_none(), "{bad:?}");
        }
    }

    /// It is stored with bookings: another rule would make others of all customers.
    #[test]
    fn the_id_of_a_customer_never_changes() {
        let org_id = "fedcba98-7654-8321-8fed-cba987654321".parse().expect("an id");
        let reference = CustomerRef::new("cust-42").expect("visible");
        let id = UserId::of_customer(org_id, &reference);
        assert_eq!(id.to_string(), "2b42b068-47a6-8807-9235-d4e83355563a");
    }

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = EventId::new(Timestamp::from_unix_ms(1), Shard::pick(7), 42);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        for text in ["", "nonsense", &id.uuid().simple().to_string(), &format!("{{{id}}}")] {
            assert_eq!(text.parse::<EventId>(), Err(NotAnId), "{text}");
        }
    }

    #[test]
    fn an_idempotency_key_has_1_to_255_visible_characters() {
        assert!(IdempotencyKey::new("order-17").is_some());
        assert!(IdempotencyKey::new(&"k".repeat(255)).is_some());
        for bad in ["", "two words", "tab\t", "ü", &"k".repeat(256)] {
            assert!(IdempotencyKey::new(bad).is_none(), "{bad:?}");
        }
    }
}
