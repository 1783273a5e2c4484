//! Running a scenario on a backend.

use super::seen::{Seen, word};
use super::settings;
use super::text::{Expected, Line, Scenario, duration_ms};
use crate::backend::{Backend, Kind};
use crate::world::{ManualClock, Mint, POLICY};
use engine::{
    BookingId, Command, Committed, EventId, EventWithSections, Hold, LiveInventory, Opening,
    Outcome, Overrides, Policy, Refusal, SectionId, UserId,
};
use std::collections::{BTreeMap, HashMap};

/// Commands in one batch of a crowd, as many as a lane takes.
const CROWD_BATCH: u32 = 512;

/// Why a line did not run as written.
enum Trouble {
    /// The line cannot be understood.
    Unreadable(String),
    /// It was understood, and something else happened.
    Otherwise { expected: String, seen: String },
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Unreadable(why)
    }
}

/// Runs `scenario` on a fresh backend of `kind`; the error names the first line with another
/// result.
pub async fn run(scenario: &Scenario, kind: &dyn Kind) -> Result<(), String> {
    let mut stage = Stage::new(kind);
    let mut lines = scenario.lines.iter();
    while let Some(line) = lines.next() {
        let mut batch = vec![line.clone()];
        let together = line.words == ["batch"];
        if together {
            batch = lines.by_ref().take_while(|line| line.words != ["end"]).cloned().collect();
        }
        let told = stage.tell(batch, together).await;
        told.map_err(|(number, trouble)| {
            let (expected, seen) = match trouble {
                Trouble::Unreadable(why) => ("a line of the language".to_owned(), why),
                Trouble::Otherwise { expected, seen } => (expected, seen),
            };
            format!("{}:{number}: expected {expected}, got {seen}", scenario.file)
        })?;
    }
    Ok(())
}

/// What has been set up so far, and the names of everything.
pub(super) struct Stage<'a> {
    kind: &'a dyn Kind,
    pub(super) clock: ManualClock,
    pub(super) mint: Mint,
    pub(super) policy: Policy,
    pub(super) backend: Option<Box<dyn Backend>>,
    /// Events that are not created yet: sections are still being added.
    pub(super) planned: Vec<(EventWithSections, Vec<Opening>)>,
    pub(super) events: BTreeMap<String, (EventId, UserId)>,
    pub(super) latest_event: String,
    pub(super) sections: BTreeMap<String, (SectionId, EventId)>,
    pub(super) bookings: BTreeMap<String, (BookingId, UserId)>,
    pub(super) users: HashMap<String, UserId>,
}

impl<'a> Stage<'a> {
    fn new(kind: &'a dyn Kind) -> Self {
        let clock = ManualClock::new();
        let mint = Mint::new(&clock);
        Self {
            kind,
            clock,
            mint,
            policy: POLICY,
            backend: None,
            planned: Vec::new(),
            events: BTreeMap::new(),
            latest_event: String::new(),
            sections: BTreeMap::new(),
            bookings: BTreeMap::new(),
            users: HashMap::new(),
        }
    }

    /// Carries out one line, or the commands of a batch together.
    async fn tell(&mut self, batch: Vec<Line>, together: bool) -> Result<(), (usize, Trouble)> {
        let Some(number) = batch.first().map(|line| line.number) else { return Ok(()) };
        if together {
            return self.commit(batch).await;
        }
        let [mut line]: [Line; 1] = batch.try_into().expect("a line alone");
        let words = std::mem::take(&mut line.words);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let done = match words[..] {
            ["policy"] => self.set_policy(&mut line),
            ["event", name] => self.plan_event(name, &mut line),
            ["section", name] => self.plan_section(name, &mut line),
            ["tick", by] => duration_ms(by)
                .map(|ms| self.clock.advance_ms(ms))
                .ok_or(Trouble::Unreadable(format!("{by} is no duration"))),
            ["set"] | ["set", _] => self.revise(words.get(1).copied(), &mut line).await,
            ["call_off"] | ["call_off", _] => self.call_off(words.get(1).copied(), &mut line).await,
            ["expect", name] | ["expect", name, _] => {
                self.expect(name, words.get(2).copied(), &mut line).await
            }
            ["audit", "clean"] => self.audit().await,
            ["sweep"] => self.sweep(&mut line).await,
            ["crowd", count, section, seats] => self.crowd(count, section, seats).await,
            _ => {
                line.words = words.into_iter().map(str::to_owned).collect();
                return self.commit(vec![line]).await;
            }
        };
        done.and_then(|()| all_understood(&line)).map_err(|trouble| (number, trouble))
    }

    /// Commits the commands of `lines` in one batch, and compares each answer.
    async fn commit(&mut self, mut lines: Vec<Line>) -> Result<(), (usize, Trouble)> {
        let mut commands = Vec::new();
        for line in &mut lines {
            let command = self.command(line).map_err(Trouble::Unreadable);
            let command = command.and_then(|command| all_understood(line).map(|()| command));
            commands.push(command.map_err(|trouble| (line.number, trouble))?);
        }
        let committed = self.backend().await.commit(&commands).await;
        for (line, answer) in lines.iter().zip(&committed.answers) {
            let seen = self.seen(answer, &committed);
            compare(line, &seen).map_err(|trouble| (line.number, trouble))?;
        }
        Ok(())
    }

