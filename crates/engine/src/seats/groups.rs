//! Split choices: the nearest seats for a party that cannot sit together, nobody alone.
//!
//! Of all sets of `number` candidates, `accessible` of them accessible, in which each seat has a
//! chosen neighbour, [`nearest`] finds the one with the least sum of distances, and among equals
//! the smallest list of seats. It goes through the candidates from the last to the first and keeps,
//! for each number of seats still to choose, the least sum after each [`Before`].
//!
//! Only seats near enough are looked at. A first choice among the nearest has a sum `S`. With `L`
//! the sum of the nearest seats of each kind without any regard to neighbours, no better choice has
//! a seat that is farther than the last of its kind in `L` by more than `S - L`; so those within
//! decide, exactly.

use super::SeatIndex;
use super::best::Party;

/// A wanted seat that has a wanted neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub section: usize,
    pub seat: SeatIndex,
    /// Whether the seat before it, in the section, is its neighbour and a candidate too.
    pub follows: bool,
    pub distance: u64,
    pub accessible: bool,
}

/// A choice: its sum of distances, and its seats in order.
type Found = (u64, Vec<(usize, SeatIndex)>);

/// The state of the search after some candidates: what was decided of the last one.
#[derive(Clone, Copy)]
enum Before {
    /// Not chosen.
    Left,
    /// Chosen, without a chosen neighbour so far.
    Alone,
    /// Chosen, beside a chosen one.
    Beside,
}

/// The least sums of what is still to be chosen, after each [`Before`].
type Sums = [u64; 3];

const NONE: u64 = u64::MAX;

/// The nearest choice of `candidates`, which are in order; `None` when there is none.
pub(super) fn nearest(candidates: &[Candidate], party: &Party) -> Option<Found> {
    let kind = |accessible| {
        let kind = candidates.iter().filter(move |one| one.accessible == accessible);
        let mut distances: Vec<u64> = kind.map(|one| one.distance).collect();
        distances.sort_unstable();
        distances
    };
    let kinds = [kind(false), kind(true)];
    let needed = [(party.number - party.accessible) as usize, party.accessible as usize];
    let least = |kind: usize| Some(kinds[kind].get(..needed[kind])?.iter().sum::<u64>());
    let least = least(0)? + least(1)?;
    // If no three are adjacent there are only pairs, and every number of them is even.
    let three = |of: &[Candidate]| is_beside(&of[0], &of[1]) && is_beside(&of[1], &of[2]);
    if party.number % 2 == 1 && !candidates.windows(3).any(three) {
        return None;
    }

    let mut looked_at = 4 * party.number as usize + 64;
    loop {
        let far = |kind: usize| kinds[kind].get(looked_at).copied().unwrap_or(NONE);
        let limits = [far(0), far(1)];
        if let Some(found) = search(&within(candidates, limits), party) {
            let slack = found.0 - least;
            let last = |kind: usize| needed[kind].checked_sub(1).map_or(0, |at| kinds[kind][at]);
            let enough = [last(0) + slack, last(1) + slack];
            if (0..2).all(|kind| needed[kind] == 0 || enough[kind] <= limits[kind]) {
                return Some(found);
            }
            return search(&within(candidates, enough), party);
        }
        if limits == [NONE, NONE] {
            return None;
        }
        looked_at *= 4;
    }
}

/// The candidates that are not farther than the limit of their kind.
fn within(candidates: &[Candidate], limits: [u64; 2]) -> Vec<Candidate> {
    let near = |one: &&Candidate| one.distance <= limits[usize::from(one.accessible)];
    candidates.iter().filter(near).copied().collect()
}

/// The nearest choice, looking at all `candidates`.
pub(super) fn search(candidates: &[Candidate], party: &Party) -> Option<Found> {
    // A place for each number of seats still to choose: all of them, and the accessible among them.
    let kinds = party.accessible as usize + 1;
    let places = (party.number as usize + 1) * kinds;
    let mut after: Vec<Sums> = vec![[NONE; 3]; places];
    after[0] = [0, NONE, 0];
    let mut now = after.clone();
    // For each candidate and place, after which `Before` it is chosen: one bit each.
    let mut chosen = vec![0_u8; candidates.len() * places];
    for (at, one) in candidates.iter().enumerate().rev() {
        let follows = at.checked_sub(1).is_some_and(|before| is_beside(&candidates[before], one));
        let step = kinds + usize::from(one.accessible);
        for place in 0..places {
            let may = place >= step && (!one.accessible || place % kinds > 0);
            let take = |then: Before| {
                let rest = if may { after[place - step][then as usize] } else { NONE };
                rest.checked_add(one.distance).unwrap_or(NONE)
            };
            let skip = after[place][Before::Left as usize];
            let (begin, go_on) = (take(Before::Alone), take(Before::Beside));
            let go_on = if follows { go_on } else { NONE };
            // A choice that has the earlier seat is the smaller list, so equals are chosen.
            let fresh = begin != NONE && begin <= skip;
            let (sum, beside) = if follows {
                (go_on.min(skip), go_on != NONE && go_on <= skip)
            } else {
                (begin.min(skip), fresh)
            };
            now[place] = [begin.min(skip), go_on, sum];
            let alone = u8::from(go_on != NONE);
            chosen[at * places + place] = u8::from(fresh) | alone << 1 | u8::from(beside) << 2;
        }
        std::mem::swap(&mut now, &mut after);
    }

    let mut place = places - 1;
    let sum = after[place][Before::Left as usize];
    if sum == NONE {
        return None;
    }
    let mut seats = Vec::with_capacity(party.number as usize);
    let mut before = Before::Left;
    for (at, one) in candidates.iter().enumerate() {
        if chosen[at * places + place] & 1 << before as u8 == 0 {
            before = Before::Left;
            continue;
        }
        let follows = at.checked_sub(1).is_some_and(|before| is_beside(&candidates[before], one));
        before = match before {
            Before::Alone | Before::Beside if follows => Before::Beside,
            _ => Before::Alone,
        };
        seats.push((one.section, one.seat));
        place -= kinds + usize::from(one.accessible);
    }
    Some((sum, seats))
}

/// Whether `next` is a neighbour of `before`.
fn is_beside(before: &Candidate, next: &Candidate) -> bool {
    next.follows && before.section == next.section && before.seat + 1 == next.seat
}
