//! Two instances before one gate of the tests' own.

use super::*;
use async_trait::async_trait;
use engine::{AnyId, Fault, SectionId, Shard, Snapshot};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use store::gate::Settlement;
use tokio::sync::broadcast;

/// A gate that adds up, and can be away.
#[derive(Default)]
struct Sums {
    by_name: Mutex<HashMap<String, i64>>,
    calls: Mutex<Vec<usize>>,
    is_away: AtomicBool,
}

#[async_trait]
impl Gate for Sums {
    async fn read(&self, _: &[SectionId]) -> Vec<Option<Snapshot>> {
        unimplemented!("no limit asks for this")
    }

    fn settle(&self, _: Settlement) {}

    async fn forget(&self, _: &[SectionId]) {}

    fn enter(&self, _: store::Epoch) {
        unimplemented!("no test of this gate goes over to another history")
    }

    fn announce(&self, _: AnyId) {}

    fn announcements(&self) -> broadcast::Receiver<AnyId> {
        broadcast::channel(1).1
    }

    async fn tally(&self, counts: &[(String, i64)], _: u64) -> Option<Vec<i64>> {
        self.calls.lock().push(counts.len());
        if self.is_away.load(Ordering::SeqCst) {
            return None;
        }
        let mut sums = self.by_name.lock();
        let mut add = |(name, count): &(String, i64)| {
            let sum = sums.entry(name.clone()).or_insert(0);
            *sum += *count;
            *sum
        };
        Some(counts.iter().map(&mut add).collect())
    }

