//! The order of best available once more, as plainly as it can be said: every choice is written
//! down, and the smallest is the best. It knows layouts by their public face only.

use super::*;
use crate::seats::taken::Taken;
use std::collections::BTreeSet;

/// The key by which choices are ordered: kind, distance, seats.
type Key = (u8, u64, Vec<(usize, SeatIndex)>);

/// Whether `answer` is what `party` has to get; else what it should have got.
pub fn judge(
    sections: &[&Seating],
    party: &Party,
    answer: &Result<Choice, NoFit>,
) -> Result<(), String> {
    let best = best(sections, party);
    match (answer, &best) {
        (Ok(choice), Some((kind, distance, seats))) => {
            let same = choice.seats == *seats && choice.distance == *distance;
            let together = choice.next_to_each_other == (*kind < 2);
            let alone = orphans(sections, &choice.seats.iter().copied().collect());
            if same && together && choice.leaves_orphan == alone {
                return Ok(());
            }
        }
        (Err(refusal), None) => {
            let largest = largest(sections, party);
            if refusal.largest_contiguous_block == largest && is_why(sections, party, refusal.why) {
                return Ok(());
            }
            return Err(format!("{answer:?}, but the largest block has {largest}"));
        }
        _ => {}
    }
    Err(format!("{answer:?}, but the best is {best:?}"))
}

fn wants(section: &Seating, party: &Party, seat: SeatIndex) -> bool {
    let layout = section.layout();
    let (category, flags) = (layout.category(seat), layout.flags(seat));
    let named = party.categories.as_ref();
    !section.taken().has(seat)
        && named.is_none_or(|names| names.iter().any(|name| **name == *category.name))
        && party.max_price.is_none_or(|most| category.price.minor <= most)
        && (party.accessible > 0 || !flags.accessible && !flags.companion)
}

fn wanted(sections: &[&Seating], party: &Party) -> Vec<(usize, SeatIndex)> {
    let all = sections
        .iter()
        .enumerate()
        .flat_map(|(place, section)| (0..section.layout().seats()).map(move |seat| (place, seat)));
    all.filter(|(place, seat)| wants(sections[*place], party, *seat)).collect()
}

fn accessible(sections: &[&Seating], seats: &[(usize, SeatIndex)]) -> usize {
    seats.iter().filter(|(place, seat)| sections[*place].layout().flags(*seat).accessible).count()
}

fn beside(sections: &[&Seating], (place, seat): (usize, SeatIndex)) -> Vec<(usize, SeatIndex)> {
    sections[place].layout().neighbours(seat).map(|other| (place, other)).collect()
}

fn best(sections: &[&Seating], party: &Party) -> Option<Key> {
    let mut best = None;
    let wanted = wanted(sections, party);
    each(&wanted, party.number as usize, &mut Vec::new(), &mut |seats| {
        if accessible(sections, seats) == party.accessible as usize
            && let Some(kind) = kind(sections, party, seats)
        {
            let distance =
                |(place, seat): &(usize, SeatIndex)| sections[*place].layout().distance(*seat);
            let key = (kind, seats.iter().map(distance).sum(), seats.to_vec());
            if best.as_ref().is_none_or(|best| key < *best) {
                best = Some(key);
            }
        }
    });
    best
}

/// Shows every set of `number` of the seats, each in order.
fn each(
    seats: &[(usize, SeatIndex)],
    number: usize,
    chosen: &mut Vec<(usize, SeatIndex)>,
    show: &mut impl FnMut(&[(usize, SeatIndex)]),
) {
    if number == 0 {
        return show(chosen);
    }
    for at in 0..seats.len() {
        chosen.push(seats[at]);
        each(&seats[at + 1..], number - 1, chosen, show);
        chosen.pop();
    }
}

/// The kind of a choice; `None` when somebody is alone, or apart though they asked not to be.
fn kind(sections: &[&Seating], party: &Party, seats: &[(usize, SeatIndex)]) -> Option<u8> {
    let set: BTreeSet<_> = seats.iter().copied().collect();
    let chain = |pair: &[(usize, SeatIndex)]| beside(sections, pair[0]).contains(&pair[1]);
    if seats.windows(2).all(chain) {
        return Some(u8::from(party.prevent_orphans && orphans(sections, &set)));
    }
    let alone = |seat| !beside(sections, seat).iter().any(|other| set.contains(other));
    if party.adjacent || seats.iter().any(|seat| alone(*seat)) {
        return None;
    }
    Some(if seats.iter().all(|(place, _)| *place == seats[0].0) { 2 } else { 3 })
}

