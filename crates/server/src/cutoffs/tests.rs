use super::*;
use engine::Shard;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

fn user(number: u64) -> UserId {
    UserId::new(at(0), Shard::pick(0), number)
}

fn login(number: u64, issued_ms: i64) -> Login {
    Login { user_id: user(number), issued_at: at(issued_ms) }
}

fn cutoff(number: u64, ms: i64) -> Cutoff {
    Cutoff { user_id: user(number), not_before: at(ms) }
}

/// A store whose reads see what is committed when they begin and end later, or fail.
#[derive(Default)]
struct Slow {
    committed: parking_lot::Mutex<Vec<Cutoff>>,
    takes_ms: AtomicU64,
    reads: AtomicU64,
    is_away: std::sync::atomic::AtomicBool,
}

fn cutoffs() -> (Arc<Slow>, Arc<Cutoffs>) {
    let store = Arc::new(Slow::default());
    let source = store.clone();
    let read = move || {
        let store = source.clone();
        async move {
            store.reads.fetch_add(1, SeqCst);
            let (seen, away) = (store.committed.lock().clone(), store.is_away.load(SeqCst));
            tokio::time::sleep(ms(store.takes_ms.load(SeqCst))).await;
            if away { Err(Fault::Overloaded { what: "a test" }) } else { Ok(seen) }
        }
        .boxed()
    };
    (store, Arc::new(Cutoffs::of(Box::new(read))))
}

