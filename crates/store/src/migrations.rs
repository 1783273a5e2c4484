//! The migrations that a binary knows.

use crate::Migration;
use sqlx::migrate::Migrator;
use std::collections::HashSet;

/// The migration before which the log had no runs.
const RUNS_SINCE: i64 = 6;

/// Whether the log has to be unpacked before a schema with these migrations is taken back to `target`.
pub fn takes_runs_away(applied: &HashSet<i64>, target: i64) -> bool {
    applied.contains(&RUNS_SINCE) && target < RUNS_SINCE
}

/// The migrations of a store, in order.
pub fn migrations_of(migrator: &Migrator) -> impl Iterator<Item = Migration> {
    let up = migrator.iter().filter(|step| step.migration_type.is_up_migration());
    up.map(|step| {
        let is_back = |other: &&sqlx::migrate::Migration| {
            other.version == step.version && other.migration_type.is_down_migration()
        };
        let back = migrator.iter().find(is_back).map_or("", |back| back.sql.as_str());
        let (version, name) = (step.version, step.description.to_string());
        Migration { version, name, lost: lost_by(back) }
    })
}

/// What the head of a `down.sql` says is lost by it; empty when it says nothing.
fn lost_by(sql: &str) -> String {
    let head = sql.lines().map_while(|line| line.strip_prefix("--"));
    let words = head.map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>();
    words.join(" ").strip_prefix("Lost:").map_or_else(String::new, |told| told.trim().to_owned())
}
