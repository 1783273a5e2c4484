//! What must be true: of the rows after every commit, of every answer, and at the end.

mod seats;

use crate::database::Database;
use crate::machine::{Attempt, FRESH_MS, NEWS_MAX_MS, State};
use crate::store::POISONED;
use engine::access::{Override, Overrides};
use engine::log::{Detail, LogKind};
use engine::{
    Booking, BookingId, BookingStatus, Command, Error, EventId, Fault, Outcome, Refusal,
    SeatRequest, SectionId, Timestamp, UserId,
};
use seats::SeatTimes;
use server::simulated::Decided;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

/// What is remembered for the checks.
#[derive(Default)]
pub struct Checks {
    /// The free seats of each section, by the time from which on it was so.
    available: BTreeMap<SectionId, Vec<(Timestamp, i64)>>,
    /// When the newest commit was made that an instance has settled, and when it has.
    settled: BTreeMap<(usize, SectionId), (Timestamp, Timestamp)>,
    /// The time of the last batch in each section.
    decided_at: BTreeMap<SectionId, Timestamp>,
    /// Which booking had which numbered seat.
    seats: SeatTimes,
    /// Holds that make their batch fail.
    poisoned: BTreeSet<BookingId>,
}

/// The free seats of a section, those of holds included that were due at `now`.
fn available(database: &Database, section_id: SectionId, now: Timestamp) -> i64 {
    let (_, inventory) = &database.tables.sections[&section_id];
    let due = database.tables.due(section_id, now);
    inventory.available() + due.map(|held| i64::from(held.seats)).sum::<i64>()
}

impl Checks {
    /// Notes how a sale begins.
    pub fn begin(&mut self, database: &Database) {
        for section_id in database.tables.sections.keys() {
            let first = (database.now, available(database, *section_id, database.now));
            self.available.insert(*section_id, vec![first]);
            self.seats.note(database, *section_id);
        }
    }

    /// A batch with this hold fails.
    pub fn poisoned(&mut self, booking_id: BookingId) {
        self.poisoned.insert(booking_id);
    }

    /// Forgets what an instance knew, as it has itself.
    pub fn crashed(&mut self, instance: usize) {
        self.settled.retain(|(of, _), _| *of != instance);
    }

    /// Checks the sections that a commit has changed, and the bookings that it has made or given more seats.
    pub fn committed(
        &mut self,
        database: &Database,
        touched: &BTreeSet<SectionId>,
        (created, grown): (&[BookingId], &[BookingId]),
        is_capped_always: bool,
    ) -> Result<(), String> {
        // As the batch saw it: a hold may have become due since.
        let decided_at = database.tables.log.last().map_or(database.now, |entry| entry.at);
        for booking in created.iter().filter_map(|id| database.booking(*id)) {
            let terms = &database.tables.events[&booking.event_id].terms;
            let overrides = beyond(database, booking.booking_id);
            if let Err(refusal) = terms.may_sell(decided_at, overrides) {
                return Err(format!("sold beside its terms, {refusal:?}: {booking:?}"));
            }
        }
        let more = || created.iter().chain(grown).filter_map(|id| database.booking(*id));
        let is_beyond = |of: &&Booking| beyond(database, of.booking_id).has(Override::BuyerLimit);
        // What a seller added in this commit may have come after what the buyer did.
        let sold_to: BTreeSet<_> =
            more().filter(is_beyond).map(|of| (of.event_id, of.user_id)).collect();
        for booking in more() {
            let buyer = (booking.event_id, booking.user_id);
            if !sold_to.contains(&buyer) {
                within_cap(database, buyer.0, buyer.1, decided_at)?;
            }
        }
        for section_id in touched {
            let (_, inventory) = &database.tables.sections[section_id];
            let live = live_in(database, *section_id);
            if !inventory.within_capacity() || live > inventory.capacity {
                return Err(format!("I1: oversold: {live} seats are in bookings: {inventory:?}"));
            }
            if is_capped_always {
                let buyers = database.tables.bookings.values().map(|of| (of.event_id, of.user_id));
                for (event_id, user_id) in buyers.collect::<BTreeSet<_>>() {
                    let theirs = |of: &&Booking| (of.event_id, of.user_id) == (event_id, user_id);
                    let mut theirs = database.tables.bookings.values().filter(theirs);
                    if !theirs.any(|of| beyond(database, of.booking_id).has(Override::BuyerLimit)) {
                        within_cap(database, event_id, user_id, decided_at)?;
                    }
                }
            }
            self.seats.note(database, *section_id);
            self.seats.as_marked(database, *section_id)?;
            let held: i64 =
                database.tables.holds_of(*section_id).map(|held| i64::from(held.seats)).sum();
            if held != inventory.held {
                return Err(format!("I4: {held} seats are held, and counted: {inventory:?}"));
            }
            let before = self.decided_at.insert(*section_id, decided_at);
            if before.is_some_and(|before| decided_at < before) {
                return Err(format!("the time of a section goes back, to {decided_at:?}"));
            }
            let now = (database.now, available(database, *section_id, decided_at));
            self.available.get_mut(section_id).expect("of this sale").push(now);
        }
        Ok(())
    }

