//! What people may do at organizations, as it was read at most a second ago, and what organizations are
//! called.
//!
//! Tokens say who somebody is, and never what they may do: that is looked up when a request arrives. Of
//! a personal organization the id says it. Of others the members are read, once for all who ask, and
//! again within [`LIFE`]. So a right that was withdrawn serves no request that arrives more than a second
//! later, on any instance (I15); the command carries it, and is judged by it under the lock (I13).
//!
//! Who is an operator of the installation is read in the same way: all of them at once, since they are
//! few.
//!
//! Names give no right. They are kept as the facts of events are: for a minute where announcements are
//! listened to, else for a second.

use crate::caller::Caller;
use crate::catalog::{FACTS_KEPT, Hearing};
use crate::fresh::{Fresh, Source};
use engine::access::{Confined, Member, Organization, Permission};
use engine::{By, EventId, Fault, OrgId, UserId};
use std::sync::Arc;
use std::time::Duration;
use store::{Gate, Operators, Organizations, Place};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

/// How long what was read of rights is good, from the begin of the read.
pub const LIFE: Duration = Duration::from_secs(1);

/// Organizations, members and events to which members are confined that are known together.
const KNOWN_MAX: u64 = 100_000;

fn listed(events: &Confined) -> usize {
    events.as_deref().map_or(0, <[_]>::len)
}

#[derive(Clone)]
struct Members(Arc<dyn Organizations>);

impl Source for Members {
    type Key = OrgId;
    /// In the order of their users.
    type Value = Arc<[Member]>;
    const LIFE_MAX: Duration = LIFE;
    const SIZE_MAX: u64 = KNOWN_MAX;

    async fn read(&self, org_id: OrgId) -> Result<Arc<[Member]>, Fault> {
        let mut members = self.0.members(org_id).await?;
        members.sort_unstable_by_key(|member| member.user_id);
        Ok(members.into())
    }

    fn life(&self, _: &Arc<[Member]>, _: Instant) -> Duration {
        LIFE
    }

    fn size(members: &Arc<[Member]>) -> usize {
        1 + members.iter().map(|member| 1 + listed(&member.access.events)).sum::<usize>()
    }
}

#[derive(Clone)]
struct Places(Arc<dyn Organizations>);

impl Source for Places {
    type Key = UserId;
    type Value = Arc<[Place]>;
    const LIFE_MAX: Duration = LIFE;
    const SIZE_MAX: u64 = KNOWN_MAX;

    async fn read(&self, user_id: UserId) -> Result<Arc<[Place]>, Fault> {
        let own = OrgId::from(user_id);
        let own = own.owner().map(|_| Place { org_id: own, events: None });
        let joined = self.0.organizations_of(user_id).await?;
        let joined = joined.into_iter().map(|(_, member)| member);
        let sees = |member: &Member| member.access.role.permissions().has(Permission::EventRead);
        let place = |of: Member| Place { org_id: of.org_id, events: of.access.events };
        Ok(own.into_iter().chain(joined.filter(sees).map(place)).collect())
    }

    fn life(&self, _: &Arc<[Place]>, _: Instant) -> Duration {
        LIFE
    }

    fn size(places: &Arc<[Place]>) -> usize {
        1 + places.iter().map(|place| 1 + listed(&place.events)).sum::<usize>()
    }
}

#[derive(Clone)]
struct AllOperators(Arc<dyn Operators>);

impl Source for AllOperators {
    /// There is one list.
    type Key = ();
    /// In the order of their ids.
    type Value = Arc<[UserId]>;
    const LIFE_MAX: Duration = LIFE;
    const SIZE_MAX: u64 = 1;

    async fn read(&self, (): ()) -> Result<Arc<[UserId]>, Fault> {
        let mut operators: Vec<_> =
            self.0.operators().await?.into_iter().map(|operator| operator.user_id).collect();
        operators.sort_unstable();
        Ok(operators.into())
    }

    fn life(&self, _: &Arc<[UserId]>, _: Instant) -> Duration {
        LIFE
    }

    fn size(_: &Arc<[UserId]>) -> usize {
        1
    }
}

/// What an organization is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name; a personal one may have none.
    pub name: Option<Arc<str>>,
    /// Rises with every change of the name.
    pub version: i64,
}

#[derive(Clone)]
struct Names {
    store: Arc<dyn Organizations>,
    hearing: Hearing,
}

impl Source for Names {
    type Key = OrgId;
    type Value = Named;
    const LIFE_MAX: Duration = FACTS_KEPT;
    const SIZE_MAX: u64 = KNOWN_MAX;

