//! The commands of the binary.

use crate::config::Config;
use crate::serve::{self, Role};
use crate::{Failure, demo, http, log, print, probe};
use clap::{Parser, Subcommand};
use engine::{Error, Fault, SectionId};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::Store;

/// Seats that are held for ten minutes, then confirmed or lost, and never oversold.
///
/// Without a command it serves. With nothing configured it runs on an embedded store in ./data;
/// `.env.example` lists every setting.
#[derive(Parser)]
#[command(name = "reservix", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API (the default)
    Serve {
        /// Leave the schema as it is
        #[arg(long)]
        no_migrate: bool,
        /// Leave sweep and reconcile to other processes
        #[arg(long)]
        no_workers: bool,
    },
    /// Run sweep and reconcile alone, beside servers on the same database server
    ///
    /// Any number may run. /health and /metrics are served on HOST and PORT, and nothing else.
    Worker {
        /// Leave the schema as it is
        #[arg(long)]
        no_migrate: bool,
    },
    /// Ask a running process whether it is ready, for the health check of a container
    ///
    /// Exit code 0: ready. 1: not ready, or no answer within three seconds.
    Health {
        /// Where the process is; by default where HOST and PORT say
        #[arg(long)]
        url: Option<String>,
    },
    /// Change the schema, or say where it stands
    #[command(subcommand)]
    Migrate(Migrate),
    /// Check that every invariant holds over the whole store, beside a running server
    ///
    /// Exit code 0: clean. 2: violations were found, and are listed. 1: the store cannot be read.
    Audit,
    /// Make the counters and seats of a section agree with its bookings and its log, and say what changed
    ///
    /// For a section that `audit` reports, or that answers 503 because it contradicts itself. Where
    /// bookings and log themselves disagree nothing is changed. On the embedded store stop the server
    /// first. Exit code 0: it agrees now. 2: it was left as it is, and the reason is printed. 1: the
    /// store cannot be read.
    Repair {
        /// The section's id
        section: String,
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Say that the database has another history than before
    #[command(subcommand)]
    Log(Log),
    /// Print the effective settings, with secrets hidden
    Config {
        /// Print an example file instead: every setting, commented out, with its default
        #[arg(long)]
        example: bool,
    },
    /// Print the OpenAPI document
    Openapi,
    /// Create a user and an event on a running server, and print curl lines to try
    ///
    /// For load tests instead: --buyers writes access tokens to a file, and --bookings fills the store.
    Demo(demo::Demo),
}

#[derive(Subcommand)]
enum Log {
    /// Begin a new epoch: after the database was replaced by a copy of itself, such as a backup
    ///
    /// Every instance drops what it has kept, and no `ETag` of before fits any more. Part of every restore.
    NewTimeline,
}

#[derive(Subcommand)]
enum Migrate {
    /// Apply every migration that is missing
    Up,
    /// Take back the last migrations; this deletes what they hold
    ///
    /// Without --yes it changes nothing, and says what would be lost.
    Down {
        /// How many
        #[arg(default_value_t = 1)]
        steps: usize,
        /// Delete what the migrations hold
        #[arg(long)]
        yes: bool,
    },
    /// List the migrations
    Status,
    /// Write the files of a new migration, for every store
    New {
        /// Lower-case letters, digits and _
        name: String,
        /// The folder with a folder for each store
        #[arg(long, default_value = "migrations")]
        dir: PathBuf,
    },
}

