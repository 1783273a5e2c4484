//! Users who leave: their account is ended in one transaction, then what they hold is given back.
//!
//! Nothing has to be finished after a crash in between: holds end by the clock, and nobody can confirm
//! them, since the user's tokens are over.

use crate::core::Core;
use engine::{BookingId, BookingStatus, By, Command, Error, Fault, Timestamp, UserId};
use futures_util::future::join_all;
use store::{BookingFilter, ChangeNote, PageRequest, Paged};

/// Holds that are given back at the same time.
const AT_ONCE: u32 = 100;

/// Ends the account of a user, whose password hash is still this one if it is named. Returns the first
/// instant at which access tokens of the user that are good were issued.
pub async fn leave(
    core: &Core,
    user_id: UserId,
    password_hash: Option<&str>,
    note: &ChangeNote,
) -> Result<Timestamp, Error> {
    let left = core.store.leave(user_id, password_hash, note).await;
    if matches!(left, Err(Error::Failed(_))) {
        // Nobody knows whether it was done, nor where.
        core.rights.forget_all();
    }
    let left = left?;
    for org_id in &left.organizations {
        core.rights.changed(*org_id, &[user_id]).await;
    }
    if let Err(fault) = give_back(core, user_id).await {
        let error = crate::chain(&fault);
        tracing::warn!(error, "holds of a user who left end by the clock");
    }
    Ok(left.not_before)
}

/// Gives back what a user holds.
async fn give_back(core: &Core, user_id: UserId) -> Result<(), Fault> {
    let filter =
        BookingFilter { user: Some(user_id), event: None, status: Some(BookingStatus::Hold) };
    let mut after = None;
    loop {
        let part = PageRequest { after, limit: AT_ONCE };
        let Paged { items, has_more } = core.store.bookings(&filter, part).await?;
        let cancel = |booking_id: BookingId| {
            let command = Command::Cancel { booking_id, by: By::User(user_id) };
            core.lanes.submit(booking_id.shard(), command)
        };
        for done in join_all(items.iter().map(|booking| cancel(booking.booking_id))).await {
            match done {
                // One that is refused has ended meanwhile.
                Ok(_) | Err(Error::Refused(_)) => {}
                Err(Error::Failed(fault)) => return Err(fault),
            }
        }
        after = items.last().map(|last| last.booking_id);
        if !has_more || after.is_none() {
            return Ok(());
        }
    }
}
