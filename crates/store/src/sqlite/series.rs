//! Series of events.

use super::columns::insert;
use super::events::{keep_key, replay, replayed};
use super::writer::Writing;
use super::{Sqlite, failed};
use crate::{Created, CreationKey, ManySeries, PageRequest, Paged, rows};
use async_trait::async_trait;
use engine::access::{Permission, may};
use engine::series::decide;
use engine::{By, Error, Fault, OrgId, Refusal, Series, SeriesChange, SeriesId};
use sqlx::{QueryBuilder, Sqlite as Driver};

const MISSING: Refusal = Refusal::NotFound { what: "series" };
const SERIES: &str = "SELECT * FROM series WHERE series_id = ?";

/// A series as the present transaction sees it.
pub(super) fn find_series(
    writing: &Writing<'_>,
    series_id: SeriesId,
) -> Result<Option<Series>, Fault> {
    writing.one("reading a series", SERIES, [series_id.as_bytes()], |row| rows::series(row))
}

#[async_trait]
impl ManySeries for Sqlite {
    async fn create_series(
        &self,
        series: &Series,
        by: By,
        key: Option<&CreationKey>,
    ) -> Result<Created<SeriesId>, Error> {
        const DOING: &str = "creating a series";
        const OPERATION: &str = "create_series";
        let (series, key) = (series.clone(), key.cloned());
        let create = move |writing: &Writing<'_>| {
            if let Some(id) = replay(writing, OPERATION, key.as_ref())? {
                return replayed(SeriesId::from_slice(&id));
            }
            may(by, Permission::EventWrite, &series.organizer_id)?;
            let series_id = series.series_id;
            insert!(writing, DOING, "series", std::slice::from_ref(&series), |of| {
                series_id: of.series_id.as_bytes(),
                organizer_id: of.organizer_id.as_bytes(),
                title: &of.title,
                version: of.version,
                created_at: of.created_at.unix_ms(),
                updated_at: of.updated_at.unix_ms(),
            })?;
            keep_key(writing, OPERATION, key.as_ref(), series_id.as_bytes())?;
            Ok(Created { id: series_id, replayed: false })
        };
        self.writer.write(DOING, create).await
    }

    async fn series(&self, series_id: SeriesId) -> Result<Option<Series>, Fault> {
        const DOING: &str = "reading a series";
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        let query = sqlx::query(SERIES).bind(series_id.as_bytes().to_vec());
        let row = query.fetch_optional(&mut *connection).await.map_err(failed(DOING))?;
        row.as_ref().map(rows::series).transpose()
    }

    async fn series_of(
        &self,
        org_id: OrgId,
        page: PageRequest<SeriesId>,
    ) -> Result<Paged<Series>, Fault> {
        const DOING: &str = "listing series";
        let mut query = QueryBuilder::<Driver>::new("SELECT * FROM series WHERE organizer_id = ");
        query.push_bind(org_id.as_bytes().to_vec());
        if let Some(after) = page.after {
            query.push(" AND series_id < ").push_bind(after.as_bytes().to_vec());
        }
        query.push(" ORDER BY series_id DESC LIMIT ").push_bind(page.limit);
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        let found = query.build().fetch_all(&mut *connection).await.map_err(failed(DOING))?;
        let has_more = found.len() >= page.limit as usize;
        let items = found.iter().map(rows::series).collect::<Result<_, _>>()?;
        Ok(Paged { items, has_more })
    }

    async fn change_series(
        &self,
        series_id: SeriesId,
        by: By,
        change: SeriesChange,
    ) -> Result<Series, Error> {
        const DOING: &str = "changing a series";
        const UPDATE: &str =
            "UPDATE series SET title = ?2, version = ?3, updated_at = ?4 WHERE series_id = ?1";
        let change = move |writing: &Writing<'_>| {
            let before = find_series(writing, series_id)?.ok_or(MISSING)?;
            let series = decide(&before, by, &change, writing.now)?;
            if series == before {
                return Ok(before);
            }
            let row =
                (series_id.as_bytes(), &series.title, series.version, series.updated_at.unix_ms());
            writing.run(DOING, UPDATE, row)?;
            Ok(series)
        };
        self.writer.write(DOING, change).await
    }
}
