//! Writing in bulk what a fill makes up: `COPY`, in large transactions.

use super::Postgres;
use super::events::{add_event, insert_section};
use super::interrupt::Interrupt;
use super::rows::uuids;
use crate::fill::{Bulk, Part};
use crate::rows::{self, items_text, ms};
use engine::{Booking, Changes, Fault, Inventory, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _};
use std::fmt::{Display, Write as _};

const DOING: &str = "filling the store";

/// A session without time-outs.
pub(crate) struct Filling(PgConnection);

impl Postgres {
    /// Makes ready to be filled.
    pub(crate) async fn bulk(&self) -> Result<Filling, Fault> {
        let mut session = self.patient_session(DOING).await?;
        // A crash of the server may lose the parts written last, whole; nobody was promised them.
        let set = session.execute("SET synchronous_commit = off").await;
        set.map_err(|error| Interrupt::from(error).into_fault(DOING))?;
        Ok(Filling(session))
    }
}

impl Bulk for Filling {
    async fn has_events(&mut self) -> Result<bool, Fault> {
        let row = sqlx::query("SELECT EXISTS (SELECT 1 FROM events)").fetch_one(&mut self.0).await;
        let there = row.and_then(|row| row.try_get(0));
        there.map_err(|error| Interrupt::from(error).into_fault(DOING))
    }

    async fn now(&mut self) -> Result<Timestamp, Fault> {
        let row = sqlx::query("SELECT now_ms() AS now").fetch_one(&mut self.0).await;
        let row = row.map_err(|error| Interrupt::from(error).into_fault(DOING))?;
        rows::instant(&row, "now")
    }

