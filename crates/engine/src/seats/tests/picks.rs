//! Best available on small halls: the choice is the best by the stated order, against every choice
//! there is.

use super::oracle::judge;
use super::*;
use crate::seats::groups::{self, Candidate};
use proptest::collection::vec;
use proptest::option::{self, weighted};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Sections with some seats taken, and a party.
type Case = (Vec<Seating>, Party);

fn seat() -> impl Strategy<Value = (SeatDraft, bool)> {
    let kind =
        prop_oneof![5 => Just((false, false)), 1 => Just((true, false)), 1 => Just((false, true))];
    let point = weighted(0.5, (0..4, 0..4));
    (kind, any::<bool>(), point, proptest::bool::weighted(0.15), proptest::bool::weighted(0.3))
        .prop_map(|((accessible, companion), gold, point, aisle_before, taken)| {
            let (x, y) = point.unwrap_or((-1, -1));
            let seat = SeatDraft {
                number: String::new(),
                at: Point { x, y },
                category: if gold { "Gold" } else { "Blue" }.into(),
                flags: Flags { accessible, companion, restricted_view: false },
                aisle_before,
                line: None,
            };
            (seat, taken)
        })
}

/// A section of up to 12 seats, some of them at random places so that many distances are equal.
fn section() -> impl Strategy<Value = Seating> {
    let rows = prop_oneof![vec(vec(seat(), 1..=12), 1), vec(vec(seat(), 1..=4), 1..=3)];
    (rows, option::of((0..4, 0..4))).prop_map(|(rows, focal)| {
        let mut gone = Vec::new();
        let mut place = 0;
        let rows = rows.into_iter().enumerate().map(|(row, seats)| {
            let seats = seats.into_iter().enumerate().map(|(at, (mut seat, taken))| {
                if taken {
                    gone.push(place);
                }
                place += 1;
                seat.number = (at + 1).to_string();
                if seat.at.x < 0 {
                    let (x, y) = (i32::try_from(at), i32::try_from(row));
                    seat.at = Point { x: x.expect("small"), y: y.expect("small") };
                }
                seat
            });
            RowDraft { label: row.to_string(), seats: seats.collect() }
        });
        let rows = rows.collect();
        let categories = vec![category("Gold", 20), category("Blue", 10)];
        let focal = focal.map(|(x, y)| Point { x, y });
        let mut seating = empty(&Draft { categories, rows, focal });
        seating.take(&gone).expect("free");
        seating
    })
}

fn party() -> impl Strategy<Value = Party> {
    let names = weighted(0.3, prop_oneof![Just("Gold"), Just("Blue"), Just("None")]);
    let numbers = (1..=6_u32, prop_oneof![2 => Just(0), 1 => 1..=3_u32]);
    (numbers, names, weighted(0.3, 5..25_i64), any::<bool>(), proptest::bool::weighted(0.3))
        .prop_map(|((number, accessible), name, max_price, prevent_orphans, adjacent)| Party {
            number,
            categories: name.map(|name| vec![name.into()]),
            max_price,
            accessible: accessible.min(number),
            prevent_orphans,
            adjacent,
        })
}

fn case() -> impl Strategy<Value = Case> {
    (vec(section(), 1..=2), party())
}

fn asked(sections: &[Seating]) -> Vec<&Seating> {
    sections.iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12_000))]

    #[test]
    fn a_party_gets_the_best_choice_there_is_or_there_is_none((sections, party) in case()) {
        let sections = asked(&sections);
        judge(&sections, &party, &pick(&sections, &party)).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn what_a_seating_keeps_is_what_it_would_find_anew(
        seating in section(),
        steps in vec((0..12_u32, 1..4_u32), 1..20),
    ) {
        let mut kept = seating.clone();
        for (first, number) in steps {
            let seats: Vec<u32> = (first..first + number).collect();
            let before = kept.clone();
            let took = kept.take(&seats);
            let gave = if took.is_err() { kept.release(&seats) } else { Ok(()) };
            if gave.is_err() {
                prop_assert_eq!(&kept, &before, "what is refused changes nothing");
            }
            let fresh = Seating::new(Arc::new(kept.layout().clone()), kept.taken().clone());
            prop_assert_eq!(Some(&kept), fresh.as_ref());
            let mut following = before;
            prop_assert!(following.follow(kept.taken()));
            prop_assert_eq!(&following, &kept);
        }
    }
}