    fn seen(&self, answer: &Result<Outcome, Refusal>, committed: &Committed) -> Seen {
        let now = committed.now;
        let seen = match answer {
            Err(refusal) => Seen::refused(refusal, now),
            Ok(Outcome::Booking { booking, replayed, .. }) => {
                let named = self.bookings.iter().find(|(_, (id, _))| *id == booking.booking_id);
                let verdict = match named {
                    Some((name, _)) if *replayed => format!("replayed {name}"),
                    _ => word(booking.status).to_owned(),
                };
                Seen::booking(verdict, booking, now)
            }
            Ok(Outcome::Inventory(inventory)) => Seen::inventory(inventory, 0),
            Ok(Outcome::Done) => Seen::new("done"),
        };
        seen.fact("expired", &committed.expired)
    }

    /// The backend, with every planned event.
    async fn backend(&mut self) -> &dyn Backend {
        if self.backend.is_none() {
            self.backend = Some(self.kind.open(self.policy, &self.clock).await);
        }
        let backend = self.backend.as_deref().expect("it is open");
        for (event, openings) in self.planned.drain(..) {
            backend.create_event(&event, &openings).await;
        }
        backend
    }

    fn set_policy(&mut self, line: &mut Line) -> Result<(), Trouble> {
        self.policy = settings::policy(&mut line.given, self.policy)?;
        Ok(())
    }

    fn plan_event(&mut self, name: &str, line: &mut Line) -> Result<(), Trouble> {
        let by = line.given.remove("by");
        let organizer_id = self.user(by.as_deref().unwrap_or("olga"));
        let mut event = self.mint.event_on_sale(organizer_id);
        let change = settings::change(&mut line.given, self.clock.now())?;
        let revised = event.event.revise(change, self.clock.now());
        revised.map_err(|refusal| format!("{refusal:?}"))?;
        self.events.insert(name.to_owned(), (event.event.terms.event_id, organizer_id));
        name.clone_into(&mut self.latest_event);
        self.planned.push((event, Vec::new()));
        Ok(())
    }

    fn plan_section(&mut self, name: &str, line: &mut Line) -> Result<(), Trouble> {
        if self.events.is_empty() {
            self.plan_event("E", line)?;
        }
        let capacity = settings::take(&mut line.given, "capacity", settings::count)?;
        let capacity = capacity.ok_or("a section has a capacity".to_owned())?;
        let price = settings::take(&mut line.given, "price", settings::count)?;
        let (event, openings) =
            self.planned.last_mut().ok_or("the event is on sale already".to_owned())?;
        let event_id = event.event.terms.event_id;
        let mut section = self.mint.section_of(event_id, name);
        section.price.minor = price.map_or(section.price.minor, i64::from);
        self.sections.insert(name.to_owned(), (section.section_id, event_id));
        event.sections.push(section);
        openings.push(i64::from(capacity).into());
        Ok(())
    }

    /// The event a line is about, and who acts on it: the latest one and its organizer by default.
    fn event_and_actor(
        &mut self,
        name: Option<&str>,
        line: &mut Line,
    ) -> Result<(EventId, UserId), Trouble> {
        let name = name.unwrap_or(&self.latest_event);
        let (event_id, organizer) = *self.events.get(name).ok_or(format!("no event {name:?}"))?;
        let by = line.given.remove("by");
        Ok((event_id, by.map_or(organizer, |by| self.user(&by))))
    }

    async fn revise(&mut self, name: Option<&str>, line: &mut Line) -> Result<(), Trouble> {
        let (event_id, by) = self.event_and_actor(name, line)?;
        let change = settings::change(&mut line.given, self.clock.now())?;
        let revised = self.backend().await.revise_event(event_id, by, change).await;
        self.compare_done(line, revised)
    }

    async fn call_off(&mut self, name: Option<&str>, line: &mut Line) -> Result<(), Trouble> {
        let (event_id, by) = self.event_and_actor(name, line)?;
        let cancelled = self.backend().await.cancel_event(event_id, by).await;
        self.compare_done(line, cancelled)
    }

    fn compare_done(&self, line: &Line, result: Result<(), Refusal>) -> Result<(), Trouble> {
        let now = self.clock.now();
        let refused = |refusal: Refusal| Seen::refused(&refusal, now);
        compare(line, &result.map_or_else(refused, |()| Seen::new("done")))
    }

