//! Numbered seats.

use super::Timed;
use crate::maps::VersionedLayout;
use async_trait::async_trait;
use engine::seats::{Layout, Marks};
use engine::{Fault, SectionId};
use std::sync::Arc;

/// Numbered seats, for readers.
#[async_trait]
pub trait Seats: Timed {
    /// The layout of a section; `None` when it has none.
    async fn layout(&self, section_id: SectionId) -> Result<Option<VersionedLayout>, Fault>;
    /// The layout of a section at a version, if the store has it in memory. Never waits.
    fn cached_layout(&self, section_id: SectionId, version: i64) -> Option<Arc<Layout>>;
    /// Which seats of a section are not free; `None` when it has no layout.
    async fn marks(&self, section_id: SectionId) -> Result<Option<Marks>, Fault>;
}
