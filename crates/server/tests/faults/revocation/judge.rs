//! What the trials showed.

use super::crew::INSTANCES;
use super::trial::{Heard, Kind, Trial};
use std::fmt::Write as _;
use std::time::Duration;

/// How long a right may serve after its withdrawal.
pub const BOUND: Duration = Duration::from_secs(1);
/// How long before the withdrawal an instance has accepted what it knows well.
const JUST: Duration = Duration::from_secs(1);

impl Trial {
    /// How long after the acknowledgement each request was sent that was accepted later than `bound`
    /// after it, and where.
    fn late(&self, bound: Duration) -> impl Iterator<Item = (usize, Duration)> {
        let accepted = self.asked.iter().filter(|one| one.heard == Heard::Accepted);
        accepted
            .map(|one| (one.instance, one.sent.saturating_duration_since(self.acknowledged)))
            .filter(move |(_, after)| *after > bound)
    }

    /// How long after the acknowledgement the last request was sent that was accepted.
    fn last(&self) -> Duration {
        self.late(Duration::ZERO).map(|(_, after)| after).max().unwrap_or_default()
    }

    /// Whether every instance accepted it just before the withdrawal, and said yes or no to a request that
    /// was sent more than [`BOUND`] after it.
    pub fn is_whole(&self) -> bool {
        (0..INSTANCES).all(|instance| {
            let at = || self.asked.iter().filter(move |one| one.instance == instance);
            let is_warm = at().any(|one| {
                one.heard == Heard::Accepted
                    && one.answered < self.sent
                    && self.sent - one.answered < JUST
            });
            let is_told = at().any(|one| {
                matches!(one.heard, Heard::Accepted | Heard::Refused)
                    && one.sent > self.acknowledged + BOUND
            });
            is_warm && is_told
        })
    }
}

/// What is wrong with trials.
#[derive(Default)]
pub struct Findings {
    /// Accepted although sent later than the bound after the acknowledgement.
    pub late: Vec<String>,
    /// Refused although answered before the withdrawal was sent.
    pub early: Vec<String>,
    /// Neither accepted, nor refused as it is meant, nor asked to retry.
    pub odd: Vec<String>,
    /// Trials that show something.
    pub whole: u64,
}

impl Findings {
    pub fn of<'a>(trials: impl IntoIterator<Item = &'a Trial>, bound: Duration) -> Self {
        let mut found = Self::default();
        for trial in trials {
            let (kind, home) = (trial.kind, trial.home);
            found.whole += u64::from(trial.is_whole());
            let late = trial.late(bound).map(|(instance, after)| {
                format!("{kind:?} at {home}: accepted at {instance} {after:?} later")
            });
            found.late.extend(late);
            for one in &trial.asked {
                let instance = one.instance;
                match &one.heard {
                    Heard::Refused if one.answered < trial.sent => {
                        let before = trial.sent - one.sent;
                        let told = format!("{kind:?}: refused at {instance} {before:?} before");
                        found.early.push(told);
                    }
                    Heard::Odd(told) => found.odd.push(format!("{kind:?} at {instance}: {told}")),
                    _ => (),
                }
            }
        }
        found
    }
}

/// What each kind of trial showed, and all of them.
pub fn table(trials: &[Trial]) -> String {
    let mut table = String::from(
        "| withdrawn | trials | played again | asked afterwards | unanswered | accepted > 1.0 s later \
         | last accepted after (ms): p50 | p99 | max |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for kind in Kind::ALL {
        let of: Vec<_> = trials.iter().filter(|trial| trial.kind == kind).collect();
        line(&mut table, kind.name(), &of);
    }
    line(&mut table, "all", &trials.iter().collect::<Vec<_>>());
    table
}

fn line(table: &mut String, name: &str, trials: &[&Trial]) {
    let whole = trials.iter().filter(|trial| trial.is_whole()).count();
    let asked = |is_meant: &dyn Fn(&Trial, &super::trial::Asked) -> bool| {
        let of = |trial: &&Trial| trial.asked.iter().filter(|one| is_meant(trial, one)).count();
        trials.iter().map(of).sum::<usize>()
    };
    let afterwards = asked(&|trial, one| one.sent > trial.acknowledged);
    let unanswered = asked(&|_, one| matches!(one.heard, Heard::Nothing));
    let late: usize = trials.iter().map(|trial| trial.late(BOUND).count()).sum();
    let mut last: Vec<_> = trials.iter().map(|trial| trial.last().as_millis()).collect();
    last.sort_unstable();
    let part = |hundredths: usize| match last.len() {
        0 => 0,
        length => last[(length - 1) * hundredths / 100],
    };
    let (half, most, all) = (part(50), part(99), part(100));
    let again = trials.len() - whole;
    writeln!(
        table,
        "| {name} | {whole} | {again} | {afterwards} | {unanswered} | {late} | {half} | {most} | {all} |"
    )
    .expect("a string takes all");
}
