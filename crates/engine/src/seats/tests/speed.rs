//! How long a choice takes. Run with
//! `cargo test -p engine --release -- --ignored --nocapture how_long`.

use super::*;
use std::fmt::Write;
use std::time::Instant;

/// A hall of 20,000, half of it sold, by best available or at random.
fn half_sold(by_best: bool) -> Seating {
    let mut seating = empty(&arc("A-Z,AA-CV", 200));
    let mut dice = Dice(4);
    while seating.taken().count() < 10_000 {
        if by_best {
            let choice = pick(&[&seating], &Party::of(1 + dice.below(6))).expect("half is free");
            let seats: Vec<SeatIndex> = choice.in_section(0).collect();
            seating.take(&seats).expect("free");
        } else {
            let _ = seating.take(&[dice.below(20_000)]);
        }
    }
    seating
}

fn measure(what: &str, hall: &Seating, party: &Party) {
    let mut seating = hall.clone();
    let mut fitting = 0;
    let begin = Instant::now();
    for _ in 0..400 {
        if let Ok(choice) = pick(&[&seating], party) {
            let seats: Vec<SeatIndex> = choice.in_section(0).collect();
            seating.take(&seats).expect("free");
            fitting += 1;
        }
    }
    println!("{:>9} ns  {what} ({fitting} of 400 fitted)", begin.elapsed().as_nanos() / 400);
}

#[test]
#[ignore = "measures; nothing can fail"]
fn how_long_a_pick_takes() {
    for (hall, seating) in [
        ("empty", empty(&arc("A-Z,AA-CV", 200))),
        ("half sold from the front", half_sold(true)),
        ("half sold at random", half_sold(false)),
    ] {
        for number in [1, 2, 4, 6] {
            measure(&format!("{hall}: a party of {number}"), &seating, &Party::of(number));
        }
        let careless = Party { prevent_orphans: false, ..Party::of(4) };
        measure(&format!("{hall}: 4, orphans not minded"), &seating, &careless);
        let together = Party { adjacent: true, ..Party::of(40) };
        measure(&format!("{hall}: 40 together"), &seating, &together);
        measure(&format!("{hall}: 12, split if need be"), &seating, &Party::of(12));
        measure(&format!("{hall}: 50, split if need be"), &seating, &Party::of(50));
        let begin = Instant::now();
        let anew = Seating::new(Arc::new(seating.layout().clone()), seating.taken().clone());
        println!("{:>9} ns  {hall}: put together anew", begin.elapsed().as_nanos());
        assert_eq!(anew.as_ref(), Some(&seating));
    }
}

/// A hall of 20,000 in which no two pairs are adjacent, with or without one trio.
fn pairs(trio: bool) -> Seating {
    let mut draft = arc("A-Z,AA-CV", 200);
    for row in draft.rows.iter_mut().step_by(2) {
        for seat in row.seats.iter_mut().step_by(3) {
            seat.flags.accessible = true;
        }
    }
    let mut seating = empty(&draft);
    let gone = (0..20_000).filter(|seat| seat % 50 % 3 == 2).skip(usize::from(trio));
    seating.take(&gone.collect::<Vec<_>>()).expect("free");
    seating
}

#[test]
#[ignore = "measures; nothing can fail"]
fn how_long_the_worst_splits_take() {
    for (hall, seating) in [("pairs", pairs(false)), ("pairs and a trio", pairs(true))] {
        for (number, accessible) in [(4, 0), (5, 0), (49, 0), (50, 0), (50, 10), (49, 10), (7, 1)] {
            let party = Party { accessible, ..Party::of(number) };
            let begin = Instant::now();
            let fits = pick(&[&seating], &party).is_ok();
            let ns = begin.elapsed().as_nanos();
            println!("{ns:>9} ns  {hall}: {number}, {accessible} accessible ({fits})");
        }
    }
}

#[test]
#[ignore = "measures; nothing can fail"]
fn how_long_a_layout_of_100_000_seats_takes() {
    let draft = arc("1-500", 200);
    let text = draft.to_csv();
    let begin = Instant::now();
    let read = Draft::from_csv(&text, usd(0).currency).expect("sound");
    println!("{:>9} us  to read {} bytes of CSV", begin.elapsed().as_micros(), text.len());
    let begin = Instant::now();
    let layout = Layout::new(&read).expect("sound");
    println!("{:>9} us  to check it and make the layout", begin.elapsed().as_micros());
    let mut name = String::new();
    let begin = Instant::now();
    for seat in 0..layout.seats() {
        name.clear();
        write!(name, "{}", layout.name(seat)).expect("a string takes it");
        assert_eq!(layout.find(&name), Some(seat));
    }
    let ns = begin.elapsed().as_nanos() / u128::from(layout.seats());
    println!("{ns:>9} ns  to write a name and find its seat");
    let begin = Instant::now();
    let seating = empty(&read);
    println!("{:>9} us  to make layout and seating", begin.elapsed().as_micros());
    measure("100,000 seats, empty: a party of 4", &seating, &Party::of(4));
}