/// The answer to a request with this login.
async fn told(cutoffs: &Cutoffs, login: Login) -> Result<bool, Fault> {
    let arrived = Instant::now();
    match cutoffs.look(login, arrived) {
        Standing::Unknown => cutoffs.is_ended(login, arrived).await,
        known => Ok(known == Standing::Ended),
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_over_if_it_was_issued_before_the_cutoff_of_its_user() {
    let (store, cutoffs) = cutoffs();
    store.committed.lock().extend([cutoff(1, 5_000), cutoff(2, 6_000)]);
    for (login, is_over) in [
        (login(1, 4_999), true),
        (login(1, 5_000), false),
        (login(2, 5_000), true),
        (login(3, 0), false),
    ] {
        assert_eq!(told(&cutoffs, login).await.ok(), Some(is_over), "{login:?}");
    }
    assert_eq!(store.reads.load(SeqCst), 1, "what was read serves all");
}

/// With polls as they are made, and reads of any length: a request that arrives more than a second after
/// the commit knows of it, and in the common case no request waits.
#[tokio::test(start_paused = true)]
async fn i15_a_token_that_was_ended_serves_no_request_a_second_later() {
    for takes_ms in [0, 1, 60, 400, 700, 1_500, 2_600] {
        let (store, cutoffs) = cutoffs();
        store.takes_ms.store(takes_ms, SeqCst);
        let polled = cutoffs.clone();
        let polls = tokio::spawn(async move {
            loop {
                polled.poll().await;
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        });
        tokio::time::sleep(ms(10_000)).await;
        for round in 1..40_u64 {
            let (old, committed_at) = (login(round, 1), Instant::now());
            store.committed.lock().push(cutoff(round, 2));
            let mut asked = Vec::new();
            while committed_at.elapsed() < LIFE + ms(200) {
                let (cutoffs, arrived) = (cutoffs.clone(), committed_at.elapsed());
                asked.push(tokio::spawn(async move {
                    let begun = Instant::now();
                    let is_over = told(&cutoffs, old).await.expect("the store answers");
                    assert!(is_over || arrived < LIFE, "reads of {takes_ms} ms, {arrived:?} later");
                    begun.elapsed()
                }));
                tokio::time::sleep(ms(7 + round % 5)).await;
            }
            for one in asked {
                let waited = one.await.expect("no panic");
                // Two of them, and the time between two polls, are less than a life.
                let quick = takes_ms < 250;
                assert!(!quick || waited.is_zero(), "{waited:?} with reads of {takes_ms} ms");
                assert!(waited <= ms(2 * takes_ms), "{waited:?} with reads of {takes_ms} ms");
            }
        }
        polls.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn without_polls_those_who_ask_share_a_read_a_second() {
    let (store, cutoffs) = cutoffs();
    store.takes_ms.store(100, SeqCst);
    for second in 1..=3 {
        let asking = (0..50).map(|number| {
            let cutoffs = cutoffs.clone();
            tokio::spawn(async move { told(&cutoffs, login(number, 1)).await })
        });
        for one in asking.collect::<Vec<_>>() {
            assert_eq!(one.await.expect("no panic").ok(), Some(false));
        }
        assert_eq!(store.reads.load(SeqCst), second);
        tokio::time::sleep(LIFE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_logins_go_on_for_a_second_and_then_all_who_ask_share_the_fault() {
    let (store, cutoffs) = cutoffs();
    store.committed.lock().push(cutoff(1, 2));
    cutoffs.poll().await;
    store.is_away.store(true, SeqCst);
    store.takes_ms.store(300, SeqCst);
    tokio::time::sleep(ms(999)).await;
    assert_eq!(told(&cutoffs, login(2, 1)).await.ok(), Some(false));
    tokio::time::sleep(ms(1)).await;
    let asking = (0..50).map(|_| {
        let cutoffs = cutoffs.clone();
        tokio::spawn(async move { told(&cutoffs, login(2, 1)).await.is_err() })
    });
    let begun = Instant::now();
    for one in asking.collect::<Vec<_>>() {
        assert!(one.await.expect("no panic"), "nobody knows");
    }
    assert_eq!((begun.elapsed(), store.reads.load(SeqCst)), (ms(300), 2));
    assert_eq!(told(&cutoffs, login(1, 1)).await.ok(), Some(true), "what is known stays so");
    store.is_away.store(false, SeqCst);
    tokio::time::advance(ms(1)).await;
    assert_eq!(told(&cutoffs, login(2, 1)).await.ok(), Some(false), "the next one asks anew");
}

#[tokio::test(start_paused = true)]
async fn what_this_process_ended_is_over_here_at_once_also_after_a_read_that_began_before() {
    let (store, cutoffs) = cutoffs();
    store.takes_ms.store(200, SeqCst);
    cutoffs.poll().await;
    let polled = cutoffs.clone();
    let under_way = tokio::spawn(async move { polled.poll().await });
    tokio::time::sleep(ms(100)).await;
    store.committed.lock().push(cutoff(1, 5_000));
    cutoffs.note(user(1), at(5_000));
    assert_eq!(cutoffs.look(login(1, 4_999), Instant::now()), Standing::Ended);
    assert_eq!(cutoffs.look(login(1, 5_000), Instant::now()), Standing::Good);
    under_way.await.expect("no panic");
    assert_eq!(cutoffs.look(login(1, 4_999), Instant::now()), Standing::Ended);
    assert_eq!(cutoffs.known.read().own.len(), 1);
    cutoffs.poll().await;
    assert_eq!(cutoffs.look(login(1, 4_999), Instant::now()), Standing::Ended);
    assert!(cutoffs.known.read().own.is_empty(), "by now it was read");
    cutoffs.note(user(1), at(4_000));
    assert_eq!(
        cutoffs.look(login(1, 4_999), Instant::now()),
        Standing::Ended,
        "it never goes back"
    );
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_all_tokens_of_that_age_are_over() {
    let (store, cutoffs) = cutoffs();
    let newest = i64::from(CUTOFFS_MAX) + 1;
    let all = (0..newest).map(|number| cutoff(number.unsigned_abs(), newest - number));
    store.committed.lock().extend(all);
    cutoffs.poll().await;
    let look = |login| cutoffs.look(login, Instant::now());
    // The last one, whose cutoff is at 1, has no place of its own.
    assert_eq!(cutoffs.known.read().not_before.len(), CUTOFFS_MAX as usize);
    assert_eq!(look(login(u64::from(CUTOFFS_MAX), 0)), Standing::Ended);
    assert_eq!(look(login(u64::from(CUTOFFS_MAX), 1)), Standing::Good);
    assert_eq!(look(login(9_999_999, 0)), Standing::Ended, "nobody knows whose it was");
    assert_eq!(look(login(0, newest - 1)), Standing::Ended);
    assert_eq!(look(login(0, newest)), Standing::Good);
}
