//! The scripts compared with the rules they implement, with a clock set by hand.

use super::connect::Connection;
use super::script::{self, Call, Source};
use super::url;
use crate::gate::{CheckedMarks, KnownMarks};
use engine::seats::Marks;
use engine::{CheckedSnapshot, SectionId, Shard, Snapshot, Timestamp};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

const FRESH_MS: i64 = 1_000;

/// The script with its clock replaced by its last argument.
fn with_clock(source: &Source) -> &'static Source {
    let text = source.text.replacen("redis.call('TIME')", "{0, ARGV[#ARGV] * 1000}", 1);
    assert_ne!(text, source.text, "the script reads a clock");
    Box::leak(Box::new(Source::new(text.leak())))
}

static READ: LazyLock<&Source> = LazyLock::new(|| with_clock(&script::READ));
static SETTLE: LazyLock<&Source> = LazyLock::new(|| with_clock(&script::SETTLE));
static MARKS: LazyLock<&Source> = LazyLock::new(|| with_clock(&script::MARKS));

/// What a snapshot becomes when news arrives that was settled at `settled_at_ms`.
fn settle_late(
    held: Option<CheckedSnapshot>,
    new: Snapshot,
    settled_at_ms: i64,
    now_ms: i64,
) -> Option<CheckedSnapshot> {
    let news = CheckedSnapshot { snapshot: new, checked_at_ms: settled_at_ms };
    if !news.is_fresh(now_ms, FRESH_MS) {
        return held;
    }
    let kept = match held {
        // Of one version the later word counts.
        Some(held)
            if held.is_fresh(now_ms, FRESH_MS)
                && (new.version, settled_at_ms) < (held.snapshot.version, held.checked_at_ms) =>
        {
            held
        }
        _ => news,
    };
    if settled_at_ms == now_ms {
        assert_eq!(kept, CheckedSnapshot::settle(held, new, now_ms, FRESH_MS), "the rule itself");
    }
    Some(kept)
}

/// The same of marks.
fn mark_late(
    held: Option<CheckedMarks>,
    new: KnownMarks,
    at_ms: i64,
    now_ms: i64,
) -> Option<CheckedMarks> {
    let news = CheckedMarks { seen: new.clone(), checked_at_ms: at_ms };
    if !news.is_fresh(now_ms, FRESH_MS) {
        return held;
    }
    let before = held.clone().filter(|held| held.is_fresh(now_ms, FRESH_MS));
    let mut kept = CheckedMarks::settle(held, new, now_ms, FRESH_MS);
    // What counts as checked was checked when it was settled.
    kept.checked_at_ms = match before {
        Some(before) if kept.seen.marks.version() == before.seen.marks.version() => {
            let again = news.seen.marks.version() == before.seen.marks.version();
            before.checked_at_ms.max(if again { at_ms } else { i64::MIN })
        }
        _ => at_ms,
    };
    Some(kept)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A commit's word, so many milliseconds after it was said.
    Settle { version: i64, late_ms: i64 },
    /// The clock moves; back, when negative.
    Tick { ms: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let edge = prop_oneof![
        3 => Just(0_i64), 1 => Just(1_i64), 1 => Just(999_i64), 1 => Just(1_000_i64),
        1 => Just(1_001_i64), 1 => Just(-1_i64), 2 => -1_500..2_500_i64,
    ];
    let settle = (1..6_i64, edge.clone());
    let settle = settle.prop_map(|(version, late_ms)| Step::Settle { version, late_ms });
    let tick = edge.prop_map(|ms| Step::Tick { ms });
    proptest::collection::vec(prop_oneof![2 => settle, 1 => tick], 1..12)
}

struct Bench {
    connection: Connection,
    section_id: SectionId,
}

impl Bench {
    async fn run<T: redis::FromRedisValue>(&mut self, call: Call, now_ms: i64) -> T {
        let call = call.arg(now_ms);
        let (clock_ms, answer) = match self.connection.query::<(i64, T)>(&call.by_digest()).await {
            Ok(answered) => answered,
            Err(_) => self.connection.query(&call.by_text()).await.expect("the script runs"),
        };
        assert_eq!(clock_ms, now_ms);
        answer
    }

    async fn follow(&mut self, steps: &[Step]) {
        let id = self.section_id;
        let space = super::Space::of(crate::Epoch::NONE);
        let keys = [space.section(id), space.seats(id)];
        let (mut now_ms, mut kept, mut marked) = (1_800_000_000_000, None, None);
        for step in steps {
            match *step {
                Step::Tick { ms } => now_ms += ms,
                Step::Settle { version, late_ms } => {
                    let new = Snapshot {
                        section_id: self.section_id,
                        version,
                        capacity: 10,
                        available: 10 - version,
                        next_expiry: (version % 2 == 0).then(|| Timestamp::from_unix_ms(now_ms)),
                    };
                    let settled_at_ms = now_ms - late_ms;
                    let expiry =
                        new.next_expiry.map_or("none".into(), |at| at.unix_ms().to_string());
                    let call = Call::new(&SETTLE, keys.to_vec()).arg(FRESH_MS).arg(60_000).arg(1);
                    let call = call.arg(version).arg(10).arg(10 - version).arg(expiry);
                    let marks = Arc::new(Marks::none(10, 1, version));
                    let seen = KnownMarks::read(id, marks, Some(version + late_ms.rem_euclid(3)));
                    let call = call.arg(settled_at_ms).arg(version).arg(seen.through);
                    let mut call = call.arg(settled_at_ms);
                    call.push_bytes(seen.marks.to_bytes());
                    self.run::<Option<()>>(call, now_ms).await;
                    kept = settle_late(kept, new, settled_at_ms, now_ms);
                    marked = mark_late(marked, seen, settled_at_ms, now_ms);
                }
            }
            let call = Call::new(&READ, keys[..1].to_vec()).arg(FRESH_MS);
            let known = self.run::<Vec<Option<String>>>(call, now_ms).await;
            let known = known[0].as_ref().map(|line| super::snapshot_of(self.section_id, line));
            let expected = kept.filter(|kept| kept.is_fresh(now_ms, FRESH_MS));
            assert_eq!(known, expected.map(|kept| Some(kept.snapshot)), "{step:?} at {now_ms}");
            let call = Call::new(&MARKS, keys[1..].to_vec());
            let told = self.run::<Vec<Option<(i64, Vec<u8>)>>>(call, now_ms).await.remove(0);
            let told = told.and_then(|told| super::seen_of(id, told));
            let expected = marked.as_ref().map(|kept: &CheckedMarks| kept.seen.clone());
            assert_eq!(told, expected, "{step:?} at {now_ms}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn i8_the_scripts_keep_what_the_rules_of_the_engine_keep(
        stories in proptest::collection::vec(steps(), 5),
    ) {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let target = url::parse(&testbed::redis::shared().url()).expect("a URL");
            let mut connection = target.connect().await.expect("it is there");
            for steps in &stories {
                let random = MADE.fetch_add(1, Ordering::Relaxed);
                let section_id = SectionId::new(Timestamp::from_unix_ms(0), Shard::pick(1), random);
                let mut bench = Bench { connection, section_id };
                bench.follow(steps).await;
                connection = bench.connection;
            }
        });
    }
}

#[tokio::test]
async fn a_task_of_the_gate_that_panics_is_started_again() {
    let starts = AtomicU64::new(0);
    super::again_after_panics("planted", || async {
        assert!(starts.fetch_add(1, Ordering::SeqCst) >= 2, "planted");
    })
    .await;
    assert_eq!(starts.load(Ordering::SeqCst), 3);
}