/// Whether a free seat that had a free neighbour has none once these are gone.
fn orphans(sections: &[&Seating], gone: &BTreeSet<(usize, SeatIndex)>) -> bool {
    let free = |(place, seat): (usize, SeatIndex)| !sections[place].taken().has(seat);
    sections.iter().enumerate().any(|(place, section)| {
        (0..section.layout().seats()).any(|seat| {
            let here = (place, seat);
            let had = beside(sections, here).into_iter().any(free);
            let has = beside(sections, here).into_iter().any(|at| free(at) && !gone.contains(&at));
            free(here) && !gone.contains(&here) && had && !has
        })
    })
}

fn largest(sections: &[&Seating], party: &Party) -> u32 {
    let wanted = wanted(sections, party);
    let fits = |from: usize, to: usize| {
        let chain = |pair: &[(usize, SeatIndex)]| beside(sections, pair[0]).contains(&pair[1]);
        let seats = &wanted[from..to];
        seats.windows(2).all(chain) && accessible(sections, seats) <= party.accessible as usize
    };
    let blocks = (0..wanted.len()).flat_map(|from| (from..=wanted.len()).map(move |to| (from, to)));
    let longest = blocks.filter(|(from, to)| fits(*from, *to)).map(|(from, to)| to - from).max();
    u32::try_from(longest.unwrap_or(0)).expect("small")
}

fn is_why(sections: &[&Seating], party: &Party, why: Why) -> bool {
    let wanted = wanted(sections, party);
    let special = u32::try_from(accessible(sections, &wanted)).expect("small");
    let others = u32::try_from(wanted.len()).expect("small") - special;
    let expected = if special < party.accessible {
        Why::TooFewAccessible { available: special }
    } else if others + party.accessible < party.number {
        Why::TooFew { available: others + party.accessible }
    } else if party.adjacent {
        Why::Apart
    } else {
        Why::SomebodyAlone
    };
    why == expected
}

/// The largest number of adjacent free seats that a party without accessible seats may have, and
/// whether `number` of them can be had so that nobody is alone.
pub fn fits(section: &Seating, number: u32) -> (u32, bool) {
    let party = Party::of(number);
    let layout = section.layout();
    let (mut runs, mut run) = (Vec::new(), 0_u32);
    for seat in 0..layout.seats() {
        let follows = seat > 0 && layout.neighbours(seat).any(|other| other + 1 == seat);
        if !follows || !wants(section, &party, seat) {
            runs.push(std::mem::take(&mut run));
        }
        run += u32::from(wants(section, &party, seat));
    }
    runs.push(run);
    // Which numbers of seats the runs so far can give, at least two at a time.
    let mut sums = BTreeSet::from([0]);
    for run in runs.iter().filter(|run| **run > 1) {
        let more = sums.iter().flat_map(|sum| (2..=*run).map(move |taken| sum + taken));
        let more: Vec<u32> = more.filter(|sum| *sum <= number).collect();
        sums.extend(more);
    }
    (runs.iter().copied().max().unwrap_or(0), sums.contains(&number))
}

/// The best seats together of a large hall without accessible seats, found by looking at all of
/// them.
pub fn nearest_together(section: &Seating, number: u32) -> Option<(bool, u64, SeatIndex)> {
    let layout = section.layout();
    let taken: &Taken = section.taken();
    let free = |seat: Option<SeatIndex>, stretch: &std::ops::Range<u32>| {
        seat.is_some_and(|seat| stretch.contains(&seat) && !taken.has(seat))
    };
    let windows = (0..=layout.seats() - number).filter(|first| {
        let stretch = layout.stretch(*first);
        (*first..first + number).all(|seat| free(Some(seat), &stretch))
    });
    let keyed = windows.map(|first| {
        let stretch = layout.stretch(first);
        let end = first + number;
        let left = free(first.checked_sub(1), &stretch) && !free(first.checked_sub(2), &stretch);
        let right = free(Some(end), &stretch) && !free(Some(end + 1), &stretch);
        let distance = (first..end).map(|seat| layout.distance(seat)).sum();
        (left || right, distance, first)
    });
    keyed.min()
}
