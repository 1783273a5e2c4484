//! Accounts: users, and the rule of refresh tokens.

use crate::ids::UserId;
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

/// What a refresh token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// It is spent now and the next one of its family is given out.
    Rotate,
    /// It was spent long ago: somebody has a copy, so the whole family ends.
    EndFamily,
    /// It has expired.
    Refuse,
}

impl RefreshToken {
    /// Judges an attempt to use this token at `now`.
    #[must_use]
    pub fn judge(&self, now: Timestamp) -> Refresh {
        match self.spent_at {
            Some(spent_at) if now.since_ms(spent_at) > REFRESH_GRACE_MS => Refresh::EndFamily,
            _ if now >= self.expires_at => Refresh::Refuse,
            _ => Refresh::Rotate,
        }
    }
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
        assert_eq!(fresh.judge(at(99_999)), Refresh::Rotate);
        assert_eq!(fresh.judge(at(100_000)), Refresh::Refuse);
        assert_eq!(spent.judge(at(11_000)), Refresh::Rotate);
        assert_eq!(spent.judge(at(11_001)), Refresh::EndFamily);
    }
}
