//! A line on the terminal that says how far it is; nothing when nobody is there to read it.

use crate::report::Tick;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// Columns of a bar.
const BAR: usize = 24;

/// The line.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shown on standard error if that is a terminal.
    pub fn new(quiet: bool) -> Self {
        let shown = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, shown);
        let style = ProgressStyle::with_template("{spinner} {prefix} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar }
    }

    /// Which part of the session it is.
    pub fn part(&self, name: impl Into<String>) {
        self.bar.set_prefix(name.into());
        self.bar.set_message("");
    }

    /// What is being done.
    pub fn say(&self, what: String) {
        self.bar.set_message(what);
    }

    /// How much of something is done.
    pub fn of(&self, doing: &str, done: usize, all: usize) {
        let full = (BAR * done).checked_div(all).unwrap_or(BAR).min(BAR);
        let bar = "━".repeat(full) + &"─".repeat(BAR - full);
        self.bar.set_message(format!("{doing} {bar} {done}/{all}"));
    }

    /// The latest slice of a run that is to take `seconds`.
    pub fn show(&self, tick: &Tick, seconds: f64) {
        let Tick { at, accepted, refused, failed, sold, p50_ms, p95_ms, p99_ms, .. } = tick;
        let per_second = |count: u64| count as f64 / tick.seconds;
        let warm = if tick.warm_up { " warming up" } else { "" };
        self.bar.set_message(format!(
            "{at:.0}/{seconds:.0} s{warm} · {:.0} accepted/s · {:.0} refused/s · {:.0} failed/s · \
             {sold} seats sold · accepted p50 {p50_ms:.1} p95 {p95_ms:.1} p99 {p99_ms:.1} ms · \
             refused p99 {:.1} ms",
            per_second(*accepted),
            per_second(*refused),
            per_second(*failed),
            tick.refused_p99_ms,
        ));
    }

    /// Takes the line away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
