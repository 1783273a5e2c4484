//! The smallest run that goes wrong in the same way.

use crate::choices::Choices;
use crate::machine::{self, Settings};

/// Runs that are tried at most.
const TRIES_MAX: usize = 4_000;

/// What a finding is about: its words without ids and numbers.
#[must_use]
pub fn kind_of(what: &str) -> String {
    let head: String = what.chars().take(48).filter(|letter| !letter.is_ascii_digit()).collect();
    head.split(['{', '(']).next().unwrap_or_default().trim().to_owned()
}

/// Makes the picks of a run fewer and lower, as long as it still ends with this kind of finding. The picks
/// that are left behind the last one that says something are not in the list.
#[must_use]
pub fn smallest(mut picks: Vec<u32>, kind: &str) -> Vec<u32> {
    let mut tries = 0;
    let mut fails = |picks: &[u32]| {
        tries += 1;
        let (_, found) = machine::run(Choices::of_list(picks.to_vec()), Settings::default());
        (tries <= TRIES_MAX, found.is_some_and(|finding| kind_of(&finding.what) == kind))
    };
    loop {
        let before = picks.clone();
        // Spans, the long ones first; then single picks.
        let mut span = picks.len() / 2;
        while span > 0 {
            let mut at = 0;
            while at < picks.len() {
                let to = (at + span).min(picks.len());
                let mut cut = picks.clone();
                cut.drain(at..to);
                let mut calm = picks.clone();
                calm[at..to].fill(0);
                let shorter = fails(&cut);
                if shorter.1 {
                    picks = cut;
                    continue;
                }
                if calm != picks && fails(&calm).1 {
                    picks = calm;
                }
                if !shorter.0 {
                    return trimmed(picks);
                }
                at = to;
            }
            span /= 2;
        }
        for at in 0..picks.len() {
            while picks[at] > 0 {
                let mut lower = picks.clone();
                lower[at] -= 1;
                if !fails(&lower).1 {
                    break;
                }
                picks = lower;
            }
        }
        if picks == before {
            return trimmed(picks);
        }
    }
}

fn trimmed(mut picks: Vec<u32>) -> Vec<u32> {
    while picks.last() == Some(&0) {
        picks.pop();
    }
    picks
}
