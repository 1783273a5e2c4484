//! The machine that sends the load, and what this process takes of it. Linux tells; elsewhere the
//! figures are 0.

use crate::report::Machine;
use std::time::Duration;

/// The kernel counts the time of processes in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// What the machine is, before the load.
pub fn look() -> Machine {
    let cpus = read("/proc/cpuinfo");
    let named = cpus.lines().find_map(|line| line.strip_prefix("model name"));
    let cpu =
        named.and_then(|rest| rest.split_once(':')).map_or("unknown", |(_, name)| name.trim());
    let load = read("/proc/loadavg");
    Machine {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        cpu: cpu.to_owned(),
        load_before: load.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0.0),
        steal: 0.0,
    }
}

/// Ticks of all processors so far: all of them, and those that the host took.
pub fn ticks() -> (u64, u64) {
    let stat = read("/proc/stat");
    let all = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let all: Vec<u64> = all.take(8).filter_map(|it| it.parse().ok()).collect();
    (all.iter().sum(), all.get(7).copied().unwrap_or(0))
}

/// The share that the host took between two such readings.
pub fn steal(before: (u64, u64), after: (u64, u64)) -> f64 {
    let all = after.0.saturating_sub(before.0);
    if all == 0 { 0.0 } else { after.1.saturating_sub(before.1) as f64 / all as f64 }
}

/// Processor time of this process so far.
pub fn own_time() -> Duration {
    let stat = read("/proc/self/stat");
    // The name of the process may have spaces, and ends at the last parenthesis.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks =
        after_name.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<u32>().ok());
    TICK * ticks.sum::<u32>()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
