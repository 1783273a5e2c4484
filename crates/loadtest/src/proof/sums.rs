//! The sums: the organizer's figures of each section, compared with the answers of its buyers.

use super::check::{Case, SETTLE};
use super::{Findings, Promise, grouped};
use crate::api::Api;
use crate::progress::Progress;
use crate::setup::{Seats, at_once, availability, missing};
use crate::trouble::Trouble;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Sums of many events are asked for no longer than this.
const SUMS_MAX: Duration = Duration::from_mins(1);

/// The sums of one event: the seats of its sections, and what is wrong with them.
struct Sums {
    seats: Vec<(u32, Seats)>,
    wrong: Vec<String>,
}

impl Case<'_> {
    /// The organizer's figures, compared with the answers of the buyers. Of many events those come
    /// first at which something was held, in random order.
    pub(super) async fn sums(
        &mut self,
        findings: &mut Findings,
        progress: &Progress,
    ) -> Result<(), Trouble> {
        let events = self.busy_first();
        let sections = self.sections_of_events();
        let case = &*self;
        let started = Instant::now();
        let read = async |api: &mut Api, number: usize| {
            if number > 0 && started.elapsed() > SUMS_MAX {
                return Ok(None);
            }
            let event = events[number];
            case.sums_of(api, event, &sections[event]).await.map(Some)
        };
        let cast = &self.stage.cast;
        let all = at_once(cast, events.len(), "comparing the sums", progress, read).await?;
        let mut compared = 0;
        for Sums { seats, wrong } in all.into_iter().flatten() {
            compared += 1;
            for what in wrong {
                findings.offend(Promise::SumsAddUp, || what);
            }
            for (number, seats) in seats {
                self.compare(number, &seats, findings);
            }
        }
        if events.len() > 1 {
            findings.count(Promise::SumsAddUp, "events compared", compared);
        }
        if compared < events.len() as u64 {
            let left = grouped(events.len() as u64 - compared);
            findings
                .remark(Promise::SumsAddUp, format!("{left} events not checked within a minute"));
        }
        if self.ledger.resold > 0 {
            findings.count(
                Promise::NotOverheld,
                "holds compared with the live ones",
                self.ledger.resold,
            );
            findings.offences(Promise::NotOverheld, std::mem::take(&mut self.ledger.crowded));
        }
        Ok(())
    }

    /// All events, those first at which something was held.
    fn busy_first(&self) -> Vec<usize> {
        let mut is_busy = vec![false; self.stage.events.len()];
        for (section, known) in self.stage.sections.iter().zip(&self.known) {
            is_busy[section.event as usize] |= *known != (0, 0);
        }
        let mut order: Vec<(bool, u32, usize)> = (0..is_busy.len())
            .map(|event| (!is_busy[event], crate::random::random(), event))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(.., event)| event).collect()
    }

    fn sections_of_events(&self) -> Vec<Vec<u32>> {
        let mut sections = vec![Vec::new(); self.stage.events.len()];
        for (number, section) in (0_u32..).zip(&self.stage.sections) {
            sections[section.event as usize].push(number);
        }
        sections
    }

    async fn sums_of(
        &self,
        api: &mut Api,
        event: usize,
        sections: &[u32],
    ) -> Result<Sums, Trouble> {
        let started = Instant::now();
        loop {
            let seats = self.seats_of(api, event, sections).await?;
            let wrong = self.wrong_sums(&seats);
            // What lapsed a moment ago may not yet be counted as free.
            if wrong.is_empty() || started.elapsed() > SETTLE {
                return Ok(Sums { seats, wrong });
            }
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// The seats of some sections of an event as they are reported now.
    pub(super) async fn seats_of(
        &self,
        api: &mut Api,
        event: usize,
        sections: &[u32],
    ) -> Result<Vec<(u32, Seats)>, Trouble> {
        let all = availability(api, &self.stage.cast, self.stage.events[event]).await?;
        self.stage.clock_is_ahead(api.body());
        let of = |number: &u32| {
            let id = &self.stage.sections[*number as usize].id;
            let seats = all.get(id).cloned().ok_or_else(|| missing(id))?;
            Ok((*number, seats))
        };
        sections.iter().map(of).collect()
    }

    fn compare(&self, number: u32, seats: &Seats, findings: &mut Findings) {
        let (held, confirmed) = self.known(number);
        let Seats { capacity, sold, .. } = *seats;
        findings.count(Promise::NotOversold, "seats", capacity);
        findings.count(Promise::NotOversold, "confirmed", confirmed);
        let most = sold.unwrap_or(0).max(confirmed);
        if most > capacity {
            findings.offend(Promise::NotOversold, || {
                format!("{}: {most} sold of {capacity}", self.name(number))
            });
        }
        if self.stage.all_live() && self.stage.is_ours {
            let live = held + confirmed;
            findings.count(Promise::NotOverheld, "held or sold", live);
            if live > capacity {
                findings.offend(Promise::NotOverheld, || {
                    format!("{}: {live} held or sold of {capacity}", self.name(number))
                });
            }
        }
        if let Some(sold) = sold {
            findings.count(Promise::SumsAddUp, "reported as sold by the server", sold);
        } else {
            let why = "not compared: only the organizer can read the held and sold seats";
            findings.remark(Promise::SumsAddUp, why);
        }
    }

    fn wrong_sums(&self, all: &[(u32, Seats)]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, seats) in all {
            let Seats { capacity, available, held: Some(held), sold: Some(sold) } = *seats else {
                continue;
            };
            let section = &self.stage.sections[*number as usize];
            let (known_held, known_confirmed) = self.known(*number);
            let tally = self.ledger.tally(*number);
            let unknown = tally.unknown + tally.lost;
            let name = self.name(*number);
            if available + held + sold != capacity {
                wrong.push(format!("{name}: {available} + {held} + {sold} is not {capacity}"));
            }
            let least = section.sold_before.unwrap_or(0) + known_confirmed;
            if !(least..=least + tally.unknown).contains(&sold) && self.stage.is_ours {
                wrong.push(format!("{name}: {sold} reported as sold, {least} confirmed"));
            }
            let least = section.held_before.unwrap_or(0) + known_held;
            let is_so = (least..=least + unknown).contains(&held);
            if self.stage.all_live() && self.stage.is_ours && !is_so {
                wrong.push(format!("{name}: {held} reported as held, {least} known"));
            }
        }
        wrong
    }

    /// A section for a reader.
    pub(super) fn name(&self, section: u32) -> String {
        let event = self.stage.sections[section as usize].event;
        let first = self.stage.sections.partition_point(|it| it.event < event);
        let number = section as usize + 1 - first;
        match self.stage.events[..] {
            [_] => format!("section {number}"),
            _ => format!("section {number} of event {}", event + 1),
        }
    }
}
