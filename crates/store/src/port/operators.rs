//! Operators of the installation, who read all of it.

use super::{AccessPage, EntryFilter};
use async_trait::async_trait;
use engine::{Error, Fault, Timestamp, UserId};

/// An operator of the installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The user.
    pub user_id: UserId,
    /// Since when.
    pub added_at: Timestamp,
}

/// Operators, and what they alone read.
#[async_trait]
pub trait Operators: Send + Sync {
    /// All operators, in the order of their ids: at most
    /// [`OPERATORS_MAX`](engine::access::OPERATORS_MAX).
    async fn operators(&self) -> Result<Vec<Operator>, Fault>;
    /// Makes a user an operator, and returns whether they were none: not found, or
    /// [`LimitReached`](engine::Refusal::LimitReached).
    async fn add_operator(&self, user_id: UserId) -> Result<bool, Error>;
    /// Makes a user no operator, and returns whether they were one. There need not be such a user.
    async fn remove_operator(&self, user_id: UserId) -> Result<bool, Fault>;
    /// A part of the access log of all organizations, oldest first: at most `limit` entries. No entry
    /// comes before one that was read already.
    async fn whole_access_log(&self, filter: EntryFilter, limit: u32) -> Result<AccessPage, Fault>;
}
