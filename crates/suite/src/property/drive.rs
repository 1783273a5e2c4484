//! Runs a sequence on a backend and on the model side by side, and compares all they say.

use super::sequence::{By, Op, PEOPLE, Sequence, Settings, Step};
use crate::backend::Backend;
use crate::model::{Counts, Deal, Model, Place, Told, organizer};
use crate::world::{ManualClock, Mint, fingerprint, opened};
use engine::decide::Needs;
use engine::event::EventChange;
use engine::{
    Booking, BookingId, BookingStatus, Command, Committed, EventDate, EventId, Hold,
    IdempotencyKey, Inventory, Outcome, Overrides, Policy, Refusal, SeatRequest, SectionId,
    Timestamp, UserId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// A sequence under way.
pub struct Drive<'a> {
    backend: &'a dyn Backend,
    clock: ManualClock,
    mint: Mint,
    began_at: Timestamp,
    model: Model,
    people: Vec<UserId>,
    events: Vec<EventId>,
    sections: Vec<SectionId>,
    /// Every attempt to hold, also the refused ones.
    attempts: Vec<Hold>,
    /// The words of the answers so far.
    answers: BTreeSet<String>,
}

impl<'a> Drive<'a> {
    pub fn new(backend: &'a dyn Backend, clock: ManualClock, policy: Policy) -> Self {
        let mint = Mint::new(&clock);
        Self {
            backend,
            began_at: clock.now(),
            clock,
            model: Model::new(policy),
            people: (0..PEOPLE).map(|_| mint.user()).collect(),
            events: Vec::new(),
            sections: Vec::new(),
            attempts: Vec::new(),
            answers: BTreeSet::new(),
            mint,
        }
    }

    /// Runs `sequence`; an error says which step went otherwise, and how.
    pub async fn run(mut self, sequence: &Sequence) -> Result<BTreeSet<String>, String> {
        for (number, draft) in sequence.events.iter().enumerate() {
            self.create(self.people[number], &draft.capacities, &draft.settings).await;
        }
        for (number, step) in sequence.steps.iter().enumerate() {
            let taken = self.take(step).await;
            taken.map_err(|what| format!("step {number}: {what}"))?;
        }
        Ok(self.answers)
    }

    async fn create(&mut self, organizer: UserId, capacities: &[i64], settings: &Settings) {
        let mut new = self.mint.event_on_sale(organizer);
        let event_id = new.event.terms.event_id;
        let revised = new.event.revise(self.change(settings), self.began_at);
        revised.expect("the sale begins before it ends");
        self.model.events.insert(event_id, new.event.terms.clone());
        for capacity in capacities {
            let section =
                self.mint.section_of(event_id, &format!("Section {}", self.sections.len()));
            let price = section.price.minor;
            self.sections.push(section.section_id);
            let place = Place { event_id, capacity: *capacity, blocked: 0, price };
            self.model.places.insert(section.section_id, place);
            new.sections.push(section);
        }
        self.events.push(event_id);
        self.backend.create_event(&new, &opened(capacities)).await;
    }

