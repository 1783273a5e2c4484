//! Numbered seats: the owner of each, by the answers of the buyers, by the public status, and by
//! the organizer's list of bookings.

use super::check::{Case, SETTLE};
use super::{Findings, Promise, grouped};
use crate::api::Api;
use crate::body;
use crate::hall::Hall;
use crate::ledger::{Entry, Fate, Given};
use crate::progress::Progress;
use crate::setup::at_once;
use crate::stage::Stage;
use crate::trouble::Trouble;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// Halls are asked about no longer than this.
const HALLS_MAX: Duration = Duration::from_mins(1);

/// In this number of halls, the seats of a buyer are read.
const YOURS_MAX: usize = 64;
/// For a buyer with more bookings than this, the answer has the seats of the newest ones.
const YOURS_BOOKINGS_MAX: usize = 100;

/// `GET …/seats/status`.
#[derive(Deserialize)]
struct Status {
    capacity: u64,
    available: u64,
    held: Vec<String>,
    sold: Vec<String>,
    blocked: Vec<String>,
    #[serde(default)]
    yours: Vec<String>,
}

/// Whose the seats of a hall are by the buyers' account.
pub(super) struct Owners<'a> {
    /// The section.
    pub(super) section: u32,
    /// Its drawing and so on.
    pub(super) hall: &'a Hall,
    /// For each seat the live booking that has it.
    pub(super) of: Vec<Option<&'a Given>>,
}

/// What is wrong in one hall.
#[derive(Default)]
pub(super) struct Wrongs(pub(super) Vec<(Promise, String)>);

impl Wrongs {
    /// One more.
    pub(super) fn add(&mut self, promise: Promise, what: String) {
        self.0.push((promise, what));
    }
}

/// What a booking that is read again says of its seats, if that is not what was acknowledged. `given` is
/// sorted by booking.
pub(super) fn other_seats(
    stage: &Stage,
    given: &[Given],
    entry: Entry,
    body: &[u8],
) -> Option<String> {
    let drawing = &stage.hall(entry.section)?.drawing;
    let place = given.binary_search_by_key(&entry.booking, |it| it.booking).ok()?;
    let id = Uuid::from_u128(entry.booking);
    let names = drawing.names(&given[place].seats);
    let Some(told) = body::seats(body) else {
        return Some(format!("{id} had {names}, but now lists no seats"));
    };
    let mut found: Vec<Option<u32>> = told.iter().map(|name| drawing.find(name)).collect();
    found.sort_unstable();
    let is_same = found.iter().copied().eq(given[place].seats.iter().copied().map(Some));
    (!is_same).then(|| format!("{id} had {names}, but now has {}", told.join(" ")))
}

