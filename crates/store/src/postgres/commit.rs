//! The batch: claim, lock, load, decide, write, commit.

use super::batch::{Key, Locked, claim, claims_of, lock_and_load};
use super::interrupt::Interrupt;
use super::kept::{self, KeptRow};
use super::seats::Loaded;
use super::{Postgres, WRITE_PATIENCE, on, write};
use crate::maps::{Stamps, draw_stamp, tell_rebuilt};
use engine::decide::{Ended, Needs, SeatMaps};
use engine::event::SEATS_PER_USER_MAX;
use engine::{
    BookingStatus, Command, Committed, Error, EventId, Fault, Ledger, LoadedRows, Outcome, Refusal,
    Terms,
};
use parking_lot::Mutex;
use sqlx::Executor as _;
use sqlx::postgres::PgConnection;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long the search for keys that somebody else is claiming may take; those it has not come to
/// by then count as claimed.
const SEARCH_PATIENCE: Duration = Duration::from_millis(500);

/// How long a batch tries, also when it is divided on the way.
const BATCH_PATIENCE: Duration = Duration::from_millis(4_500);

/// Events whose cap is remembered; to forget one costs one more attempt.
const CAPPED_MAX: usize = 10_000;

pub(super) type Answers = Vec<Result<Outcome, Refusal>>;

/// What earlier attempts at the same batch have found out.
#[derive(Default)]
pub(super) struct Earlier {
    /// What the last one that decided would have answered.
    answers: Mutex<Option<Answers>>,
    /// Whether one has locked too little, because it had not looked beyond the commands.
    survey: AtomicBool,
    /// Whether one has met seats that are not as they were marked.
    suspect: AtomicBool,
    /// Whether one may have been committed: its answer is missing.
    unknown: AtomicBool,
}

/// A batch that was decided and written.
pub(super) struct Decided {
    pub committed: Committed,
    /// The seat maps, to be kept once it is committed.
    pub maps: (SeatMaps, Stamps),
    /// The same of its sections.
    pub kept: Vec<KeptRow>,
}

impl Earlier {
    /// For a batch of which every attempt looks beyond its commands.
    pub(super) fn surveyed() -> Self {
        Self { survey: AtomicBool::new(true), ..Self::default() }
    }

    /// Notes that a batch with these answers may have been committed.
    pub(super) fn is_unknown_with(&self, answers: Answers) {
        *self.answers.lock() = Some(answers);
        self.unknown.store(true, Ordering::Relaxed);
    }

    /// For a change of a section by its organizer: rare, so its map is always rebuilt.
    pub(super) fn of_section() -> Self {
        Self { suspect: AtomicBool::new(true), ..Self::surveyed() }
    }
}

impl Postgres {
    /// Decides and commits a batch; see [`crate::Bookings::commit`].
    pub(super) async fn commit_batch(&self, commands: &[Command]) -> Result<Committed, Fault> {
        let until = Instant::now() + BATCH_PATIENCE;
        let earlier = Earlier::default();
        match self.try_batch(commands, &earlier, until.min(Instant::now() + WRITE_PATIENCE)).await {
            Err(Error::Refused(Refusal::IdempotencyInFlight)) => {}
            Err(Error::Failed(fault)) => return Err(fault),
            Err(Error::Refused(refusal)) => {
                return Err(Fault::Corrupt { what: format!("a batch was refused: {refusal:?}") });
            }
            Ok(committed) => return Ok(committed),
        }
        // Another instance is slow with some of these keys: their commands are refused, the others
        // continue.
        let busy = self.busy_keys(commands).await?;
        let is_busy = |command: &Command| {
            claims_of(std::slice::from_ref(command)).keys().any(|key| busy.contains(key))
        };
        let free: Vec<_> = commands.iter().filter(|command| !is_busy(command)).cloned().collect();
        // One of the attempts may have been committed all the same.
        let answers = earlier.answers.into_inner().map(|answers| {
            let both = commands.iter().zip(answers);
            both.filter(|(command, _)| !is_busy(command)).map(|(_, answer)| answer).collect()
        });
        let again = Earlier { answers: Mutex::new(answers), ..Earlier::surveyed() };
        let mut committed = match self.try_batch(&free, &again, until).await {
            Ok(committed) => committed,
            Err(Error::Failed(fault)) => return Err(fault),
            Err(Error::Refused(_)) => {
                return Err(Fault::Overloaded {
                    what: "too many requests use the same idempotency \
                    key",
                });
            }
        };
        let mut answers = committed.answers.into_iter();
        let answer = |command: &Command| {
            if is_busy(command) {
                return Err(Refusal::IdempotencyInFlight);
            }
            answers.next().expect("one answer for each command that was decided")
        };
        committed.answers = commands.iter().map(answer).collect();
        Ok(committed)
    }

    async fn try_batch(
        &self,
        commands: &[Command],
        earlier: &Earlier,
        until: Instant,
    ) -> Result<Committed, Error> {
        if earlier.answers.lock().is_none()
            && let Some(committed) = self.try_one_trip(commands, earlier, until).await?
        {
            return Ok(committed);
        }
        let unknown = earlier.unknown.load(Ordering::Relaxed);
        let decide = on!(session => self.decide_in(&mut session, commands, earlier));
        let decided =
            self.write_until(until, unknown, &self.batches, "committing a batch", decide).await;
        let Decided { committed, maps: (maps, stamps), kept } = decided?;
        self.maps.keep(maps, &stamps);
        self.kept.keep(kept, Instant::now());
        for section_id in &committed.rebuilt {
            tell_rebuilt(*section_id);
        }
        Ok(committed)
    }

