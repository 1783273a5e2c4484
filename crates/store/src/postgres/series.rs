//! Series of events. Every write may be done twice (see [`super::Postgres::write`]).

use super::columns::{Places, columns, run};
use super::events::{claim, clock, no_id};
use super::interrupt::Interrupt;
use super::rows::uuid;
use super::write::{Sql, made};
use super::{Postgres, on};
use crate::{Created, CreationKey, ManySeries, PageRequest, Paged, rows};
use async_trait::async_trait;
use engine::access::{Permission, may};
use engine::series::decide;
use engine::{By, Error, Fault, OrgId, Refusal, Series, SeriesChange, SeriesId, Timestamp};
use parking_lot::Mutex;
use sqlx::Postgres as Driver;
use sqlx::QueryBuilder;
use sqlx::postgres::PgConnection;

const MISSING: Refusal = Refusal::NotFound { what: "series" };

columns!(
    /// What is stored of a series.
    SERIES of Series {
        series_id uuid => |of| uuid(of.series_id),
        organizer_id uuid => |of| uuid(of.organizer_id),
        title text => |of| of.title.clone(),
        version bigint => |of| of.version,
        created_at bigint => |of| of.created_at.unix_ms(),
        updated_at bigint => |of| of.updated_at.unix_ms(),
    }
);

/// Adds a series, unless an earlier attempt has.
static INSERT: Sql = Sql::new(|| {
    let insert = SERIES.insert("series", &[], &mut Places::default());
    made(format!("{insert} ON CONFLICT (series_id) DO NOTHING"))
});

/// Writes a changed series.
static UPDATE: Sql = Sql::new(|| {
    let rows = SERIES.rows(&mut Places::default());
    made(format!(
        "UPDATE series s SET {} FROM {rows} WHERE s.series_id = n.series_id",
        SERIES.sets(1)
    ))
});

#[async_trait]
impl ManySeries for Postgres {
    async fn create_series(
        &self,
        series: &Series,
        by: By,
        key: Option<&CreationKey>,
    ) -> Result<Created<SeriesId>, Error> {
        const OPERATION: &str = "create_series";
        let series_id = series.series_id;
        let create = on!(session => async {
            if let Some(id) = claim(&mut session, OPERATION, key, series_id.as_bytes()).await? {
                let found = SeriesId::from_slice(&id).ok_or_else(no_id)?;
                return Ok(Created { id: found, replayed: found != series_id });
            }
            may(by, Permission::EventWrite, &series.organizer_id)?;
            run(&mut session, *INSERT, &SERIES, std::slice::from_ref(series)).await?;
            Ok(Created { id: series_id, replayed: false })
        });
        self.write(&self.sessions, "creating a series", create).await
    }

    async fn series(&self, series_id: SeriesId) -> Result<Option<Series>, Fault> {
        self.read("reading a series", on!(session => find_series(&mut session, series_id))).await
    }

    async fn series_of(
        &self,
        org_id: OrgId,
        page: PageRequest<SeriesId>,
    ) -> Result<Paged<Series>, Fault> {
        self.read("listing series", on!(session => list(&mut session, org_id, page))).await
    }

    async fn change_series(
        &self,
        series_id: SeriesId,
        by: By,
        change: SeriesChange,
    ) -> Result<Series, Error> {
        // What an earlier attempt wrote, whose answer was lost.
        let (change, written) = (&change, &Mutex::new(None::<(i64, Timestamp)>));
        let change = on!(session => async {
            let before = lock(&mut session, series_id).await?.ok_or(MISSING)?;
            if *written.lock() == Some((before.version, before.updated_at)) {
                return Ok(before);
            }
            let now = clock(&mut session).await?;
            let series = decide(&before, by, change, now)?;
            if series == before {
                return Ok(before);
            }
            *written.lock() = Some((series.version, series.updated_at));
            run(&mut session, *UPDATE, &SERIES, std::slice::from_ref(&series)).await?;
            Ok(series)
        });
        self.write(&self.sessions, "changing a series", change).await
    }
}

/// A series as it is now. Its organizer never changes, so adding an event to it needs no lock on it.
pub(super) async fn find_series(
    session: &mut PgConnection,
    series_id: SeriesId,
) -> Result<Option<Series>, Interrupt> {
    const SQL: &str = "SELECT * FROM series WHERE series_id = $1";
    let row = sqlx::query(SQL).bind(uuid(series_id)).fetch_optional(session).await?;
    Ok(row.as_ref().map(rows::series).transpose()?)
}

async fn lock(
    session: &mut PgConnection,
    series_id: SeriesId,
) -> Result<Option<Series>, Interrupt> {
    const SQL: &str = "SELECT * FROM series WHERE series_id = $1 FOR NO KEY UPDATE";
    let row = sqlx::query(SQL).bind(uuid(series_id)).fetch_optional(session).await?;
    Ok(row.as_ref().map(rows::series).transpose()?)
}

async fn list(
    session: &mut PgConnection,
    org_id: OrgId,
    page: PageRequest<SeriesId>,
) -> Result<Paged<Series>, Interrupt> {
    let mut query = QueryBuilder::<Driver>::new("SELECT * FROM series WHERE organizer_id = ");
    query.push_bind(uuid(org_id));
    if let Some(after) = page.after {
        query.push(" AND series_id < ").push_bind(uuid(after));
    }
    query.push(" ORDER BY series_id DESC LIMIT ").push_bind(i64::from(page.limit));
    let found = query.build().fetch_all(session).await?;
    let has_more = found.len() >= page.limit as usize;
    let items = found.iter().map(rows::series).collect::<Result<_, _>>()?;
    Ok(Paged { items, has_more })
}
