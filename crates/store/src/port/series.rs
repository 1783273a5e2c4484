//! Series of events.

use super::{Created, CreationKey, PageRequest, Paged};
use async_trait::async_trait;
use engine::{By, Error, Fault, OrgId, Series, SeriesChange, SeriesId};

/// Series of events.
#[async_trait]
pub trait ManySeries: Send + Sync {
    /// Records a series, if `by` may edit those of its organization. A key makes its retries have one
    /// effect.
    async fn create_series(
        &self,
        series: &Series,
        by: By,
        key: Option<&CreationKey>,
    ) -> Result<Created<SeriesId>, Error>;
    /// The series with this id; the caller checks visibility.
    async fn series(&self, series_id: SeriesId) -> Result<Option<Series>, Fault>;
    /// A page of the series of an organization.
    async fn series_of(
        &self,
        org_id: OrgId,
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
