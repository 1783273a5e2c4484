//! `reservix-sim`: sales on a simulated database, with crashes, lost answers and waits in any order, each of
//! which can be run again.

mod check;
mod choices;
mod database;
mod embedded;
mod gate;
mod machine;
mod organizer;
mod panics;
mod planted;
mod probes;
mod refusals;
mod session;
mod shrink;
mod store;
mod story;
mod world;

use ::store::simulated::plant;
use choices::{Choice, Choices};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use machine::{Finding, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use story::Story;

/// As the server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds of which one is run twice: both runs must be the same.
const TWICE_EACH: u64 = 250;
/// Findings of a kind after which no more of it are made smaller.
const SHRUNK_MAX: usize = 1;
/// Choices of a story that is short enough.
const SHORT: usize = 12;
/// Findings of a planted bug of which the shortest story is told, and seeds in which others are looked for.
const TOLD_MAX: usize = 3;
const MORE_SEEDS: usize = 4_000;
/// How often a run says how far it is, in a line or by a bar.
const LINE_EACH: Duration = Duration::from_secs(10);
const BAR_EACH: Duration = Duration::from_millis(250);

/// Runs sales on a simulated database and checks each: exit code 1 when something was found.
#[derive(Parser)]
#[command(name = "reservix-sim")]
struct Arguments {
    /// The seeds to run, from the first to before the last: A..B
    #[arg(long, default_value = "0..10000", value_parser = range)]
    seeds: Range<u64>,
    /// How many threads run them
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Plants a bug by its name, or each in turn (`all`); what has to be found is that one
    #[arg(long)]
    planted: Option<String>,
    /// Runs a story that was kept, with all it tells
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Prints each step of each seed
    #[arg(long)]
    trace: bool,
    /// Prints what was seen, and how often
    #[arg(long)]
    coverage: bool,
    /// A refusal that the rules name, or a probe, that no seed has met is a finding
    #[arg(long)]
    all_met: bool,
    /// Writes the smallest story of each finding into this folder
    #[arg(long)]
    keep: Option<PathBuf>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("a range is written A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let seeds = number(from)?..number(to)?;
    if seeds.is_empty() { Err("there is no seed in it".to_owned()) } else { Ok(seeds) }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic is a finding, and told as one.
    panics::watch();
    let done = match (&arguments.replay, &arguments.planted) {
        (Some(file), _) => replay(file),
        (None, Some(name)) => prove(name, &arguments),
        (None, None) => Ok(simulate(&arguments)),
    };
    done.unwrap_or_else(|why| {
        eprintln!("reservix-sim: {why}");
        ExitCode::from(2)
    })
}

/// Runs all seeds.
fn simulate(arguments: &Arguments) -> ExitCode {
    let (next, progress) = (AtomicU64::new(arguments.seeds.start), Progress::default());
    progress.working.store(arguments.jobs, Ordering::Relaxed);
    let (found, totals) = (Mutex::new(Vec::new()), Mutex::new(BTreeMap::<String, u64>::new()));
    let (begun, count) = (Instant::now(), arguments.seeds.end - arguments.seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                let mut seen = BTreeMap::<String, u64>::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= arguments.seeds.end {
                        break;
                    }
                    let settings = Settings { trace: arguments.trace };
                    let (ran, finding) = machine::run(Choices::of_seed(seed), settings);
                    for (cell, times) in &ran.seen {
                        if let Some(before) = seen.get_mut(cell) {
                            *before += times;
                        } else {
                            seen.insert(cell.clone(), *times);
                            let mut cells = progress.cells.lock().expect("nobody panics");
                            cells.insert(cell.clone());
                        }
                    }
                    let mut finding = finding;
                    if seed % TWICE_EACH == 0 && finding.is_none() {
                        let (again, _) = machine::run(Choices::of_seed(seed), Settings::default());
                        if (again.digest, again.events) != (ran.digest, ran.events) {
                            let what = "two runs of this seed differ".to_owned();
                            finding = Some(Finding { what, told: String::new() });
                        }
                    }
                    if arguments.trace {
                        println!("seed {seed}, digest {:016x}", ran.digest);
                        println!("{}", finding.as_ref().map_or(&ran.told, |finding| &finding.told));
                    }
                    if let Some(finding) = finding {
                        println!("seed {seed}: {}", finding.what);
                        progress.findings.fetch_add(1, Ordering::Relaxed);
                        let told = (seed, finding.what, ran.choices);
                        found.lock().expect("nobody panics").push(told);
                    }
                    progress.done.fetch_add(1, Ordering::Relaxed);
                }
                let mut totals = totals.lock().expect("nobody panics");
                for (cell, times) in seen {
                    *totals.entry(cell).or_default() += times;
                }
                progress.working.fetch_sub(1, Ordering::Relaxed);
            });
        }
        progress.show(count, begun);
    });
    let totals = totals.into_inner().expect("nobody panics");
    if arguments.coverage {
        for (cell, times) in &totals {
            println!("{times:>12}  {cell}");
        }
        println!("{}\n{}", refusals::met(&totals).1, probes::met(&totals).1);
    }
    let missed = arguments.all_met && !(refusals::met(&totals).0 && probes::met(&totals).0);
    if missed {
        println!("not all was met: {}; {}", refusals::met(&totals).1, probes::met(&totals).1);
    }
    let found: Vec<(u64, String, Vec<Choice>)> = found.into_inner().expect("nobody panics");
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for (seed, what, choices) in &found {
        let kind = shrink::kind_of(what);
        let times = told.entry(kind.clone()).or_default();
        *times += 1;
        if *times <= SHRUNK_MAX && !what.starts_with("two runs") {
            let picks = shrink::smallest(choices.clone(), &kind);
            let story = Story::of(picks, Some(*seed), None);
            println!("\nThe smallest story of \u{ab}{kind}\u{bb}:\n{story}");
            if let Some(folder) = &arguments.keep {
                story.keep(folder);
            }
        }
    }
    println!(
        "{count} seeds ({}..{}) in {:.1} s, {:.0} a second, {} cells seen, {} findings",
        arguments.seeds.start,
        arguments.seeds.end,
        begun.elapsed().as_secs_f64(),
        per_second(count, begun),
        totals.len(),
        found.len()
    );
    if found.is_empty() && !missed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How far a run is.
