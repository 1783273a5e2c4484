//! Filling in the keys of text ([`crate::keys`]).

use super::Sqlite;
use super::writer::Writing;
use crate::keys::{ADVANCE, KEYED, Keyed, PORTION, PROGRESS, Stored, Tally};
use crate::rows::Columns as _;
use engine::Fault;
use engine::text::FOLDING;
use uuid::Uuid;

const DOING: &str = "recording how names and addresses compare";

impl Sqlite {
    /// Fills in what has none yet.
    pub(super) async fn fill_in_keys(&self) -> Result<(), Fault> {
        for keyed in &KEYED {
            let mut tally = Tally::default();
            loop {
                let texts = self.writer.write(DOING, |writing| portion(writing, keyed)).await?;
                if texts.is_empty() {
                    break;
                }
                for (id, written) in texts.into_iter().flatten() {
                    tally.count(keyed, id, written);
                }
            }
            tally.tell(keyed);
        }
        Ok(())
    }
}

/// Checks the next texts. For each whose key was due, returns its id and whether it was written;
/// none at all: there are no more.
fn portion(writing: &Writing<'_>, keyed: &Keyed) -> Result<Vec<Option<(Uuid, bool)>>, Fault> {
    let progress = writing
        .one(DOING, PROGRESS, [keyed.kept_in], |row| Ok((row.int("rule")?, row.id("after")?)))?;
    let after = match progress {
        Some((rule, after)) if rule == FOLDING => after,
        _ => [0; 16],
    };
    let found = writing.all(DOING, keyed.read, (after, PORTION), |row| {
        Ok(Stored {
            id: Uuid::from_bytes(row.id("id")?),
            text: row.text("text")?.to_owned(),
            lowered: row.text("lowered")?.to_owned(),
            key: row.maybe_text("key")?.map(str::to_owned),
        })
    })?;
    let mut looked_at = Vec::with_capacity(found.len());
    for text in &found {
        let Some(key) = text.due() else {
            looked_at.push(None);
            continue;
        };
        let row = (key, text.id.as_bytes(), &text.lowered);
        let written = writing.run(DOING, keyed.write, row)? == 1;
        looked_at.push(Some((text.id, written)));
    }
    if let Some(last) = found.last() {
        writing.run(DOING, ADVANCE, (keyed.kept_in, FOLDING, last.id.as_bytes()))?;
    }
    Ok(looked_at)
}
