//! Rate limits: requests by user, by key, or by address for those without a token, by address and by buyer
//! for visitors; logins by address and by account; new visitors, wrong booking tokens and keys that open
//! nothing by address; seats that a buyer takes off sale ([`hoarding`]). All switched off by
//! `RATE_LIMIT_ENABLED=false`.
//!
//! Addresses have one form: IPv4 within IPv6 is IPv4. Limits count a /64 of IPv6 as one address, since
//! that is what one subscriber has.
//!
//! Every instance keeps them in memory; where the gate shares counters, they hold across instances,
//! too: logins and new visitors exactly, requests as described in [`shared`]; wrong booking tokens are
//! counted by each instance. The gate can only refuse more: while
//! it is away, each instance decides alone. It is given no address and no e-mail, only their
//! digests.

mod guesses;
mod hoarding;
mod shared;

use super::connection::Peer;
use super::problem::Problem;
use super::token::Holder;
use crate::caller::Caller as Asking;
use crate::config::{Config, Network};
use axum::http::HeaderMap;
use engine::text::folded;
use engine::{KeyId, Timestamp, UserId};
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{DefaultDirectRateLimiter, NotUntil, Quota, RateLimiter};
use guesses::{Guess, Guesses};
use hoarding::{Hoarding, SeatLimits};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use shared::{Shared, WINDOW_MS};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::Gate;

pub use shared::SYNC_INTERVAL;

/// How long the rate of a key is remembered after its last request.
const KEY_IDLE: Duration = Duration::from_mins(1);

/// For how long the gate counts logins and new visitors together, in ms.
const MINUTE_MS: u64 = 60_000;
/// For how long the gate keeps the counts of a second: clocks of instances differ a little.
const REQUESTS_KEPT_MS: u64 = 2 * WINDOW_MS.unsigned_abs();

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

#[derive(Clone, PartialEq, Eq, Hash)]
enum Caller {
    User(UserId),
    Address(IpAddr),
}

impl Caller {
    /// All requests from this address.
    fn at(address: IpAddr) -> Self {
        Self::Address(subscriber(address))
    }

    /// Its name before it is digested.
    fn text(&self) -> String {
        match self {
            Self::User(user_id) => format!("user {user_id}"),
            Self::Address(address) => format!("address {address}"),
        }
    }
}

/// Keys that open nothing, per minute and address; more are refused unread.
const WRONG_KEYS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(20).expect("it is not zero");

/// The requests of a key.
struct Keyed {
    rate: u32,
    requests: DefaultDirectRateLimiter,
    last_at: Instant,
}

impl Keyed {
    fn new(rate: u32) -> Self {
        let quota = Quota::per_second(NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN));
        Self { rate, requests: RateLimiter::direct(quota), last_at: Instant::now() }
    }
}

/// The limits of this instance, and its part in those of all.
pub struct Limits {
    active: Option<Active>,
    trusted: Vec<Network>,
}

struct Active {
    requests: Limiter<Caller>,
    logins_by_address: Limiter<IpAddr>,
    logins_by_account: Limiter<String>,
    logins_per_minute: i64,
    visitors: Limiter<IpAddr>,
    visitors_per_minute: i64,
    /// Wrong booking tokens.
    guesses: Guesses,
    hoarding: Hoarding,
    /// Requests of each key, with the rate that it is allowed.
    keys: Mutex<HashMap<KeyId, Keyed>>,
    requests_per_key: u32,
    /// Keys that opened nothing.
    wrong_keys: Limiter<IpAddr>,
    /// Who has tried too many of them, and until when.
    locked_out: Mutex<HashMap<IpAddr, Instant>>,
    /// Where the counters of all instances are.
    gate: Arc<dyn Gate>,
    /// What this instance knows of them; `None` when it has a gate of its own.
    shared: Option<Shared<Caller>>,
    digest_key: [u8; 32],
}

