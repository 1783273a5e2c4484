//! The batch: claim, lock, load, decide, write, commit.

use super::attempt::write_until;
use super::clock::Estimate;
use super::interrupt::{Interrupt, Meaning};
use super::kept::{self, Kept, KeptRow};
use super::load::{Key, Loaded, Look, claims_of, lock_and_load};
use super::maps::LoadedMaps;
use super::session::{Session, Sessions};
use crate::maps::{Maps, Stamps, tell_rebuilt};
use crate::random::Dice;
use crate::simulated::{is_planted, probe};
use crate::{VersionedLayout, unavailable};
use engine::decide::{Ended, Needs, SeatMaps};
use engine::event::SEATS_PER_USER_MAX;
use engine::seats::Layout;
use engine::{
    BookingStatus, Command, Committed, Error, EventId, Fault, Ledger, LoadedRows, Outcome, Policy,
    Refusal, SectionId, Terms,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};

const DOING: &str = "committing a batch";

/// How long the search for keys that somebody else is claiming may take; those it has not come to
/// by then count as claimed.
const SEARCH_PATIENCE: Duration = Duration::from_millis(500);

/// How long a batch tries, also when it is divided on the way.
const BATCH_PATIENCE: Duration = Duration::from_millis(4_500);

/// How long a write tries, with all its attempts.
pub(crate) const WRITE_PATIENCE: Duration = Duration::from_millis(3_500);

/// Events whose cap is remembered; to forget one costs one more attempt.
const CAPPED_MAX: usize = 10_000;

pub(super) type Answers = Vec<Result<Outcome, Refusal>>;

/// Commits batches on sessions of its own, and keeps what the next ones may need.
pub struct Committer<S> {
    /// For the batches, so that nobody else's work keeps one waiting.
    pub sessions: S,
    /// What the database's clock shows.
    pub clock: Estimate,
    /// Limits of events that set none of their own.
    pub(crate) policy: Policy,
    pub(crate) maps: Arc<Maps>,
    /// What holds are decided on before anything is locked.
    pub(crate) kept: Arc<Kept>,
    /// Events that were seen with a cap on the seats of a buyer.
    capped: Mutex<HashSet<EventId>>,
    /// Where stamps and waits are drawn from.
    pub dice: Dice,
}

/// What earlier attempts at the same batch have found out.
#[derive(Default)]
pub struct Earlier {
    /// What each one that decided would have answered. Any of them may have been committed: also a COMMIT
    /// that failed because the server had given up its transaction looks like one whose answer was lost.
    pub(super) answers: Mutex<Vec<Arc<Answers>>>,
    /// How many have begun. From the second on, they look beyond their commands; from the third on, they
    /// are content with the locks that they got.
    attempts: AtomicU32,
    /// Whether one has met seats that are not as they were marked.
    suspect: AtomicBool,
    /// Whether one may have been committed: its answer is missing.
    unknown: AtomicBool,
}

/// A batch that was decided and written.
pub struct Decided {
    /// What it came to.
    pub committed: Committed,
    /// The seat maps, to be kept once it is committed.
    pub maps: (SeatMaps, Stamps),
    /// The same of its sections.
    kept: Vec<KeptRow>,
}

impl Earlier {
    /// For a batch of which every attempt looks beyond its commands.
    fn surveyed() -> Self {
        Self { attempts: AtomicU32::new(1), ..Self::default() }
    }

    /// Notes that a batch with these answers may have been committed.
    pub(super) fn is_unknown_with(&self, answers: Answers) {
        self.answers.lock().push(Arc::new(answers));
        self.unknown.store(true, Ordering::Relaxed);
    }

    /// For a change of a section by its organizer: rare, so its map is always rebuilt.
    #[must_use]
    pub fn of_section() -> Self {
        Self { suspect: AtomicBool::new(true), ..Self::surveyed() }
    }
}

impl<S: Sessions> Committer<S> {
    /// With nothing kept.
    pub fn new(sessions: S, clock: Estimate, policy: Policy, dice: Dice) -> Self {
        Self::keeping(<(Arc<Maps>, Arc<Kept>)>::default(), sessions, clock, policy, dice)
    }

    /// With what others may drop.
    pub(crate) fn keeping(
        (maps, kept): (Arc<Maps>, Arc<Kept>),
        sessions: S,
        clock: Estimate,
        policy: Policy,
        dice: Dice,
    ) -> Self {
        Self { sessions, clock, policy, maps, kept, capped: Mutex::default(), dice }
    }

    /// Drops all that was kept of a history that is another one now.
    pub fn forget_history(&self) {
        self.maps.clear();
        self.kept.clear();
    }

    /// The layout of a section, if it is kept and has this version.
    pub fn cached_layout(&self, section_id: SectionId, version: i64) -> Option<Arc<Layout>> {
        self.maps.layout(section_id, version)
    }

    /// Keeps a layout that was read.
    pub fn keep_layout(&self, section_id: SectionId, laid: VersionedLayout) {
        self.maps.keep_layout(section_id, laid);
    }

    /// Keeps seat maps that were decided on, once that is committed.
    pub fn keep_maps(&self, (maps, stamps): (SeatMaps, Stamps)) {
        self.maps.keep(maps, &stamps);
    }

    /// Drops the rows that are kept of an event that was changed.
    pub fn forget_event(&self, event_id: EventId) {
        self.kept.forget_event(event_id);
    }

    pub(super) fn draw_stamp(&self) -> i64 {
        i64::from_ne_bytes((self.dice)().to_ne_bytes())
    }

