//! `reservix erase`: ends the account of a user as the user could, without the password.

use crate::config::Config;
use crate::core::Core;
use crate::leaving::leave;
use crate::metrics::Metrics;
use crate::random::random;
use crate::{Failure, operator, print, serve};
use clap::Args;
use engine::account::User;
use engine::{BookingStatus, Error, Fault, Refusal};
use std::process::ExitCode;
use std::sync::Arc;
use store::{BookingFilter, ChangeNote, PageRequest, Store};
use uuid::Uuid;

/// Holds that are counted, at most.
const HOLDS_COUNTED_MAX: u32 = 1_000;

/// Whose account ends.
#[derive(Args)]
pub struct Erase {
    /// The address of the user's account
    email: String,
    /// Confirm the end; without it, nothing is changed and what would be erased is printed
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
pub async fn run(config: Config, command: &Erase) -> Result<ExitCode, Failure> {
    let store = operator::open(&config, !command.yes).await?;
    let found = store.user_by_email(&command.email).await;
    let done = match found {
        Ok(None) => operator::unknown(&command.email),
        Ok(Some(user)) if command.yes => erase(config, store.clone(), &user).await,
        Ok(Some(user)) => tell(&*store, &user).await,
        Err(fault) => Err(fault.into()),
    };
    store.close().await;
    done
}

/// Says what would be erased.
async fn tell(store: &dyn Store, user: &User) -> Result<ExitCode, Failure> {
    let User { user_id, email, created_at, .. } = user;
    let joined = store.organizations_of(*user_id).await?;
    let filter =
        BookingFilter { user: Some(*user_id), event: None, status: Some(BookingStatus::Hold) };
    let part = PageRequest { after: None, limit: HOLDS_COUNTED_MAX };
    let held = store.bookings(&filter, part).await?.items.len();
    print::line(format_args!("account: {email}, {user_id}, since {created_at}"))?;
    print::line(format_args!("memberships: {}", joined.len()))?;
    for (organization, member) in &joined {
        let role = member.access.role.as_str();
        print::line(format_args!("  {role} of {}", organization.org_id))?;
    }
    print::line(format_args!("live holds that are given back: {held}"))?;
    print::line("nothing was changed; repeat the command with --yes")?;
    Ok(ExitCode::SUCCESS)
}

async fn erase(config: Config, store: Arc<dyn Store>, user: &User) -> Result<ExitCode, Failure> {
    let gate = serve::gate(&config, &*store).await?;
    let metrics =
        Metrics::install().map_err(|error| Failure::new("starting the metrics", error))?;
    let core = Core::new(config, store, gate, Arc::new(metrics));
    let note = ChangeNote { change_id: Uuid::from_bytes(random()), request_id: None };
    let told: Vec<String> = match leave(&core, user.user_id, None, &note).await {
        Ok(_) => {
            print::line(format_args!("the account {} was erased", user.user_id))?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(Error::Failed(fault)) => return Err(unknown(&fault)),
        Err(Error::Refused(Refusal::LastOwnerOf { organizations })) => {
            let first = "the user is the only owner of these teams:".to_owned();
            [first].into_iter().chain(organizations.iter().map(ToString::to_string)).collect()
        }
        Err(Error::Refused(Refusal::EventsOpen { events })) => {
            let first = "these events of the user are published and not over:".to_owned();
            [first].into_iter().chain(events.iter().map(ToString::to_string)).collect()
        }
        Err(Error::Refused(_)) => vec!["the account has ended meanwhile".to_owned()],
    };
    print::line("nothing was changed:")?;
    for line in &told {
        print::line(line)?;
    }
    Ok(ExitCode::from(2))
}

/// Whether it was done is not known: the command can be repeated.
fn unknown(fault: &Fault) -> Failure {
    Failure::new("the account may have been erased: repeat the command", fault.clone())
}