    async fn read(&self, org_id: OrgId) -> Result<Named, Fault> {
        let found = self.store.organizations(&[org_id]).await?.pop();
        let found = found.unwrap_or_else(|| Organization::unwritten(org_id));
        Ok(Named { name: found.name.map(Arc::from), version: found.version })
    }

    fn life(&self, _: &Named, read_at: Instant) -> Duration {
        self.hearing.life(read_at)
    }

    fn size(_: &Named) -> usize {
        1
    }
}

/// Who may do what, as it was at most [`LIFE`] ago, and what organizations are called.
pub struct Rights {
    members: Fresh<Members>,
    places: Fresh<Places>,
    names: Fresh<Names>,
    operators: Fresh<AllOperators>,
    gate: Arc<dyn Gate>,
}

impl Rights {
    /// Nothing is known yet. `hearing` says when others are heard that change names.
    pub fn new(
        store: Arc<dyn Organizations>,
        operators: Arc<dyn Operators>,
        gate: Arc<dyn Gate>,
        hearing: Hearing,
    ) -> Self {
        let (members, places) = (Members(store.clone()), Places(store.clone()));
        let names = Names { store, hearing };
        let (members, places) = (Fresh::new(members), Fresh::new(places));
        let operators = Fresh::new(AllOperators(operators));
        Self { members, places, names: Fresh::new(names), operators, gate }
    }

    /// How somebody acts at an event of an organization, or at the organization itself: as its owner, as a
    /// member, by a key, as an operator, or as somebody who is nothing to it.
    pub async fn by(
        &self,
        caller: &Caller,
        org_id: OrgId,
        at: Option<EventId>,
    ) -> Result<By, Fault> {
        let user_id = match caller {
            Caller::User(user_id) | Caller::Visitor { user_id, .. } => *user_id,
            // Also where it is another organization's, at which it may nothing.
            Caller::Key(known) => return Ok(known.key.acting(at)),
        };
        if org_id.owner() == Some(user_id) {
            return Ok(By::User(user_id));
        }
        let members = self.members.get(org_id).await?;
        let found = members.binary_search_by_key(&user_id, |member| member.user_id);
        let by = found.map_or(By::User(user_id), |place| members[place].acting(at));
        let is_operator = !caller.is_visitor() && self.is_operator(user_id).await?;
        Ok(if is_operator { by.or_operator(org_id, at) } else { by })
    }

    /// Whether a user is an operator of the installation, who reads all of it.
    pub async fn is_operator(&self, user_id: UserId) -> Result<bool, Fault> {
        Ok(self.operators.get(()).await?.binary_search(&user_id).is_ok())
    }

    /// Where somebody sees drafts: a user in the personal organization and where they are a member, a
    /// key in its own.
    pub async fn places(&self, caller: &Caller) -> Result<Arc<[Place]>, Fault> {
        match caller {
            Caller::User(user_id) => self.places.get(*user_id).await,
            Caller::Visitor { .. } => Ok(Arc::default()),
            Caller::Key(known) => Ok(known.places.clone()),
        }
    }

    /// What an organization is called, as it was at most [`FACTS_KEPT`] ago.
    pub async fn name(&self, org_id: OrgId) -> Result<Named, Fault> {
        self.names.get(org_id).await
    }

    /// Forgets an organization of which this instance has changed the name, or what these users may do
    /// there, and notifies the others. Call it after the commit, and also when nobody knows whether there was
    /// one.
    pub async fn changed(&self, org_id: OrgId, users: &[UserId]) {
        self.forget(org_id).await;
        for user_id in users {
            self.places.forget(*user_id).await;
        }
        self.gate.announce(org_id.into());
    }

    async fn forget(&self, org_id: OrgId) {
        self.members.forget(org_id).await;
        self.names.forget(org_id).await;
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        self.names.forget_all();
        self.operators.forget_all();
        self.members.forget_all();
        self.places.forget_all();
    }

    /// Forgets every organization that an instance announces, for as long as it is polled.
    pub async fn follow(&self) {
        let mut announced = self.gate.announcements();
        loop {
            match announced.recv().await {
                // Of an event there is nothing to forget here. Lists go by what was read a second ago.
                Ok(id) => self.forget(id.into()).await,
                Err(RecvError::Lagged(_)) => self.forget_all(),
                // The gate has gone, and the process with it.
                Err(RecvError::Closed) => return,
            }
        }
    }
}