impl Case<'_> {
    /// Examines the halls, if there are any.
    pub(super) async fn seats(
        &mut self,
        findings: &mut Findings,
        progress: &Progress,
    ) -> Result<(), Trouble> {
        if self.stage.halls.is_empty() {
            return Ok(());
        }
        self.answers(findings);
        let given = std::mem::take(&mut self.ledger.given);
        let fates: HashMap<u128, Fate> =
            self.ledger.entries.iter().map(|entry| (entry.booking, entry.fate)).collect();
        let owners = self.owners(&given, &fates, findings);
        self.ask_halls(&owners, &fates, findings, progress).await
    }

    /// What was noticed at the answers themselves.
    fn answers(&mut self, findings: &mut Findings) {
        let ledger = &mut self.ledger;
        findings.count(Promise::AsAsked, "holds", ledger.given.len() as u64);
        findings.offences(Promise::AsAsked, std::mem::take(&mut ledger.misnamed));
        // Sorted by booking: repeated answers about a hold are next to the first one.
        for pair in ledger.given.windows(2) {
            let [a, b] = pair else { continue };
            if a.booking == b.booking && a.seats != b.seats {
                let id = Uuid::from_u128(a.booking);
                findings.offend(Promise::SeatsKept, || {
                    format!("two answers about {id} have different seats")
                });
            }
        }
        if ledger.together > 0 || ledger.split.count > 0 {
            findings.count(Promise::Together, "parties", ledger.together);
            findings.offences(Promise::Together, std::mem::take(&mut ledger.split));
        }
    }

    /// Assigns every seat to the live booking that has it; a second one is an offence.
    fn owners<'a>(
        &self,
        given: &'a [Given],
        fates: &HashMap<u128, Fate>,
        findings: &mut Findings,
    ) -> Vec<Owners<'a>>
    where
        Self: 'a,
    {
        let stage = self.stage;
        let mut owners: Vec<Owners<'a>> = Vec::with_capacity(stage.halls.len());
        let mut places = HashMap::new();
        for section in &stage.halls {
            let Some(hall) = stage.hall(*section) else { continue };
            places.insert(*section, owners.len());
            let of = vec![None; hall.drawing.seats() as usize];
            owners.push(Owners { section: *section, hall, of });
        }
        let mut seats = 0;
        for given in given {
            let fate = fates.get(&given.booking);
            if matches!(fate, Some(Fate::Cancelled | Fate::CancelUnknown | Fate::Lapsed)) {
                continue;
            }
            let Some(place) = places.get(&given.section) else { continue };
            let Owners { hall, of, .. } = &mut owners[*place];
            for seat in &given.seats {
                let owner = &mut of[*seat as usize];
                let (before, name) = (*owner, hall.drawing.name(*seat));
                seats += u64::from(before.is_none());
                *owner = Some(given);
                // The same booking is returned again for the same key.
                if let Some(before) = before.filter(|it| it.booking != given.booking) {
                    let (a, b) = (Uuid::from_u128(before.booking), Uuid::from_u128(given.booking));
                    let section = self.name(given.section);
                    findings.offend(Promise::SeatOnce, || {
                        format!("seat {name} of {section} was assigned to {a} and {b}")
                    });
                }
            }
        }
        findings.count(Promise::SeatOnce, "seats acknowledged", seats);
        owners
    }

    /// Asks for the status of each hall, its bookings, and of some what the buyers are told.
    async fn ask_halls(
        &self,
        owners: &[Owners<'_>],
        fates: &HashMap<u128, Fate>,
        findings: &mut Findings,
        progress: &Progress,
    ) -> Result<(), Trouble> {
        let started = Instant::now();
        let mut order: Vec<usize> = (0..owners.len()).collect();
        crate::random::shuffle(&mut order);
        let ask = async |api: &mut Api, number: usize| {
            if number > 0 && started.elapsed() > HALLS_MAX {
                return Ok(None);
            }
            let owners = &owners[order[number]];
            let began = Instant::now();
            loop {
                let mut wrongs = Wrongs::default();
                let status = self.status(api, owners.section, None).await?;
                let told = self.wrong_status(owners, fates, &status, &mut wrongs);
                let listed = self.roll(api, owners, &told, &mut wrongs, HALLS_MAX).await?;
                if number < YOURS_MAX {
                    self.yours(api, owners, fates, &mut wrongs).await?;
                }
                // The public status may be a moment old, and what is told one after the other may
                // have a change between.
                if wrongs.0.is_empty() || began.elapsed() > SETTLE {
                    break Ok(Some((wrongs, listed)));
                }
                sleep(Duration::from_millis(250)).await;
            }
        };
        let cast = &self.stage.cast;
        let all = at_once(cast, order.len(), "checking the seats", progress, ask).await?;
        let (mut asked, mut bookings) = (0_u64, 0);
        for (wrongs, listed) in all.into_iter().flatten() {
            asked += 1;
            bookings += listed.unwrap_or(0);
            for (promise, what) in wrongs.0 {
                findings.offend(promise, || what);
            }
            if listed.is_none() {
                let why = match self.stage.cast.organizer {
                    Some(_) => "the bookings of some halls were not listed completely",
                    None => "not listed: only the organizer can list all bookings",
                };
                findings.remark(Promise::SeatOnce, why);
            }
        }
        findings.count(Promise::SeatOnce, "live bookings listed", bookings);
        for promise in [Promise::SeatsKept, Promise::StatusTrue] {
            findings.count(promise, "halls", asked);
        }
        if asked < owners.len() as u64 {
            let left = grouped(owners.len() as u64 - asked);
            findings
                .remark(Promise::StatusTrue, format!("{left} halls not checked within a minute"));
        }
        Ok(())
    }

    async fn status(
        &self,
        api: &mut Api,
        section: u32,
        buyer: Option<u16>,
    ) -> Result<Status, Trouble> {
        let stage = self.stage;
        let place = &stage.sections[section as usize];
        let (event, id) = (stage.events[place.event as usize], &place.id);
        let bearer = buyer.and_then(|it| stage.cast.buyers[usize::from(it)].bearer());
        let path = format!("/events/{event}/sections/{id}/seats/status");
        let doing = "reading the status of seats";
        api.get(&path, bearer).await?.want(200, doing)?;
        serde_json::from_slice(api.body()).map_err(|error| Trouble::because(doing, error))
    }

    /// Compares the status with the buyers' account. Returns the reported state of each seat.
    fn wrong_status(
        &self,
        owners: &Owners<'_>,
        fates: &HashMap<u128, Fate>,
        status: &Status,
        wrongs: &mut Wrongs,
    ) -> Vec<Option<&'static str>> {
        let Owners { section, hall, of } = owners;
        let section_name = self.name(*section);
        let Status { capacity, available, .. } = *status;
        let mut told: Vec<Option<&'static str>> = vec![None; of.len()];
        let mut count = available;
        let lists = [("held", &status.held), ("sold", &status.sold), ("blocked", &status.blocked)];
        for (state, name) in
            lists.into_iter().flat_map(|(state, list)| list.iter().map(move |name| (state, name)))
        {
            count += 1;
            let Some(seat) = hall.drawing.find(name) else {
                let what = format!(
                    "seat {name} of {section_name} has the status {state}, but is not in the \
                     drawing"
                );
                wrongs.add(Promise::StatusTrue, what);
                continue;
            };
            if let Some(before) = told[seat as usize].replace(state) {
                let what =
                    format!("seat {name} of {section_name} has the status {before} and {state}");
                wrongs.add(Promise::StatusTrue, what);
            }
        }
        let seats = self.stage.sections[*section as usize].capacity;
        if count != capacity || capacity != seats {
            let what = format!(
                "{section_name}: available, held, sold and blocked seats add up to {count} \
                 ({available} available), the capacity is {capacity}, and the drawing has {seats}"
            );
            wrongs.add(Promise::StatusTrue, what);
        }
        let mut strange = 0;
        for ((seat, owner), told) in (0..).zip(of).zip(&told) {
            let Some(given) = owner else {
                strange += u64::from(matches!(told, Some("held" | "sold")));
                continue;
            };
            let wanted: &[&str] = match fates.get(&given.booking) {
                Some(Fate::Confirmed) => &["sold"],
                Some(Fate::ConfirmUnknown) => &["held", "sold"],
                None if !self.is_whole => &["held", "sold"],
                _ if !self.stage.all_live() => continue,
                _ => &["held"],
            };
            let told = told.unwrap_or("free");
            if wanted.contains(&told) {
                continue;
            }
            let is_lost = matches!(told, "free" | "blocked");
            let promise = if is_lost { Promise::SeatsKept } else { Promise::StatusTrue };
            let (name, id) = (hall.drawing.name(seat), Uuid::from_u128(given.booking));
            let what = format!(
                "seat {name} of {section_name}, {} by {id}, has the status {told}",
                wanted[0]
            );
            wrongs.add(promise, what);
        }
        let tally = self.ledger.tally(*section);
        if self.stage.is_ours && strange > tally.unknown + tally.lost {
            let what =
                format!("{section_name}: {strange} seats are reported as taken by unknown buyers");
            wrongs.add(Promise::StatusTrue, what);
        }
        told
    }

    /// Asks one buyer of the hall which seats are theirs.
    async fn yours(
        &self,
        api: &mut Api,
        owners: &Owners<'_>,
        fates: &HashMap<u128, Fate>,
        wrongs: &mut Wrongs,
    ) -> Result<(), Trouble> {
        let Owners { section, hall, of } = owners;
        let Some(buyer) = of.iter().flatten().next().map(|given| given.buyer) else {
            return Ok(());
        };
        let status = self.status(api, *section, Some(buyer)).await?;
        let section_name = self.name(*section);
        let mut is_told = vec![false; of.len()];
        for name in &status.yours {
            let seat = hall.drawing.find(name).map(|seat| seat as usize);
            let owner = seat.and_then(|seat| of[seat]);
            if let Some(seat) = seat {
                is_told[seat] = true;
            }
            let is_anybodys = owner.is_none() && !self.may_have_more(*section);
            if owner.is_some_and(|given| given.buyer != buyer) || is_anybodys {
                let what =
                    format!("seat {name} of {section_name} is listed as the seat of another buyer");
                wrongs.add(Promise::StatusTrue, what);
            }
        }
        let bookings = of.iter().flatten().filter(|given| given.buyer == buyer);
        let bookings: HashSet<_> = bookings.map(|given| given.booking).collect();
        let all_told = bookings.len() <= YOURS_BOOKINGS_MAX;
        for ((seat, owner), is_told) in (0..).zip(of).zip(is_told) {
            let Some(given) = owner.filter(|given| given.buyer == buyer) else { continue };
            let is_held = matches!(fates.get(&given.booking), Some(Fate::Held | Fate::Repeated));
            if is_held && all_told && self.stage.all_live() && !is_told {
                let (name, id) = (hall.drawing.name(seat), Uuid::from_u128(given.booking));
                let what = format!(
                    "seat {name} of {section_name}, held by {id}, is not listed for its buyer"
                );
                wrongs.add(Promise::SeatsKept, what);
            }
        }
        Ok(())
    }

    /// True if seats of a section may be taken that no answer reported.
    pub(super) fn may_have_more(&self, section: u32) -> bool {
        let tally = self.ledger.tally(section);
        !self.stage.is_ours || tally.unknown + tally.lost > 0
    }
}
