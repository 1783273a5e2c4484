//! Sessions on the simulated database: each statement is a [`Step`], described as what it does to the rows.

mod rows;

use crate::database::{Database, Lock, SessionNo, Transaction};
use crate::world::{Step, Tried, Unreachable, World, cut, lock_all};
use engine::decide::{Needs, RETIRED_PER_SECTION_MAX};
use engine::seats::{Marks, SeatMap, SeatName, SeatState};
use engine::{
    Booking, BookingId, BookingStatus, Changes, EventId, Fault, KeyUse, LoadedRows, Policy,
    SectionId, Terms, Timestamp, UserId,
};
use rows::{check, has_terms, is_same, next_expiries, surveyed};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use store::batch::{
    BEHIND_MAX_MS, Found, Interrupt, Key, LoadedSections, NextExpiries, OneTrip, Session, Sessions,
    StoredMarks, Surveyed, Writers, settled_keys,
};
use store::simulated::is_planted;
use store::{KeyedHolds, VersionedLayout};

pub use rows::{keyed_holds, layout};

/// How far a clock is ahead that is.
const AHEAD_MS: i64 = 2_000;
/// How long somebody waits for a session.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);

/// The sessions of an instance.
#[derive(Clone)]
pub struct Connections {
    pub world: Arc<World>,
    pub instance: usize,
}

/// A session in somebody's hands.
pub struct Connection {
    of: Connections,
    no: SessionNo,
    is_idle: bool,
    /// What the clock showed when the transaction began.
    begun_at: Timestamp,
}

impl Sessions for Connections {
    type Session = Connection;

    async fn take(&self, doing: &'static str) -> Result<Connection, Fault> {
        let no = match self.world.connect() {
            Ok(no) => no,
            Err(Unreachable::Down) => {
                let source = Arc::new(std::io::Error::other("connection refused"));
                return Err(Fault::Unavailable { doing, source });
            }
            Err(Unreachable::Crowded) => {
                tokio::time::sleep(ACQUIRE_TIMEOUT).await;
                let what = "all sessions are in use";
                self.world.connect().map_err(|_| Fault::Overloaded { what })?
            }
        };
        let begun_at = self.world.now();
        Ok(Connection { of: self.clone(), no, is_idle: false, begun_at })
    }

    fn close_idle(&self) {}
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.is_idle {
            self.of.world.close(self.no);
        }
    }
}

impl Connection {
    /// Its number.
    pub fn no(&self) -> SessionNo {
        self.no
    }

    /// Asks for a step, and waits until it has happened.
    pub async fn step<R: Send + 'static>(
        &mut self,
        step: Step,
        work: impl FnMut(&mut Database) -> Tried<R> + Send + 'static,
    ) -> Result<R, Interrupt> {
        let done = self.of.world.step((self.of.instance, self.no), step, work).await;
        if matches!(&done, Err(interrupt) if interrupt.meaning() == store::batch::Meaning::Cut) {
            // What it was in has been rolled back, or is committed.
            self.is_idle = true;
        }
        done
    }

    /// Reads what is committed.
    async fn read<R: Send + 'static>(
        &mut self,
        step: Step,
        mut work: impl FnMut(&Database) -> R + Send + 'static,
    ) -> Result<R, Interrupt> {
        self.step(step, move |database| Tried::Done(work(database))).await
    }

    fn with_transaction(&self, change: impl FnOnce(&mut Transaction)) -> Result<(), Interrupt> {
        let mut inner = self.of.world.lock();
        inner.database.transaction(self.no).map(change).ok_or_else(cut)
    }
}

