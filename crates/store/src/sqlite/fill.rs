//! Writing in bulk what a fill makes up: few statements, large transactions.

use super::Sqlite;
use super::commit::{append_log, write_bookings};
use super::events::{insert_section, put_event};
use super::writer::{Beside, WriterGuard, Writing, failed};
use crate::fill::{Bulk, Part};
use engine::event::create;
use engine::{By, Changes, Fault, Opening, Policy, Timestamp};
use rusqlite::Connection;
use std::collections::BTreeSet;

const DOING: &str = "filling the store";

/// The writer, set to write much.
pub(crate) struct Filling {
    turn: WriterGuard,
    beside: Beside,
    policy: Policy,
}

impl Sqlite {
    /// Makes ready to be filled; the settings last until the store is closed.
    pub(crate) async fn bulk(&self) -> Result<Filling, Fault> {
        // NORMAL keeps the file whole in a crash, and may lose the parts written last. The cache is as
        // many KiB: the trees that are written to all over fit in it.
        const SETTINGS: &str = "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -262144";
        let turn = self.writer.turn(DOING).await?;
        let mut filling = Filling {
            turn,
            beside: self.writer.beside().clone(),
            policy: Policy { max_seats_per_user: None, ..self.policy },
        };
        let connection = filling.connection()?;
        self.writer.lists().load(connection)?;
        connection.execute_batch(SETTINGS).map_err(failed(DOING))?;
        Ok(filling)
    }
}

impl Filling {
    fn connection(&mut self) -> Result<&mut Connection, Fault> {
        self.turn.connection().ok_or_else(|| crate::unavailable(DOING)("the store is closed"))
    }
}

impl Bulk for Filling {
    async fn has_events(&mut self) -> Result<bool, Fault> {
        const SQL: &str = "SELECT EXISTS (SELECT 1 FROM events)";
        self.connection()?.query_one(SQL, (), |row| row.get(0)).map_err(failed(DOING))
    }

    async fn now(&mut self) -> Result<Timestamp, Fault> {
        Ok(self.beside.now())
    }

    async fn write(&mut self, part: &Part) -> Result<(), Fault> {
        let writing = Writing::begin(&mut self.turn, &self.beside, DOING)?;
        match part {
            Part::Events(events) => {
                for (new, capacities) in events {
                    put_event(&writing, &new.event, &self.policy)?;
                    let openings: Vec<_> = capacities.iter().copied().map(Opening::from).collect();
                    let owner = new.event.terms.organizer_id.owner();
                    let by = By::User(owner.expect("no team"));
                    let (log, opened) = create(new, by, None, &openings, new.event.created_at)
                        .expect("an event of no series is refused by none");
                    append_log(&writing, &[log])?;
                    for opened in &opened {
                        insert_section(&writing, opened)?;
                    }
                }
            }
            Part::Bookings(changes) => write(&writing, changes)?,
        }
        writing.commit(DOING)?;
        // Nobody else has a turn while this goes on.
        let lists = self.beside.lists().clone();
        if lists.is_long() {
            lists.feed_at_once(self.connection()?)?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Fault> {
        // No ANALYZE: a store that was sold from has no statistics either, and is to be measured alike.
        let lists = self.beside.lists().clone();
        let connection = self.connection()?;
        lists.feed_at_once(connection)?;
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").map_err(failed(DOING))
    }
}

fn write(writing: &Writing<'_>, changes: &Changes) -> Result<(), Fault> {
    // Events of a fill are created without a cap.
    write_bookings(writing, changes, &BTreeSet::new())?;
    append_log(writing, &changes.log)?;
    // They come with their next expiry.
    writing.count(&changes.inventories)
}