    /// Decides a batch and writes what it changes, inside a transaction.
    pub(super) async fn decide_in(
        &self,
        session: &mut PgConnection,
        commands: &[Command],
        earlier: &Earlier,
    ) -> Result<Decided, Interrupt> {
        // Kept until there are answers of this attempt: it may end before, and there is a next one.
        let before = earlier.answers.lock().clone();
        let needs = match before {
            None => Needs::of(commands),
            Some(_) => Needs::of_another_attempt(commands),
        };
        let mut claims = claims_of(commands);
        let taken = claim(session, &mut claims).await?;
        let capped = |event_id: &EventId| self.capped.lock().contains(event_id);
        let survey = earlier.survey.load(Ordering::Relaxed) || needs.events.iter().any(capped);
        // Should this attempt end before it has decided, the next one looks further.
        earlier.survey.store(true, Ordering::Relaxed);
        let loaded = lock_and_load(session, needs, &taken, &self.policy, survey).await;
        let loaded = loaded?;
        let kept = kept::Loaded::of(&loaded, &self.policy);
        let Locked { mut rows, now, counting, .. } = loaded;
        let suspect = earlier.suspect.load(Ordering::Relaxed);
        let Loaded { mut stamps, rebuilt } = self.load_maps(session, &mut rows, suspect).await?;
        rows.bookings.reserve(commands.len());
        self.note_caps(&rows);
        self.clock.set(now);
        let mut ledger = Ledger::open(rows, now, self.policy)?;
        let answers: Answers = match before {
            None => commands.iter().map(|command| ledger.decide(command)).collect(),
            Some(before) => {
                let again = |(command, before)| ledger.decide_again(command, before);
                commands.iter().zip(&before).map(again).collect()
            }
        };
        *earlier.answers.lock() = Some(answers.clone());
        let Ended { changes, mut inventories, maps } = ledger.end_batch();
        if !changes.is_empty() || !rebuilt.is_empty() {
            let stamp = draw_stamp();
            stamps.extend(changes.marks.iter().map(|(section_id, _)| (*section_id, stamp)));
            let written = write::write(session, &changes, &counting, claims, stamp).await;
            let next_expiries = written.inspect_err(|interrupt| {
                let disagree = matches!(interrupt, Interrupt::SeatsDisagree);
                earlier.suspect.fetch_or(disagree, Ordering::Relaxed);
            })?;
            for inventory in &mut inventories {
                if let Some(next_expiry) = next_expiries.get(&inventory.section_id) {
                    inventory.next_expiry = *next_expiry;
                }
            }
        } else if !claims.is_empty() {
            // Nothing is left behind, not even the claims, and there is nothing to wait for the disk for.
            session.execute("ROLLBACK AND CHAIN").await?;
        }
        let expired = |booking: &&engine::Booking| booking.status == BookingStatus::Expired;
        let expired = changes.updated.iter().filter(expired).count();
        let bookings = changes.created.into_iter().chain(changes.updated).collect();
        let marks = changes.marks;
        let committed = Committed { now, answers, inventories, bookings, marks, expired, rebuilt };
        let kept = kept.with(&committed.inventories);
        Ok(Decided { committed, maps: (maps, stamps), kept })
    }

    /// Remembers which events have a cap, so that their batches lock the buyers at once.
    fn note_caps(&self, rows: &LoadedRows) {
        let has_cap =
            |terms: &&Terms| terms.max_seats_per_user.is_some_and(|cap| cap < SEATS_PER_USER_MAX);
        for terms in rows.terms.values().filter(has_cap) {
            let mut capped = self.capped.lock();
            if capped.len() >= CAPPED_MAX {
                capped.clear();
            }
            capped.insert(terms.event_id);
        }
    }

    /// The keys of a batch that somebody else is claiming right now, found by halving.
    async fn busy_keys(&self, commands: &[Command]) -> Result<HashSet<Key>, Fault> {
        let until = Instant::now() + SEARCH_PATIENCE;
        let mut busy = HashSet::new();
        let mut suspects: Vec<Vec<_>> = vec![claims_of(commands).into_iter().collect()];
        while let Some(mut part) = suspects.pop() {
            if part.is_empty() {
                continue;
            }
            let late = Instant::now() >= until;
            if !late && self.are_free(part.iter().cloned().collect()).await? {
                continue;
            }
            if late || part.len() == 1 {
                busy.extend(part.into_iter().map(|(key, _)| key));
            } else {
                let half = part.split_off(part.len() / 2);
                suspects.extend([part, half]);
            }
        }
        Ok(busy)
    }

    /// Whether nobody is claiming any of these keys, by claiming them for a moment.
    async fn are_free(&self, mut claims: BTreeMap<Key, engine::KeyUse>) -> Result<bool, Fault> {
        const DOING: &str = "looking for claimed keys";
        let mut session = self.batches.take(DOING).await?;
        let claimed = async {
            session.begin().await?;
            session.execute("SET LOCAL lock_timeout = '30ms'").await?;
            claim(&mut session, &mut claims).await
        };
        let free = match claimed.await {
            Ok(_) => true,
            Err(Interrupt::KeyBusy) => false,
            Err(other) => return Err(other.into_fault(DOING)),
        };
        session.roll_back().await;
        Ok(free)
    }
}
