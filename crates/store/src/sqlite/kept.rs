//! Rows that the writer keeps between batches: sections with their counters, and terms of events.
//!
//! One connection writes, so what it has read or written is what is stored, and a batch need not read
//! it again. The kept rows follow the transaction: they are taken out when a write begins, and come back
//! when it is committed; a write that fails keeps nothing. That they are never older than what is
//! stored does not depend on those who write:
//!
//! - a statement that writes to a table of [`TABLES`] drops them all. The one exception
//!   is [`Writing::count`], which keeps what it writes;
//! - so does a change by another connection, which SQLite tells by its data version: a migration, or
//!   a person who opens the file beside the server.

use super::writer::{Writing, failed};
use crate::rows::{self, Columns as _, ms};
use crate::simulated::is_planted;
use engine::{EventId, Fault, Inventory, Section, SectionId, Terms};
use rusqlite::{Row, Transaction};
use std::collections::HashMap;

/// Sections, and events, of which rows are kept (some 8 MB). Where one more is read, all are dropped.
const KEPT_MAX: usize = 20_000;

/// The tables whose rows are kept.
const TABLES: [&str; 3] = ["inventory", "sections", "events"];

/// The rows that are kept, as they are stored.
#[derive(Default)]
pub(super) struct Kept {
    /// The version of the file that they are of, as this connection sees it.
    data_version: i64,
    sections: HashMap<SectionId, (Section, Inventory)>,
    /// With whether live bookings are listed by buyer.
    terms: HashMap<EventId, (Terms, bool)>,
}

impl Kept {
    /// Takes out what of it holds in the file as this transaction finds it. Says whether somebody else has
    /// written to the file.
    pub(super) fn take_found_by(
        &mut self,
        transaction: &Transaction<'_>,
    ) -> Result<(Self, bool), Fault> {
        const SQL: &str = "PRAGMA data_version";
        let read = || transaction.prepare_cached(SQL)?.query_row((), |row| row.get(0));
        let data_version = read().map_err(failed("looking for changes of others"))?;
        let kept = std::mem::replace(self, Self { data_version, ..Self::default() });
        let is_another = kept.data_version != data_version;
        let drops = is_another && !is_planted("kept rows not dropped after another writer");
        let kept = if drops { Self::default() } else { kept };
        let kept = Self { data_version, ..kept };
        Ok((kept, is_another))
    }

    /// Drops all of it if this statement may write what is kept.
    pub(super) fn heed(&mut self, sql: &str) {
        if may_write(sql) {
            self.sections.clear();
            self.terms.clear();
        }
    }
}

/// Whether a statement may write to a table whose rows are kept.
fn may_write(sql: &str) -> bool {
    !sql.starts_with("SELECT") && TABLES.iter().any(|table| sql.contains(table))
}

/// Adds a row, and drops all others first where there are too many.
fn keep<K: Eq + std::hash::Hash, V>(rows: &mut HashMap<K, V>, key: K, row: V) {
    if rows.len() >= KEPT_MAX {
        rows.clear();
    }
    rows.insert(key, row);
}

