//! Users and their logins.
//!
//! A login is a family of refresh tokens, and the access tokens that were issued beside them. What issues
//! them and what ends them is in one order for each user, and so are the instants that come of it: those
//! of the store's clock, read in the transaction.

use async_trait::async_trait;
use engine::account::{Cutoff, RefreshToken, User, UserChange};
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
    /// The users with these ids, in any order; those that are not there are left out.
    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, Fault>;
    /// Changes a user's name (an inner `None` clears it) or address: not found, or
    /// [`EmailTaken`](engine::Refusal::EmailTaken).
    async fn update_user(&self, user_id: UserId, change: UserChange) -> Result<User, Error>;
    /// Replaces the password hash `old`, and ends all logins as [`Self::end_logins`] does; `None` when
    /// the hash is another one by now.
    async fn set_password(
        &self,
        user_id: UserId,
        old: &str,
        new: &str,
    ) -> Result<Option<Timestamp>, Fault>;
    /// Replaces the hash `old` of a password by another one of the same password; its logins go on.
    async fn renew_password_hash(&self, user_id: UserId, old: &str, new: &str)
    -> Result<(), Fault>;
    /// Keeps the first token of a new family, and says when the access token beside it counts as issued
    /// ([`issued_at`](engine::account::issued_at)); `None` when the user's password hash is no longer
    /// `password_hash`: the password that opened it may have been changed meanwhile.
    async fn open_family(
        &self,
        token: &RefreshToken,
        password_hash: &str,
    ) -> Result<Option<Timestamp>, Fault>;
    /// Exchanges the token `spent` for one with the hash and the end of `next`, by the rule of
    /// [`RefreshToken::exchange`], and says when the access token beside it counts as issued; or
    /// [`InvalidRefreshToken`](engine::Refusal::InvalidRefreshToken).
    async fn rotate(
        &self,
        spent: &[u8; 32],
        next: ([u8; 32], Timestamp),
    ) -> Result<(RefreshToken, Timestamp), Error>;
    /// Ends the family of a token; unknown tokens have none.
    async fn end_family(&self, token_hash: &[u8; 32]) -> Result<(), Fault>;
    /// Ends all families of a user, and with a cutoff the access tokens that were issued before: returns
    /// the first instant at which those that are good were issued. There need not be such a user.
    async fn end_logins(&self, user_id: UserId) -> Result<Timestamp, Fault>;
    /// The newest cutoffs, at most `limit`, the newest first. All that were committed before this began
    /// are among them, or `limit` newer ones are.
    async fn cutoffs(&self, limit: u32) -> Result<Vec<Cutoff>, Fault>;
}
