//! Users and their logins.

use async_trait::async_trait;
use engine::account::{RefreshToken, User, UserChange};
use engine::{Error, Fault, Timestamp, UserId};

/// Users and their refresh tokens.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Adds a user, or [`EmailTaken`](engine::Refusal::EmailTaken).
    async fn create_user(&self, user: &User) -> Result<(), Error>;
    /// The user with this address, however it is spelled; where two were the same before that was
    /// refused, the one whose spelling it is.
    async fn user_by_email(&self, email: &str) -> Result<Option<User>, Fault>;
    /// The user with this id.
    async fn user(&self, user_id: UserId) -> Result<Option<User>, Fault>;
    /// Changes a user's name (an inner `None` clears it) or address: not found, or
    /// [`EmailTaken`](engine::Refusal::EmailTaken).
    async fn update_user(&self, user_id: UserId, change: UserChange) -> Result<User, Error>;
    /// Replaces the password hash `old`, and ends all families of the user; false when the hash
    /// is another one by now.
    async fn set_password(&self, user_id: UserId, old: &str, new: &str) -> Result<bool, Fault>;
    /// Replaces the hash `old` of a password by another one of the same password; its logins go on.
    async fn renew_password_hash(&self, user_id: UserId, old: &str, new: &str)
    -> Result<(), Fault>;
    /// Keeps the first token of a new family.
    async fn open_family(&self, token: &RefreshToken) -> Result<(), Fault>;
    /// Exchanges the token `spent` for one with the hash and the end of `next`, by the rule of
    /// [`RefreshToken::exchange`]; or [`InvalidRefreshToken`](engine::Refusal::InvalidRefreshToken).
    async fn rotate(
        &self,
        spent: &[u8; 32],
        next: ([u8; 32], Timestamp),
    ) -> Result<RefreshToken, Error>;
    /// Ends the family of a token; unknown tokens have none.
    async fn end_family(&self, token_hash: &[u8; 32]) -> Result<(), Fault>;
}
