//! Choices: where a run takes every decision from.
//!
//! A run is nothing but its choices. They are drawn from a seed, or taken from those that were recorded, each
//! kind in its order; the pick 0 is always what would happen with nothing in the way. So recorded ones can be
//! cut anywhere and lowered anywhere, and are still a run; and where one is left out, those of other kinds
//! keep their places.

use std::collections::BTreeMap;
use std::fmt;

/// One decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What about.
    pub kind: &'static str,
    /// How many ways there were.
    pub arity: u32,
    /// Which one was taken.
    pub pick: u32,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.pick, self.arity)
    }
}

/// Picks that were recorded, by their kind.
pub type Recorded = BTreeMap<String, Vec<u32>>;

enum Source {
    Seed(u64),
    Recorded(BTreeMap<String, std::vec::IntoIter<u32>>),
}

impl Source {
    /// What was recorded next of a kind; beyond its end nothing special happens.
    fn next(picks: &mut BTreeMap<String, std::vec::IntoIter<u32>>, kind: &str) -> u32 {
        picks.get_mut(kind).and_then(Iterator::next).unwrap_or(0)
    }
}

/// The choices of a run.
pub struct Choices {
    source: Source,
    taken: Vec<Choice>,
}

impl Choices {
    /// Those of a seed.
    pub fn of_seed(seed: u64) -> Self {
        Self { source: Source::Seed(mixed(seed)), taken: Vec::new() }
    }

    /// Those that were recorded.
    pub fn of(recorded: Recorded) -> Self {
        let picks = recorded.into_iter().map(|(kind, picks)| (kind, picks.into_iter()));
        Self { source: Source::Recorded(picks.collect()), taken: Vec::new() }
    }

    /// One of `arity` ways.
    pub fn pick(&mut self, kind: &'static str, arity: usize) -> usize {
        let arity = u32::try_from(arity).expect("few ways");
        let pick = match &mut self.source {
            Source::Seed(_) if arity < 2 => 0,
            Source::Seed(state) => {
                u32::try_from(draw(state) % u64::from(arity)).expect("below arity")
            }
            // What was changed may say more than there is.
            Source::Recorded(picks) => Source::next(picks, kind).min(arity.saturating_sub(1)),
        };
        self.taken.push(Choice { kind, arity, pick });
        pick as usize
    }

    /// Whether something happens that happens once in `one_in` times.
    pub fn happens(&mut self, kind: &'static str, one_in: u32) -> bool {
        let pick = match &mut self.source {
            Source::Seed(state) => u32::from(draw(state).is_multiple_of(u64::from(one_in))),
            Source::Recorded(picks) => Source::next(picks, kind).min(1),
        };
        self.taken.push(Choice { kind, arity: 2, pick });
        pick == 1
    }

    /// Choices by their kind.
    pub fn recorded(taken: &[Choice]) -> Recorded {
        let mut recorded = Recorded::new();
        for choice in taken {
            match recorded.get_mut(choice.kind) {
                Some(picks) => picks.push(choice.pick),
                None => drop(recorded.insert(choice.kind.to_owned(), vec![choice.pick])),
            }
        }
        // What is 0 behind the last that is not says nothing.
        for picks in recorded.values_mut() {
            picks.truncate(picks.iter().rposition(|pick| *pick > 0).map_or(0, |last| last + 1));
        }
        recorded.retain(|_, picks| !picks.is_empty());
        recorded
    }

    /// What was decided so far.
    pub fn taken(&self) -> &[Choice] {
        &self.taken
    }
}

/// `SplitMix64`: small, and good enough to spread seeds.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn mixed(seed: u64) -> u64 {
    let mut state = seed;
    draw(&mut state)
}
