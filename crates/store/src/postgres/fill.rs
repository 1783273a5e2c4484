//! Writing in bulk what a fill makes up, in large transactions.

use super::Postgres;
use super::columns::{self, Places};
use super::events::{add_event, insert_section};
use super::interrupt::Interrupt;
use super::write::{
    BOOKING, HELD, INSERT_KEYS, INVENTORY, KEY, Sql, append_log, count_sql, insert_bookings, made,
};
use crate::batch::Counted;
use crate::fill::{Bulk, Part};
use crate::rows;
use engine::event::create;
use engine::{By, Changes, Fault, Inventory, Opening, Policy, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _};

const DOING: &str = "filling the store";

static INSERT_BOOKINGS: Sql = Sql::new(|| made(insert_bookings(&mut Places::default())));
static INSERT_HOLDS: Sql = Sql::new(|| made(HELD.insert("holds", &[], &mut Places::default())));
static COUNT: Sql = Sql::new(|| made(count_sql(&mut Places::default())));

/// Rows of one statement.
const ROWS_MAX: usize = 5_000;

/// A session without time-outs.
pub(crate) struct Filling {
    session: PgConnection,
    policy: Policy,
}

impl Postgres {
    /// Makes ready to be filled.
    pub(crate) async fn bulk(&self) -> Result<Filling, Fault> {
        let mut session = self.patient_session(DOING).await?;
        // A crash of the server may lose the parts written last, whole; nobody was promised them.
        let set = session.execute("SET synchronous_commit = off").await;
        set.map_err(|error| Interrupt::from(error).into_fault(DOING))?;
        Ok(Filling {
            session,
            policy: Policy { max_seats_per_user: None, ..self.committer.policy },
        })
    }
}

impl Bulk for Filling {
    async fn has_events(&mut self) -> Result<bool, Fault> {
        let row =
            sqlx::query("SELECT EXISTS (SELECT 1 FROM events)").fetch_one(&mut self.session).await;
        let there = row.and_then(|row| row.try_get(0));
        there.map_err(|error| Interrupt::from(error).into_fault(DOING))
    }

    async fn now(&mut self) -> Result<Timestamp, Fault> {
        let row = sqlx::query("SELECT now_ms() AS now").fetch_one(&mut self.session).await;
        let row = row.map_err(|error| Interrupt::from(error).into_fault(DOING))?;
        rows::instant(&row, "now")
    }

    async fn write(&mut self, part: &Part) -> Result<(), Fault> {
        let session = &mut self.session;
        let written = async {
            session.execute("BEGIN").await?;
            match part {
                Part::Events(events) => {
                    for (new, capacities) in events {
                        add_event(session, &new.event, &self.policy).await?;
                        let openings: Vec<_> =
                            capacities.iter().copied().map(Opening::from).collect();
                        let owner = new.event.terms.organizer_id.owner();
                        let by = By::User(owner.expect("no team"));
                        let (log, opened) = create(new, by, None, &openings, new.event.created_at)
                            .expect("an event of no series is refused by none");
                        append_log(session, &[log]).await?;
                        for opened in &opened {
                            insert_section(session, opened).await?;
                        }
                    }
                }
                Part::Bookings(changes) => write(session, changes).await?,
            }
            session.execute("COMMIT").await?;
            Ok::<_, Interrupt>(())
        };
        written.await.map_err(|interrupt| interrupt.into_fault(DOING))
    }

    async fn finish(&mut self) -> Result<(), Fault> {
        // What autovacuum would do some time later, and in the middle of a measurement.
        let vacuumed = self.session.execute("VACUUM (ANALYZE)").await;
        vacuumed.map(drop).map_err(|error| Interrupt::from(error).into_fault(DOING))
    }
}

/// Writes a part by the statements of a batch, some thousands of rows at a time.
async fn write(session: &mut PgConnection, changes: &Changes) -> Result<(), Interrupt> {
    for rows in changes.created.chunks(ROWS_MAX) {
        // Events of a fill are created without a cap.
        let query = (BOOKING.bind)(sqlx::query(*INSERT_BOOKINGS), rows);
        query.bind(Vec::<uuid::Uuid>::new()).execute(&mut *session).await?;
    }
    for rows in changes.keys.chunks(ROWS_MAX) {
        columns::run(session, *INSERT_KEYS, &KEY, rows).await?;
    }
    for rows in changes.held.chunks(ROWS_MAX) {
        columns::run(session, *INSERT_HOLDS, &HELD, rows).await?;
    }
    for rows in changes.log.chunks(ROWS_MAX) {
        append_log(session, rows).await?;
    }
    let counted = |(inventory, loaded): &(Inventory, i64)| Counted {
        inventory: inventory.clone(),
        loaded: *loaded,
    };
    let counted: Vec<_> = changes.inventories.iter().map(counted).collect();
    // The predicate on `version` finds out when a server has sold of these sections meanwhile.
    if columns::run(session, *COUNT, &INVENTORY, &counted).await? == counted.len() as u64 {
        return Ok(());
    }
    let what = "seats of the generated events were sold meanwhile".to_owned();
    Err(Fault::Corrupt { what }.into())
}