impl Limits {
    /// The limits that the configuration sets; `secret` is the one that all instances have.
    pub fn new(config: &Config, secret: &SecretString, gate: Arc<dyn Gate>) -> Self {
        let rate = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let is_shared = config.gate_url.is_some();
        let active = config.rate_limit_enabled.then(|| Active {
            requests: Limiter::hashmap(Quota::per_second(rate(config.requests_per_second))),
            logins_by_address: Limiter::hashmap(Quota::per_minute(rate(config.logins_per_minute))),
            logins_by_account: Limiter::hashmap(Quota::per_minute(rate(config.logins_per_minute))),
            logins_per_minute: i64::from(config.logins_per_minute),
            visitors: Limiter::hashmap(Quota::per_minute(rate(config.visitors_per_minute))),
            visitors_per_minute: i64::from(config.visitors_per_minute),
            guesses: Guesses::default(),
            hoarding: Hoarding::new(seat_limits(config), config.hold_ttl, is_shared),
            keys: Mutex::default(),
            requests_per_key: config.requests_per_key,
            wrong_keys: Limiter::hashmap(Quota::per_minute(WRONG_KEYS_PER_MINUTE)),
            locked_out: Mutex::default(),
            gate,
            shared: is_shared.then(|| Shared::new(config.requests_per_second)),
            digest_key: digest_key(secret),
        });
        Self { active, trusted: config.trusted_proxies.clone() }
    }

    /// Counts a request of this caller, or of its address; of a visitor, who costs nothing to make, for
    /// both.
    pub fn request(
        &self,
        who: Option<Holder>,
        peer: Option<Peer>,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let Some(active) = &self.active else { return Ok(()) };
        let address = || Caller::at(self.address(peer, headers));
        match who {
            Some(Holder::Account(user_id)) => active.request(&Caller::User(user_id), now),
            Some(Holder::Visitor(user_id)) => {
                active.request(&address(), now)?;
                active.request(&Caller::User(user_id), now)
            }
            None => active.request(&address(), now),
        }
    }

    /// Counts a request without a user from this address.
    pub fn anonymous(&self, from: IpAddr, now: Timestamp) -> Result<(), Problem> {
        let Some(active) = &self.active else { return Ok(()) };
        active.request(&Caller::at(from), now)
    }

    /// Counts a request that came with this key, which may be allowed another rate than others.
    pub fn keyed(&self, key_id: KeyId, rate: Option<u32>) -> Result<(), Problem> {
        let Some(active) = &self.active else { return Ok(()) };
        let rate = rate.unwrap_or(active.requests_per_key);
        let mut keys = active.keys.lock();
        let keyed = keys.entry(key_id).or_insert_with(|| Keyed::new(rate));
        if keyed.rate != rate {
            *keyed = Keyed::new(rate);
        }
        keyed.last_at = Instant::now();
        keyed.requests.check().map_err(|refused| too_many(&refused))
    }

