//! What large requests cost: a batch decides them under the locks of everybody else.

use engine::event::SEATS_PER_USER_MAX;
use engine::seats::SeatName;
use engine::{
    BookingId, By, Command, EventId, Hold, Overrides, Policy, SeatRequest, SectionId, UserId,
};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use suite::halls::laid;
use suite::world::{ManualClock, Mint, POLICY};
use suite::{Backend as _, Kind as _, Pure, PureRules};

/// A hold that exchanges all its named seats, again and again.
struct Exchange {
    pure: Pure,
    event_id: EventId,
    section_id: SectionId,
    booking_id: BookingId,
    user_id: UserId,
    rows: u32,
    /// Whether it holds the first half of the hall, or the second.
    first_half: bool,
}

const SEATS_IN_A_ROW: u32 = 100;

impl Exchange {
    fn of(rows: u32) -> Self {
        let clock = ManualClock::new();
        let mint = Mint::new(&clock);
        let pure = Pure::new(POLICY, &clock);
        let mut new = mint.event_on_sale(mint.user());
        new.event.terms.max_seats_per_booking = Some(10_000);
        let event_id = new.event.terms.event_id;
        new.sections.push(mint.section_of(event_id, "A"));
        let section_id = new.sections[0].section_id;
        let (booking_id, user_id) = (mint.booking(event_id), mint.user());
        let exchange =
            Self { pure, event_id, section_id, booking_id, user_id, rows, first_half: true };
        PureRules.block_on(async {
            let hall = laid(&format!("1-{}", 2 * rows), SEATS_IN_A_ROW);
            exchange.pure.create_event(&new, &[hall]).await;
            let hold = Hold {
                booking_id,
                user_id,
                seller: None,
                overrides: Overrides::NONE,
                event_id,
                requests: exchange.requests(true),
                key: None,
            };
            exchange.commits(Command::Hold(hold)).await;
        });
        exchange
    }

    fn requests(&self, first_half: bool) -> Vec<SeatRequest> {
        let first = if first_half { 1 } else { self.rows + 1 };
        let name = |row| (1..=SEATS_IN_A_ROW).map(move |seat| format!("{row}-{seat}"));
        let names = (first..first + self.rows).flat_map(name);
        let seats = names.map(|name| SeatName::from(&*name)).collect();
        vec![SeatRequest::Seats { section_id: self.section_id, seats }]
    }

    async fn commits(&self, command: Command) {
        self.pure.commit(&[command]).await.answers[0].as_ref().expect("they are free");
    }

    /// Processor time of `times` exchanges.
    fn run(&mut self, times: u32) -> Duration {
        let start = processor_time();
        for _ in 0..times {
            self.once();
        }
        processor_time().saturating_sub(start)
    }

    fn once(&mut self) {
        self.first_half = !self.first_half;
        let change = Command::Change {
            booking_id: self.booking_id,
            by: By::User(self.user_id),
            user_id: self.user_id,
            event_id: self.event_id,
            expected: None,
            requests: self.requests(self.first_half),
            overrides: Overrides::NONE,
        };
        PureRules.block_on(self.commits(change));
    }
}

/// How long this thread has had a processor, to the scheduler's last tick: a busy machine takes time,
/// but not this one. Where there is no such file, the time since the first call.
fn processor_time() -> Duration {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let ns = told.and_then(|told| told.split(' ').next()?.parse().ok());
    ns.map_or_else(|| FIRST.elapsed(), Duration::from_nanos)
}

#[test]
fn one_large_exchange_costs_what_ten_small_ones_cost() {
    let (mut few, mut many) = (Exchange::of(10), Exchange::of(100));
    let times: Vec<_> = (0..6).map(|_| (few.run(10), many.run(1))).collect();
    let few = times.iter().map(|time| time.0).min().expect("six");
    let many = times.iter().map(|time| time.1).min().expect("six");
    // Where each seat is looked for among all others, it is ten times.
    assert!(many < few * 5, "{few:?} for ten times 1,000 seats, {many:?} for 10,000");
    println!("{few:?} for ten times 1,000 seats, {many:?} for 10,000");
}

#[test]
fn the_largest_cap_of_a_buyer_is_none_so_that_no_batch_counts_their_bookings() {
    let mint = Mint::new(&ManualClock::new());
    let mut terms = mint.event_on_sale(mint.user()).event.terms;
    let capped = Policy { max_seats_per_user: Some(4), ..POLICY };
    let mut caps = |own| {
        terms.max_seats_per_user = own;
        (terms.cap_of_buyer(&POLICY), terms.cap_of_buyer(&capped))
    };
    assert_eq!(caps(None), (None, Some(4)));
    let below = SEATS_PER_USER_MAX - 1;
    assert_eq!(caps(Some(below)), (Some(below), Some(below)));
    assert_eq!(caps(Some(SEATS_PER_USER_MAX)), (None, None));
}
