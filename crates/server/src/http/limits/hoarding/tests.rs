//! Seats kept off sale, alone and beside other instances.

use super::*;
use engine::{Shard, Timestamp};

const LIMITS: SeatLimits = SeatLimits { buyer: 100, visitor: 20, address: 50 };
const TTL: Duration = Duration::from_mins(10);
const TTL_MS: i64 = 600_000;
/// The beginning of a slice.
const NOW: i64 = 1_000 * TTL_MS;

fn id(number: u64) -> UserId {
    UserId::new(Timestamp::from_unix_ms(1), Shard::pick(0), number)
}

fn buyer(number: u64) -> Caller {
    Caller::User(id(number))
}

fn visitor(number: u64, last: u8) -> Caller {
    Caller::Visitor { user_id: id(number), from: IpAddr::from([192, 0, 2, last]) }
}

fn alone() -> Hoarding {
    Hoarding::new(LIMITS, TTL, false)
}

/// How many seats somebody gets who asks for one after the other.
fn gets(of: &Hoarding, caller: &Caller, now_ms: i64) -> usize {
    (0..1_000).take_while(|_| of.take(caller, 1, now_ms).is_ok()).count()
}

#[test]
fn what_is_not_bought_counts_until_its_hold_would_have_ended() {
    let of = alone();
    assert_eq!(gets(&of, &buyer(1), NOW), 100);
    assert_eq!(gets(&of, &buyer(2), NOW), 100, "each counts alone");
    let refused = of.take(&buyer(1), 1, NOW + 1).expect_err("full");
    assert_eq!(refused.limit, 100);
    assert!((598..=608).contains(&refused.wait), "{refused:?}");
    assert_eq!(gets(&of, &buyer(1), NOW + TTL_MS - 1), 0);
    // The slice of its beginning leaves little by little.
    let half = gets(&of, &buyer(1), NOW + TTL_MS + TTL_MS / 8);
    assert!((49..=51).contains(&half), "{half}");
    assert_eq!(gets(&of, &buyer(2), NOW + TTL_MS + TTL_MS / 4), 100);
}

#[test]
fn who_waits_as_long_as_was_said_gets_it() {
    for (taken, asked, later_ms) in [(100, 1, 0), (95, 30, 200_000), (100, 100, 590_000)] {
        let of = alone();
        of.take(&buyer(1), taken, NOW).expect("it is empty");
        let now_ms = NOW + later_ms;
        let wait = of.take(&buyer(1), asked, now_ms).expect_err("full").wait;
        let wait_ms = i64::try_from(wait).expect("short") * 1_000;
        of.take(&buyer(1), asked, now_ms + wait_ms - 2_000).expect_err("not yet");
        of.take(&buyer(1), asked, now_ms + wait_ms).expect("as was said");
    }
}

#[test]
fn buying_and_cancelling_give_back_at_once_and_never_more_than_was_taken() {
    let of = alone();
    for round in 0..10 {
        of.take(&buyer(1), 100, NOW + round).expect("what was bought does not count");
        of.give_back(&buyer(1), 100, NOW + round);
    }
    of.give_back(&buyer(1), 100, NOW);
    assert_eq!(gets(&of, &buyer(1), NOW + 10), 100, "nobody saves up");
    // A hold of an earlier slice goes first.
    let later = NOW + TTL_MS / 2;
    of.give_back(&buyer(1), 40, later);
    assert_eq!(gets(&of, &buyer(1), later), 40);
    assert_eq!(gets(&of, &buyer(1), NOW + TTL_MS + TTL_MS / 4), 60);
}

#[test]
fn what_was_extended_counts_from_then_on() {
    let of = alone();
    of.take(&buyer(1), 60, NOW).expect("it is empty");
    of.extended(&buyer(1), 60, NOW + TTL_MS / 2);
    assert_eq!(gets(&of, &buyer(1), NOW + TTL_MS / 2), 40, "it counts once");
    assert_eq!(gets(&of, &buyer(1), NOW + TTL_MS + TTL_MS / 4), 0);
}

#[test]
fn one_hold_always_fits_where_nothing_counts() {
    let of = alone();
    of.take(&visitor(1, 1), 45, NOW).expect("it is the only one");
    of.take(&visitor(1, 1), 1, NOW).expect_err("it is not");
    // Also where the address has room for it no more.
    let refused = of.take(&visitor(2, 1), 6, NOW).expect_err("45 of 50 at this address");
    assert_eq!(refused.limit, 50);
    of.take(&visitor(2, 2), 6, NOW).expect("elsewhere, and not counted by what was refused");
    assert_eq!(gets(&of, &visitor(2, 2), NOW), 14);
}

