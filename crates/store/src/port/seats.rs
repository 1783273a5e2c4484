//! Numbered seats.

use super::Timed;
use crate::maps::Laid;
use async_trait::async_trait;
use engine::seats::Marks;
use engine::{Fault, SectionId};

/// Numbered seats, for readers.
#[async_trait]
pub trait Seats: Timed {
    /// The layout of a section; `None` when it has none.
    async fn layout(&self, section_id: SectionId) -> Result<Option<Laid>, Fault>;
    /// Which seats of a section are not free; `None` when it has no layout.
    async fn marks(&self, section_id: SectionId) -> Result<Option<Marks>, Fault>;
}
