//! Who makes a request.

use crate::config::Network;
use engine::access::{ApiKey, Permission};
use engine::{Actor, OrgId, UserId};
use std::net::IpAddr;
use std::sync::Arc;
use store::Place;

/// Who makes a request: somebody by an access token, or an organization by one of its keys.
#[derive(Clone)]
pub enum Caller {
    /// A user.
    User(UserId),
    /// A buyer without an account.
    Visitor {
        /// Who it is.
        user_id: UserId,
        /// Where the request came from.
        from: IpAddr,
    },
    /// A key of an organization.
    Key(Arc<KnownKey>),
}

impl Caller {
    /// Whose idempotency keys these requests use.
    pub fn id(&self) -> UserId {
        match self {
            Self::User(user_id) | Self::Visitor { user_id, .. } => *user_id,
            Self::Key(known) => Actor::Key(known.key.key_id).caller_id().expect("it is a key"),
        }
    }

    /// As which buyer they act; none where it is a key.
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::User(user_id) | Self::Visitor { user_id, .. } => Some(*user_id),
            Self::Key(_) => None,
        }
    }

    /// Whether it is a visitor.
    pub fn is_visitor(&self) -> bool {
        matches!(self, Self::Visitor { .. })
    }

    /// The organization of which something new is if nobody says otherwise: the personal one of a user, or
    /// that of the key.
    pub fn home(&self) -> OrgId {
        match self {
            Self::User(user_id) | Self::Visitor { user_id, .. } => OrgId::from(*user_id),
            Self::Key(known) => known.key.org_id,
        }
    }
}

/// A key that was looked up.
pub struct KnownKey {
    /// As it is stored.
    pub key: ApiKey,
    /// Where it sees drafts.
    pub places: Arc<[Place]>,
    networks: Option<Vec<Network>>,
}

impl KnownKey {
    /// The key as it is stored.
    pub fn new(key: ApiKey) -> Self {
        let sees = key.scope.can.has(Permission::EventRead);
        let place = Place { org_id: key.org_id, events: key.scope.events.clone() };
        let places = sees.then_some(place).into_iter().collect();
        // One that cannot be read lets nobody in.
        let read = |networks: &Arc<[String]>| {
            networks.iter().filter_map(|network| Network::parse(network).ok()).collect()
        };
        let networks = key.scope.networks.as_ref().map(read);
        Self { key, places, networks }
    }

    /// Whether it is accepted from there.
    pub fn is_from(&self, address: IpAddr) -> bool {
        let networks = self.networks.as_ref();
        networks.is_none_or(|all| all.iter().any(|network| network.contains(address)))
    }

    /// To how many networks it is confined.
    pub fn networks_count(&self) -> usize {
        self.networks.as_ref().map_or(0, Vec::len)
    }
}