#[derive(Default)]
struct Progress {
    /// Threads that run seeds.
    working: AtomicUsize,
    done: AtomicU64,
    cells: Mutex<BTreeSet<String>>,
    findings: AtomicUsize,
}

impl Progress {
    /// Shows it until all threads are done: a bar in a terminal, else a line now and then.
    fn show(&self, count: u64, begun: Instant) {
        let bar = ProgressBar::new(count);
        bar.set_style(
            ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {msg}, {eta} left")
                .expect("a template that can be read"),
        );
        let mut told_at = begun;
        while self.working.load(Ordering::Relaxed) > 0 {
            std::thread::park_timeout(Duration::from_millis(20));
            if told_at.elapsed() < if bar.is_hidden() { LINE_EACH } else { BAR_EACH } {
                continue;
            }
            told_at = Instant::now();
            let (done, findings) =
                (self.done.load(Ordering::Relaxed), self.findings.load(Ordering::Relaxed));
            let cells = self.cells.lock().expect("nobody panics").len();
            let rate = per_second(done, begun);
            let told = format!("{rate:.0} a second, {cells} cells, {findings} findings");
            if bar.is_hidden() {
                eprintln!("{done} of {count} seeds, {told}");
            } else {
                bar.set_position(done);
                bar.set_message(told);
            }
        }
        bar.finish_and_clear();
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown to a reader")]
fn per_second(count: u64, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64().max(1e-9)
}

/// Runs a story that was kept. With a bug that it names it has to go wrong, without it has not to.
fn replay(file: &std::path::Path) -> Result<ExitCode, String> {
    let story = Story::read(file)?;
    plant(story.planted);
    let planted = Story::of(story.picks.clone(), None, story.planted);
    plant(None);
    let now = Story::of(story.picks, None, None);
    println!("{}", if story.planted.is_some() { &planted } else { &now });
    let kind = |what: &Option<String>| what.as_deref().map(shrink::kind_of);
    if story.planted.is_some() && kind(&planted.what) != kind(&story.what) {
        return Err(format!("{}: the bug that it tells of is not found", file.display()));
    }
    Ok(if now.what.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks how many seeds it takes until a planted bug is found.
fn prove(name: &str, arguments: &Arguments) -> Result<ExitCode, String> {
    let all = planted::ALL.iter().map(|(planted, _)| *planted);
    let names: Vec<_> = if name == "all" { all.collect() } else { vec![planted::find(name)?] };
    let (next, took) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let seeds = prove_one(name, arguments);
                    took.lock().expect("nobody panics").push(seeds);
                }
            });
        }
    });
    let took = took.into_inner().expect("nobody panics");
    let missed = took.iter().filter(|seeds| seeds.is_none()).count();
    let mut found: Vec<u64> = took.into_iter().flatten().collect();
    found.sort_unstable();
    if let (Some(worst), Some(median)) = (found.last(), found.get(found.len() / 2)) {
        println!("{} found, {missed} missed; median {median} seeds, worst {worst}", found.len());
    }
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many seeds it takes to find a bug; `None` where they do not.
fn prove_one(name: &'static str, arguments: &Arguments) -> Option<u64> {
    plant(Some(name));
    let run = |seed: &u64| machine::run(Choices::of_seed(*seed), Settings::default());
    let mut others = BTreeMap::<String, u64>::new();
    let first = arguments.seeds.clone().find_map(|seed| {
        let (ran, finding) = run(&seed);
        let finding = finding?;
        if planted::is_meant_for(name, &finding.what) {
            return Some((seed, ran, finding));
        }
        *others.entry(shrink::kind_of(&finding.what)).or_default() += 1;
        None
    });
    let Some((seed, ran, finding)) = first else {
        let count = arguments.seeds.end - arguments.seeds.start;
        println!("{name}: NOT FOUND by {count} seeds; found by something else: {others:?}");
        return None;
    };
    let kind = shrink::kind_of(&finding.what);
    let story = |seed, choices| Story::of(shrink::smallest(choices, &kind), Some(seed), Some(name));
    let mut smallest = story(seed, ran.choices);
    // Another seed may tell it in fewer words.
    let more = (seed + 1..arguments.seeds.end).take(MORE_SEEDS);
    let mut others = more.filter_map(|seed| {
        let (ran, finding) = run(&seed);
        finding.filter(|of| shrink::kind_of(&of.what) == kind).map(|_| (seed, ran.choices))
    });
    for _ in 1..TOLD_MAX {
        if smallest.special() <= SHORT {
            break;
        }
        let Some((seed, choices)) = others.next() else { break };
        let other = story(seed, choices);
        if other.special() < smallest.special() {
            smallest = other;
        }
    }
    let story = smallest;
    let seeds = seed - arguments.seeds.start + 1;
    println!("{name}: {seeds} seeds, {} choices: {kind}", story.special());
    if let Some(folder) = &arguments.keep {
        story.keep(folder);
    }
    Some(seeds)
}
