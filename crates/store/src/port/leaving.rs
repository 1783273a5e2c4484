//! How users leave, and what is erased of them.

use super::ChangeNote;
use async_trait::async_trait;
use engine::{Error, OrgId, Timestamp, UserId};

/// What became of a user who left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The first instant at which access tokens of the user that are good were issued.
    pub not_before: Timestamp,
    /// The organizations of which the user was a member, and the personal one.
    pub organizations: Vec<OrgId>,
}

/// Users who leave.
#[async_trait]
pub trait Leaving: Send + Sync {
    /// Ends the account of a user, in one transaction: memberships, with an entry in the access log of each
    /// team; logins, as [`end_logins`](super::Accounts::end_logins); keys of the personal organization, and
    /// its name; invitations for the address, wherever they are to; that the user is an operator; and the row
    /// with address, name and hash. Bookings and events stay, with an id that names nobody.
    ///
    /// Not found when there is no such user, or when the password hash is no longer `password_hash`, if one
    /// is named; then the refusals of [`may_leave`](engine::account::may_leave).
    async fn leave(
        &self,
        user_id: UserId,
        password_hash: Option<&str>,
        change: &ChangeNote,
    ) -> Result<Left, Error>;
}
