//! What large requests cost: a batch decides them under the locks of everybody else.

use engine::seats::SeatName;
use engine::{BookingId, By, Command, EventId, Hold, SeatRequest, SectionId, UserId};
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

    /// How long one exchange takes.
    fn once(&mut self) -> Duration {
        self.first_half = !self.first_half;
        let change = Command::Change {
            booking_id: self.booking_id,
            by: By::User(self.user_id),
            event_id: self.event_id,
            expected: None,
            requests: self.requests(self.first_half),
        };
        let start = Instant::now();
        PureRules.block_on(self.commits(change));
        start.elapsed()
    }
}

#[test]
fn ten_times_the_seats_are_exchanged_in_some_ten_times_the_time() {
    let (mut few, mut many) = (Exchange::of(10), Exchange::of(100));
    // In turn, so that a busy machine slows down both; the shortest of each is nearest to the truth.
    let times: Vec<_> = (0..6).map(|_| (few.once(), many.once())).collect();
    let few = times.iter().map(|time| time.0).min().expect("six");
    let many = times.iter().map(|time| time.1).min().expect("six");
    // Where each seat is looked for among all others, it is 100 times.
    assert!(many < few * 50, "{few:?} for 1,000 seats, {many:?} for 10,000");
}
