//! The log, for those who follow it.

use crate::messages::Messages;
use async_trait::async_trait;
use engine::log::UnknownTimeline;
use engine::{Fault, LogCursor};

/// Entries of the log that one page of messages is made of, at most.
pub const MESSAGE_ROWS_MAX: u32 = 1_000;

/// The log, for those who follow it.
#[async_trait]
pub trait Log: Send + Sync {
    /// What happened after `cursor`, as far as it is settled: nothing that comes later is
    /// before anything that was given. A page ends after `limit` entries of the log, at most
    /// [`MESSAGE_ROWS_MAX`], or when what they say has [`PAGE_BYTES_MAX`](super::PAGE_BYTES_MAX).
    /// It may have no message and still go on.
    async fn messages_after(
        &self,
        cursor: LogCursor,
        limit: u32,
    ) -> Result<Result<Messages, UnknownTimeline>, Fault>;
}