    /// Whether somebody at this address may try a key; not for a while after too many that opened nothing.
    pub fn may_try_key(&self, from: IpAddr) -> Result<(), Problem> {
        let Some(active) = &self.active else { return Ok(()) };
        let locked_out = active.locked_out.lock();
        if locked_out.is_empty() {
            return Ok(());
        }
        let until = locked_out.get(&subscriber(from)).copied();
        let wait = until.map(|until| until.saturating_duration_since(Instant::now()));
        match wait.filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(Problem::rate_limited(wait.as_secs() + 1)),
            None => Ok(()),
        }
    }

    /// Counts a key from this address that opened nothing.
    pub fn wrong_key(&self, from: IpAddr) {
        let Some(active) = &self.active else { return };
        let from = subscriber(from);
        if let Err(refused) = active.wrong_keys.check_key(&from) {
            let wait = refused.wait_time_from(DefaultClock::default().now());
            active.locked_out.lock().insert(from, Instant::now() + wait);
        }
    }

    /// Counts a login or a registration with this address, from wherever it came.
    pub async fn login(&self, email: &str, from: IpAddr) -> Result<(), Problem> {
        let Some(active) = &self.active else { return Ok(()) };
        let (account, from) = (folded(email), subscriber(from));
        check(&active.logins_by_address, &from)?;
        check(&active.logins_by_account, &account)?;
        let counts = [("login_address", from.to_string()), ("login_account", account)];
        active.within_a_minute(&counts, active.logins_per_minute).await
    }

    /// Counts a new visitor, or one who comes back with a booking token, from this address.
    pub async fn visitor(&self, from: IpAddr) -> Result<(), Problem> {
        let Some(active) = &self.active else { return Ok(()) };
        let from = subscriber(from);
        check(&active.visitors, &from)?;
        let counts = [("visitors", from.to_string())];
        active.within_a_minute(&counts, active.visitors_per_minute).await
    }

    /// Begins to check a booking token from this address, before anything is read for it.
    pub fn guess(&self, from: IpAddr, now: Timestamp) -> Result<Guess<'_>, Problem> {
        let Some(active) = &self.active else { return Ok(Guess::uncounted()) };
        let begun = active.guesses.begin(subscriber(from), now.unix_ms());
        begun.map_err(Problem::rate_limited)
    }

    /// Counts the seats of a hold that this caller asks for.
    pub fn hold(&self, caller: &Asking, seats: u32, now: Timestamp) -> Result<(), Problem> {
        let Some(active) = &self.active else { return Ok(()) };
        let taken = active.hoarding.take(caller, seats, now.unix_ms());
        taken.map_err(|refused| Problem::hold_limit(refused.limit, refused.wait))
    }

    /// Counts the seats of a hold of this caller again, from when it was extended.
    pub fn extended(&self, caller: &Asking, seats: u32, now: Timestamp) {
        if let Some(active) = &self.active {
            active.hoarding.extended(caller, seats, now.unix_ms());
        }
    }

    /// The caller no longer keeps these seats from being sold.
    pub fn give_back(&self, caller: &Asking, seats: u32, now: Timestamp) {
        if let Some(active) = &self.active {
            active.hoarding.give_back(caller, seats, now.unix_ms());
        }
    }

    /// Sends to the gate what was admitted here, and takes over what was admitted by all instances.
    pub async fn share(&self, now: Timestamp) {
        let Some(active) = &self.active else { return };
        active.share_seats(now).await;
        let Some(shared) = &active.shared else { return };
        let (window, told) = shared.untold(now.unix_ms());
        if told.is_empty() {
            return;
        }
        let count = |(caller, count): &(Caller, u32)| {
            (active.name("requests", &format!("{window} {}", caller.text())), i64::from(*count))
        };
        let counts: Vec<_> = told.iter().map(count).collect();
        if let Some(totals) = active.gate.tally(&counts, REQUESTS_KEPT_MS).await {
            shared.learn(window, &told, &totals);
        }
    }

    /// Forgets callers that have not been seen for a while.
    pub fn forget_idle(&self, now: Timestamp) {
        if let Some(active) = &self.active {
            active.visitors.retain_recent();
            active.guesses.forget_idle(now.unix_ms());
            active.hoarding.forget_idle(now.unix_ms());
            active.requests.retain_recent();
            active.logins_by_address.retain_recent();
            active.logins_by_account.retain_recent();
            active.wrong_keys.retain_recent();
            let now = Instant::now();
            active.locked_out.lock().retain(|_, until| *until > now);
            active.keys.lock().retain(|_, keyed| now - keyed.last_at < KEY_IDLE);
        }
    }

    /// Where a request came from: the peer, or the nearest address in `X-Forwarded-For` that is not
    /// one of our own proxies.
    pub fn address(&self, peer: Option<Peer>, headers: &HeaderMap) -> IpAddr {
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Peer::address);
        let trusted =
            |address: IpAddr| self.trusted.iter().any(|network| network.contains(address));
        if !trusted(peer) {
            return peer;
        }
        // What a client wrote itself is left of what our proxies added, so nothing left of a hop
        // that cannot be read, or that is not ours, is believed.
        let hops = forwarded(headers);
        let readable = hops.iter().rev().map_while(|hop| *hop);
        let mut nearest = peer;
        for hop in readable {
            nearest = hop;
            if !trusted(hop) {
                break;
            }
        }
        nearest
    }
}