/// Runs the command that the command line names.
pub async fn run() -> Result<ExitCode, Failure> {
    let command = Cli::parse().command;
    let command = command.unwrap_or(Command::Serve { no_migrate: false, no_workers: false });
    match command {
        Command::Serve { no_migrate, no_workers } => {
            let role = Role::Api { workers: !no_workers };
            serve::run(settings()?, role, !no_migrate).await?;
        }
        Command::Worker { no_migrate } => {
            serve::run(settings()?, Role::Worker, !no_migrate).await?;
        }
        Command::Health { url } => probe::run(&url.map_or_else(local_url, Ok)?).await?,
        Command::Migrate(Migrate::New { name, dir }) => new_migration(&dir, &name)?,
        Command::Migrate(step) => migrate(&settings()?, &step).await?,
        Command::Audit => return audit(&settings()?).await,
        Command::Repair { section, dry_run } => {
            return repair(&settings()?, &section, dry_run).await;
        }
        Command::Log(Log::NewTimeline) => new_timeline(&settings()?).await?,
        Command::Config { example: true } => print::text(crate::config::example())?,
        Command::Config { example: false } => print::text(settings()?.render())?,
        Command::Openapi => {
            let document = http::openapi(env!("CARGO_PKG_VERSION")).to_pretty_json();
            print::line(document.map_err(|error| Failure::new("writing the document", error))?)?;
        }
        Command::Demo(demo) => demo::run(&demo).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn local_url() -> Result<String, Failure> {
    let unknown = || Failure::plain("PORT is 0, so any port may be the one: name it with --url");
    settings()?.local_url().ok_or_else(unknown)
}

/// The configuration of this process.
pub fn settings() -> Result<Config, Failure> {
    Config::load()
        .map_err(|errors| Failure::plain(format!("the configuration is wrong:\n{errors}")))
}

async fn migrate(config: &Config, step: &Migrate) -> Result<(), Failure> {
    if matches!(step, Migrate::Up) {
        // It may find what its operator has to know, such as two accounts that are one by now.
        log::start(config);
    }
    // The list can be read beside a running server; a change needs the store alone.
    let changes = matches!(step, Migrate::Up | Migrate::Down { yes: true, .. });
    let store = serve::open(config, !changes).await?;
    let done = match step {
        Migrate::Up => bring_to(&*store, None, "applied").await,
        Migrate::Down { steps, yes } => take_back(&*store, *steps, *yes).await,
        Migrate::Status | Migrate::New { .. } => list(&*store).await,
    };
    store.close().await;
    done
}

async fn list(store: &dyn Store) -> Result<(), Failure> {
    for (step, applied) in store.migrations().await? {
        let state = if applied { "applied" } else { "missing" };
        print::line(format_args!("{:04} {:<40} {state}", step.version, step.name))?;
    }
    Ok(())
}

async fn bring_to(store: &dyn Store, version: Option<i64>, done: &str) -> Result<(), Failure> {
    let changed = store.migrate(version).await?;
    for step in &changed {
        print::line(format_args!("{:04} {:<40} {done}", step.version, step.name))?;
    }
    if changed.is_empty() {
        print::line("nothing to do")?;
    }
    Ok(())
}

/// Takes back the last `steps` migrations; unless `yes` is given, says what that would delete.
async fn take_back(store: &dyn Store, steps: usize, yes: bool) -> Result<(), Failure> {
    let all = store.migrations().await?;
    let applied: Vec<_> =
        all.into_iter().filter_map(|(step, applied)| applied.then_some(step)).collect();
    let Some(kept) = applied.len().checked_sub(steps).filter(|_| steps > 0) else {
        let count = applied.len();
        return Err(Failure::plain(format!(
            "cannot take back {steps} migrations: {count} are applied in {}; nothing was changed",
            store.describe()
        )));
    };
    print::line(format_args!("Taking back deletes for good, in {}:", store.describe()))?;
    for step in applied[kept..].iter().rev() {
        print::line(format_args!("{:04} {}: {}", step.version, step.name, step.lost))?;
    }
    if !yes {
        return Err(Failure::plain(
            "nothing was changed; back up, stop all servers, and repeat the command with --yes",
        ));
    }
    let version = applied[..kept].last().map_or(0, |step| step.version);
    bring_to(store, Some(version), "taken back").await
}

/// Writes the four files of a new migration: up and down, for both stores.
fn new_migration(dir: &Path, name: &str) -> Result<(), Failure> {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(sound) {
        return Err(Failure::plain("the name of a migration has lower-case letters, digits and _"));
    }
    let stores = ["postgres", "sqlite"].map(|store| dir.join(store));
    let last = stores.iter().flat_map(|folder| numbers(folder)).max().unwrap_or(0);
    for folder in &stores {
        std::fs::create_dir_all(folder).map_err(|error| Failure::new(folder.display(), error))?;
        for direction in ["up", "down"] {
            let path = folder.join(format!("{:04}_{name}.{direction}.sql", last + 1));
            let text = match direction {
                "down" => {
                    "-- Lost: what is deleted, in words; `migrate down` shows it.\n".to_owned()
                }
                _ => format!("-- {name}, {direction}\n"),
            };
            std::fs::write(&path, text).map_err(|error| Failure::new(path.display(), error))?;
            print::line(path.display())?;
        }
    }
    Ok(())
}

fn numbers(folder: &Path) -> Vec<u32> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = files.filter_map(|file| file.file_name().into_string().ok());
    names.filter_map(|name| name.split('_').next()?.parse().ok()).collect()
}

async fn audit(config: &Config) -> Result<ExitCode, Failure> {
    let store = serve::open(config, true).await?;
    serve::require_schema(&*store).await?;
    let report = store.audit().await?;
    print::line(format_args!(
        "checked {} sections, {} bookings, {} rows of the log in {}",
        report.sections,
        report.bookings,
        report.log_rows,
        store.describe()
    ))?;
    print::line(
        "I1 capacity   I2 transitions   I3 seats   I4 counters = log   I5 confirmed in time   \
         I7 log = bookings",
    )?;
    for violation in &report.told {
        print::line(violation)?;
    }
    if report.is_clean() {
        print::line("clean: every invariant holds")?;
        return Ok(ExitCode::SUCCESS);
    }
    let (all, told) = (report.violations, report.told.len());
    print::line(format_args!("{all} violations, {told} of them listed"))?;
    Ok(ExitCode::from(2))
}

async fn repair(config: &Config, section: &str, dry_run: bool) -> Result<ExitCode, Failure> {
    let invalid = || Failure::plain(format!("{section:?} is no id of a section"));
    let section_id: SectionId = section.parse().map_err(|_| invalid())?;
    // For reading first: it makes no store where there is none.
    let there = serve::open(config, true).await?;
    let found = serve::require_schema(&*there).await;
    there.close().await;
    found?;
    let store = serve::open(config, false).await?;
    let repaired = store.repair(section_id, dry_run).await;
    store.close().await;
    match repaired {
        Ok(told) if told.is_empty() => print::line("nothing to do: everything agrees")?,
        Ok(told) => {
            for line in &told {
                print::line(line)?;
            }
            print::line(if dry_run { "nothing was changed: a dry run" } else { "repaired" })?;
        }
        Err(Error::Failed(Fault::Contradiction { what, .. })) => {
            print::line("left as it is, since its bookings and its log disagree:")?;
            for line in what.split("; ") {
                print::line(line)?;
            }
            return Ok(ExitCode::from(2));
        }
        Err(Error::Failed(fault)) => return Err(fault.into()),
        Err(Error::Refused(_)) => {
            print::line(format_args!("there is no section {section_id}"))?;
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn new_timeline(config: &Config) -> Result<(), Failure> {
    if config.is_embedded() {
        // For reading: it makes no store where there is none.
        serve::open(config, true).await?.close().await;
        return print::line("nothing to do: the embedded store begins a new epoch at each start");
    }
    let store = serve::open(config, false).await?;
    serve::require_schema(&*store).await?;
    let (drawn, place) = (store.begin_epoch().await, store.describe());
    store.close().await;
    print::line(format_args!(
        "epoch {} in {place}: every instance drops what it has kept within a few seconds",
        drawn?
    ))
}
