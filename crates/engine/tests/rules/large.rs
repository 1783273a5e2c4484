//! What large requests cost: a batch decides them under the locks of everybody else.

use engine::seats::SeatName;
use engine::{Ask, By, Command, Hold};
use std::time::{Duration, Instant};
use suite::halls::laid;
use suite::world::{ManualClock, Mint, POLICY};
use suite::{Backend as _, Kind as _, Pure, PureRules};

/// How long it takes to exchange all named seats of a hold of `rows` rows; the shortest of three.
fn exchange(rows: u32) -> Duration {
    const IN_A_ROW: u32 = 100;
    let clock = ManualClock::new();
    let mint = Mint::new(&clock);
    let pure = Pure::new(POLICY, &clock);
    let mut new = mint.event_on_sale(mint.user());
    new.event.terms.max_seats_per_booking = Some(10_000);
    let event_id = new.event.terms.event_id;
    new.sections.push(mint.section_of(event_id, "A"));
    let section_id = new.sections[0].section_id;

    let seats = |rows: std::ops::RangeInclusive<u32>| -> Vec<SeatName> {
        let row = |row| (1..=IN_A_ROW).map(move |seat| format!("{row}-{seat}"));
        rows.flat_map(row).map(|name| SeatName::from(&*name)).collect()
    };
    let ask = |seats| vec![Ask::Seats { section_id, seats }];
    PureRules.block_on(async {
        let hall = laid(&format!("1-{}", 2 * rows), IN_A_ROW);
        pure.create_event(&new, &[hall]).await;
        let (booking_id, user_id) = (mint.booking(event_id), mint.user());
        let asks = ask(seats(1..=rows));
        let hold = Hold { booking_id, user_id, event_id, asks, key: None };
        pure.commit(&[Command::Hold(hold)]).await.answers[0].as_ref().expect("they are free");
        let mut shortest = Duration::MAX;
        for turn in 1..=3 {
            let part = if turn % 2 == 1 { rows + 1..=2 * rows } else { 1..=rows };
            let (by, expected, asks) = (By::User(user_id), None, ask(seats(part)));
            let change = Command::Change { booking_id, by, event_id, expected, asks };
            let start = Instant::now();
            pure.commit(&[change]).await.answers[0].as_ref().expect("they are free");
            shortest = shortest.min(start.elapsed());
        }
        shortest
    })
}

#[test]
fn five_times_the_seats_are_exchanged_in_some_five_times_the_time() {
    let (few, many) = (exchange(15), exchange(75));
    // Where each seat is looked for among all others, it is 25 times.
    assert!(many < few * 14, "{few:?} for 1,500 seats, {many:?} for 7,500");
}