    /// Decides and commits a batch; see [`crate::Batches::commit`].
    pub async fn commit(&self, commands: &[Command]) -> Result<Committed, Fault> {
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
        probe("keys are claimed by somebody who is slow");
        // Another instance is slow with some of these keys: their commands are refused, the others
        // continue.
        let unknown = earlier.unknown.load(Ordering::Relaxed);
        // Nothing was decided, unless an attempt may have been committed: then nobody knows.
        let or_unknown = |fault: Fault| match fault {
            Fault::Overloaded { what } if unknown => unavailable(DOING)(what),
            other => other,
        };
        let busy = self.busy_keys(commands).await.map_err(or_unknown)?;
        let is_busy = |command: &Command| {
            claims_of(std::slice::from_ref(command)).keys().any(|key| busy.contains(key))
        };
        let free: Vec<_> = commands.iter().filter(|command| !is_busy(command)).cloned().collect();
        // One of the attempts may have been committed all the same.
        let of_free = |answers: &Arc<Answers>| {
            let both = commands.iter().zip(answers.iter());
            let free = both.filter(|(command, _)| !is_busy(command));
            Arc::new(free.map(|(_, answer)| answer.clone()).collect())
        };
        let answers = earlier.answers.into_inner().iter().map(of_free).collect();
        let again = Earlier {
            answers: Mutex::new(answers),
            unknown: AtomicBool::new(unknown),
            ..Earlier::surveyed()
        };
        let mut committed = match self.try_batch(&free, &again, until).await {
            Ok(committed) => committed,
            Err(Error::Failed(fault)) => return Err(fault),
            Err(Error::Refused(_)) => {
                let what = "too many requests use the same idempotency key";
                return Err(or_unknown(Fault::Overloaded { what }));
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
        if earlier.answers.lock().is_empty()
            && let Some(committed) = self.try_one_trip(commands, earlier, until).await?
        {
            return Ok(committed);
        }
        let unknown = &earlier.unknown;
        let decide = |mut session: S::Session| async move {
            let decided = self.decide_in(&mut session, commands, earlier).await;
            (session, decided)
        };
        let decided = write_until(&self.sessions, &self.dice, until, unknown, DOING, decide).await;
        let Decided { committed, maps: (maps, stamps), kept } = decided?;
        self.maps.keep(maps, &stamps);
        self.kept.keep(kept, &committed.inventories, Instant::now());
        for section_id in &committed.rebuilt {
            tell_rebuilt(*section_id);
        }
        Ok(committed)
    }

    /// Decides a batch and writes what it changes, inside a transaction.
    pub async fn decide_in(
        &self,
        session: &mut S::Session,
        commands: &[Command],
        earlier: &Earlier,
    ) -> Result<Decided, Interrupt> {
        let before = earlier.answers.lock().clone();
        let needs = if before.is_empty() || is_planted("zombie commit ignored by a retry") {
            Needs::of(commands)
        } else {
            Needs::of_another_attempt(commands)
        };
        let mut claims = claims_of(commands);
        let mut taken = Vec::new();
        if !claims.is_empty() {
            taken = session.claim(&mut claims).await?;
        }
        let capped = |event_id: &EventId| self.capped.lock().contains(event_id);
        let attempts = earlier.attempts.fetch_add(1, Ordering::Relaxed);
        let look = Look {
            is_beyond: attempts > 0 || needs.events.iter().any(capped),
            is_last: attempts > 1,
        };
        let loaded = lock_and_load(session, needs, &taken, &self.policy, look).await?;
        let kept = kept::Loaded::of(&loaded, &self.policy);
        let Loaded { mut rows, now, counting, .. } = loaded;
        let suspect = earlier.suspect.load(Ordering::Relaxed);
        let LoadedMaps { mut stamps, rebuilt } =
            self.load_maps(session, &mut rows, suspect).await?;
        rows.bookings.reserve(commands.len());
        self.note_caps(&rows);
        self.clock.set(now);
        let mut ledger = Ledger::open(rows, now, self.policy)?;
        let answers: Answers = if before.is_empty() || is_planted("decide instead of decide_again")
        {
            commands.iter().map(|command| ledger.decide(command)).collect()
        } else {
            probe("a batch is decided again");
            let again = |(at, command)| {
                let earlier: Vec<_> = before.iter().map(|of| &of[at]).collect();
                ledger.decide_again(command, &earlier)
            };
            commands.iter().enumerate().map(again).collect()
        };
        earlier.answers.lock().push(Arc::new(answers.clone()));
        let Ended { changes, mut inventories, maps } = ledger.end_batch();
        if !changes.is_empty() || !rebuilt.is_empty() {
            let stamp = self.draw_stamp();
            stamps.extend(changes.marks.iter().map(|(section_id, _)| (*section_id, stamp)));
            let written = session.write(&changes, &counting, claims, stamp).await;
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
            session.start_over().await?;
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
        let mut session = self.sessions.take(DOING).await?;
        let claimed = async {
            session.begin().await?;
            session.hurry().await?;
            session.claim(&mut claims).await
        };
        let late = |_| unavailable(DOING)("the database does not respond in time");
        let free = match timeout(WRITE_PATIENCE, claimed).await.map_err(late)? {
            Ok(_) => true,
            Err(Interrupt::KeyBusy) => false,
            Err(other) => return Err(other.into_fault(DOING)),
        };
        timeout(WRITE_PATIENCE, session.roll_back()).await.map_err(late)?;
        Ok(free)
    }

    /// Whatever was begun on a session that was interrupted is over.
    pub(super) fn interrupted(&self, session: S::Session, interrupt: &Interrupt) {
        if interrupt.meaning() == Meaning::Cut {
            self.sessions.close_idle();
        } else {
            session.give_back();
        }
    }
}
