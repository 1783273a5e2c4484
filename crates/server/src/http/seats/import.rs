//! Large bodies: read and parsed within limits of their own, off the threads that serve requests.
//!
//! A body of 16 MiB takes some 100 MB while it is read, and half a second of a core. So few are
//! received at the same time, fewer are processed at the same time, and further ones are refused
//! immediately.

use crate::http::App;
use crate::http::body::read;
use crate::http::problem::Problem;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use engine::Fault;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest body of an import, in bytes.
pub const IMPORT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How many of them are worked on at once.
pub const IMPORTS_MAX: usize = 2;
/// How many of them are received at once.
const ARRIVING_MAX: usize = 8;
/// How long layouts within other requests wait for their turn.
const TURN_WAIT: Duration = Duration::from_secs(1);

/// The places for imports.
pub struct Imports {
    arriving: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Default for Imports {
    fn default() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { arriving: places(ARRIVING_MAX), turns: places(IMPORTS_MAX) }
    }
}

/// The right to work on an import, given back when it is dropped.
pub struct ImportPermit(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

fn busy() -> Problem {
    Problem::overloaded("Too many imports at the same time; nothing was changed.")
}

impl Imports {
    /// Receives a body of at most [`IMPORT_BYTES_MAX`]; one that may be larger than any other's takes
    /// a place.
    pub async fn receive(
        &self,
        app: &App,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Bytes, Problem> {
        let small = app.core.config.max_body_bytes;
        let is_small = body.size_hint().upper().is_some_and(|bytes| bytes <= small as u64);
        let _place =
            if is_small { None } else { Some(self.arriving.try_acquire().map_err(|_| busy())?) };
        read(headers, body, app, IMPORT_BYTES_MAX.max(small)).await
    }

    /// A turn at once, or 503.
    pub fn turn(&self) -> Result<ImportPermit, Problem> {
        self.turns.clone().try_acquire_owned().map(ImportPermit).map_err(|_| busy())
    }

    /// A turn within [`TURN_WAIT`], or 503.
    pub async fn turn_soon(&self) -> Result<ImportPermit, Problem> {
        let turn = tokio::time::timeout(TURN_WAIT, self.turns.clone().acquire_owned()).await;
        turn.map_err(|_| busy())?.map(ImportPermit).map_err(|_| busy())
    }
}

/// Does `work` where it holds up nobody. The turn is held to its end, also when nobody waits for it.
pub async fn aside<T: Send + 'static>(
    turn: ImportPermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(T, ImportPermit), Problem> {
    let done = tokio::task::spawn_blocking(move || (work(), turn)).await;
    done.map_err(|panic| Fault::Corrupt { what: panic.to_string() }.into())
}
