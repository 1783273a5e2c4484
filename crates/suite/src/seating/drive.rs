//! Runs a sequence on a backend and on the model side by side.

use super::model::{Counted, Model};
use crate::backend::Backend;
use crate::halls::{draft, layout};
use crate::world::{ManualClock, Mint, usd};
use engine::seats::{Draft, Layout, Party, SeatName};
use engine::{
    Blocked, BookingId, By, Command, EventId, Hold, Opening, Overrides, SeatRequest, SectionId,
    UserId,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const BATCHES: u64 = 14;
const COUNTED: u32 = 8;

/// Numbers by chance: the same ones for a seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("below a usize")
    }

    fn of(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn number(&mut self, most: usize) -> u32 {
        u32::try_from(1 + self.below(most)).expect("a small number")
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len())).cloned()
    }
}

/// The layouts that a section has in turn: wider, shorter, dearer, turned around, with a seat
/// moved.
fn variants() -> Vec<Draft> {
    let base = || draft("A-C", 5, &[3]);
    let [mut dear, mut short, mut turned, mut moved] = std::array::from_fn(|_| base());
    dear.categories[0].price = usd(2_000);
    short.rows.pop();
    short.rows[0].seats.pop();
    turned.rows.reverse();
    for row in &mut turned.rows {
        row.seats.reverse();
        row.seats.iter_mut().for_each(|seat| seat.aisle_before = false);
    }
    moved.rows[0].seats[1].at.x += 3;
    let mut wide = draft("A-D", 5, &[]);
    wide.focal = Some(engine::seats::Point { x: 40, y: 200 });
    vec![base(), dear, short, turned, moved, wide]
}

/// A sequence under way.
pub(super) struct Drive<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) clock: ManualClock,
    mint: Mint,
    dice: Dice,
    pub(super) model: Model,
    /// The layouts of the model's drafts.
    pub(super) layouts: BTreeMap<SectionId, Arc<Layout>>,
    pub(super) event_id: EventId,
    organizer_id: UserId,
    pub(super) numbered: [SectionId; 2],
    people: Vec<UserId>,
    deals: Vec<(BookingId, UserId)>,
    /// What was answered, for a comparison.
    pub(super) told: Vec<String>,
}

impl<'a> Drive<'a> {
    pub(super) async fn new(backend: &'a dyn Backend, clock: ManualClock, seed: u64) -> Self {
        let mint = Mint::new(&clock);
        let organizer_id = mint.user();
        let mut new = mint.event_on_sale(organizer_id);
        let event_id = new.event.terms.event_id;
        new.sections = ["N", "M", "C"].map(|name| mint.section_of(event_id, name)).to_vec();
        let [a, b, c] = [0, 1, 2].map(|at: usize| new.sections[at].section_id);
        let drafts = [variants()[0].clone(), draft("A-B", 4, &[])];
        let layouts = drafts.each_ref().map(layout);
        let [one, two] = layouts.clone().map(Opening::Layout);
        backend.create_event(&new, &[one, two, i64::from(COUNTED).into()]).await;
        let layouts = [a, b].into_iter().zip(layouts).collect();
        let drafts = [a, b].into_iter().zip(drafts).collect();
        let counted = Counted { section_id: c, capacity: COUNTED, blocked: 0 };
        let (owners, deals) = (BTreeMap::new(), BTreeMap::new());
        let people = (0..4).map(|_| mint.user()).collect();
        Self {
            backend,
            dice: Dice(seed),
            layouts,
            model: Model { drafts, owners, deals, counted },
            event_id,
            organizer_id,
            numbered: [a, b],
            people,
            deals: Vec::new(),
            told: Vec::new(),
            mint,
            clock,
        }
    }

    /// Returns each command with its answer.
    pub(super) async fn run(mut self) -> Vec<String> {
        for number in 0..BATCHES {
            let commands: Vec<_> = (0..=self.dice.below(5)).map(|_| self.command()).collect();
            let committed = self.backend.commit(&commands).await;
            self.compare(&commands, &committed);
            self.compare_everything(&committed).await;
            if self.dice.of(30) {
                let ms = [60_000, 299_999, 300_000, 600_000][self.dice.below(4)];
                self.clock.advance_ms(ms);
            }
            if number == BATCHES / 2 {
                self.assert_sound().await;
                self.backend.restart().await;
            }
        }
        self.assert_sound().await;
        self.told
    }