/// Candidates in pairs and more, as far away as it comes, in one or two sections.
fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (1..6_u32, 0..60_u64, proptest::bool::weighted(0.1), proptest::bool::weighted(0.02));
    vec(one, 300..600).prop_map(|seats| {
        let (mut section, mut at, mut found) = (0, 0, Vec::new());
        for (skip, near, accessible, next) in seats {
            section += usize::from(next);
            // Half of them stand beside the one before.
            let follows = skip > 3 && !next;
            at += if follows { 1 } else { 1 + skip };
            let distance = 500 + near * near / 7 * u64::from(1 + 9 * u32::from(accessible));
            found.push(Candidate { section, seat: at, follows, distance, accessible });
        }
        found
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_near_seats_alone_give_the_same_split_as_all_of_them(
        candidates in candidates(),
        number in 2..=12_u32,
        accessible in 0..=2_u32,
    ) {
        let party = Party { accessible, ..Party::of(number) };
        prop_assert_eq!(groups::nearest(&candidates, &party), groups::search(&candidates, &party));
    }
}

/// A picker with something planted in it.
type Planted = fn(&[&Seating], Party) -> Result<Choice, NoFit>;

const PLANTED: [(&str, Planted); 11] = [
    ("orphans are not minded", |sections, party| {
        pick(sections, &Party { prevent_orphans: false, ..party })
    }),
    ("orphans are minded unasked", |sections, party| {
        pick(sections, &Party { prevent_orphans: true, ..party })
    }),
    ("those who asked to sit together are split", |sections, party| {
        pick(sections, &Party { adjacent: false, ..party })
    }),
    ("nobody is split", |sections, party| pick(sections, &Party { adjacent: true, ..party })),
    ("prices are not minded", |sections, party| {
        pick(sections, &Party { max_price: None, ..party })
    }),
    ("categories are not minded", |sections, party| {
        pick(sections, &Party { categories: None, ..party })
    }),
    ("accessible seats go to everybody", |sections, party| {
        let accessible = if party.number > 1 { 1 } else { party.accessible };
        pick(sections, &Party { accessible, ..party })
    }),
    ("the first section is full before the next is looked at", |sections, party| {
        pick(&sections[..1], &party).or_else(|_| pick(sections, &party))
    }),
    ("nobody is given seats in two sections", |sections, party| {
        let each: Vec<_> = sections.iter().map(|one| pick(&[one], &party)).collect();
        let fitting = each.iter().any(Result::is_ok);
        if fitting { pick(sections, &party) } else { each.into_iter().next().expect("one") }
    }),
    ("the seat after the chosen ones is meant", |sections, party| {
        let mut choice = pick(sections, &party)?;
        choice.seats.last_mut().expect("some").1 += 1;
        Ok(choice)
    }),
    ("the largest block is one too large", |sections, party| {
        pick(sections, &party).map_err(|refusal| NoFit {
            largest_contiguous_block: refusal.largest_contiguous_block + 1,
            ..refusal
        })
    }),
];

#[test]
fn the_oracle_finds_everything_that_is_planted() {
    for (what, planted) in PLANTED {
        let mut runner = TestRunner::deterministic();
        let found = (0..3_000).any(|_| {
            let (sections, party) = case().new_tree(&mut runner).expect("a case").current();
            let sections = asked(&sections);
            judge(&sections, &party, &planted(&sections, party.clone())).is_err()
        });
        assert!(found, "{what}: not found");
    }
}

#[test]
fn of_two_pairs_equally_near_the_first_is_given_though_the_second_begins_nearer() {
    // Squared distances 5 and 5 in the first row, 1 and 9 in the second.
    let mut draft = arc("A-B", 4);
    draft.focal = Some(Point::default());
    for (row, points) in draft.rows.iter_mut().zip([[(1, 2), (2, 1)], [(1, 0), (0, 3)]]) {
        row.seats.truncate(2);
        row.seats[1].aisle_before = false;
        for (seat, (x, y)) in row.seats.iter_mut().zip(points) {
            seat.at = Point { x, y };
        }
    }
    let choice = pick(&[&empty(&draft)], &Party::of(2)).expect("fits");
    assert_eq!((choice.seats, choice.distance), (vec![(0, 0), (0, 1)], 10));
}

/// What a party of `number` gets in a drawing, by name; what it is refused for otherwise.
fn told(drawing: &[&str], party: &Party) -> String {
    let seating = drawn(drawing);
    match pick(&[&seating], party) {
        Ok(choice) => names(&seating, &choice.in_section(0).collect::<Vec<_>>()),
        Err(NoFit { largest_contiguous_block, why }) => {
            format!("{why:?}, at most {largest_contiguous_block}")
        }
    }
}

#[test]
fn the_order_of_the_kinds_is_as_it_is_written() {
    let adjacent = |number| Party { adjacent: true, ..Party::of(number) };
    let with = |number, accessible| Party { accessible, ..Party::of(number) };
    let careless = |number| Party { prevent_orphans: false, ..Party::of(number) };
    for (why, drawing, party, expected) in [
        ("front middle", &[".......", "......."][..], Party::of(3), "A-3 A-4 A-5"),
        ("no orphan, though it is farther", &["...x", "...."], Party::of(2), "B-1 B-2"),
        ("an orphan, when nobody minds", &["...x", "...."], careless(2), "A-2 A-3"),
        ("an orphan, when it cannot be helped", &["...x"], Party::of(2), "A-2 A-3"),
        ("split, nobody alone", &["..x..", "xx..x"], Party::of(4), "A-1 A-2 A-4 A-5"),
        ("split in threes", &["...x..."], Party::of(6), "A-1 A-2 A-3 A-5 A-6 A-7"),
        ("never alone", &["..x.x.", "x.x.x."], Party::of(3), "SomebodyAlone, at most 2"),
        ("never apart, if asked", &["..x.."], adjacent(4), "Apart, at most 2"),
        ("an aisle parts", &[".. .."], adjacent(3), "Apart, at most 2"),
        (
            "accessible seats are not for everybody",
            &["A.A"],
            Party::of(2),
            "TooFew { available: 1 }, at most 1",
        ),
        ("companion seats neither", &["CA..xx"], Party::of(2), "A-3 A-4"),
        ("accessible seats for who requests", &["......", "CA...."], with(2, 1), "B-1 B-2"),
        ("as many of them as asked for", &["AAC..."], with(3, 1), "A-2 A-3 A-4"),
        (
            "too few of them",
            &["AC...."],
            with(3, 2),
            "TooFewAccessible { available: 1 }, at most 6",
        ),
        ("too few seats", &["x.x.x."], Party::of(4), "TooFew { available: 3 }, at most 1"),
    ] {
        assert_eq!(told(drawing, &party), expected, "{why}");
    }
}

#[test]
fn a_party_is_split_across_sections_only_when_no_section_has_room() {
    let (left, right) = (drawn(&["..x"]), drawn(&["xx..", "xx.."]));
    let choice = pick(&[&left, &right], &Party::of(4)).expect("fits");
    assert_eq!(choice.seats, [(1, 2), (1, 3), (1, 6), (1, 7)]);
    let choice = pick(&[&left, &right], &Party::of(6)).expect("fits");
    assert_eq!(choice.seats, [(0, 0), (0, 1), (1, 2), (1, 3), (1, 6), (1, 7)]);
    assert!(!choice.next_to_each_other);
    let refused = pick(&[&left, &right], &Party::of(7)).expect_err("too many");
    assert_eq!(refused.why, Why::TooFew { available: 6 });
}
