//! Writing in bulk what a fill makes up: few statements, large transactions.

use super::events::{insert_section, put_event};
use super::rows::{BOOKING_COLUMNS, Binding, KIND_WORDS, bind_booking, write_rows};
use super::{Sqlite, failed};
use crate::Clock;
use crate::fill::{Bulk, Part};
use crate::rows::ms;
use engine::decide::Held;
use engine::{Changes, Fault, IdempotencyKey, Inventory, KeyUse, LogEntry, Timestamp, UserId};
use sqlx::pool::PoolConnection;
use sqlx::{Acquire as _, Executor as _, Row as _, Sqlite as Driver, SqliteConnection};

const DOING: &str = "filling the store";

/// The writer, set to write much.
pub(crate) struct Filling {
    writer: PoolConnection<Driver>,
    clock: Clock,
}

impl Sqlite {
    /// Makes ready to be filled; the settings last until the store is closed.
    pub(crate) async fn bulk(&self) -> Result<Filling, Fault> {
        // NORMAL keeps the file whole in a crash, and may lose the parts written last. The cache is as
        // many KiB: the trees that are written to all over fit in it.
        const SETTINGS: &str = "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -262144";
        let mut writer = self.writer.acquire().await.map_err(failed(DOING))?;
        writer.execute(SETTINGS).await.map_err(failed(DOING))?;
        Ok(Filling { writer, clock: self.clock.clone() })
    }
}

impl Bulk for Filling {
    async fn has_events(&mut self) -> Result<bool, Fault> {
        let query = sqlx::query("SELECT EXISTS (SELECT 1 FROM events)");
        let row = query.fetch_one(&mut *self.writer).await;
        row.and_then(|row| row.try_get(0)).map_err(failed(DOING))
    }

    async fn now(&mut self) -> Result<Timestamp, Fault> {
        Ok((self.clock)())
    }

    async fn write(&mut self, part: &Part) -> Result<(), Fault> {
        let mut transaction = self.writer.begin().await.map_err(failed(DOING))?;
        match part {
            Part::Events(events) => {
                for (new, capacities) in events {
                    put_event(&mut transaction, &new.event).await?;
                    let opened_at = new.event.created_at;
                    for (at, (section, capacity)) in new.sections.iter().zip(capacities).enumerate()
                    {
                        insert_section(
                            &mut transaction,
                            section,
                            &(*capacity).into(),
                            at,
                            opened_at,
                        )
                        .await?;
                    }
                }
            }
            Part::Bookings(changes) => {
                write(&mut transaction, changes).await.map_err(failed(DOING))?;
            }
        }
        transaction.commit().await.map_err(failed(DOING))
    }

    async fn finish(&mut self) -> Result<(), Fault> {
        // No ANALYZE: a store that was sold from has no statistics either, and is to be measured alike.
        let emptied = self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
        emptied.map(drop).map_err(failed(DOING))
    }
}

async fn write(connection: &mut SqliteConnection, changes: &Changes) -> Result<(), sqlx::Error> {
    const BOOKINGS: &str = "INSERT OR FAIL INTO bookings (booking_id, user_id, event_id, items, seats, status,
        expires_at, max_expires_at, confirmed_at, cancelled_at, created_at, updated_at, version) {}";
    const KEYS: &str = "INSERT OR FAIL INTO hold_keys (user_id, key, booking_id, fingerprint) {}";
    const HOLDS: &str = "INSERT OR FAIL INTO holds (section_id, expires_at, booking_id, seats) {}";
    const LOG: &str =
        "INSERT OR FAIL INTO booking_log (at, kind, section_id, booking_id, capacity, held, sold,
        blocked, version, expires_at) {}";
    // The predicate on `version` finds out when somebody else has sold of these sections meanwhile.
    const INVENTORIES: &str =
        "WITH new (section_id, capacity, held, sold, blocked, version, next_expiry, loaded) AS ({})
        UPDATE OR FAIL inventory SET capacity = new.capacity, held = new.held, sold = new.sold,
            blocked = new.blocked, version = new.version, next_expiry = new.next_expiry
        FROM new WHERE inventory.section_id = new.section_id AND inventory.version = new.loaded";
    write_rows(connection, BOOKINGS, BOOKING_COLUMNS, &changes.created, bind_booking).await?;
    write_rows(connection, KEYS, 4, &changes.keys, bind_key).await?;
    write_rows(connection, HOLDS, 4, &changes.held, bind_held).await?;
    write_rows(connection, LOG, 10, &changes.log, bind_entry).await?;
    let counted = write_rows(connection, INVENTORIES, 8, &changes.inventories, bind_inventory);
    assert_eq!(counted.await?, changes.inventories.len() as u64, "nobody else writes to this file");
    Ok(())
}

fn bind_key(query: Binding, (user_id, key, used): &(UserId, IdempotencyKey, KeyUse)) -> Binding {
    query
        .bind(user_id.as_bytes().to_vec())
        .bind(key.as_str().to_owned())
        .bind(used.booking_id.as_bytes().to_vec())
        .bind(used.fingerprint)
}

fn bind_held(query: Binding, held: &Held) -> Binding {
    query
        .bind(held.section_id.as_bytes().to_vec())
        .bind(held.expires_at.unix_ms())
        .bind(held.booking_id.as_bytes().to_vec())
        .bind(i64::from(held.seats))
}

fn bind_entry(query: Binding, entry: &LogEntry) -> Binding {
    query
        .bind(entry.at.unix_ms())
        .bind(KIND_WORDS.of(entry.kind))
        .bind(entry.section_id.as_bytes().to_vec())
        .bind(entry.booking_id.map(|id| id.as_bytes().to_vec()))
        .bind(entry.deltas.capacity)
        .bind(entry.deltas.held)
        .bind(entry.deltas.sold)
        .bind(entry.deltas.blocked)
        .bind(entry.version)
        .bind(ms(entry.expires_at))
}

fn bind_inventory(query: Binding, (inventory, loaded): &(Inventory, i64)) -> Binding {
    query
        .bind(inventory.section_id.as_bytes().to_vec())
        .bind(inventory.capacity)
        .bind(inventory.held)
        .bind(inventory.sold)
        .bind(inventory.blocked)
        .bind(inventory.version)
        .bind(ms(inventory.next_expiry))
        .bind(*loaded)
}
