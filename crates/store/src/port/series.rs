//! Series of events.

use super::{Created, CreationKey, PageRequest, Paged};
use async_trait::async_trait;
use engine::{By, Error, Fault, Series, SeriesChange, SeriesId, UserId};

/// Series of events.
#[async_trait]
pub trait ManySeries: Send + Sync {
    /// Records a series. A key makes its retries have one effect.
    async fn create_series(
        &self,
        series: &Series,
        key: Option<&CreationKey>,
    ) -> Result<Created<SeriesId>, Error>;
    /// The series with this id; the caller checks visibility.
    async fn series(&self, series_id: SeriesId) -> Result<Option<Series>, Fault>;
    /// A page of the series of an organizer.
    async fn series_of(
        &self,
        organizer_id: UserId,
        page: PageRequest<SeriesId>,
    ) -> Result<Paged<Series>, Fault>;
    /// Changes a series by the rules of [`engine::series::decide`]. Gives the series as it is then.
    async fn change_series(
        &self,
        series_id: SeriesId,
        by: By,
        change: SeriesChange,
    ) -> Result<Series, Error>;
}