#[test]
fn visitors_of_an_address_share_its_limit_and_users_do_not() {
    let of = alone();
    assert_eq!(gets(&of, &visitor(1, 7), NOW), 20);
    assert_eq!(gets(&of, &visitor(2, 7), NOW), 20);
    assert_eq!(gets(&of, &visitor(3, 7), NOW), 10);
    assert_eq!(gets(&of, &visitor(3, 8), NOW), 10, "of its own limit that is the rest");
}

#[test]
fn a_clock_that_was_set_back_forgets_what_was_counted_in_the_future() {
    let of = alone();
    of.take(&buyer(1), 100, NOW + 100 * TTL_MS).expect("it is empty");
    assert_eq!(gets(&of, &buyer(1), NOW), 100);
}

#[test]
fn the_idle_are_forgotten() {
    let of = alone();
    for number in 0..1_000 {
        of.take(&buyer(number), 1, NOW).expect("it is empty");
    }
    let count = || of.shards.iter().map(|shard| shard.lock().len()).sum::<usize>();
    of.forget_idle(NOW + TTL_MS);
    assert_eq!(count(), 1_000);
    of.forget_idle(NOW + 2 * TTL_MS);
    assert_eq!(count(), 0);
}

/// Instances that share a gate, as the sums that it keeps.
struct World {
    instances: Vec<Hoarding>,
    sums: HashMap<(Hoarder, i64), i64>,
}

impl World {
    fn of(instances: usize) -> Self {
        let instances = (0..instances).map(|_| Hoarding::new(LIMITS, TTL, true)).collect();
        Self { instances, sums: HashMap::new() }
    }

    fn sync(&mut self, now_ms: i64) {
        for of in &self.instances {
            let told = of.untold(now_ms);
            let sums = told.iter().flat_map(|(hoarder, slice, counts)| {
                (0..).zip(counts).map(move |(older, count)| (*hoarder, slice - older, *count))
            });
            let sums: Vec<_> = sums.collect();
            let mut add = |(hoarder, slice, count): (Hoarder, i64, i32)| {
                let sum = self.sums.entry((hoarder, slice)).or_insert(0);
                *sum += i64::from(count);
                *sum
            };
            let sums: Vec<_> = sums.into_iter().map(&mut add).collect();
            of.learn(&told, Some(&sums));
        }
    }
}

#[test]
fn who_goes_from_one_instance_to_the_next_gets_the_limit_little_more_than_once() {
    let mut world = World::of(4);
    let mut got = 0;
    for second in 0..120 {
        for no in 0..4 {
            got +=
                usize::from(world.instances[no].take(&buyer(1), 1, NOW + second * 1_000).is_ok());
        }
        world.sync(NOW + second * 1_000);
    }
    assert!((100..=115).contains(&got), "{got}");
}

#[test]
fn what_is_bought_at_another_instance_is_given_back_at_all() {
    let mut world = World::of(2);
    let mut now_ms = NOW;
    for round in 0..20 {
        let (here, there) = (round % 2, (round + 1) % 2);
        world.instances[here].take(&buyer(1), 50, now_ms).unwrap_or_else(|refused| {
            panic!("round {round}: {refused:?}");
        });
        world.sync(now_ms);
        now_ms += 40_000;
        world.instances[there].give_back(&buyer(1), 50, now_ms);
        // Both hear of it.
        world.sync(now_ms);
        world.instances[here].take(&buyer(1), 1, now_ms).expect("there is room");
        world.instances[here].give_back(&buyer(1), 1, now_ms);
        world.sync(now_ms);
    }
}

#[test]
fn what_the_gate_did_not_hear_is_told_again() {
    let of = Hoarding::new(LIMITS, TTL, true);
    of.take(&buyer(1), 50, NOW).expect("it is empty");
    let told = of.untold(NOW);
    assert_eq!(told, [(Hoarder::Buyer(id(1)), NOW / (TTL_MS / 4), [50, 0, 0, 0, 0])]);
    of.learn(&told, None);
    assert!(of.untold(NOW).is_empty(), "not before something else happens");
    of.take(&buyer(1), 1, NOW + TTL_MS / 4).expect("there is room");
    let (_, _, counts) = of.untold(NOW + TTL_MS / 4)[0];
    assert_eq!(counts, [1, 50, 0, 0, 0]);
    // Who takes little is not told of.
    of.take(&buyer(2), 4, NOW).expect("it is empty");
    assert!(of.untold(NOW).is_empty());
}
