//! Rate limits: requests by user, or by address for those without a token; logins by address and by
//! account. All in memory, all switched off by `RATE_LIMIT_ENABLED=false`.

use super::connection::Peer;
use super::problem::Problem;
use crate::config::{Config, Network};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use engine::UserId;
use engine::event::folded;
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

#[derive(Clone, PartialEq, Eq, Hash)]
enum Caller {
    User(UserId),
    Address(IpAddr),
}

/// The limits of this instance.
pub struct Limits {
    active: Option<Active>,
    trusted: Vec<Network>,
}

struct Active {
    requests: Limiter<Caller>,
    logins_by_address: Limiter<IpAddr>,
    logins_by_account: Limiter<String>,
}

impl Limits {
    /// The limits that the configuration sets.
    pub fn new(config: &Config) -> Self {
        let rate = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let active = config.rate_limit_enabled.then(|| Active {
            requests: Limiter::hashmap(Quota::per_second(rate(config.requests_per_second))),
            logins_by_address: Limiter::hashmap(Quota::per_minute(rate(config.logins_per_minute))),
            logins_by_account: Limiter::hashmap(Quota::per_minute(rate(config.logins_per_minute))),
        });
        Self { active, trusted: config.trusted_proxies.clone() }
    }

    /// Counts a request of this user, or of its address.
    pub fn request(&self, user: Option<UserId>, parts: &Parts) -> Result<(), Problem> {
        let Some(active) = &self.active else { return Ok(()) };
        let caller = match user {
            Some(user_id) => Caller::User(user_id),
            None => Caller::Address(self.address(parts)),
        };
        check(&active.requests, &caller)
    }

    /// Counts a request without a user from this address.
    pub fn anonymous(&self, from: IpAddr) -> Result<(), Problem> {
        let Some(active) = &self.active else { return Ok(()) };
        check(&active.requests, &Caller::Address(from))
    }

    /// Counts a login or a registration with this address, from wherever it came.
    pub fn login(&self, email: &str, from: IpAddr) -> Result<(), Problem> {
        let Some(active) = &self.active else { return Ok(()) };
        check(&active.logins_by_address, &from)?;
        check(&active.logins_by_account, &folded(email))
    }

    /// Forgets callers that have not been seen for a while.
    pub fn forget_idle(&self) {
        if let Some(active) = &self.active {
            active.requests.retain_recent();
            active.logins_by_address.retain_recent();
            active.logins_by_account.retain_recent();
        }
    }

    /// Where a request came from: the peer, or the nearest address in `X-Forwarded-For` that is not
    /// one of our own proxies.
    pub fn address(&self, parts: &Parts) -> IpAddr {
        let peer = parts.extensions.get::<Peer>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
        let trusted =
            |address: IpAddr| self.trusted.iter().any(|network| network.contains(address));
        if !trusted(peer) {
            return peer;
        }
        // What a client wrote itself stands left of what our proxies added, so nothing left of a hop
        // that cannot be read, or that is not ours, is believed.
        let hops = forwarded(&parts.headers);
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

/// The hops that proxies noted, each as its address, with or without a port; `None` for anything else.
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let address = |hop: &str| {
        let bare = hop.trim().trim_start_matches('[').trim_end_matches(']');
        let with_port = || hop.trim().parse::<SocketAddr>().map(|address| address.ip());
        bare.parse().or_else(|_| with_port()).ok()
    };
    let values = headers.get_all("x-forwarded-for").iter();
    let values = values.map(|value| value.to_str().unwrap_or_default());
    values.flat_map(|value| value.split(',')).map(address).collect()
}

fn check<K: Clone + Hash + Eq>(limiter: &Limiter<K>, key: &K) -> Result<(), Problem> {
    limiter.check_key(key).map_err(|refused| {
        let wait = refused.wait_time_from(DefaultClock::default().now());
        Problem::rate_limited(wait.as_secs() + 1)
    })
}