    async fn assert_sound(&self) {
        let report = self.backend.audit().await;
        assert!(report.is_clean(), "the audit finds {:?}", report.told);
    }

    fn names(&mut self, section_id: SectionId, most: usize) -> Vec<SeatName> {
        let known = self.model.names(section_id);
        let mut names = Vec::new();
        for _ in 0..=self.dice.below(most) {
            let beyond = self.dice.of(3);
            let name = if beyond { None } else { self.dice.pick(&known) };
            names.push(SeatName::from(name.unwrap_or_else(|| "Z-9".to_owned())));
        }
        if self.dice.of(95) {
            names.sort();
            names.dedup();
        }
        names
    }

    fn requests(&mut self) -> Vec<SeatRequest> {
        let mut requests = Vec::new();
        let [a, b] = self.numbered;
        if self.dice.of(35) {
            let seats = self.dice.number(4);
            requests.push(SeatRequest::Count { section_id: self.model.counted.section_id, seats });
        }
        for section_id in [a, b] {
            if self.dice.of(35) {
                requests.push(SeatRequest::Seats { section_id, seats: self.names(section_id, 3) });
            }
        }
        if requests.is_empty() || self.dice.of(15) {
            let number = self.dice.number(5);
            let (adjacent, prevent_orphans) = (self.dice.of(40), self.dice.of(50));
            let party = Party { adjacent, prevent_orphans, ..Party::of(number) };
            let sections = [vec![a], vec![b], vec![b, a]][self.dice.below(3)].clone();
            requests.push(if self.dice.of(40) {
                SeatRequest::Count { section_id: sections[0], seats: number }
            } else {
                SeatRequest::Best { sections, party }
            });
        }
        requests
    }

    fn command(&mut self) -> Command {
        let recent = self.deals.len().saturating_sub(8);
        let recent = self.deals[recent..].to_vec();
        let section_id = self.numbered[self.dice.below(2)];
        let by = self.organizer_id;
        match (self.dice.below(100), self.dice.pick(&recent)) {
            (38..60, Some((booking_id, user_id))) => {
                let now = self.model.deals.get(&booking_id).map_or(0, |deal| deal.version);
                let expected = [None, None, Some(now), Some(now + 1)][self.dice.below(4)];
                let (event_id, requests) = (self.event_id, self.requests());
                Command::Change {
                    booking_id,
                    by: By::User(user_id),
                    user_id,
                    event_id,
                    expected,
                    requests,
                    overrides: Overrides::NONE,
                }
            }
            (60..70, Some((booking_id, user_id))) => {
                Command::Confirm { booking_id, by: By::User(user_id) }
            }
            (70..76, Some((booking_id, user_id))) => {
                Command::Release { booking_id, by: By::User(user_id) }
            }
            (76..79, Some((booking_id, user_id))) => {
                Command::Extend { booking_id, by: By::User(user_id) }
            }
            (79..86, Some((booking_id, _))) => Command::Cancel { booking_id, by: By::System },
            (86..91, _) => {
                let names = self.names(section_id, 3);
                let blocked = Blocked::Seats(if self.dice.of(30) { Vec::new() } else { names });
                Command::Block { section_id, by: by.into(), blocked, reason: None }
            }
            (91..93, _) => {
                let (section_id, number) = (self.model.counted.section_id, self.dice.below(5));
                let blocked = Blocked::Count(i64::try_from(number).expect("a small number"));
                Command::Block { section_id, by: by.into(), blocked, reason: None }
            }
            (93..97, _) => {
                let variant = self.dice.pick(&variants()).expect("there are some");
                Command::Lay { section_id, by: by.into(), layout: layout(&variant) }
            }
            (97..100, _) => Command::Retire { section_id },
            _ => {
                let (booking_id, event_id) = (self.mint.booking(self.event_id), self.event_id);
                let user_id = self.people[self.dice.below(4)];
                self.deals.push((booking_id, user_id));
                let requests = self.requests();
                Command::Hold(Hold {
                    booking_id,
                    user_id,
                    seller: None,
                    overrides: Overrides::NONE,
                    event_id,
                    requests,
                    key: None,
                })
            }
        }
    }
}