    async fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Batch(ops) => {
                let commands: Vec<_> = ops.iter().filter_map(|op| self.command(op)).collect();
                let committed = self.backend.commit(&commands).await;
                self.compare(&commands, &committed)?;
                self.compare_everything().await?;
            }
            Step::Wait { ms } => self.clock.advance_ms(*ms),
            Step::WaitForEnd { recent, beside_ms } => {
                let booking_id = self.attempt(*recent).map(|attempt| attempt.booking_id);
                let deal = booking_id.and_then(|booking_id| self.model.deal(booking_id));
                let ends_in = deal.map_or(0, |deal| deal.ends_at.since_ms(self.clock.now()));
                self.clock.advance_ms((ends_in + beside_ms).max(0));
            }
            Step::Revise { event, by, settings } => self.revise(*event, *by, settings).await?,
            Step::CallOff { event } => {
                let event_id = self.events[event % self.events.len()];
                let organizer = self.model.call_off(event_id);
                let done = self.backend.cancel_event(event_id, organizer).await;
                equal("calling the event off", &done, &Ok(()))?;
            }
        }
        Ok(())
    }

    async fn revise(&mut self, event: usize, by: By, settings: &Settings) -> Result<(), String> {
        let event_id = self.events[event % self.events.len()];
        let change = self.change(settings);
        let by = match by {
            By::Person(person) => self.people[person],
            By::Owner | By::System => organizer(&self.model.events[&event_id]),
        };
        let expected = self.model.revise(event_id, by, &change);
        let done = self.backend.revise_event(event_id, by, change).await;
        equal("changing the event", &done, &expected)
    }

    fn change(&self, settings: &Settings) -> EventChange {
        let instant = |ms: Option<i64>| ms.map(|ms| self.began_at.plus_ms(ms));
        let timezone = "UTC".parse().expect("a time zone");
        let date = instant(settings.over_at)
            .map(|at| (EventDate::parse(&at.to_string(), timezone).expect("an instant"), timezone));
        EventChange {
            date,
            status: Some(settings.status),
            sales_start: Some(instant(settings.sales_start)),
            sales_end: Some(instant(settings.sales_end)),
            max_seats_per_booking: Some(settings.max_seats_per_booking),
            max_seats_per_user: Some(settings.max_seats_per_user),
            hold_ttl_ms: Some(settings.hold_ttl_ms),
            cancellable_until: Some(instant(settings.cancellable_until)),
            ..EventChange::default()
        }
    }

    fn attempt(&self, recent: usize) -> Option<&Hold> {
        self.attempts.iter().rev().nth(recent % self.attempts.len().max(1))
    }

    /// The command of an op; none while there is no booking.
    fn command(&mut self, op: &Op) -> Option<Command> {
        let (recent, by) = match op {
            Op::Hold { by, requests, foreign, key } => {
                let key = key.map(|key| format!("key-{key}"));
                return Some(self.hold(self.people[*by], requests, *foreign, key.as_deref()));
            }
            Op::Retry { recent } => {
                let again = self.attempt(*recent)?.clone();
                let booking_id = self.mint.booking(again.event_id);
                let again = Hold { booking_id, ..again };
                self.attempts.push(again.clone());
                return Some(Command::Hold(again));
            }
            Op::Resize { section, by, capacity } => {
                let (section_id, by) = self.section(*section, *by);
                return Some(Command::Resize { section_id, by: by.into(), capacity: *capacity });
            }
            Op::Block { section, by, blocked } => {
                let (section_id, by) = self.section(*section, *by);
                return Some(Command::Block {
                    section_id,
                    by: by.into(),
                    blocked: engine::Blocked::Count(*blocked),
                    reason: None,
                });
            }
            Op::Retire { section } => {
                let (section_id, _) = self.section(*section, By::System);
                return Some(Command::Retire { section_id });
            }
            Op::Confirm { recent, by }
            | Op::Release { recent, by }
            | Op::Extend { recent, by }
            | Op::Cancel { recent, by } => (*recent, *by),
        };
        let Hold { booking_id, user_id: owner, .. } = *self.attempt(recent)?;
        let user_id = if let By::Person(person) = by { self.people[person] } else { owner };
        Some(match op {
            Op::Confirm { .. } => Command::Confirm { booking_id, by: user_id.into() },
            Op::Release { .. } => Command::Release { booking_id, by: user_id.into() },
            Op::Extend { .. } => Command::Extend { booking_id, by: user_id.into() },
            _ if matches!(by, By::System) => Command::Cancel { booking_id, by: engine::By::System },
            _ => Command::Cancel { booking_id, by: engine::By::User(user_id) },
        })
    }

    fn hold(
        &mut self,
        user_id: UserId,
        requests: &[(usize, u32)],
        foreign: bool,
        key: Option<&str>,
    ) -> Command {
        let own = |section: usize| self.sections[section % self.sections.len()];
        let event_id = self.model.places[&own(requests[0].0)].event_id;
        let in_event = |id: &&SectionId| self.model.places[id].event_id == event_id;
        let of_event: Vec<_> = self.sections.iter().filter(in_event).copied().collect();
        let place = |section: usize| {
            if foreign { own(section + 1) } else { of_event[section % of_event.len()] }
        };
        let requests: Vec<_> = requests
            .iter()
            .map(|(section, seats)| SeatRequest::Count {
                section_id: place(*section),
                seats: *seats,
            })
            .collect();
        let key = key.map(|key| {
            let key = IdempotencyKey::new(key).expect("visible characters");
            (key, fingerprint(event_id, &requests))
        });
        let booking_id = self.mint.booking(event_id);
        let hold = Hold {
            booking_id,
            user_id,
            seller: None,
            overrides: Overrides::NONE,
            event_id,
            requests,
            key,
        };
        self.attempts.push(hold.clone());
        Command::Hold(hold)
    }

    fn section(&self, section: usize, by: By) -> (SectionId, UserId) {
        let section_id = self.sections[section % self.sections.len()];
        let event_id = self.model.places[&section_id].event_id;
        let organizer = organizer(&self.model.events[&event_id]);
        (section_id, if let By::Person(person) = by { self.people[person] } else { organizer })
    }

    /// Compares what a batch was answered and what it says it left behind.
    fn compare(&mut self, commands: &[Command], committed: &Committed) -> Result<(), String> {
        let now = self.clock.now();
        equal("the number of answers", &committed.answers.len(), &commands.len())?;
        for (number, (command, answer)) in commands.iter().zip(&committed.answers).enumerate() {
            let expected = self.model.answer(command, now);
            self.answers.insert(first_word(&expected));
            let at = || format!("command {number}, {command:?}");
            match (answer, &expected) {
                (Err(refusal), Err(expected)) => equal(&at(), refusal, expected)?,
                (
                    Ok(Outcome::Booking { booking, replayed, .. }),
                    Ok(Told::Booking { booking_id, replayed: again }),
                ) => {
                    equal(&at(), &(booking.booking_id, replayed), &(*booking_id, again))?;
                    self.answers.extend(replayed.then(|| "replayed".to_owned()));
                    self.compare_booking(booking).map_err(|what| format!("{}: {what}", at()))?;
                }
                (Ok(Outcome::Inventory(inventory)), Ok(Told::Section(section_id))) => {
                    equal(&at(), &counts(inventory), &self.model.counts(*section_id, now))?;
                }
                (Ok(Outcome::Done), Ok(Told::Nothing)) => {}
                _ => return Err(format!("{}: expected {expected:?}, got {answer:?}", at())),
            }
        }
        equal("the clock of the batch", &committed.now, &now)?;
        let named = self.named(commands);
        for inventory in &committed.inventories {
            self.compare_locked(inventory, named.contains(&inventory.section_id))?;
        }
        committed.bookings.iter().try_for_each(|booking| self.compare_booking(booking))
    }

    /// The sections a batch is about: none of them keeps a due hold.
    fn named(&self, commands: &[Command]) -> BTreeSet<SectionId> {
        let needs = Needs::of(commands);
        let deals = needs.bookings.iter().filter_map(|booking_id| self.model.deal(*booking_id));
        let of_deals = deals.flat_map(|deal| deal.seats.keys().copied());
        needs.sections.iter().copied().chain(of_deals).collect()
    }

    /// Compares the counters of a section as a commit left them.
    ///
    /// A section that was locked only because a due cart reached into it may keep due holds of its
    /// own; `next_expiry` says so, and a command that reads it retires them.
    fn compare_locked(&self, inventory: &Inventory, named: bool) -> Result<(), String> {
        let (section_id, now) = (inventory.section_id, self.clock.now());
        let expected = self.model.counts(section_id, now);
        if !named && inventory.next_expiry.is_some_and(|next_expiry| next_expiry <= now) {
            let shown = Counts { held: expected.held, ..counts(inventory) };
            return equal("the counters of a section beside", &shown, &expected);
        }
        let live = |deal: &&Deal| deal.status(now) == BookingStatus::Hold;
        let here = |deal: &&Deal| deal.seats.contains_key(&section_id);
        let holds = self.model.deals.iter().filter(live).filter(here);
        equal("the locked counters", &counts(inventory), &expected)?;
        equal("the next expiry", &inventory.next_expiry, &holds.map(|deal| deal.ends_at).min())
    }

    fn compare_booking(&self, booking: &Booking) -> Result<(), String> {
        let deal = self.model.deal(booking.booking_id);
        let deal = deal.ok_or_else(|| format!("nobody made {booking:?}"))?;
        let now = self.clock.now();
        let items = booking.items.iter();
        let seats: BTreeMap<_, _> =
            items.clone().map(|item| (item.section_id, i64::from(item.seats))).collect();
        let prices = items.map(|item| (item.section_id, item.unit_price.minor)).collect();
        let at = |what: &str| format!("{what} of booking {}", deal.booking_id);
        equal(&at("status"), &booking.status_at(now), &deal.status(now))?;
        equal(&at("seats"), &seats, &deal.seats)?;
        equal(&at("prices"), &prices, &deal.unit_prices)?;
        equal(&at("end"), &booking.expires_at, &deal.ends_at)?;
        equal(&at("latest end"), &booking.max_expires_at, &deal.ends_at_latest)?;
        equal(&at("sale"), &booking.confirmed_at, &deal.sold_at)?;
        equal(&at("return"), &booking.cancelled_at, &deal.given_back_at)?;
        equal(&at("owner"), &(booking.user_id, booking.event_id), &(deal.user_id, deal.event_id))
    }

    /// Compares all that readers are shown, and folds the log.
    async fn compare_everything(&self) -> Result<(), String> {
        let now = self.clock.now();
        for event_id in &self.events {
            for live in self.backend.inventories(*event_id).await {
                let section_id = live.inventory.section_id;
                let mut shown = counts(&live.inventory);
                shown.held -= live.due;
                equal("the live counters", &shown, &self.model.counts(section_id, now))?;
            }
            let bookings = self.backend.bookings(*event_id).await;
            bookings.iter().try_for_each(|booking| self.compare_booking(booking))?;
            let stored: BTreeSet<BookingId> = bookings.iter().map(|it| it.booking_id).collect();
            let made = self.model.deals.iter().filter(|deal| deal.event_id == *event_id);
            equal("the bookings", &stored, &made.map(|deal| deal.booking_id).collect())?;
        }
        let report = self.backend.audit().await;
        if report.is_clean() { Ok(()) } else { Err(format!("the audit finds {:?}", report.told)) }
    }
}

fn counts(inventory: &Inventory) -> Counts {
    Counts {
        capacity: inventory.capacity,
        held: inventory.held,
        sold: inventory.sold,
        blocked: inventory.blocked,
    }
}

fn equal<T: PartialEq + Debug>(what: &str, got: &T, expected: &T) -> Result<(), String> {
    if got == expected {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected:?}, got {got:?}"))
    }
}

/// The name of an answer without its fields.
fn first_word(answer: &Result<Told, Refusal>) -> String {
    let text = match answer {
        Ok(told) => format!("{told:?}"),
        Err(refusal) => format!("{refusal:?}"),
    };
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