    async fn ping(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn describe(&self) -> String {
        "sums".to_owned()
    }
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// An instance with a gate that it shares.
fn instance(gate: &Arc<Sums>, settings: &[(&str, &str)]) -> Limits {
    let shared = [("REDIS_URL", "redis://cache")];
    let settings = shared
        .iter()
        .chain(settings)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = Config::from_pairs(settings, []).unwrap_or_else(|errors| panic!("{errors}"));
    Limits::new(&config, &SecretString::from(SECRET), gate.clone())
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

#[tokio::test]
async fn logins_are_counted_exactly_across_instances() {
    let gate = Arc::new(Sums::default());
    let few = [("RATE_LIMIT_LOGINS_PER_MINUTE", "4")];
    let instances = [instance(&gate, &few), instance(&gate, &few)];
    let mut heard = 0;
    for number in 0..20 {
        let asked = instances[number % 2].login("Ann@example.com", address(1)).await;
        heard += usize::from(asked.is_ok());
    }
    assert_eq!(heard, 4);
    // By account from anywhere, and by address to any account.
    let from_elsewhere = instances[0].login("ANN@example.com", address(2)).await;
    assert!(from_elsewhere.is_err());
    assert!(instances[1].login("bob@example.com", address(1)).await.is_err());
    instances[1].login("bob@example.com", address(3)).await.expect("somebody else");
}

#[tokio::test]
async fn new_visitors_are_counted_exactly_across_instances() {
    let gate = Arc::new(Sums::default());
    let few = [("RATE_LIMIT_VISITORS_PER_MINUTE", "4")];
    let instances = [instance(&gate, &few), instance(&gate, &few)];
    let mut heard = 0;
    for number in 0..20 {
        heard += usize::from(instances[number % 2].visitor(address(1)).await.is_ok());
    }
    assert_eq!(heard, 4);
    instances[1].visitor(address(2)).await.expect("somebody else");
}

#[tokio::test]
async fn a_visitor_counts_for_the_address_as_well() {
    let gate = Arc::new(Sums::default());
    let limits = instance(&gate, &[("RATE_LIMIT_REQUESTS_PER_SECOND", "3")]);
    let now = Timestamp::from_unix_ms(1_800_000_000_000);
    let headers = HeaderMap::new();
    let id = |number| UserId::new(Timestamp::from_unix_ms(1), Shard::pick(1), number);
    let request = |who| limits.request(Some(who), None, &headers, now);
    for number in 0..3 {
        request(Holder::Visitor(id(number))).expect("within the limit of the address");
    }
    request(Holder::Visitor(id(3))).expect_err("another visitor at the same address");
    for _ in 0..3 {
        request(Holder::Account(id(4))).expect("a user counts alone");
    }
    request(Holder::Account(id(4))).expect_err("the fourth");
}

#[tokio::test]
async fn without_the_gate_each_instance_counts_logins_alone() {
    let gate = Arc::new(Sums::default());
    gate.is_away.store(true, Ordering::SeqCst);
    let few = [("RATE_LIMIT_LOGINS_PER_MINUTE", "4")];
    for alone in [instance(&gate, &few), instance(&gate, &few)] {
        for _ in 0..4 {
            alone.login("ann@example.com", address(1)).await.expect("within its limit");
        }
        assert!(alone.login("ann@example.com", address(1)).await.is_err());
    }
}

#[tokio::test]
async fn requests_are_told_to_the_gate_together_and_refused_by_their_sum() {
    let gate = Arc::new(Sums::default());
    let instances = [instance(&gate, &[]), instance(&gate, &[])];
    let user_id = UserId::new(Timestamp::from_unix_ms(1), Shard::pick(1), 1);
    let ann = Caller::User(user_id);
    let now = Timestamp::from_unix_ms(1_800_000_000_000);
    for instance in &instances {
        let active = instance.active.as_ref().expect("limits are on");
        for _ in 0..120 {
            active.request(&ann, now).expect("within the limit of one instance");
        }
        active.request(&Caller::at(address(1)), now).expect("the first");
    }
    assert!(gate.calls.lock().is_empty(), "no request asks the gate");
    for instance in [&instances[0], &instances[1], &instances[0]] {
        instance.share(now).await;
    }
    assert_eq!(*gate.calls.lock(), [1, 1, 1], "one call a turn, of those who use much");
    for instance in &instances {
        let active = instance.active.as_ref().expect("limits are on");
        active.request(&ann, now).expect_err("240 in one second");
        active.request(&Caller::at(address(1)), now).expect("somebody else");
        // 40 were too many, so the next second has 160.
        for _ in 0..70 {
            active.request(&ann, now.plus_ms(1_000)).expect("a new second");
        }
    }
}

#[tokio::test]
async fn the_gate_learns_no_address_and_no_account() {
    let gate = Arc::new(Sums::default());
    let limits = instance(&gate, &[("RATE_LIMIT_REQUESTS_PER_SECOND", "5")]);
    let now = Timestamp::from_unix_ms(1_800_000_000_000);
    limits.login("ann@example.com", address(7)).await.expect("the first");
    limits.anonymous(address(7), now).expect("the first");
    limits.share(now).await;
    let names: Vec<_> = gate.by_name.lock().keys().cloned().collect();
    assert_eq!(names.len(), 3, "{names:?}");
    for name in &names {
        let (what, digest) = name.split_once(':').expect("what it counts, and whose");
        assert!(["login_address", "login_account", "requests"].contains(&what), "{name}");
        assert!(digest.len() == 32 && digest.bytes().all(|it| it.is_ascii_hexdigit()), "{name}");
    }
    // Another secret gives other names, so nobody can make a table of all addresses.
    let config = Config::from_pairs([], []).unwrap_or_else(|errors| panic!("{errors}"));
    let other = Limits::new(&config, &SecretString::from("another"), gate.clone());
    other.login("ann@example.com", address(7)).await.expect("the first");
    assert_eq!(gate.by_name.lock().len(), 5);
}

#[tokio::test]
async fn an_address_is_counted_once_however_it_is_written_and_ipv6_by_its_64_bits() {
    let few = [("RATE_LIMIT_LOGINS_PER_MINUTE", "2"), ("RATE_LIMIT_REQUESTS_PER_SECOND", "2")];
    let now = Timestamp::from_unix_ms(1_800_000_000_000);
    for (one, same, other) in [
        ("5.5.5.5", "::ffff:5.5.5.5", "5.5.5.6"),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:3::1"),
    ] {
        let gate = Arc::new(Sums::default());
        let limits = instance(&gate, &few);
        let [one, same, other] = [one, same, other].map(|text| text.parse().expect("an address"));
        for from in [one, same] {
            limits.login(&format!("{from}@example.com"), from).await.expect("within the limit");
            limits.anonymous(from, now).expect("within the limit");
        }
        for from in [one, same] {
            assert!(limits.login("third@example.com", from).await.is_err(), "{from}");
            assert!(limits.anonymous(from, now).is_err(), "{from}");
        }
        limits.login("fourth@example.com", other).await.expect("somebody else");
        limits.anonymous(other, now).expect("somebody else");
        let by_address =
            gate.by_name.lock().keys().filter(|name| name.starts_with("login_address")).count();
        assert_eq!(by_address, 2, "{:?}", gate.by_name.lock());
    }
}

#[test]
fn hops_are_read_in_one_form() {
    let mut headers = HeaderMap::new();
    let hops = "::ffff:192.0.2.1, [::ffff:192.0.2.1]:80, [2001:db8::1], 192.0.2.1:80, unknown";
    headers.insert("x-forwarded-for", hops.parse().expect("text"));
    let one = Some(address(1));
    let six = Some("2001:db8::1".parse().expect("an address"));
    assert_eq!(forwarded(&headers), [one, one, six, one, None]);
}
