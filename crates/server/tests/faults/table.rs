//! The table: what each row showed, printed and kept in `target/faults.md`.

use parking_lot::Mutex;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// What a row showed.
pub struct Line {
    pub fault: String,
    /// Holds that were given while the fault lasted.
    pub holds: usize,
    /// Bookings that were confirmed meanwhile.
    pub confirms: usize,
    /// Requests that were told to come again meanwhile, or broke.
    pub refused: usize,
    pub slowest: Duration,
    pub healed: Duration,
    pub goal: Duration,
}

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Adds a line to the table, prints it, and writes the table anew.
pub fn add(line: &Line) {
    let text = format!(
        "| {} | {} | {} | {} | {} | {} | {} |",
        line.fault,
        line.holds,
        line.confirms,
        line.refused,
        line.slowest.as_millis(),
        line.healed.as_millis(),
        line.goal.as_millis()
    );
    println!("{text}");
    let mut lines = LINES.lock();
    lines.push(text);
    let mut table = String::from(
        "| fault | holds during it | confirms during it | asked to retry | slowest answer (ms) \
         | normal after (ms) | goal (ms) |\n|---|---|---|---|---|---|---|\n",
    );
    for line in lines.iter() {
        writeln!(table, "{line}").expect("a string takes all");
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target");
    std::fs::write(target.join("faults.md"), table).expect("the target folder is ours");
}