    async fn write(&mut self, part: &Part) -> Result<(), Fault> {
        let session = &mut self.0;
        let written = async {
            session.execute("BEGIN").await?;
            match part {
                Part::Events(events) => {
                    for (new, capacities) in events {
                        add_event(session, &new.event).await?;
                        let opened_at = new.event.created_at;
                        for (at, (section, capacity)) in
                            new.sections.iter().zip(capacities).enumerate()
                        {
                            insert_section(session, section, &(*capacity).into(), at, opened_at)
                                .await?;
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
        let vacuumed = self.0.execute("VACUUM (ANALYZE)").await;
        vacuumed.map(drop).map_err(|error| Interrupt::from(error).into_fault(DOING))
    }
}

async fn write(session: &mut PgConnection, changes: &Changes) -> Result<(), Interrupt> {
    const BOOKINGS: &str =
        "COPY bookings (booking_id, user_id, event_id, items, sections, seats, status,
        expires_at, max_expires_at, confirmed_at, cancelled_at, created_at, updated_at, version)
        FROM STDIN";
    const KEYS: &str = "COPY hold_keys (user_id, key, booking_id, fingerprint) FROM STDIN";
    const HOLDS: &str = "COPY holds (section_id, expires_at, booking_id, seats) FROM STDIN";
    const LOG: &str =
        "COPY booking_log (at, kind, section_id, booking_id, capacity, held, sold, blocked,
        version, expires_at) FROM STDIN";
    let mut lines = Lines::default();
    for booking in &changes.created {
        push_booking(&mut lines, booking);
    }
    lines.copy(session, BOOKINGS).await?;
    for (user_id, key, used) in &changes.keys {
        lines
            .field(user_id)
            .text(key.as_str())
            .field(used.booking_id)
            .field(used.fingerprint)
            .end();
    }
    lines.copy(session, KEYS).await?;
    for held in &changes.held {
        lines.field(held.section_id).field(held.expires_at.unix_ms());
        lines.field(held.booking_id).field(held.seats).end();
    }
    lines.copy(session, HOLDS).await?;
    for entry in &changes.log {
        let deltas = entry.deltas;
        lines.field(entry.at.unix_ms()).field(entry.kind.as_str()).field(entry.section_id);
        lines.maybe(entry.booking_id).field(deltas.capacity).field(deltas.held).field(deltas.sold);
        lines.field(deltas.blocked).field(entry.version).maybe(ms(entry.expires_at)).end();
    }
    lines.copy(session, LOG).await?;
    count(session, &changes.inventories).await
}

fn push_booking(lines: &mut Lines, booking: &Booking) {
    let sections: Vec<_> =
        booking.sections().map(|(section_id, _)| section_id.to_string()).collect();
    lines.field(booking.booking_id).field(booking.user_id).field(booking.event_id);
    lines.text(&items_text(&booking.items)).field(format_args!("{{{}}}", sections.join(",")));
    lines.field(booking.seats()).field(booking.status.as_str());
    lines.field(booking.expires_at.unix_ms()).field(booking.max_expires_at.unix_ms());
    lines.maybe(ms(booking.confirmed_at)).maybe(ms(booking.cancelled_at));
    lines.field(booking.created_at.unix_ms()).field(booking.updated_at.unix_ms());
    lines.field(booking.version).end();
}

async fn count(
    session: &mut PgConnection,
    inventories: &[(Inventory, i64)],
) -> Result<(), Interrupt> {
    // The predicate on `version` finds out when a server has sold of these sections meanwhile.
    const SQL: &str = "UPDATE inventory i SET capacity = n.capacity, held = n.held, sold = n.sold,
            blocked = n.blocked, version = n.version, next_expiry = n.next_expiry
        FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
            $6::bigint[], $7::bigint[], $8::bigint[])
        AS n (section_id, capacity, held, sold, blocked, version, next_expiry, loaded)
        WHERE i.section_id = n.section_id AND i.version = n.loaded";
    let column = |of: fn(&Inventory) -> i64| -> Vec<i64> {
        inventories.iter().map(|(inventory, _)| of(inventory)).collect()
    };
    let query = sqlx::query(SQL)
        .bind(uuids(inventories.iter().map(|(inventory, _)| inventory.section_id)))
        .bind(column(|of| of.capacity))
        .bind(column(|of| of.held))
        .bind(column(|of| of.sold))
        .bind(column(|of| of.blocked))
        .bind(column(|of| of.version))
        .bind(inventories.iter().map(|(of, _)| ms(of.next_expiry)).collect::<Vec<_>>())
        .bind(inventories.iter().map(|(_, loaded)| *loaded).collect::<Vec<_>>());
    let counted = query.execute(session).await?.rows_affected();
    if counted == inventories.len() as u64 {
        return Ok(());
    }
    let what = "somebody sold seats of the events that were being filled".to_owned();
    Err(Fault::Corrupt { what }.into())
}

/// Rows in the text form of `COPY`.
#[derive(Default)]
struct Lines {
    text: String,
    /// Whether the line has a field already.
    begun: bool,
}

impl Lines {
    /// A field that needs no escape: a number, an id, a word of ours.
    fn field(&mut self, value: impl Display) -> &mut Self {
        if self.begun {
            self.text.push('\t');
        }
        self.begun = true;
        let _ = write!(self.text, "{value}");
        self
    }

    fn maybe(&mut self, value: Option<impl Display>) -> &mut Self {
        match value {
            Some(value) => self.field(value),
            None => self.field("\\N"),
        }
    }

    fn text(&mut self, text: &str) -> &mut Self {
        let special = |byte: u8| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r');
        assert!(!text.bytes().any(special), "a fill makes up no such text: {text}");
        self.field(text)
    }

    fn end(&mut self) {
        self.text.push('\n');
        self.begun = false;
    }

    /// Sends the lines to `statement`, and begins anew.
    async fn copy(
        &mut self,
        session: &mut PgConnection,
        statement: &'static str,
    ) -> Result<(), Interrupt> {
        let mut copy = session.copy_in_raw(statement).await?;
        copy.send(self.text.as_bytes()).await?;
        copy.finish().await?;
        self.text.clear();
        Ok(())
    }
}