    /// Checks an answer.
    pub fn answered(
        &mut self,
        database: &Database,
        attempts: &[Attempt],
        no: usize,
        answer: &Result<Decided, Error>,
    ) -> Result<(), String> {
        let (attempt, now) = (&attempts[no], database.now);
        if let Ok((Outcome::Booking { booking, .. }, decided_at)) = answer
            && now.since_ms(attempt.asked_at) <= NEWS_MAX_MS
        {
            // A retry locks what it asks for, wherever the seats of its booking are by now.
            let sections: Vec<SectionId> = match &attempt.command {
                Command::Hold(hold) => {
                    hold.requests.iter().flat_map(SeatRequest::sections).copied().collect()
                }
                _ => booking.sections().map(|(section_id, _)| section_id).collect(),
            };
            for section_id in sections {
                let key = (attempt.instance, section_id);
                let known = self.settled.entry(key).or_insert((*decided_at, now));
                if known.0 <= *decided_at {
                    *known = (*decided_at, now);
                }
            }
        }
        match answer {
            Err(Error::Refused(Refusal::HoldExpired { expired_at })) if *expired_at > now => {
                Err(format!("I5: refused as over before its end: {attempt:?}"))
            }
            Err(Error::Refused(Refusal::HoldExpired { .. })) => {
                is_over(database, &attempt.command, attempt.asked_at)
            }
            Err(Error::Refused(Refusal::ExtensionLimit)) => {
                extended_all_the_same(database, attempts, no)
            }
            Ok((Outcome::Booking { booking, .. }, _)) => {
                let Some(stored) = database.booking(booking.booking_id) else {
                    return Err(format!("I11: acknowledged, and not committed: {booking:?}"));
                };
                let is_new = stored.version == booking.version;
                if stored.version < booking.version || is_new && stored != booking {
                    return Err(format!("I11: acknowledged {booking:?}, committed {stored:?}"));
                }
                does_what_was_asked(database, &attempt.command, answer)
            }
            Err(Error::Refused(Refusal::SoldOut { available: _, requested })) => {
                // A change is decided by the store alone.
                let Command::Hold(hold) = &attempt.command else { return Ok(()) };
                // One of its sections had too few seats at some time since.
                let mut had_too_few = false;
                for section_id in hold.requests.iter().flat_map(SeatRequest::sections) {
                    let wanted =
                        hold.requests.iter().filter(|ask| ask.sections().contains(section_id));
                    let wanted: i64 = wanted.map(|ask| i64::from(ask.seats())).sum();
                    let from = self.known_from(attempt, *section_id, now);
                    // One that is not there has none.
                    let Some(times) = self.available.get(section_id) else { continue };
                    let first = times.iter().rposition(|(at, _)| *at <= from).unwrap_or(0);
                    had_too_few |= times[first..].iter().any(|(_, free)| *free < wanted);
                }
                if had_too_few {
                    Ok(())
                } else {
                    Err(format!("I8: {requested} seats are refused that were there all the time"))
                }
            }
            Err(Error::Refused(Refusal::SeatsUnavailable { conflicts })) => {
                let Command::Hold(_) = &attempt.command else { return Ok(()) };
                for conflict in conflicts.iter().filter(|conflict| conflict.state.is_some()) {
                    let from = self.known_from(attempt, conflict.section_id, now);
                    let name = (conflict.section_id, conflict.seat.clone());
                    if !self.seats.was_taken(&name, from, now) {
                        let seat = &conflict.seat;
                        return Err(format!(
                            "I8: seat {seat} is refused that was free all the time"
                        ));
                    }
                }
                Ok(())
            }
            Err(Error::Failed(Fault::Corrupt { what })) if what == POISONED => {
                match &attempt.command {
                    Command::Hold(hold) if self.poisoned.contains(&hold.booking_id) => Ok(()),
                    _ => Err(format!("failed with the batch of another one: {attempt:?}")),
                }
            }
            Err(Error::Failed(fault @ (Fault::Corrupt { .. } | Fault::Contradiction { .. }))) => {
                Err(format!("a bug: {fault:?}"))
            }
            _ => Ok(()),
        }
    }

