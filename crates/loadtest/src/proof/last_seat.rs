//! Whether a seat leaked: small sections are sold until the last seat is gone.

use super::check::{Case, SETTLE};
use super::crew::{Crew, insist_on_act};
use super::{Findings, Promise};
use crate::api::Api;
use crate::ledger::{Entry, Fate};
use crate::setup::Seats;
use crate::trouble::Trouble;
use crate::worker::Verb;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What was not given back is waited for no longer than this.
const LAPSE_MAX: Duration = Duration::from_mins(1);

impl Case<'_> {
    /// Cancels the holds, waits for others to expire, sells the remaining seats, and is refused one
    /// more.
    pub(super) async fn sell_out(
        &mut self,
        crew: &mut Crew,
        hold_ttl: Duration,
        findings: &mut Findings,
    ) -> Result<(), Trouble> {
        let promise = Promise::NoLeak;
        let is_held = |entry: &&Entry| matches!(entry.fate, Fate::Held | Fate::Repeated);
        let held: Vec<Entry> = self.ledger.entries.iter().filter(is_held).copied().collect();
        // Buyers of holds that are about to lapse need not give them back.
        if hold_ttl > SETTLE {
            let gone = AtomicU64::new(0);
            crew.each(&held, async |worker, entry| {
                if insist_on_act(worker, Verb::Cancel, entry).await.fate == Fate::Cancelled {
                    gone.fetch_add(1, Ordering::Relaxed);
                }
            })
            .await;
            findings.count(promise, "holds cancelled", gone.into_inner());
        }
        let mut api = Api::new(&self.stage.cast.target);
        // Only scenarios with one event sell it out.
        let all: Vec<u32> = (0..).take(self.stage.sections.len()).collect();
        let patience = hold_ttl.min(LAPSE_MAX) + SETTLE;
        let started = Instant::now();
        let mut seats = self.seats_of(&mut api, 0, &all).await?;
        while started.elapsed() < patience && seats.iter().any(|(_, it)| it.held.unwrap_or(0) > 0) {
            sleep(Duration::from_millis(100)).await;
            seats = self.seats_of(&mut api, 0, &all).await?;
        }
        if hold_ttl > patience && seats.iter().any(|(_, it)| it.held.unwrap_or(0) > 0) {
            findings.doubt(promise, "some holds were neither cancelled nor expired");
        }
        let mut confirmed_now = Vec::new();
        let mut all_sold = true;
        for (number, section) in (0_u32..).zip(&self.stage.sections) {
            let (sold, to_the_last) = crew.sell_out(number, section.capacity).await;
            confirmed_now.push(sold);
            all_sold &= to_the_last;
        }
        if !all_sold {
            findings.doubt(promise, "some seats were refused for other reasons");
            return Ok(());
        }
        for (number, seats) in &self.seats_of(&mut api, 0, &all).await? {
            let (number, place) = (*number, *number as usize);
            let tally = self.ledger.tally(number);
            let sold_to_us = self.known(number).1 + confirmed_now[place];
            let sold = sold_to_us + self.stage.sections[place].sold_before.unwrap_or(0);
            let name = self.name(number);
            findings.count(promise, "seats", seats.capacity);
            findings.count(promise, "sold in the run", self.known(number).1);
            findings.count(promise, "sold after the run", confirmed_now[place]);
            if sold > seats.capacity {
                let capacity = seats.capacity;
                findings
                    .offend(Promise::NotOversold, || format!("{name}: {sold} sold of {capacity}"));
            }
            // A hold that was never answered may live on; nobody can give it back.
            let unseen = tally.lost + tally.unknown;
            if sold + unseen < seats.capacity {
                let Seats { capacity, available, .. } = *seats;
                if findings.is_doubted(promise) {
                    continue;
                }
                findings.offend(promise, || {
                    format!(
                        "{name}: {sold} of {capacity} could be sold, but {available} were \
                        reported as available"
                    )
                });
            } else if sold < seats.capacity {
                findings.remark(promise, format!("{unseen} seats may belong to unanswered holds"));
            }
            if seats.sold.is_some_and(|told| told > sold + unseen || told + unseen < sold) {
                let told = seats.sold.unwrap_or(0);
                findings.offend(Promise::SumsAddUp, || {
                    format!("{name}: the server reports {told} sold, but {sold} were confirmed")
                });
            }
        }
        Ok(())
    }
}