    /// Compares what readers are shown of a section or of a booking.
    async fn expect(
        &mut self,
        name: &str,
        status: Option<&str>,
        line: &mut Line,
    ) -> Result<(), Trouble> {
        let now = self.clock.now();
        let facts = std::mem::take(&mut line.given);
        let (section, booking) =
            (self.sections.get(name).copied(), self.bookings.get(name).copied());
        let events: Vec<_> = self.events.values().map(|(event_id, _)| *event_id).collect();
        let backend = self.backend().await;
        let seen = if let Some((section_id, event_id)) = section {
            let inventories = backend.inventories(event_id).await;
            let live = inventories.iter().find(|live| live.inventory.section_id == section_id);
            let live = live.ok_or(format!("section {name} has no inventory"))?;
            let told = backend.audit().await.told;
            let log = told.first().map_or("balanced".to_owned(), ToString::to_string);
            Seen { verdict: String::new(), ..Seen::inventory(&live.inventory, live.due) }
                .fact("log", &log)
        } else if let Some((booking_id, _)) = booking {
            let mut found = None;
            for event_id in events {
                let bookings = backend.bookings(event_id).await;
                found = found.or(bookings.into_iter().find(|it| it.booking_id == booking_id));
            }
            match found {
                Some(booking) => Seen::booking(booking.status_at(now).as_str(), &booking, now),
                None => Seen::new("nothing"),
            }
        } else {
            return Err(format!("{name} is neither a section nor a hold").into());
        };
        let expected = Expected { verdict: status.unwrap_or_default().to_owned(), facts };
        compare_with(&expected, &seen)
    }

    async fn audit(&mut self) -> Result<(), Trouble> {
        let report = self.backend().await.audit().await;
        let told: Vec<_> = report.told.iter().map(ToString::to_string).collect();
        let seen = Seen::new(if told.is_empty() { "clean".to_owned() } else { told.join("; ") });
        compare_with(&Expected { verdict: "clean".to_owned(), ..Expected::default() }, &seen)
    }

    /// Retires the due holds of all sections that have some, as the sweep does.
    async fn sweep(&mut self, line: &mut Line) -> Result<(), Trouble> {
        let events: Vec<_> = self.events.values().map(|(event_id, _)| *event_id).collect();
        let backend = self.backend().await;
        let mut due = Vec::new();
        for event_id in events {
            let inventories = backend.inventories(event_id).await;
            due.extend(inventories.into_iter().filter(|live| live.due > 0));
        }
        let retire =
            |live: &LiveInventory| Command::Retire { section_id: live.inventory.section_id };
        let committed = backend.commit(&due.iter().map(retire).collect::<Vec<_>>()).await;
        compare(line, &Seen::new("done").fact("expired", &committed.expired))
    }

    /// Many people each hold seats of a section, and all get them.
    async fn crowd(&mut self, count: &str, section: &str, seats: &str) -> Result<(), Trouble> {
        let count: u32 = count.parse().map_err(|_| format!("{count} is no number of people"))?;
        let requests = self.requests(&[section, seats])?;
        let (_, event_id) = self.place(section);
        let hold = |mint: &Mint| {
            let (booking_id, user_id) = (mint.booking(event_id), mint.user());
            Command::Hold(Hold {
                booking_id,
                user_id,
                seller: None,
                overrides: Overrides::NONE,
                event_id,
                requests: requests.clone(),
                key: None,
            })
        };
        let holds: Vec<_> = (0..count).map(|_| hold(&self.mint)).collect();
        let backend = self.backend().await;
        for batch in holds.chunks(CROWD_BATCH as usize) {
            let committed = backend.commit(batch).await;
            if let Some(refusal) = committed.answers.iter().find_map(|answer| answer.as_ref().err())
            {
                let seen = Seen::refused(refusal, committed.now).to_string();
                return Err(Trouble::Otherwise {
                    expected: "everybody to be held".to_owned(),
                    seen,
                });
            }
        }
        Ok(())
    }
}

fn all_understood(line: &Line) -> Result<(), Trouble> {
    // On a hold, `ttl=` is a fact to be checked.
    match line.given.iter().find(|(key, _)| *key != "ttl") {
        Some((key, value)) => Err(format!("nobody understands {key}={value}").into()),
        None => Ok(()),
    }
}

/// Compares what happened with what `line` expects: without an arrow, anything but a refusal.
fn compare(line: &Line, seen: &Seen) -> Result<(), Trouble> {
    let Some(mut expected) = line.expected.clone() else {
        let refused = seen.verdict.starts_with("refused");
        let expected = "no refusal".to_owned();
        let otherwise = Trouble::Otherwise { expected, seen: seen.to_string() };
        return if refused { Err(otherwise) } else { Ok(()) };
    };
    if expected.verdict == "held" {
        expected.facts.extend(line.given.clone());
    }
    compare_with(&expected, seen)
}

fn compare_with(expected: &Expected, seen: &Seen) -> Result<(), Trouble> {
    if seen.is(expected) {
        return Ok(());
    }
    let (expected, seen) = (expected.to_string(), seen.to_string());
    let (expected, seen) = (expected.trim().to_owned(), seen.trim().to_owned());
    Err(Trouble::Otherwise { expected, seen })
}