impl Session for Connection {
    async fn begin(&mut self) -> Result<(), Interrupt> {
        self.of.world.lock().database.begin(self.no);
        self.begun_at = self.of.world.now();
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Interrupt> {
        let no = self.no;
        self.step(Step::Commit, move |database| {
            database.commit(no);
            Tried::Done(())
        })
        .await
    }

    async fn start_over(&mut self) -> Result<(), Interrupt> {
        let mut inner = self.of.world.lock();
        inner.roll_back(self.no);
        inner.database.begin(self.no);
        Ok(())
    }

    fn give_back(mut self) {
        self.is_idle = true;
    }

    async fn roll_back(mut self) {
        self.of.world.lock().roll_back(self.no);
        self.is_idle = true;
    }

    async fn hurry(&mut self) -> Result<(), Interrupt> {
        self.with_transaction(|transaction| transaction.hurries = true)
    }

    async fn claim(&mut self, claims: &mut BTreeMap<Key, KeyUse>) -> Result<Vec<Key>, Interrupt> {
        let (no, mut wanted) = (self.no, claims.keys().cloned().collect::<Vec<_>>());
        if is_planted("keys unsorted") && no % 2 == 0 {
            wanted.reverse();
        }
        let taken = self
            .step(Step::Claim, move |database| {
                let mut taken = Vec::new();
                for key in &wanted {
                    if database.tables.keys.contains_key(key) {
                        taken.push(key.clone());
                        continue;
                    }
                    match lock_all(database, no, [Lock::Key(key.clone())]) {
                        Tried::Done(()) => {
                            let transaction = database.transaction(no).expect("it is in one");
                            transaction.claims.insert(key.clone());
                        }
                        Tried::Waits => return Tried::Waits,
                        Tried::Fails(interrupt) => return Tried::Fails(interrupt),
                    }
                }
                Tried::Done(taken)
            })
            .await?;
        claims.retain(|key, _| !taken.contains(key));
        Ok(taken)
    }

    async fn keyed_holds(&mut self, keys: &[Key]) -> Result<KeyedHolds, Interrupt> {
        let keys = keys.to_vec();
        self.read(Step::KeyedHolds, move |database| keyed_holds(database, &keys)).await
    }

    async fn survey(&mut self, needs: &Needs, policy: &Policy) -> Result<Surveyed, Interrupt> {
        let needs = Needs {
            keys: BTreeSet::new(),
            events: needs.events.clone(),
            sections: needs.sections.clone(),
            bookings: needs.bookings.clone(),
            buyers: needs.buyers.clone(),
            kept: needs.kept.clone(),
        };
        let all_capped = policy.max_seats_per_user.is_some();
        self.read(Step::Survey, move |database| surveyed(database, &needs, all_capped)).await
    }

    async fn lock_buyers(&mut self, buyers: &BTreeSet<(EventId, UserId)>) -> Result<(), Interrupt> {
        let (no, mut buyers) = (self.no, buyers.clone());
        if is_planted("cap without buyer lock") {
            buyers.clear();
        }
        self.step(Step::LockBuyers, move |database| {
            lock_all(database, no, buyers.iter().map(|(event, user)| Lock::Buyer(*event, *user)))
        })
        .await
    }

    async fn lock_inventory(&mut self, sections: &BTreeSet<SectionId>) -> Result<(), Interrupt> {
        let (no, mut sections) = (self.no, sections.clone());
        if is_planted("no inventory lock") || is_planted("counters added up without a lock") {
            sections.clear();
        }
        self.step(Step::LockInventory, move |database| {
            lock_all(database, no, sections.iter().map(|section_id| Lock::Section(*section_id)))
        })
        .await
    }

    async fn load_sections(
        &mut self,
        sections: &BTreeSet<SectionId>,
        rows: &mut LoadedRows,
    ) -> Result<LoadedSections, Interrupt> {
        let wanted = sections.clone();
        let (now, found) = self
            .read(Step::LoadSections, move |database| {
                let row = |id: &SectionId| {
                    let (section, inventory) = database.tables.sections.get(id)?.clone();
                    let mut terms = database.tables.events[&section.event_id].terms.clone();
                    if is_planted("rights of before a transfer")
                        && let Some(begun_by) = database.begun_by
                    {
                        terms.organizer_id = begun_by;
                    }
                    let writers = Writers {
                        section: database.writer(section.section_id.as_bytes()),
                        event: database.writer(section.event_id.as_bytes()),
                    };
                    Some((section, inventory, terms, writers))
                };
                (database.now, wanted.iter().filter_map(row).collect::<Vec<_>>())
            })
            .await?;
        let (mut counting, mut by_section) = (BTreeSet::new(), HashMap::new());
        for (section, mut inventory, terms, writers) in found {
            if is_planted("sold seats read as free") && section.layout_version.is_none() {
                inventory.sold = 0;
            }
            if is_planted("capacity read too high") {
                inventory.capacity += 1;
            }
            if terms.max_seats_per_user.is_some() {
                counting.insert(terms.event_id);
            }
            by_section.insert(section.section_id, writers);
            rows.terms.insert(terms.event_id, terms);
            rows.sections.insert(section.section_id, (section, inventory));
        }
        let now = if is_planted("clock before lock") { self.begun_at } else { now };
        let now = if is_planted("a clock that is ahead") { now.plus_ms(AHEAD_MS) } else { now };
        Ok(LoadedSections { now, counting, writers: by_section })
    }

    async fn load_events(
        &mut self,
        events: &BTreeSet<EventId>,
        rows: &mut LoadedRows,
    ) -> Result<(), Interrupt> {
        let events = events.clone();
        let found: Vec<Terms> = self
            .read(Step::LoadEvents, move |database| {
                let of = events.iter().filter_map(|event_id| database.tables.events.get(event_id));
                of.map(|event| event.terms.clone()).collect()
            })
            .await?;
        rows.terms.extend(found.into_iter().map(|terms| (terms.event_id, terms)));
        Ok(())
    }

    async fn due_bookings(
        &mut self,
        sections: &[SectionId],
        now: Timestamp,
    ) -> Result<Vec<Booking>, Interrupt> {
        let sections = sections.to_vec();
        self.read(Step::LoadDue, move |database| {
            let tables = &database.tables;
            let due = |id: &SectionId| tables.due(*id, now).take(RETIRED_PER_SECTION_MAX);
            let due = sections.iter().flat_map(due);
            let mut due: Vec<Booking> =
                due.map(|held| tables.bookings[&held.booking_id].clone()).collect();
            if is_planted("due holds read before the lock") {
                let retired = tables.bookings.values().filter(|booking| {
                    booking.status == BookingStatus::Expired
                        && now.since_ms(booking.updated_at) < 20
                        && booking.items.iter().all(|item| sections.contains(&item.section_id))
                });
                due.extend(retired.cloned().map(|mut booking| {
                    booking.status = BookingStatus::Hold;
                    booking
                }));
            }
            due
        })
        .await
    }

    async fn bookings(&mut self, named: &BTreeSet<BookingId>) -> Result<Vec<Booking>, Interrupt> {
        let named = named.clone();
        self.read(Step::LoadBookings, move |database| {
            named.iter().filter_map(|id| database.booking(*id).cloned()).collect()
        })
        .await
    }

    async fn load_buyers(
        &mut self,
        buyers: &BTreeSet<(EventId, UserId)>,
        _: &BTreeSet<EventId>,
        now: Timestamp,
        rows: &mut LoadedRows,
    ) -> Result<(), Interrupt> {
        let buyers = buyers.clone();
        let live: Vec<_> = self
            .read(Step::LoadBuyers, move |database| {
                let live =
                    |buyer: &(EventId, UserId)| database.tables.live_seats(buyer.0, buyer.1, now);
                buyers.iter().map(|buyer| (*buyer, live(buyer))).collect()
            })
            .await?;
        rows.buyers.extend(live);
        Ok(())
    }

    async fn marks(
        &mut self,
        kept: &[(SectionId, i64, i64)],
    ) -> Result<Vec<StoredMarks>, Interrupt> {
        let kept = kept.to_vec();
        self.read(Step::Marks, move |database| {
            let stored = |(section_id, version, known): &(SectionId, i64, i64)| {
                let (_, bytes) = database.tables.layouts.get(section_id)?;
                let stamp = database.stamps.get(section_id).copied().unwrap_or(0);
                let marks = Marks::from_bytes(bytes);
                let is_kept = marks.as_ref().is_some_and(|of| of.version() == *version);
                let marks = (!is_kept || stamp != *known).then_some(marks);
                Some(StoredMarks { section_id: *section_id, stamp, marks })
            };
            kept.iter().filter_map(stored).collect()
        })
        .await
    }

    async fn layout(
        &mut self,
        section_id: SectionId,
    ) -> Result<Option<VersionedLayout>, Interrupt> {
        self.read(Step::Layout, move |database| layout(database, section_id)).await
    }

    async fn seats_taken(
        &mut self,
        section_id: SectionId,
    ) -> Result<Vec<(SeatName, SeatState)>, Interrupt> {
        self.read(Step::SeatsTaken, move |database| {
            let tables = &database.tables;
            let of_section = tables.taken.iter().filter(|((of, _), _)| *of == section_id);
            let state = |by: &Option<BookingId>| match by {
                None => SeatState::Blocked,
                Some(id) if tables.bookings[id].status == BookingStatus::Hold => SeatState::Held,
                Some(_) => SeatState::Sold,
            };
            of_section.map(|((_, seat), by)| (seat.clone(), state(by))).collect()
        })
        .await
    }

    async fn put_marks(
        &mut self,
        section_id: SectionId,
        map: &SeatMap,
        stamp: i64,
    ) -> Result<(), Interrupt> {
        let marks = map.marks().to_bytes();
        self.with_transaction(|transaction| {
            transaction.rebuilt.push((section_id, marks));
            transaction.stamps.push((section_id, stamp));
        })
    }

    async fn write(
        &mut self,
        changes: &Changes,
        _: &BTreeSet<EventId>,
        claims: BTreeMap<Key, KeyUse>,
        stamp: i64,
    ) -> Result<NextExpiries, Interrupt> {
        let no = self.no;
        let (changes, claims) = (changes.clone(), claims);
        self.step(Step::Write, move |database| {
            match check(database, &changes, &claims) {
                Ok(()) => {}
                Err(interrupt) => return Tried::Fails(interrupt),
            }
            let next_expiries = next_expiries(database, &changes);
            let stamps = changes.marks.iter().map(|(section_id, _)| (*section_id, stamp)).collect();
            let (removed, _) = settled_keys(&changes, claims.clone());
            let transaction = database.transaction(no).expect("it is in one");
            if !is_planted("claims of refused holds kept") {
                transaction.claims.retain(|key| !removed.contains(key));
            }
            transaction.changes = Some(changes.clone());
            transaction.stamps.extend::<Vec<_>>(stamps);
            Tried::Done(next_expiries)
        })
        .await
    }

    async fn commit_one_trip(&mut self, decided: &OneTrip) -> Result<Found, Interrupt> {
        let (no, from) = (self.no, decided.now);
        let (rows, changes) = (decided.rows.clone(), decided.changes.clone());
        let mut begun_with = None;
        self.step(Step::OneTrip, move |database| {
            let has_terms = |database: &Database| rows.iter().all(|row| has_terms(database, row));
            let had_terms = *begun_with.get_or_insert_with(|| has_terms(database));
            let sections = rows.iter().map(|row| Lock::Section(row.section.section_id));
            match lock_all(database, no, sections) {
                Tried::Done(()) => {}
                Tried::Waits => return Tried::Waits,
                Tried::Fails(interrupt) => return Tried::Fails(interrupt),
            }
            let now = database.now;
            let as_of_its_beginning = is_planted("trip reads the terms as of its beginning");
            let has_terms = if as_of_its_beginning { had_terms } else { has_terms(database) };
            let is_same = has_terms && rows.iter().all(|row| is_same(database, row));
            let is_written = is_same && from <= now && now <= from.plus_ms(BEHIND_MAX_MS);
            if is_written {
                if let Err(interrupt) = check(database, &changes, &BTreeMap::new()) {
                    return Tried::Fails(interrupt);
                }
                database.apply(changes.clone());
            }
            Tried::Done(Found { now, is_same, is_written })
        })
        .await
    }
}