impl Active {
    fn request(&self, caller: &Caller, now: Timestamp) -> Result<(), Problem> {
        check(&self.requests, caller)?;
        let admitted = self.shared.as_ref().map(|shared| shared.admit(caller, now.unix_ms()));
        admitted.unwrap_or(Ok(())).map_err(Problem::rate_limited)
    }

    /// Counts these, each with whose it is, together with all instances.
    async fn within_a_minute(&self, counts: &[(&str, String)], limit: i64) -> Result<(), Problem> {
        let count = |(what, whose): &(&str, String)| (self.name(what, whose), 1);
        let counts: Vec<_> = counts.iter().map(count).collect();
        let sums = self.gate.tally(&counts, MINUTE_MS).await.unwrap_or_default();
        if sums.into_iter().any(|sum| sum > limit) {
            return Err(Problem::rate_limited(MINUTE_MS / 1_000));
        }
        Ok(())
    }

    /// Sends to the gate what seats were taken here, and takes over how many were at all instances.
    async fn share_seats(&self, now: Timestamp) {
        let told = self.hoarding.untold(now.unix_ms());
        if told.is_empty() {
            return;
        }
        let counts = told.iter().flat_map(|(hoarder, slice, counts)| {
            let name =
                move |older| self.name("seats", &format!("{} {}", slice - older, hoarder.text()));
            (0..).map(name).zip(counts.iter().map(|count| i64::from(*count)))
        });
        let sums = self.gate.tally(&counts.collect::<Vec<_>>(), self.hoarding.kept_ms()).await;
        self.hoarding.learn(&told, sums.as_deref());
    }

    /// What a counter of the gate is called: the same on all instances, and nobody who sees it can
    /// tell whose it is.
    fn name(&self, what: &str, whose: &str) -> String {
        let digest = Sha256::new().chain_update(self.digest_key).chain_update(whose).finalize();
        let mut name = format!("{what}:");
        // Half of a digest is unique enough, and what was cut off cannot be extended.
        for byte in &digest[..16] {
            write!(name, "{byte:02x}").expect("a String grows");
        }
        name
    }
}

/// How many seats each may take off sale.
fn seat_limits(config: &Config) -> SeatLimits {
    SeatLimits {
        buyer: config.seats_per_buyer,
        visitor: config.seats_per_visitor,
        address: config.seats_per_address,
    }
}

/// What is counted as one address: an IPv4 address, or the /64 of an IPv6 address.
fn subscriber(address: IpAddr) -> IpAddr {
    const PREFIX: u128 = !(u64::MAX as u128);
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & PREFIX).into(),
        ipv4 @ IpAddr::V4(_) => ipv4,
    }
}

/// A key for digests that is good for nothing else.
fn digest_key(secret: &SecretString) -> [u8; 32] {
    let secret = secret.expose_secret();
    Sha256::new().chain_update(b"reservix rate limits ").chain_update(secret).finalize().into()
}

/// The hops that proxies noted, each as its address in its one form, with or without a port; `None` for
/// anything else.
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let address = |hop: &str| {
        let bare = hop.trim().trim_start_matches('[').trim_end_matches(']');
        let with_port = || hop.trim().parse::<SocketAddr>().map(|address| address.ip());
        let read: Result<IpAddr, _> = bare.parse().or_else(|_| with_port());
        read.ok().map(|address| address.to_canonical())
    };
    let values = headers.get_all("x-forwarded-for").iter();
    let values = values.map(|value| value.to_str().unwrap_or_default());
    values.flat_map(|value| value.split(',')).map(address).collect()
}

fn check<K: Clone + Hash + Eq>(limiter: &Limiter<K>, key: &K) -> Result<(), Problem> {
    limiter.check_key(key).map_err(|refused| too_many(&refused))
}

fn too_many(refused: &NotUntil<<DefaultClock as Clock>::Instant>) -> Problem {
    let wait = refused.wait_time_from(DefaultClock::default().now());
    Problem::rate_limited(wait.as_secs() + 1)
}

#[cfg(test)]
mod tests;
