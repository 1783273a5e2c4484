//! Accounts: users, and the rules of their refresh tokens and of the end of their access tokens.

use crate::error::Refusal;
use crate::ids::{EventId, OrgId, UserId};
use crate::time::Timestamp;
use uuid::Uuid;

/// A person with an address and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub user_id: UserId,
    /// The address as it was given; compared without case.
    pub email: String,
    /// How to address the person.
    pub name: Option<String>,
    /// The Argon2id hash of the password, in PHC form.
    pub password_hash: String,
    /// When the account was made.
    pub created_at: Timestamp,
}

/// What users want to change of their account; `None` leaves a field as it is, and an inner `None`
/// clears it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// How to address the person.
    pub name: Option<Option<String>>,
    /// The address.
    pub email: Option<String>,
}

/// What a store has to write of a changed account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserUpdate {
    /// The account as it is afterwards.
    pub user: User,
    /// Whether its name is another one.
    pub is_renamed: bool,
    /// Whether its address is another one: then no other account may have it
    /// ([`Refusal::EmailTaken`]).
    pub has_moved: bool,
}

impl UserChange {
    /// Applies this change to an account as it is stored. The address it has already is no change, also
    /// where another account has one that compares equal.
    ///
    /// [`Refusal::NotFound`] when there is no such account.
    pub fn apply(self, stored: Option<User>) -> Result<UserUpdate, Refusal> {
        let mut user = stored.ok_or(Refusal::NotFound { what: "user" })?;
        let name = self.name.filter(|name| *name != user.name);
        let email = self.email.filter(|email| *email != user.email);
        let (is_renamed, has_moved) = (name.is_some(), email.is_some());
        user.name = name.unwrap_or(user.name);
        user.email = email.unwrap_or(user.email);
        Ok(UserUpdate { user, is_renamed, has_moved })
    }
}

/// A refresh token, known by the hash of its secret. Tokens that came from one login are a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// SHA-256 of the secret.
    pub token_hash: [u8; 32],
    /// The login it came from.
    pub family_id: Uuid,
    /// Whose it is.
    pub user_id: UserId,
    /// From here on it is worth nothing.
    pub expires_at: Timestamp,
    /// When it was exchanged for the next one.
    pub spent_at: Option<Timestamp>,
}

/// For how long a spent token may be exchanged again: the client may have lost the answer.
pub const REFRESH_GRACE_MS: i64 = 10_000;

/// What becomes of a refresh token that is presented, and what a store has to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// The token is spent, and the next one of its family is issued.
    Rotate {
        /// When it was spent first.
        spent_at: Timestamp,
        /// The next token.
        next: RefreshToken,
    },
    /// It was spent long ago: somebody has a copy, so the whole family ends.
    EndFamily,
    /// It has expired.
    Refuse,
}

impl RefreshToken {
    /// Decides an attempt at `now` to exchange this token for one with the hash and the end of `next`.
    #[must_use]
    pub fn exchange(&self, next: ([u8; 32], Timestamp), now: Timestamp) -> Refresh {
        match self.spent_at {
            Some(spent_at) if now.since_ms(spent_at) > REFRESH_GRACE_MS => Refresh::EndFamily,
            _ if now >= self.expires_at => Refresh::Refuse,
            _ => {
                let (token_hash, expires_at) = next;
                let next = Self { token_hash, expires_at, spent_at: None, ..self.clone() };
                Refresh::Rotate { spent_at: self.spent_at.unwrap_or(now), next }
            }
        }
    }
}

/// The longest that an access token may be configured to live.
pub const ACCESS_TOKEN_TTL_SECONDS_MAX: u64 = 86_400;

/// For how long a cutoff is kept: every token that it ends has expired by then, also by a clock that is a
/// minute behind.
pub const CUTOFF_KEPT_MS: i64 = (ACCESS_TOKEN_TTL_SECONDS_MAX.cast_signed() + 60) * 1_000;

/// From when on the access tokens of a user are good: those that were issued before have been ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutoff {
    /// Whose tokens.
    pub user_id: UserId,
    /// The first instant at which a token that is good was issued.
    pub not_before: Timestamp,
}

/// When an access token counts as issued that a store lets be issued at `now`, to a user whose last cutoff
/// is `not_before`: never before the cutoff, though a clock was set back.
///
/// Logins and cutoffs of a user are in one order, under the user's lock, and so is what they get from this
/// and from [`cutoff_at`], as long as the clock does not go back between a login and the cutoff after it.
#[must_use]
pub fn issued_at(now: Timestamp, not_before: Option<Timestamp>) -> Timestamp {
    not_before.map_or(now, |not_before| now.max(not_before))
}

/// The cutoff that ends at `now` all tokens of a user whose last cutoff is `not_before`: also those that
/// were issued in the same millisecond.
#[must_use]
pub fn cutoff_at(now: Timestamp, not_before: Option<Timestamp>) -> Timestamp {
    issued_at(now, not_before).plus_ms(1)
}

