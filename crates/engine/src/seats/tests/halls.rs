//! Best available in large halls: every choice is valid and the nearest, and in the end nobody who
//! was refused could have been seated.

use super::oracle::{fits, nearest_together};
use super::*;

/// Checks a choice without accessible seats by looking at the whole hall, then takes it.
fn take(seating: &mut Seating, party: &Party) -> Result<Choice, NoFit> {
    let answer = pick(&[&*seating], party);
    let together = nearest_together(seating, party.number);
    match (&answer, together) {
        (Ok(choice), Some((leaves_orphan, distance, first))) => {
            assert!(choice.next_to_each_other, "{choice:?}");
            let expected = (leaves_orphan, distance, (0, first));
            assert_eq!((choice.leaves_orphan, choice.distance, choice.seats[0]), expected);
        }
        (Ok(choice), None) => assert!(!choice.next_to_each_other && !party.adjacent, "{choice:?}"),
        (Err(_), together) => assert_eq!(together, None),
    }
    if let Ok(choice) = &answer {
        let seats: Vec<SeatIndex> = choice.in_section(0).collect();
        assert_eq!(seats.len(), party.number as usize);
        let together = seats
            .windows(2)
            .all(|pair| seating.layout().neighbours(pair[0]).any(|beside| beside == pair[1]));
        assert_eq!(choice.next_to_each_other, together);
        let alone = |seat: &SeatIndex| {
            !seating.layout().neighbours(*seat).any(|beside| seats.contains(&beside))
        };
        assert!(seats.len() == 1 || !seats.iter().any(alone), "somebody is alone: {seats:?}");
        seating.take(&seats).expect("I3: no seat is given twice");
    }
    answer
}

#[test]
fn i3_a_hall_of_20_000_is_filled_from_the_front_to_the_last_pair() {
    let mut seating = empty(&arc("A-Z,AA-CV", 200));
    assert_eq!(seating.layout().seats(), 20_000);
    let mut dice = Dice(1);
    // The seats between are taken unchecked, so that the checks of the whole hall stay few.
    let mut unchecked = 0;
    loop {
        let party = Party::of(1 + dice.below(8));
        let chosen = if unchecked < 25 {
            unchecked += 1;
            pick(&[&seating], &party).inspect(|choice| {
                let seats: Vec<SeatIndex> = choice.in_section(0).collect();
                seating.take(&seats).expect("I3: no seat is given twice");
            })
        } else {
            unchecked = 0;
            take(&mut seating, &party)
        };
        if let Err(refusal) = chosen {
            let (longest, fits) = fits(&seating, party.number);
            assert!(!fits || party.number == 1 && longest == 0, "{party:?}: {refusal:?}");
            assert_eq!(refusal.largest_contiguous_block, longest);
            break;
        }
    }
    assert!(seating.taken().count() > 19_900, "{} are taken", seating.taken().count());
}

#[test]
fn i3_a_hall_of_20_000_filled_at_random_gives_the_nearest_at_every_level() {
    let mut seating = empty(&arc("A-Z,AA-CV", 200));
    let mut dice = Dice(2);
    let mut order: Vec<SeatIndex> = (0..20_000).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, dice.below(u32::try_from(at).expect("small") + 1) as usize);
    }
    for level in order.chunks(1_000) {
        let free: Vec<SeatIndex> =
            level.iter().copied().filter(|seat| !seating.taken().has(*seat)).collect();
        seating.take(&free).expect("free");
        for number in [1, 2, 3, 4, 6, 10] {
            let _ = take(&mut seating, &Party::of(number));
            let _ = take(&mut seating, &Party { adjacent: true, ..Party::of(number) });
        }
    }
    assert_eq!(seating.taken().count(), 20_000);
}

/// Some accessible and companion seats at the ends of the last rows.
fn with_accessible_seats(mut draft: Draft) -> Draft {
    let rows = draft.rows.len();
    for row in &mut draft.rows[rows - 5..] {
        row.seats[0].flags.accessible = true;
        row.seats[1].flags.companion = true;
    }
    draft
}

#[test]
fn i3_two_thousand_parties_fill_a_hall_of_5_000_and_whoever_is_refused_cannot_be_seated() {
    let mut seating = empty(&with_accessible_seats(arc("A-Z,AA-AX", 100)));
    assert_eq!(seating.layout().seats(), 5_000);
    let mut dice = Dice(3);
    let mut refused = Vec::new();
    for turn in 0..2_000 {
        let party = Party {
            accessible: u32::from(turn % 100 == 0),
            adjacent: dice.below(2) == 0,
            prevent_orphans: dice.below(4) > 0,
            ..Party::of(1 + dice.below(6))
        };
        match pick(&[&seating], &party) {
            Ok(choice) => {
                assert!(choice.next_to_each_other || !party.adjacent, "{party:?}: {choice:?}");
                let seats: Vec<SeatIndex> = choice.in_section(0).collect();
                let special = |seat: &&SeatIndex| seating.layout().flags(**seat).accessible;
                let special = seats.iter().filter(special).count();
                assert_eq!(special, party.accessible as usize, "{party:?}: {choice:?}");
                seating.take(&seats).expect("I3: no seat is given twice");
            }
            Err(refusal) => refused.push((party, refusal)),
        }
    }
    assert!(refused.len() > 100, "{} were refused", refused.len());
    let mut smallest = u32::MAX;
    for (party, _) in refused.iter().filter(|(party, _)| party.accessible == 0) {
        let (longest, fitting) = fits(&seating, party.number);
        let could_sit = longest >= party.number || !party.adjacent && fitting;
        assert!(!could_sit, "{party:?} was refused, {longest} are beside each other");
        smallest = smallest.min(party.number);
    }
    // Whoever was refused leaves no more than what is too small for the smallest of them.
    let (longest, _) = fits(&seating, 1);
    assert!(longest < smallest, "{longest} beside each other are free, {smallest} were refused");
}
