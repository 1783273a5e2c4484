//! Which access tokens were ended before they expire, as it was read at most a second ago.
//!
//! A token is checked by its signature, without the store. What ends the logins of a user writes a cutoff:
//! tokens that were issued to the user before it are over. Each process that serves the API reads all
//! cutoffs twice a second, and a request looks into what was read, without waiting for anything. So a
//! token that was ended serves no request that arrives more than [`LIFE`] after the commit of the cutoff,
//! on any instance, whatever is announced and whatever the gate does (I15).
//!
//! ```text
//! read begins      poll          poll
//!      ├── serves ──┴── serves ───┴── asks the store, all who come meanwhile share the answer
//! ```
//! - What was read is as old as the begin of its read. When it is older than [`LIFE`], a request waits for
//!   a read that is young enough, and fails if that fails: without the store no token is believed.
//! - A cutoff that is known ends tokens however old the knowledge is: cutoffs never go back.
//! - All of them are read, not those that are new: a transaction may be committed after another one that
//!   read the clock later, so no number and no time says what a reader has seen. There are few, because
//!   the store keeps each for as long as a token may live.
//! - Beyond [`CUTOFFS_MAX`] the oldest are left out, and all tokens of that age are over, whosever they
//!   are: their clients exchange their refresh tokens.

use engine::account::Cutoff;
use engine::{Fault, Timestamp, UserId};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::Accounts;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long what was read serves, from the begin of its read.
pub const LIFE: Duration = Duration::from_secs(1);
/// The time from the end of one poll to the begin of the next.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Cutoffs that are known one by one: about 4 MB of them.
pub const CUTOFFS_MAX: u32 = 100_000;

/// What an access token says of its login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login {
    /// Whose it is.
    pub user_id: UserId,
    /// When the token was issued.
    pub issued_at: Timestamp,
}

/// What is known of a login right away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It goes on.
    Good,
    /// It was ended.
    Ended,
    /// What was read is too old to say that it goes on.
    Unknown,
}

/// Reads the newest cutoffs, one more than [`CUTOFFS_MAX`]: it says whether that is all.
type Read = dyn Fn() -> BoxFuture<'static, Result<Vec<Cutoff>, Fault>> + Send + Sync;

/// The cutoffs that are known to this process.
pub struct Cutoffs {
    source: Box<Read>,
    known: RwLock<Known>,
    /// One read at a time, and how the last one failed.
    reading: Mutex<Option<Failure>>,
}

#[derive(Default)]
struct Known {
    /// When the last read began that succeeded.
    read_at: Option<Instant>,
    /// The first instant at which tokens that are good were issued, by user.
    not_before: HashMap<UserId, Timestamp>,
    /// The same for everybody.
    floor: Option<Timestamp>,
    /// What this process wrote, and when: a read that began before may not have seen it.
    own: Vec<(Instant, Cutoff)>,
}

struct Failure {
    ended_at: Instant,
    fault: Fault,
}

impl Known {
    /// What a read that began at `read_at` brought: the newest first.
    fn of(cutoffs: &[Cutoff], read_at: Instant) -> Self {
        let (cutoffs, rest) = cutoffs.split_at(cutoffs.len().min(CUTOFFS_MAX as usize));
        let not_before = cutoffs.iter().map(|cutoff| (cutoff.user_id, cutoff.not_before));
        Self {
            read_at: Some(read_at),
            not_before: not_before.collect(),
            floor: rest.first().map(|oldest| oldest.not_before),
            own: Vec::new(),
        }
    }

    fn raise(&mut self, cutoff: Cutoff) {
        let not_before = self.not_before.entry(cutoff.user_id).or_insert(cutoff.not_before);
        *not_before = cutoff.not_before.max(*not_before);
    }

    fn ends(&self, login: Login) -> bool {
        let is_after = |not_before: &Timestamp| login.issued_at < *not_before;
        // Nothing is hashed while there are none.
        self.not_before.get(&login.user_id).is_some_and(is_after)
            || self.floor.as_ref().is_some_and(is_after)
    }

    /// Whether it says of a request that arrived then which logins go on.
    fn serves(&self, arrived: Instant) -> bool {
        self.read_at.is_some_and(|read_at| arrived.saturating_duration_since(read_at) < LIFE)
    }
}

impl Cutoffs {
    /// Nothing is known yet.
    pub fn new(store: Arc<dyn Accounts>) -> Self {
        Self::of(Box::new(move || {
            let store = store.clone();
            async move { store.cutoffs(CUTOFFS_MAX + 1).await }.boxed()
        }))
    }

    fn of(source: Box<Read>) -> Self {
        Self { source, known: RwLock::default(), reading: Mutex::new(None) }
    }

    /// What is known of the login of a request that arrived then.
    pub fn look(&self, login: Login, arrived: Instant) -> Standing {
        let known = self.known.read();
        if known.ends(login) {
            Standing::Ended
        } else if known.serves(arrived) {
            Standing::Good
        } else {
            Standing::Unknown
        }
    }

    /// Whether the login of a request that arrived then was ended, of which [`Self::look`] did not know:
    /// by a read under way that is young enough, or by another one. All who wait share it, also its fault.
    pub async fn is_ended(&self, login: Login, arrived: Instant) -> Result<bool, Fault> {
        let mut last = self.reading.lock().await;
        if self.look(login, arrived) == Standing::Unknown {
            let shared = last.as_ref().filter(|failure| failure.ended_at >= arrived);
            if let Some(failure) = shared {
                return Err(failure.fault.clone());
            }
            self.read(&mut last).await?;
        }
        Ok(self.look(login, arrived) != Standing::Good)
    }

    /// Reads all cutoffs. Where that fails, requests find out.
    pub async fn poll(&self) {
        let mut last = self.reading.lock().await;
        let _ = self.read(&mut last).await;
    }

    async fn read(&self, last: &mut Option<Failure>) -> Result<(), Fault> {
        let read_at = Instant::now();
        match (self.source)().await {
            Ok(cutoffs) => {
                *last = None;
                self.keep(&cutoffs, read_at);
                Ok(())
            }
            Err(fault) => {
                *last = Some(Failure { ended_at: Instant::now(), fault: fault.clone() });
                Err(fault)
            }
        }
    }

    fn keep(&self, cutoffs: &[Cutoff], read_at: Instant) {
        let mut read = Known::of(cutoffs, read_at);
        let mut known = self.known.write();
        let mut own = std::mem::take(&mut known.own);
        own.retain(|(written_at, _)| *written_at >= read_at);
        for (_, cutoff) in &own {
            read.raise(*cutoff);
        }
        read.own = own;
        let before = std::mem::replace(&mut *known, read);
        // What is dropped holds up nobody.
        drop(known);
        drop(before);
    }

    /// Takes note of a cutoff that this process has committed. From now on it ends logins here.
    pub fn note(&self, user_id: UserId, not_before: Timestamp) {
        let cutoff = Cutoff { user_id, not_before };
        let mut known = self.known.write();
        known.own.push((Instant::now(), cutoff));
        known.raise(cutoff);
    }
}

#[cfg(test)]
mod tests;
