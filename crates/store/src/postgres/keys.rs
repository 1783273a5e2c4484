//! Filling in the keys of text ([`crate::keys`]).

use super::Postgres;
use super::interrupt::Interrupt;
use super::rows::uuid;
use crate::keys::{ADVANCE, KEYED, Keyed, PORTION, PROGRESS, Stored, Tally};
use crate::rows::Columns as _;
use engine::Fault;
use engine::text::FOLDING;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Executor as _, Row as _};
use uuid::Uuid;

/// Attempts at a portion in which somebody took a key meanwhile.
const ATTEMPTS_MAX: u32 = 5;

impl Postgres {
    /// Fills in what has none yet, concurrently with other writers.
    pub(super) async fn fill_in_keys(&self) -> Result<(), Fault> {
        const DOING: &str = "recording how names and addresses compare";
        let mut session = self.patient_session(DOING).await?;
        for keyed in &KEYED {
            let mut tally = Tally::default();
            let mut failures = 0;
            loop {
                session.execute("BEGIN").await.map_err(super::interrupt::failed(DOING))?;
                let done = portion(&mut session, keyed).await;
                let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
                session.execute(end).await.map_err(super::interrupt::failed(DOING))?;
                match done {
                    Ok(texts) if texts.is_empty() => break,
                    Ok(texts) => {
                        failures = 0;
                        for (id, written) in texts.into_iter().flatten() {
                            tally.count(keyed, id, written);
                        }
                    }
                    Err(_) if failures < ATTEMPTS_MAX => failures += 1,
                    Err(interrupt) => return Err(interrupt.into_fault(DOING)),
                }
            }
            tally.tell(keyed);
        }
        Ok(())
    }
}

/// Checks the next texts. For each whose key was due, returns its id and whether it was written;
/// none at all: there are no more.
async fn portion(
    session: &mut PgConnection,
    keyed: &Keyed,
) -> Result<Vec<Option<(Uuid, bool)>>, Interrupt> {
    let progress = sqlx::query(PROGRESS).bind(keyed.kept_in).fetch_optional(&mut *session).await?;
    let after = match &progress {
        Some(row) if row.int("rule")? == FOLDING => row.try_get("after")?,
        _ => Uuid::nil(),
    };
    let found = sqlx::query(keyed.read).bind(after).bind(PORTION).fetch_all(&mut *session).await?;
    let mut looked_at = Vec::with_capacity(found.len());
    for row in &found {
        let text = text(row)?;
        let Some(key) = text.due() else {
            looked_at.push(None);
            continue;
        };
        let query = sqlx::query(keyed.write).bind(key).bind(text.id).bind(text.lowered);
        let written = query.execute(&mut *session).await?.rows_affected() == 1;
        looked_at.push(Some((text.id, written)));
    }
    if let Some(last) = found.last() {
        let query = sqlx::query(ADVANCE).bind(keyed.kept_in).bind(FOLDING);
        query.bind(uuid(last.id("id")?)).execute(session).await?;
    }
    Ok(looked_at)
}

fn text(row: &PgRow) -> Result<Stored, Fault> {
    Ok(Stored {
        id: Uuid::from_bytes(row.id("id")?),
        text: row.text("text")?.to_owned(),
        lowered: row.text("lowered")?.to_owned(),
        key: row.maybe_text("key")?.map(str::to_owned),
    })
}
