//! Runs in the log of a store. Nothing writes them yet, so tests pack rows behind the store's back.

use crate::raw::Raw;
use engine::log::{Detail, Run};
use engine::{BookingId, By, Deltas, LogEntry, LogKind, SectionId, Timestamp, UserId};
use uuid::Uuid;

/// A row of the log with one entry.
struct Row {
    seq: i64,
    entry: LogEntry,
}

impl Raw {
    /// Packs rows of the log that stand next to each other, are of one section and one time, and
    /// can be packed. Returns the `seq` of each run and its number of entries.
    pub async fn pack_log(&mut self) -> Vec<(i64, usize)> {
        let rows = self.log_rows().await;
        let (mut runs, mut rest) = (Vec::new(), &rows[..]);
        while !rest.is_empty() {
            let packs = |count: &usize| {
                let is_adjacent = (rest[0].seq..).zip(&rest[..*count]).all(|(n, row)| n == row.seq);
                let entries: Vec<_> = rest[..*count].iter().map(|row| row.entry.clone()).collect();
                is_adjacent && Run::pack(&entries).is_ok()
            };
            let count = (2..=rest.len()).take_while(packs).last().unwrap_or(1);
            let (together, after) = rest.split_at(count);
            if count > 1 {
                self.pack(together).await;
                runs.push((together[0].seq, count));
            }
            rest = after;
        }
        runs
    }

    /// All rows of sections that can stand in a run.
    async fn log_rows(&mut self) -> Vec<Row> {
        let hex = |column: &str| match self {
            Self::Sqlite(_) => format!("lower(hex(coalesce({column}, x'')))"),
            Self::Postgres(_) => format!("coalesce(replace({column}::text, '-', ''), '')"),
        };
        let [section_id, booking_id, actor] = ["section_id", "booking_id", "actor"].map(hex);
        let maybe = |column: &str| format!("coalesce(CAST({column} AS text), '')");
        let columns = [
            "seq".to_owned(),
            "at".to_owned(),
            "kind".to_owned(),
            section_id,
            booking_id,
            maybe("booking_version"),
            "held".to_owned(),
            "sold".to_owned(),
            "version".to_owned(),
            maybe("expires_at"),
            maybe("detail"),
            maybe("actor_kind"),
            actor,
        ];
        let sql = format!(
            "SELECT {} FROM booking_log
             WHERE kind IN ('held', 'confirmed', 'expired') AND entries IS NULL ORDER BY seq",
            columns.join(" || '|' || ")
        );
        self.texts(&sql).await.iter().map(|row| read(row.as_deref().expect("no null"))).collect()
    }

    /// Makes one row of several.
    async fn pack(&mut self, rows: &[Row]) {
        let entries: Vec<_> = rows.iter().map(|row| row.entry.clone()).collect();
        let (run, bytes) = Run::pack(&entries).expect("tried before");
        let (first, last) = (rows[0].seq, rows[rows.len() - 1].seq);
        let Deltas { held, sold, .. } = run.deltas;
        self.run("BEGIN").await;
        self.run(&format!("DELETE FROM booking_log WHERE seq > {first} AND seq <= {last}")).await;
        self.run(&format!(
            "UPDATE booking_log SET kind = '{}', entries = {}, held = {held}, sold = {sold},
                version = {}, booking_id = NULL, booking_version = NULL, expires_at = NULL,
                detail = NULL, actor_kind = NULL, actor = NULL WHERE seq = {first}",
            Run::KIND,
            self.bytes(&bytes),
            run.version,
        ))
        .await;
        self.run("COMMIT").await;
    }
}

fn read(row: &str) -> Row {
    let parts: Vec<_> = row.split('|').collect();
    let number = |at: usize| parts[at].parse::<i64>().expect("a number");
    let maybe = |at: usize| (!parts[at].is_empty()).then(|| number(at));
    let bytes = |at: usize| Uuid::parse_str(parts[at]).expect("32 digits").into_bytes();
    let detail = Some(parts[10]).filter(|text| !text.is_empty()).map(|text| {
        let detail: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
        assert!(detail["before"].is_null(), "a step that cannot be packed");
        let also = detail["also"].as_array().expect("a list").iter().map(|of| {
            let section_id = of[0].as_str().expect("an id").parse().expect("an id");
            (section_id, of[1].as_i64().expect("a version"))
        });
        Box::new(Detail::Booking { also: also.collect(), before: None })
    });
    let section_id = SectionId::from_slice(&bytes(3)).expect("16 bytes");
    let kind = LogKind::parse(parts[2]).expect("a kind");
    let deltas = Deltas { held: number(6), sold: number(7), ..Deltas::default() };
    let entry = LogEntry {
        at: Timestamp::from_unix_ms(number(1)),
        booking_id: BookingId::from_slice(&bytes(4)),
        booking_version: maybe(5),
        version: number(8),
        expires_at: maybe(9).map(Timestamp::from_unix_ms),
        detail,
        actor: maybe(11).map(|kind| match kind {
            1 => By::User(UserId::from_slice(&bytes(12)).expect("16 bytes")),
            _ => By::System,
        }),
        ..LogEntry::of_section(section_id, kind, deltas)
    };
    Row { seq: number(0), entry }
}
