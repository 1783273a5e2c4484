//! Reading commands: what a line asks for, and whom and what its names stand for.

use super::run::Stage;
use super::text::Line;
use crate::world::fingerprint;
use engine::access::Override;
use engine::{
    BookingId, By, Command, EventId, Hold, IdempotencyKey, Overrides, SeatRequest, SectionId,
    UserId,
};
use std::collections::BTreeMap;

impl Stage<'_> {
    /// The command that a line describes.
    pub(super) fn command(&mut self, line: &mut Line) -> Result<Command, String> {
        let words: Vec<_> = line.words.iter().map(String::as_str).collect();
        let by = line.given.remove("by");
        match words[..] {
            ["hold", name, ref requests @ ..] => {
                let user_id = self.user(by.as_deref().unwrap_or("alice"));
                let requests = self.requests(requests)?;
                let hold = self.hold(name, user_id, requests, &mut line.given)?;
                Ok(Command::Hold(hold))
            }
            ["confirm" | "release" | "extend" | "cancel", name] => {
                let (booking_id, owner) = self.booked(name);
                let user_id = by.as_deref().map_or(owner, |by| self.user(by));
                Ok(match words[0] {
                    "confirm" => Command::Confirm { booking_id, by: By::User(user_id) },
                    "release" => Command::Release { booking_id, by: By::User(user_id) },
                    "extend" => Command::Extend { booking_id, by: By::User(user_id) },
                    _ if by.as_deref() == Some("system") => {
                        Command::Cancel { booking_id, by: By::System }
                    }
                    _ => Command::Cancel { booking_id, by: By::User(user_id) },
                })
            }
            ["resize" | "block", section, number] => {
                let number = number.parse().map_err(|_| format!("{number} is no number"))?;
                let (section_id, event_id) = self.place(section);
                let organizer = self.events.values().find(|(id, _)| *id == event_id);
                let organizer = organizer.ok_or("the section has no event")?.1;
                let by = by.as_deref().map_or(organizer, |by| self.user(by));
                Ok(if words[0] == "resize" {
                    Command::Resize { section_id, by: by.into(), capacity: number }
                } else {
                    Command::Block {
                        section_id,
                        by: by.into(),
                        blocked: engine::Blocked::Count(number),
                        reason: None,
                    }
                })
            }
            ["retire", section] => Ok(Command::Retire { section_id: self.place(section).0 }),
            _ => Err(format!("nobody understands {:?}", words.join(" "))),
        }
    }

    fn hold(
        &mut self,
        name: &str,
        user_id: UserId,
        requests: Vec<SeatRequest>,
        given: &mut BTreeMap<String, String>,
    ) -> Result<Hold, String> {
        let first = requests.first().ok_or("a hold requests for seats")?.sections()[0];
        let section = self.sections.values().find(|(section_id, _)| *section_id == first);
        let own = section.map_or(self.events[&self.latest_event].0, |(_, event_id)| *event_id);
        let event_id = given.remove("in").map_or(own, |name| self.event(&name));
        let key = given.remove("key").map(|key| {
            let key = IdempotencyKey::new(&key).expect("a key of visible characters");
            (key, fingerprint(event_id, &requests))
        });
        let booking_id = self.mint.booking(event_id);
        let before = self.bookings.insert(name.to_owned(), (booking_id, user_id));
        if before.is_some() {
            return Err(format!("two holds called {name}"));
        }
        let seller = given.remove("sold_by").map(|name| By::User(self.user(&name)));
        let words = given.remove("overrides").unwrap_or_default();
        let named = words.split_terminator(',').map(Override::parse);
        let overrides = named.collect::<Option<Overrides>>().ok_or("no such limit")?;
        Ok(Hold { booking_id, user_id, seller, overrides, event_id, requests, key })
    }

    /// Reads `A 2 + B 1`.
    pub(super) fn requests(&self, words: &[&str]) -> Result<Vec<SeatRequest>, String> {
        let ask = |words: &[&str]| match words {
            [section, seats] => {
                let seats = seats.parse().map_err(|_| format!("{seats} is no number of seats"))?;
                Ok(SeatRequest::Count { section_id: self.place(section).0, seats })
            }
            _ => Err(format!("{words:?} is no section with a number of seats")),
        };
        words.split(|word| *word == "+").map(ask).collect()
    }

    pub(super) fn user(&mut self, name: &str) -> UserId {
        let mint = &self.mint;
        *self.users.entry(name.to_owned()).or_insert_with(|| mint.user())
    }

    /// The event with this name; an unknown name names an event nobody has recorded.
    pub(super) fn event(&self, name: &str) -> EventId {
        self.events.get(name).map_or_else(|| self.mint.event(), |(event_id, _)| *event_id)
    }

    /// The section with this name, or one nobody has recorded.
    pub(super) fn place(&self, name: &str) -> (SectionId, EventId) {
        let event_id = self.event(&self.latest_event);
        self.sections.get(name).copied().unwrap_or_else(|| (self.mint.section(event_id), event_id))
    }

    /// The booking with this name, or one nobody has made.
    fn booked(&mut self, name: &str) -> (BookingId, UserId) {
        let somebody = self.user("alice");
        let event_id = self.event(&self.latest_event);
        self.bookings.get(name).copied().unwrap_or_else(|| (self.mint.booking(event_id), somebody))
    }
}
