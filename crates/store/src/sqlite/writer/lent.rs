//! The writer's connection, lent to what writes lists of bookings.
//!
//! Its commits need not wait for the disk: what a crash takes of lists is read from the log again. When
//! it is given back, also by a panic, commits wait again. If that cannot be set, the file is closed:
//! what was committed afterwards would be acknowledged, and a crash could take it (I11).

use super::Open;
use crate::simulated::is_planted;
use rusqlite::Connection;
use std::ops::{Deref, DerefMut};

/// SQLite's word for commits that wait for the disk.
const DURABLE: &str = "FULL";

/// The connection, while it is open and lent.
pub(in crate::sqlite) struct Lent<'g>(&'g mut Option<Open>);

impl<'g> Lent<'g> {
    /// Lends it, unless it is closed.
    pub(super) fn of(open: &'g mut Option<Open>) -> Option<Self> {
        open.is_some().then_some(Self(open))
    }
}

impl Deref for Lent<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0.as_ref().expect("only an open one is lent").connection
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0.as_mut().expect("only an open one is lent").connection
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if is_planted("commits not durable after a portion of lists") {
            return;
        }
        // Not the level of before: that may be what an earlier failure has left.
        if let Err(error) = self.pragma_update(None, "synchronous", DURABLE) {
            tracing::error!(
                %error,
                "commits cannot be made durable again: nothing is written until a restart"
            );
            *self.0 = None;
        }
    }
}
