//! The smallest run that goes wrong in the same way.

use crate::choices::{Choice, Choices, Recorded};
use crate::machine::{self, Settings};
use std::collections::BTreeSet;

/// Runs that are tried at most.
const TRIES_MAX: usize = 6_000;

/// What a finding is about: its words without ids and numbers.
#[must_use]
pub fn kind_of(what: &str) -> String {
    let head: String = what.chars().take(48).filter(|letter| !letter.is_ascii_digit()).collect();
    head.split(['{', '(']).next().unwrap_or_default().trim().to_owned()
}

/// Makes the choices of a run fewer and lower, as long as it still ends with this kind of finding.
#[must_use]
pub fn smallest(mut choices: Vec<Choice>, kind: &str) -> Recorded {
    let mut tries = 0;
    let mut fails = |choices: &[Choice]| {
        tries += 1;
        if tries > TRIES_MAX {
            return None;
        }
        let recorded = Choices::of(Choices::recorded(choices));
        let (_, found) = machine::run(recorded, Settings::default());
        Some(found.is_some_and(|finding| kind_of(&finding.what) == kind))
    };
    loop {
        let before = choices.clone();
        if smaller(&mut choices, &mut fails).is_none() || choices == before {
            return Choices::recorded(&choices);
        }
    }
}

/// Tries each way once; `None` when too many runs were tried.
fn smaller(
    choices: &mut Vec<Choice>,
    fails: &mut impl FnMut(&[Choice]) -> Option<bool>,
) -> Option<()> {
    // All of a kind at once: what it does is of no matter, or all of it is.
    let kinds: BTreeSet<&str> = choices.iter().map(|choice| choice.kind).collect();
    for kind in kinds {
        let mut calm = choices.clone();
        calm.iter_mut().filter(|choice| choice.kind == kind).for_each(|choice| choice.pick = 0);
        if calm != *choices && fails(&calm)? {
            *choices = calm;
        }
    }
    // Spans, the long ones first: without them, or with nothing special in them.
    let mut span = choices.len() / 2;
    while span > 0 {
        let mut at = 0;
        while at < choices.len() {
            let to = (at + span).min(choices.len());
            if choices[at..to].iter().all(|choice| choice.pick == 0) && span > 1 {
                at = to;
                continue;
            }
            let mut cut = choices.clone();
            cut.drain(at..to);
            if fails(&cut)? {
                *choices = cut;
                continue;
            }
            let mut calm = choices.clone();
            calm[at..to].iter_mut().for_each(|choice| choice.pick = 0);
            if calm != *choices && fails(&calm)? {
                *choices = calm;
            }
            at = to;
        }
        span /= 2;
    }
    for at in 0..choices.len() {
        while choices[at].pick > 0 {
            let mut lower = choices.clone();
            lower[at].pick -= 1;
            if !fails(&lower)? {
                break;
            }
            *choices = lower;
        }
    }
    Some(())
}