impl Writing<'_> {
    /// A section with its counters.
    pub(super) fn section(&self, id: SectionId) -> Result<Option<(Section, Inventory)>, Fault> {
        const SQL: &str = "SELECT i.*, s.name, s.price_minor, s.currency, s.layout_version
            FROM inventory i CROSS JOIN sections s USING (section_id) WHERE i.section_id = ?";
        if let Some(kept) = self.kept.borrow().sections.get(&id) {
            return Ok(Some(kept.clone()));
        }
        let read = |row: &Row<'_>| Ok((rows::section(row)?, rows::inventory(row)?));
        let found = self.one("loading inventory", SQL, [id.as_bytes()], read)?;
        if let Some(found) = &found {
            keep(&mut self.kept.borrow_mut().sections, id, found.clone());
        }
        Ok(found)
    }

    /// The terms of an event, and whether its live bookings are listed by buyer.
    pub(super) fn terms(&self, id: EventId) -> Result<Option<(Terms, bool)>, Fault> {
        const SQL: &str = "SELECT * FROM events WHERE event_id = ?";
        if let Some(kept) = self.kept.borrow().terms.get(&id) {
            return Ok(Some(kept.clone()));
        }
        let read = |row: &Row<'_>| Ok((rows::terms(row)?, row.flag("counts_buyers")?));
        let found = self.one("loading events", SQL, [id.as_bytes()], read)?;
        if let Some(found) = &found {
            keep(&mut self.kept.borrow_mut().terms, id, found.clone());
        }
        Ok(found)
    }

    /// Writes the counters of sections with their next expiry, each in place of the version that it was
    /// loaded with.
    pub(super) fn count(&self, inventories: &[(Inventory, i64)]) -> Result<(), Fault> {
        // The predicate on `version` proves that the row is the one that was decided on.
        const SQL: &str = "UPDATE inventory SET capacity = ?2, held = ?3, sold = ?4, blocked = ?5,
                version = ?6, next_expiry = ?7
            WHERE section_id = ?1 AND version = ?8";
        let row = |(inventory, loaded): &(Inventory, i64)| {
            (
                *inventory.section_id.as_bytes(),
                inventory.capacity,
                inventory.held,
                inventory.sold,
                inventory.blocked,
                inventory.version,
                ms(inventory.next_expiry),
                *loaded,
            )
        };
        let written = self.run_all_unheeded("writing inventory", SQL, inventories, row)?;
        if written != inventories.len() {
            let what = "an inventory changed under its lock".to_owned();
            return Err(Fault::Corrupt { what });
        }
        let versions = inventories.iter().map(|(of, _)| (of.section_id, of.version));
        self.pending.borrow_mut().count(versions);
        let mut kept = self.kept.borrow_mut();
        for (inventory, _) in inventories {
            if let Some((_, counters)) = kept.sections.get_mut(&inventory.section_id) {
                *counters = inventory.clone();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Sqlite;
    use crate::{Accounts as _, Batches as _, Events as _, Schema as _};
    use engine::event::EventChange;
    use engine::{Command, EventWithSections, Hold, Overrides, SeatRequest};
    use suite::world::{ManualClock, Mint, opened};

    /// A store with an event on sale that has two sections.
    struct Stand {
        store: Sqlite,
        mint: Mint,
        new: EventWithSections,
        _folder: tempfile::TempDir,
    }

    impl Stand {
        async fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let clock = ManualClock::new();
            let shown = clock.clone();
            let options = crate::StoreOptions {
                clock: std::sync::Arc::new(move || shown.now()),
                ..crate::slices::tests::options()
            };
            let store = Sqlite::open(&folder.path().join("test.db"), options).expect("it opens");
            store.migrate(None).await.expect("the schema is made");
            let mint = Mint::new(&clock);
            let mut new = mint.event_on_sale(mint.user());
            let event_id = new.event.terms.event_id;
            new.sections = ["A", "B"].map(|name| mint.section_of(event_id, name)).into();
            let created =
                store.create_event(&new, suite::world::owner(&new), &opened(&[9, 9]), None).await;
            created.expect("it is recorded");
            Self { store, mint, new, _folder: folder }
        }

        /// Commits a hold of a seat of each section.
        async fn sell(&self) {
            let event_id = self.new.event.terms.event_id;
            let ask = |of: &Section| SeatRequest::Count { section_id: of.section_id, seats: 1 };
            let hold = Hold {
                booking_id: self.mint.booking(event_id),
                user_id: self.mint.user(),
                seller: None,
                overrides: Overrides::NONE,
                event_id,
                requests: self.new.sections.iter().map(ask).collect(),
                key: None,
            };
            let committed = self.store.commit(&[Command::Hold(hold)]).await.expect("it answers");
            assert!(committed.answers[0].is_ok(), "{:?}", committed.answers);
        }

        /// How many sections and events are kept.
        async fn kept(&self) -> (usize, usize) {
            let count = |writing: &Writing<'_>| {
                let kept = writing.kept.borrow();
                Ok::<_, Fault>((kept.sections.len(), kept.terms.len()))
            };
            self.store.writer.write("looking", count).await.expect("it answers")
        }
    }

    #[tokio::test]
    async fn rows_are_kept_over_what_leaves_them_alone_and_dropped_by_what_may_not() {
        let stand = Stand::new().await;
        assert_eq!(stand.kept().await, (0, 0));
        stand.sell().await;
        assert_eq!(stand.kept().await, (2, 1));
        stand.store.end_family(&[1; 32]).await.expect("it answers");
        assert_eq!(stand.kept().await, (2, 1), "a logout has nothing to do with sections");
        let event_id = stand.new.event.terms.event_id;
        let by = suite::world::owner(&stand.new);
        let change = EventChange { title: Some("T".to_owned()), ..EventChange::default() };
        stand.store.revise_event(event_id, by, None, change).await.expect("it may be changed");
        assert_eq!(stand.kept().await, (0, 0), "a change of the event");
        stand.sell().await;
        stand.store.run("UPDATE sections SET price_minor = 7").await;
        assert_eq!(stand.kept().await, (0, 0), "a change by another connection");
        stand.sell().await;
        let mut turn = stand.store.writer.turn("looking").await.expect("nobody else writes");
        turn.connection().expect("it is open");
        drop(turn);
        assert_eq!(stand.kept().await, (0, 0), "nobody knows what was done with the connection");
    }

    #[tokio::test]
    async fn a_write_that_fails_keeps_nothing_of_what_it_did() {
        let stand = Stand::new().await;
        stand.sell().await;
        let id = stand.new.sections[0].section_id;
        let fail = move |writing: &Writing<'_>| {
            let (_, mut inventory) = writing.section(id)?.expect("it is there");
            let loaded = inventory.version;
            inventory.held += 1;
            inventory.version += 1;
            writing.count(&[(inventory.clone(), loaded)])?;
            let (_, counted) = writing.section(id)?.expect("it is there");
            assert_eq!(counted, inventory, "it sees what it wrote");
            Err::<(), _>(Fault::Corrupt { what: "a test".to_owned() })
        };
        stand.store.writer.write("failing", fail).await.expect_err("it fails");
        assert_eq!(stand.kept().await, (0, 0));
        let read = move |writing: &Writing<'_>| writing.section(id);
        let found = stand.store.writer.write("reading", read).await.expect("it answers");
        let (_, inventory) = found.expect("it is there");
        assert_eq!((inventory.held, inventory.version), (1, 2));
    }

    #[test]
    fn what_writes_kept_rows_is_known_by_its_words() {
        for sql in [
            "UPDATE events SET cancelling = 0 WHERE event_id = ?",
            "INSERT INTO sections (section_id) VALUES (?)",
            "DELETE FROM inventory",
            "WITH a AS (SELECT 1) UPDATE inventory SET held = 1",
        ] {
            assert!(may_write(sql), "{sql}");
        }
        for sql in [
            "SELECT * FROM events WHERE event_id = ?",
            "INSERT INTO bookings (booking_id, event_id) VALUES (?, ?)",
            "INSERT INTO booking_log (section_id, event_id) VALUES (?, ?)",
            "DELETE FROM holds WHERE section_id = ?",
            "UPDATE seat_marks SET marks = ? WHERE section_id = ?",
            "DELETE FROM refresh_tokens WHERE family_id = ?",
        ] {
            assert!(!may_write(sql), "a batch or a login would keep nothing: {sql}");
        }
    }

    #[test]
    fn lists_are_fed_without_a_word_to_what_is_kept() {
        for source in [include_str!("lists.rs"), include_str!("lists/feed.rs")] {
            for part in source.split('"').filter(|part| TABLES.iter().any(|of| part.contains(of))) {
                let writes = ["INSERT", "UPDATE", "DELETE", "REPLACE"];
                assert!(!writes.iter().any(|verb| part.contains(verb)), "{part}");
            }
        }
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let mut rows = HashMap::new();
        for number in 0..=KEPT_MAX {
            keep(&mut rows, number, true);
        }
        assert_eq!(rows.keys().copied().collect::<Vec<_>>(), [KEPT_MAX], "it begins anew");
    }
}