/// What keeps a user from leaving that a refusal names, at most, of each kind.
pub const KEPT_BY_TOLD_MAX: usize = 20;

/// Whether a user may leave, who is the only owner of these teams, and whose personal organization has
/// these events that are published and not over.
///
/// The first refusal wins: [`Refusal::LastOwnerOf`], [`Refusal::EventsOpen`]. Buyers of an event that is
/// not over need somebody who answers for it.
pub fn may_leave(mut owned: Vec<OrgId>, mut events: Vec<EventId>) -> Result<(), Refusal> {
    if !owned.is_empty() {
        owned.sort_unstable();
        owned.truncate(KEPT_BY_TOLD_MAX);
        return Err(Refusal::LastOwnerOf { organizations: owned });
    }
    if !events.is_empty() {
        events.sort_unstable();
        events.truncate(KEPT_BY_TOLD_MAX);
        return Err(Refusal::EventsOpen { events });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Shard;

    #[test]
    fn a_spent_token_is_good_for_ten_seconds_and_then_ends_its_family() {
        let at = Timestamp::from_unix_ms;
        let fresh = RefreshToken {
            token_hash: [0; 32],
            family_id: Uuid::nil(),
            user_id: UserId::new(at(0), Shard::pick(0), 0),
            expires_at: at(100_000),
            spent_at: None,
        };
        let spent = RefreshToken { spent_at: Some(at(1_000)), ..fresh.clone() };
        let wanted = ([1; 32], at(200_000));
        let next = RefreshToken { token_hash: [1; 32], expires_at: at(200_000), ..fresh.clone() };
        let rotated = |spent_at| Refresh::Rotate { spent_at: at(spent_at), next: next.clone() };
        assert_eq!(fresh.exchange(wanted, at(99_999)), rotated(99_999));
        assert_eq!(fresh.exchange(wanted, at(100_000)), Refresh::Refuse);
        assert_eq!(spent.exchange(wanted, at(11_000)), rotated(1_000), "from its first use on");
        assert_eq!(spent.exchange(wanted, at(11_001)), Refresh::EndFamily);
    }

    #[test]
    fn who_leaves_owns_no_team_alone_and_no_event_that_is_open() {
        let at = Timestamp::from_unix_ms(0);
        let team = |number| OrgId::team(at, (0, number));
        let event = |number| EventId::new(at, Shard::pick(0), number);
        assert_eq!(may_leave(Vec::new(), Vec::new()), Ok(()));
        let events = vec![event(2), event(1)];
        let told = Refusal::EventsOpen { events: vec![event(1), event(2)] };
        assert_eq!(may_leave(Vec::new(), events.clone()), Err(told));
        let many: Vec<_> = (0..50).rev().map(team).collect();
        let told = Refusal::LastOwnerOf { organizations: (0..20).map(team).collect() };
        assert_eq!(may_leave(many, events), Err(told));
    }

    #[test]
    fn a_change_says_what_of_an_account_is_new() {
        let ada = User {
            user_id: UserId::new(Timestamp::from_unix_ms(0), Shard::pick(0), 0),
            email: "ada@example.com".to_owned(),
            name: Some("Ada".to_owned()),
            password_hash: "hash".to_owned(),
            created_at: Timestamp::from_unix_ms(0),
        };
        let same = UserChange { name: Some(ada.name.clone()), email: Some(ada.email.clone()) };
        let unchanged = UserUpdate { user: ada.clone(), is_renamed: false, has_moved: false };
        assert_eq!(same.clone().apply(Some(ada.clone())), Ok(unchanged.clone()));
        assert_eq!(UserChange::default().apply(Some(ada.clone())), Ok(unchanged));
        assert_eq!(same.apply(None), Err(Refusal::NotFound { what: "user" }));
        let other = UserChange { name: Some(None), email: Some("Ada@example.com".to_owned()) };
        let user = User { name: None, email: "Ada@example.com".to_owned(), ..ada.clone() };
        let expected = UserUpdate { user, is_renamed: true, has_moved: true };
        assert_eq!(other.apply(Some(ada)), Ok(expected));
    }

    #[test]
    fn a_cutoff_ends_what_was_issued_before_it_and_nothing_after_whatever_the_clock_shows() {
        let at = Timestamp::from_unix_ms;
        // Logins and cutoffs in turn, by a clock that stands still and is set back after cutoffs.
        let mut cutoff = None;
        for now in [5_000, 5_000, 5_001, 4_000, 4_000, 9_000] {
            let before = issued_at(at(now), cutoff);
            let next = cutoff_at(at(now), cutoff);
            assert!(before < next, "issued at {before:?}, ended by {next:?}");
            cutoff = Some(next);
            assert!(issued_at(at(now), cutoff) >= next);
            assert!(issued_at(at(now - 3_000), cutoff) >= next, "the clock was set back");
        }
        assert_eq!(issued_at(at(7), None), at(7));
        assert_eq!(cutoff, Some(at(9_001)));
    }
}
