//! The commands of the binary.

use crate::config::Config;
use crate::erase::{self, Erase};
use crate::operator::{self, Operator};
use crate::serve::{self, Role};
use crate::{Failure, demo, http, huge_pages, log, print, probe};
use clap::{Parser, Subcommand};
use engine::{Error, Fault, SectionId};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::Store;

/// Holds and sells the seats of events. Nothing is ever oversold.
///
/// Without a command, it serves the API. Without configuration, it uses an embedded store in
/// ./data. `.env.example` lists all settings.
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
        /// Do not migrate the schema
        #[arg(long)]
        no_migrate: bool,
        /// Do not run the workers (sweep, reconcile, purge); other processes run them
        #[arg(long)]
        no_workers: bool,
    },
    /// Run only the workers (sweep, reconcile, purge), alongside servers on the same PostgreSQL
    ///
    /// Any number of worker processes can run. Each serves only /health and /metrics, on HOST and
    /// PORT.
    Worker {
        /// Do not migrate the schema
        #[arg(long)]
        no_migrate: bool,
    },
    /// Check that a running process is ready, for the health check of a container
    ///
    /// Exit code 0: ready. 1: not ready, or no answer within three seconds.
    Health {
        /// The URL of the process; the default is derived from HOST and PORT
        #[arg(long)]
        url: Option<String>,
    },
    /// Migrate the schema of the store, or show its state
    #[command(subcommand)]
    Migrate(Migrate),
    /// Check every invariant over the whole store; the server can keep running
    ///
    /// Exit code 0: clean. 2: violations were found and are listed. 1: the store cannot be read.
    Audit,
    /// Rebuild the counters and seat states of a section from its bookings and its log
    ///
    /// For a section that `audit` reports, or whose requests get 503 because its data is
    /// inconsistent. Prints what changes. If the bookings and the log contradict each other,
    /// nothing is changed. With the embedded store, stop the server first. Exit code 0: the section
    /// is consistent. 2: nothing was changed, and the reason is printed. 1: the store cannot be
    /// read.
    Repair {
        /// The section's id
        section: String,
        /// Only print what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Declare that the database was replaced by a copy
    #[command(subcommand)]
    Log(Log),
    /// Add, list and remove those who read the whole installation, or end the logins of a user
    #[command(subcommand)]
    Operator(Operator),
    /// End the account of a user, and erase what identifies the person
    ///
    /// As `DELETE /users/me` does it: memberships and logins end, live holds are given back, and the
    /// address, the name and the password are erased, also from invitations. Bookings stay, with an
    /// id that names nobody. Exit code 0: done, or printed. 2: nothing was changed, and the reason
    /// is printed. With the embedded store, stop the server first.
    Erase(Erase),
    /// Print the effective settings, with secrets hidden
    Config {
        /// Print an example file instead, with every setting commented out at its default
        #[arg(long)]
        example: bool,
    },
    /// Print the OpenAPI document
    Openapi,
    /// Create a user and an event on a running server, and print curl commands to try
    ///
    /// For load tests: --buyers writes access tokens to a file, --bookings fills the store.
    Demo(demo::Demo),
}

#[derive(Subcommand)]
enum Log {
    /// Start a new epoch after the database was replaced by a copy, such as a backup
    ///
    /// Every instance drops its caches, and earlier `ETag`s no longer match. Required after every
    /// restore.
    NewTimeline,
}

#[derive(Subcommand)]
enum Migrate {
    /// Apply all missing migrations
    Up,
    /// Revert the last migrations, deleting the data they store
    ///
    /// Without --yes, it changes nothing and prints what would be deleted. It is refused while
    /// servers, workers or other commands are connected to the database.
    Down {
        /// How many migrations to revert
        #[arg(default_value_t = 1)]
        steps: usize,
        /// Confirm the deletion
        #[arg(long)]
        yes: bool,
    },
    /// List the migrations
    Status,
    /// Create the files of a new migration for every store
    New {
        /// Lower-case letters, digits and _
        name: String,
        /// The folder that contains a folder for each store
        #[arg(long, default_value = "migrations")]
        dir: PathBuf,
    },
}

/// Runs the command that the command line names.
pub async fn run() -> Result<ExitCode, Failure> {
    let command = Cli::parse().command;
    let command = command.unwrap_or(Command::Serve { no_migrate: false, no_workers: false });
    if !matches!(command, Command::Serve { .. } | Command::Worker { .. }) {
        huge_pages::allow();
    }
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
        Command::Operator(command) => return operator::run(&settings()?, &command).await,
        Command::Erase(command) => return erase::run(settings()?, &command).await,
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
    let unknown = || Failure::plain("the port is unknown because PORT is 0: use --url");
    settings()?.local_url().ok_or_else(unknown)
}

/// The configuration of this process.
pub fn settings() -> Result<Config, Failure> {
    Config::load()
        .map_err(|errors| Failure::plain(format!("the configuration is invalid:\n{errors}")))
}

async fn migrate(config: &Config, step: &Migrate) -> Result<(), Failure> {
    if matches!(step, Migrate::Up) {
        // It may find what its operator has to know, such as two accounts that are one by now.
        log::start(config);
    }
    // The list can be read beside a running server; a change needs the store alone.
    let changes = matches!(step, Migrate::Up | Migrate::Down { yes: true, .. });
    if matches!(step, Migrate::Down { .. }) && changes {
        // For reading first: it makes no store where there is none.
        serve::open(config, true).await?.close().await;
    }
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
            "cannot revert {steps} migrations: {count} are applied in {}; nothing was changed",
            store.describe()
        )));
    };
    print::line(format_args!("Reverting permanently deletes, in {}:", store.describe()))?;
    for step in applied[kept..].iter().rev() {
        print::line(format_args!("{:04} {}: {}", step.version, step.name, step.lost))?;
    }
    if !yes {
        return Err(Failure::plain(
            "nothing was changed; back up, stop all servers, and repeat the command with --yes",
        ));
    }
    let version = applied[..kept].last().map_or(0, |step| step.version);
    bring_to(store, Some(version), "reverted").await
}

/// Writes the four files of a new migration: up and down, for both stores.
fn new_migration(dir: &Path, name: &str) -> Result<(), Failure> {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(sound) {
        return Err(Failure::plain(
            "the name of a migration can contain only lower-case letters, digits and _",
        ));
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
        "checked {} sections, {} bookings, {} log rows in {}",
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
    let invalid = || Failure::plain(format!("{section:?} is not a section id"));
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
        Ok(told) if told.is_empty() => print::line("nothing to do: the section is consistent")?,
        Ok(told) => {
            for line in &told {
                print::line(line)?;
            }
            print::line(if dry_run { "nothing was changed: a dry run" } else { "repaired" })?;
        }
        Err(Error::Failed(Fault::Contradiction { what, .. })) => {
            print::line(
                "nothing was changed: the bookings and the log of the section contradict \
                each other:",
            )?;
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
        return print::line("nothing to do: the embedded store starts a new epoch at every start");
    }
    let store = serve::open(config, false).await?;
    serve::require_schema(&*store).await?;
    let (drawn, place) = (store.begin_epoch().await, store.describe());
    store.close().await;
    print::line(format_args!(
        "epoch {} in {place}: every instance drops its caches within a few seconds",
        drawn?
    ))
}
