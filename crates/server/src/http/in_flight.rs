//! Concurrent requests with one key: a retry that overtakes its first attempt.
//!
//! The store ensures that one key has one effect (I6). Here a retry only waits: it gets the answer
//! of the first attempt, or after [`PATIENCE`] the refusal that the first is still in progress. An
//! instance knows its own requests; the store knows those of all instances.

use engine::{IdempotencyKey, Refusal, UserId};
use futures_util::FutureExt as _;
use futures_util::future::Either;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;

/// How long a retry waits beside its first attempt.
pub const PATIENCE: Duration = Duration::from_secs(2);

type Name = (&'static str, UserId, IdempotencyKey);

/// The keys of the requests that are under way here, with how many each has.
#[derive(Default)]
pub struct InFlight(Mutex<HashMap<Name, usize>>);

impl InFlight {
    /// Waits for `work`; beside an equal request that came before, for [`PATIENCE`] only, then
    /// [`Refusal::IdempotencyInFlight`]. `work` must stay whole when it is no longer waited for.
    pub fn run<T, Work: Future<Output = T>>(
        &self,
        operation: &'static str,
        user_id: UserId,
        key: Option<&IdempotencyKey>,
        work: impl FnOnce() -> Work,
    ) -> impl Future<Output = Result<T, Refusal>> {
        let turn = key.map(|key| KeyInUse::new(self, (operation, user_id, key.clone())));
        // Begun when its key is noted, so that of two equal ones the first does not wait.
        let work = work();
        if turn.as_ref().is_none_or(|turn| turn.first) {
            return Either::Left(work.map(move |done| {
                drop(turn);
                Ok(done)
            }));
        }
        // In a box, so that the few that have to wait do not make all others larger.
        Either::Right(Box::pin(async move {
            let _turn = turn;
            tokio::time::timeout(PATIENCE, work).await.map_err(|_| Refusal::IdempotencyInFlight)
        }))
    }
}

/// A request's place among its equals, given up when it ends in whatever way.
struct KeyInUse<'a> {
    all: &'a InFlight,
    name: Name,
    first: bool,
}

impl<'a> KeyInUse<'a> {
    fn new(all: &'a InFlight, name: Name) -> Self {
        let mut under_way = all.0.lock();
        let count = under_way.entry(name.clone()).or_insert(0);
        *count += 1;
        let first = *count == 1;
        Self { all, name, first }
    }
}

impl Drop for KeyInUse<'_> {
    fn drop(&mut self) {
        let mut under_way = self.all.0.lock();
        if let Some(count) = under_way.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Shard, Timestamp};
    use std::future::{pending, ready};
    use std::time::Instant;

    #[tokio::test]
    async fn a_retry_waits_two_seconds_for_its_first_attempt() {
        let all = InFlight::default();
        let user_id = UserId::new(Timestamp::from_unix_ms(1), Shard::pick(1), 1);
        let key = IdempotencyKey::new("attempt").expect("a key");
        let run = |key| all.run("hold", user_id, key, pending::<()>);
        let begun = Instant::now();
        tokio::select! {
            biased;
            _ = run(Some(&key)) => panic!("the first attempt waits as long as it takes"),
            refused = run(Some(&key)) => assert_eq!(refused, Err(Refusal::IdempotencyInFlight)),
        }
        assert!(begun.elapsed() >= PATIENCE);
        assert!(all.0.lock().is_empty(), "whoever gives up gives up its place");
        assert_eq!(all.run("hold", user_id, Some(&key), || ready(7)).await, Ok(7));
    }

    #[tokio::test]
    async fn a_retry_gets_the_answer_when_it_comes_in_time() {
        let all = InFlight::default();
        let user_id = UserId::new(Timestamp::from_unix_ms(1), Shard::pick(1), 1);
        let key = IdempotencyKey::new("attempt").expect("a key");
        let soon = || tokio::time::sleep(Duration::from_millis(20));
        let both = tokio::join!(
            all.run("hold", user_id, Some(&key), soon),
            all.run("hold", user_id, Some(&key), soon),
        );
        assert_eq!(both, (Ok(()), Ok(())));
    }
}
