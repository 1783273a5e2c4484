//! `reservix operator`: who reads the whole installation, and whose logins are ended.
//!
//! Operators are made on the machine alone. An address in a setting would not do: addresses are not
//! verified: the first to register it would be one.

use crate::config::Config;
use crate::{Failure, print, serve};
use clap::Subcommand;
use engine::account::User;
use engine::{Error, Refusal};
use std::process::ExitCode;
use std::sync::Arc;
use store::Store;

/// What an operator of the machine does.
#[derive(Subcommand)]
pub enum Operator {
    /// Let a user read everything: all organizations, drafts, bookings and access logs
    ///
    /// An operator can change nothing by that. Exit code 0: the user is an operator. 2: nothing was
    /// changed, and the reason is printed. With the embedded store, stop the server first.
    Add {
        /// The address of the user's account
        email: String,
    },
    /// List the operators
    List,
    /// Make a user an operator no longer; every instance knows it within a second
    ///
    /// Exit code 0: the user is no operator. 2: there is no such user. With the embedded store, stop
    /// the server first.
    Remove {
        /// The address of the user's account
        email: String,
    },
    /// End all logins of a user, whose tokens every instance refuses within a second
    ///
    /// The user can log in again with the password. Exit code 0: done. 2: there is no such user.
    /// With the embedded store, stop the server first.
    Lock {
        /// The address of the user's account
        email: String,
    },
}

/// Runs the command.
pub async fn run(config: &Config, command: &Operator) -> Result<ExitCode, Failure> {
    let store = open(config, matches!(command, Operator::List)).await?;
    let done = match command {
        Operator::Add { email } => add(&*store, email).await,
        Operator::List => list(&*store).await,
        Operator::Remove { email } => remove(&*store, email).await,
        Operator::Lock { email } => lock(&*store, email).await,
    };
    store.close().await;
    done
}

/// Opens the store of this build's schema.
pub async fn open(config: &Config, read_only: bool) -> Result<Arc<dyn Store>, Failure> {
    // For reading first: it makes no store where there is none.
    let there = serve::open(config, true).await?;
    let found = serve::require_schema(&*there).await;
    if read_only && found.is_ok() {
        return Ok(there);
    }
    there.close().await;
    found?;
    serve::open(config, false).await
}

/// Says that nobody has this address.
pub fn unknown(email: &str) -> Result<ExitCode, Failure> {
    print::line(format_args!("there is no user with the address {email}; nothing was changed"))?;
    Ok(ExitCode::from(2))
}

async fn add(store: &dyn Store, email: &str) -> Result<ExitCode, Failure> {
    let Some(User { user_id, email, .. }) = store.user_by_email(email).await? else {
        return unknown(email);
    };
    match store.add_operator(user_id).await {
        Ok(true) => print::line(format_args!("{email} is an operator now"))?,
        Ok(false) => print::line(format_args!("{email} is an operator already"))?,
        Err(Error::Refused(Refusal::LimitReached { limit, .. })) => {
            print::line(format_args!(
                "there can be at most {limit} operators; nothing was changed"
            ))?;
            return Ok(ExitCode::from(2));
        }
        Err(Error::Refused(_)) => return unknown(&email),
        Err(Error::Failed(fault)) => return Err(fault.into()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(store: &dyn Store) -> Result<ExitCode, Failure> {
    let operators = store.operators().await?;
    if operators.is_empty() {
        print::line("there are no operators")?;
    }
    for operator in operators {
        let user = store.user(operator.user_id).await?;
        let email = user.map_or_else(|| "(no account)".to_owned(), |user| user.email);
        print::line(format_args!("{email}  {}  since {}", operator.user_id, operator.added_at))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn remove(store: &dyn Store, email: &str) -> Result<ExitCode, Failure> {
    let Some(user) = store.user_by_email(email).await? else { return unknown(email) };
    let (email, was) = (user.email, store.remove_operator(user.user_id).await?);
    let told = if was { "is an operator no longer" } else { "is no operator" };
    print::line(format_args!("{email} {told}"))?;
    Ok(ExitCode::SUCCESS)
}

async fn lock(store: &dyn Store, email: &str) -> Result<ExitCode, Failure> {
    let Some(user) = store.user_by_email(email).await? else { return unknown(email) };
    let until = store.end_logins(user.user_id).await?;
    let email = user.email;
    print::line(format_args!("all logins of {email} before {until} are ended"))?;
    Ok(ExitCode::SUCCESS)
}
