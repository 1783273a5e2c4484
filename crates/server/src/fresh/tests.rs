use super::*;
use parking_lot::Mutex;

const LIFE: Duration = Duration::from_secs(1);

/// A number that rises, and reads of it that see what it is when they begin and end later.
#[derive(Clone, Default)]
struct Rising(Arc<State>);

#[derive(Default)]
struct State {
    now: AtomicU64,
    reads: AtomicU64,
    takes: Mutex<Duration>,
}

impl Source for Rising {
    type Key = u8;
    type Value = u64;
    const LIFE_MAX: Duration = Duration::from_secs(5);
    const SIZE_MAX: u64 = 10;

    async fn read(&self, _: u8) -> Result<u64, Fault> {
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        let seen = self.0.now.load(Ordering::SeqCst);
        let takes = *self.0.takes.lock();
        tokio::time::sleep(takes).await;
        Ok(seen)
    }

    fn life(&self, _: &u64, _: Instant) -> Duration {
        LIFE
    }

    fn size(_: &u64) -> usize {
        1
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test(start_paused = true)]
async fn an_entry_serves_for_its_life_from_the_begin_of_its_read() {
    let source = Rising::default();
    let fresh = Fresh::new(source.clone());
    *source.0.takes.lock() = ms(300);
    assert_eq!(fresh.get(1).await.expect("it answers"), 0);
    source.0.now.store(1, Ordering::SeqCst);
    tokio::time::advance(ms(699)).await;
    assert_eq!(fresh.get(1).await.expect("it answers"), 0, "999 ms after its read began");
    source.0.now.store(2, Ordering::SeqCst);
    tokio::time::advance(ms(1)).await;
    assert_ne!(fresh.get(1).await.expect("it answers"), 0, "1,000 ms after its read began");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_use_is_read_anew_beside_those_who_use_it() {
    let source = Rising::default();
    let fresh = Fresh::new(source.clone());
    *source.0.takes.lock() = ms(100);
    fresh.get(1).await.expect("it answers");
    for number in 1..20 {
        source.0.now.store(number, Ordering::SeqCst);
        let begun = Instant::now();
        let seen = fresh.get(1).await.expect("it answers");
        assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waits");
        assert!(seen + 4 >= number, "{seen} at {number}");
        tokio::time::sleep(ms(300)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_who_come_while_it_is_read_share_the_read() {
    let source = Rising::default();
    let fresh = Arc::new(Fresh::new(source.clone()));
    *source.0.takes.lock() = ms(100);
    let asking = (0..50).map(|_| {
        let fresh = fresh.clone();
        tokio::spawn(async move { fresh.get(1).await.expect("it answers") })
    });
    for one in asking.collect::<Vec<_>>() {
        assert_eq!(one.await.expect("no panic"), 0);
    }
    assert_eq!(source.0.reads.load(Ordering::SeqCst), 1);
}

/// A read can take longer than an entry lives. A request that comes upon it while it is under way takes
/// it only if it began less than a life before.
#[tokio::test(start_paused = true)]
async fn a_slow_read_does_not_serve_those_who_came_a_life_after_it_began() {
    let source = Rising::default();
    let fresh = Arc::new(Fresh::new(source.clone()));
    *source.0.takes.lock() = ms(2_500);
    let ask = || {
        let fresh = fresh.clone();
        tokio::spawn(async move { fresh.get(1).await.expect("it answers") })
    };
    let first = ask();
    tokio::time::sleep(ms(100)).await;
    source.0.now.store(1, Ordering::SeqCst);
    tokio::time::sleep(ms(800)).await;
    let soon = ask();
    tokio::time::sleep(ms(300)).await;
    let late = ask();
    assert_eq!(first.await.expect("no panic"), 0, "it came before the change");
    assert_eq!(soon.await.expect("no panic"), 0, "800 ms after the change");
    assert_eq!(late.await.expect("no panic"), 1, "1,100 ms after the change");
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_read_again_and_no_read_of_before_is_kept() {
    let source = Rising::default();
    let fresh = Arc::new(Fresh::new(source.clone()));
    *source.0.takes.lock() = ms(100);
    let asker = fresh.clone();
    let under_way = tokio::spawn(async move { asker.get(1).await.expect("it answers") });
    tokio::time::sleep(ms(50)).await;
    source.0.now.store(1, Ordering::SeqCst);
    fresh.forget(1).await;
    // Who comes after that comes upon the read of before, and waits for the next one.
    assert_eq!(fresh.get(1).await.expect("it answers"), 1);
    assert_eq!(under_way.await.expect("no panic"), 0);
    assert_eq!(fresh.get(1).await.expect("it answers"), 1, "what was read before is not kept");
    source.0.now.store(2, Ordering::SeqCst);
    fresh.forget_all();
    assert_eq!(fresh.get(1).await.expect("it answers"), 2);
}