    /// The time of the oldest state of a section by which an attempt may be refused: what its instance has
    /// settled itself is known to it, as long as that is fresh.
    fn known_from(&self, attempt: &Attempt, section_id: SectionId, now: Timestamp) -> Timestamp {
        let oldest = attempt.asked_at.plus_ms(-FRESH_MS - NEWS_MAX_MS);
        let own = self.settled.get(&(attempt.instance, section_id));
        let own = own.filter(|(_, at)| now.since_ms(*at) < FRESH_MS && *at <= attempt.asked_at);
        own.map_or(oldest, |(commit, _)| oldest.max(*commit))
    }

    /// Checks all that was said, when nothing is under way any more.
    pub fn finished(database: &Database, attempts: &[Attempt]) -> Result<(), String> {
        for attempt in attempts {
            match (&attempt.command, &attempt.state) {
                (
                    Command::Hold(hold),
                    State::Answered(Err(
                        Error::Failed(Fault::Overloaded { .. }) | Error::Refused(_),
                    )),
                ) if database.booking(hold.booking_id).is_some() => {
                    return Err(format!("refused, and committed: {attempt:?}"));
                }
                (_, State::Answered(Ok((Outcome::Booking { booking, .. }, _)))) => {
                    let stored = database.booking(booking.booking_id).expect("looked at before");
                    let was_sold = booking.status == BookingStatus::Confirmed;
                    let is_lost =
                        matches!(stored.status, BookingStatus::Hold | BookingStatus::Expired);
                    if was_sold && is_lost {
                        return Err(format!("I2: a sale is {:?}: {booking:?}", stored.status));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The seats of a section that bookings have, counted one by one.
fn live_in(database: &Database, section_id: SectionId) -> i64 {
    let bookings = database.tables.bookings.values();
    let live = bookings
        .filter(|of| matches!(of.status, BookingStatus::Hold | BookingStatus::Confirmed))
        .flat_map(|booking| booking.items.iter().filter(|item| item.section_id == section_id));
    live.map(|item| i64::from(item.seats)).sum()
}

/// A hold that was refused as over is not one that had been extended beyond this before it was asked about.
fn is_over(database: &Database, command: &Command, asked_at: Timestamp) -> Result<(), String> {
    let (Command::Confirm { booking_id, .. }
    | Command::Extend { booking_id, .. }
    | Command::Change { booking_id, .. }) = command
    else {
        return Ok(());
    };
    let Some(booking) = database.booking(*booking_id) else { return Ok(()) };
    let is_held = booking.status == BookingStatus::Hold && booking.expires_at > database.now;
    if is_held && booking.updated_at < asked_at {
        return Err(format!("I5: refused as over, and it is held: {booking:?}"));
    }
    Ok(())
}

/// A buyer has at most as many seats as the event allows (I1).
/// The limits that the seller of a booking went beyond, when it was held or changed.
fn beyond(database: &Database, booking_id: BookingId) -> Overrides {
    let steps = database.tables.log.iter().filter(|entry| entry.booking_id == Some(booking_id));
    let named = steps.filter_map(|entry| match entry.detail.as_deref() {
        Some(Detail::Booking { overrides, .. }) => Some(overrides.iter()),
        _ => None,
    });
    named.flatten().collect()
}

fn within_cap(
    database: &Database,
    event_id: EventId,
    user_id: UserId,
    at: Timestamp,
) -> Result<(), String> {
    let Some(cap) = database.tables.events[&event_id].terms.max_seats_per_user else {
        return Ok(());
    };
    // Not before the newest of them: another batch that read a later clock may have committed first, and
    // what was due by then is not held beside it.
    let theirs = database.tables.bookings.values();
    let theirs = theirs.filter(|of| (of.event_id, of.user_id) == (event_id, user_id));
    let newest = theirs.map(|of| of.created_at).max();
    let live = database.tables.live_seats(event_id, user_id, newest.map_or(at, |new| new.max(at)));
    if live > i64::from(cap) {
        return Err(format!("I1: a buyer has {live} of {cap} seats"));
    }
    Ok(())
}

/// An answer is one to what was asked: of this booking, with these seats, in this status.
fn does_what_was_asked(
    database: &Database,
    command: &Command,
    answer: &Result<Decided, Error>,
) -> Result<(), String> {
    let Ok((Outcome::Booking { booking, replayed, .. }, _)) = answer else { return Ok(()) };
    let asked_for = |requests: &[SeatRequest]| {
        let seats: u32 = requests.iter().map(SeatRequest::seats).sum();
        let sections = requests.iter().flat_map(SeatRequest::sections);
        booking.seats() == seats
            && sections.into_iter().all(|id| booking.items.iter().any(|of| of.section_id == *id))
    };
    let is_right = match command {
        Command::Hold(hold) if *replayed => {
            let used = hold.named().and_then(|key| database.tables.keys.get(&key));
            used.is_some_and(|used| used.booking_id == booking.booking_id)
        }
        Command::Hold(hold) => {
            booking.booking_id == hold.booking_id
                && booking.user_id == hold.user_id
                && (booking.version > 1 || asked_for(&hold.requests))
        }
        Command::Confirm { booking_id, .. } => {
            booking.booking_id == *booking_id && booking.status == BookingStatus::Confirmed
        }
        Command::Release { booking_id, .. } | Command::Cancel { booking_id, .. } => {
            booking.booking_id == *booking_id && booking.status == BookingStatus::Cancelled
        }
        Command::Change { booking_id, requests, .. } => {
            booking.booking_id == *booking_id && asked_for(requests)
        }
        Command::Extend { booking_id, .. } => booking.booking_id == *booking_id,
        _ => true,
    };
    if is_right {
        Ok(())
    } else {
        Err(format!("another answer than was asked for: {command:?}: {booking:?}"))
    }
}

/// An extension that was refused must not have been made: the only one of its booking at that time.
fn extended_all_the_same(
    database: &Database,
    attempts: &[Attempt],
    no: usize,
) -> Result<(), String> {
    let attempt = &attempts[no];
    let Command::Extend { booking_id, .. } = &attempt.command else { return Ok(()) };
    let is_other = |(at, other): &(usize, &Attempt)| {
        matches!(&other.command, Command::Extend { booking_id: of, .. } if of == booking_id)
            && *at != no
    };
    let mut others = attempts.iter().enumerate().filter(is_other);
    let is_alone = others.all(|(_, other)| {
        matches!(other.state, State::Answered(_))
            && !other.is_unknown()
            && other.answered_at.is_some_and(|at| at < attempt.asked_at)
    });
    let is_made = database.tables.log.iter().any(|entry| {
        entry.kind == LogKind::Extended
            && entry.booking_id == Some(*booking_id)
            && entry.at >= attempt.asked_at
    });
    if is_alone && is_made {
        return Err(format!("an extension is refused that was made: {attempt:?}"));
    }
    Ok(())
}

/// Checks the answer to a retry whose key named `had`.
pub fn retried(had: Option<BookingId>, answer: &Result<Decided, Error>) -> Result<(), String> {
    let Some(had) = had else {
        return match answer {
            Err(Error::Failed(fault)) => Err(format!("a retry at a calm time fails: {fault:?}")),
            _ => Ok(()),
        };
    };
    match answer {
        Ok((Outcome::Booking { booking, .. }, _)) if booking.booking_id == had => Ok(()),
        other => Err(format!("I6: the key names {had:?}, and a retry gets {other:?}")),
    }
}

/// A command in a word.
pub fn name_of(command: &Command) -> &'static str {
    match command {
        Command::Hold(_) => "hold",
        Command::Confirm { .. } => "confirm",
        Command::Release { .. } => "release",
        Command::Extend { .. } => "extend",
        Command::Cancel { .. } => "cancel",
        Command::Change { .. } => "change",
        Command::Block { .. } => "block",
        _ => "other",
    }
}

/// An answer in a word.
pub fn word_of(answer: &Result<Decided, Error>) -> &'static str {
    match answer {
        Ok((Outcome::Booking { replayed: true, .. }, _)) => "replayed",
        Ok(_) => "done",
        Err(Error::Refused(refusal)) => refusal.code().as_str(),
        Err(Error::Failed(Fault::Overloaded { .. })) => "overloaded",
        Err(Error::Failed(Fault::Unavailable { .. })) => "unavailable",
        Err(Error::Failed(_)) => "a bug",
    }
}

/// What a panic said.
pub fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a panic: {}", text.unwrap_or("without words"))
}

/// A booking, short: what differs within a run.
pub fn short(booking_id: BookingId) -> String {
    let bytes = booking_id.as_bytes();
    format!("h{}", u16::from_be_bytes([bytes[14], bytes[15]]))
}

/// An answer in the words of the scenarios.
pub fn told(answer: &Result<Decided, Error>) -> String {
    match answer {
        Ok((Outcome::Booking { booking, replayed, .. }, _)) => {
            let again = if *replayed { " replayed" } else { "" };
            let (id, status) = (short(booking.booking_id), booking.status.as_str());
            format!("{status} {id} version={}{again}", booking.version)
        }
        Ok(_) => "done".to_owned(),
        Err(Error::Refused(refusal)) => format!("refused {}", refusal.code().as_str()),
        // Not its words: a task that panicked has another number each time.
        Err(Error::Failed(Fault::Corrupt { .. })) => "failed: a bug".to_owned(),
        Err(Error::Failed(fault)) => format!("failed: {fault}"),
    }
}
