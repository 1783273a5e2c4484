//! Attempts at a transaction.

use super::interrupt::{Interrupt, Meaning};
use super::session::{Session, Sessions};
use crate::random::Dice;
use crate::simulated::{is_planted, probe};
use crate::unavailable;
use engine::{Error, Fault};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Attempts at a write.
pub const ATTEMPTS_MAX: u32 = 10;
/// The longest wait before another attempt; it is shorter by chance, and at first.
const BACKOFF_MAX: Duration = Duration::from_millis(200);

/// Does a piece of work in a transaction until then: all of it or nothing.
///
/// It may be done more than once: after a conflict, and when the end of a transaction is unknown
/// because its answer was lost (I12). So the work must find what it has done before and be content with
/// it. It is `unknown` from the beginning whether the work was done where it was tried in another way and
/// the answer is missing: then only another attempt can find out, as after a COMMIT that was sent, which is
/// noted there.
pub async fn write_until<S, T, W>(
    sessions: &S,
    dice: &Dice,
    until: Instant,
    unknown: &AtomicBool,
    doing: &'static str,
    work: impl Fn(S::Session) -> W,
) -> Result<T, Error>
where
    S: Sessions,
    W: Future<Output = (S::Session, Result<T, Interrupt>)>,
{
    for attempt in 1.. {
        let last = attempt >= ATTEMPTS_MAX || Instant::now() >= until;
        let session = match sessions.take(doing).await {
            Ok(session) => session,
            Err(_) if unknown.load(Relaxed) && !last => {
                back_off(attempt, dice).await;
                continue;
            }
            // That no session was to be had says nothing of what was sent before.
            Err(fault) if unknown.load(Relaxed) => return Err(unavailable(doing)(fault).into()),
            Err(fault) => return Err(fault.into()),
        };
        let mut sent = false;
        let interrupt = match timeout_at(until, transact(session, &work, &mut sent)).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(interrupt)) => interrupt,
            Err(_) => {
                sessions.close_idle();
                return Err(unavailable(doing)("the database does not respond in time").into());
            }
        };
        let meaning = interrupt.meaning();
        if sent && meaning == Meaning::Cut {
            unknown.store(true, Relaxed);
            probe("the answer to a COMMIT was lost");
            if is_planted("lost commit reported as failed") {
                return Err(Fault::Overloaded { what: "a planted bug" }.into());
            }
        }
        if meaning == Meaning::Conflict {
            probe("a transaction met another one");
        }
        if meaning == Meaning::Cut {
            sessions.close_idle();
        }
        if meaning == Meaning::Final || last {
            return Err(interrupt.into_error(doing));
        }
        tracing::debug!(doing, attempt, ?interrupt, "a transaction is tried again");
        back_off(attempt, dice).await;
    }
    unreachable!("the last attempt returns")
}

/// One attempt at a transaction; `sent` becomes true when the COMMIT is sent.
async fn transact<S, T, W>(
    mut session: S,
    work: impl Fn(S) -> W,
    sent: &mut bool,
) -> Result<T, Interrupt>
where
    S: Session,
    W: Future<Output = (S, Result<T, Interrupt>)>,
{
    session.begin().await?;
    let (mut session, done) = work(session).await;
    match done {
        Ok(value) => {
            *sent = true;
            if is_planted("answer before commit") {
                return Ok(value);
            }
            session.commit().await?;
            session.give_back();
            Ok(value)
        }
        Err(interrupt) => {
            if interrupt.meaning() != Meaning::Cut {
                session.roll_back().await;
            }
            Err(interrupt)
        }
    }
}

async fn back_off(attempt: u32, dice: &Dice) {
    let longest = BACKOFF_MAX.min(Duration::from_millis(5) * 2_u32.saturating_pow(attempt));
    // From half of it.
    let part = 500 + u32::try_from(dice() % 500).expect("below 500");
    tokio::time::sleep(longest * part / 1_000).await;
}
