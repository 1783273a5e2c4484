//! Organizations, their members, invitations and access log.

use super::{Created, CreationKey};
use async_trait::async_trait;
use engine::access::{AccessAction, AccessEntry, Member, OrgCommand, Organization, Roster};
use engine::{Error, Fault, InvitationId, OrgId, UserId};
use uuid::Uuid;

/// The request by which an organization is changed.
#[derive(Clone, Debug)]
pub struct ChangeNote {
    /// A new name for this change: a store that does not know whether it was made looks for it.
    pub change_id: Uuid,
    /// The request as the log of the server names it.
    pub request_id: Option<String>,
}

impl ChangeNote {
    /// The same for one of the entries that the change makes, each of which has a name of its own.
    pub(crate) fn of_entry(&self, place: usize) -> Self {
        let change_id = Uuid::from_u128(self.change_id.as_u128() ^ (place as u128) << 96);
        Self { change_id, ..self.clone() }
    }

    /// The same for one of several organizations that the change is of.
    pub(crate) fn of_organization(&self, place: usize) -> Self {
        let change_id = Uuid::from_u128(self.change_id.as_u128() ^ (place as u128) << 64);
        Self { change_id, ..self.clone() }
    }

    /// The notes of a change with one entry in each of two access logs.
    pub(crate) fn of_both(&self) -> [Self; 2] {
        [0, 1].map(|place| self.of_entry(place))
    }
}

/// One entry of the access log, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Rises from entry to entry of an organization.
    pub seq: i64,
    /// What it says.
    pub entry: AccessEntry,
    /// The request by which it was made.
    pub request_id: Option<String>,
}

/// Which entries of an access log are shown, oldest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct EntryFilter {
    /// Only what comes after this one.
    pub after: Option<i64>,
    /// Only what the person or the key with this id did.
    pub actor: Option<Uuid>,
    /// Only what is of this kind.
    pub action: Option<AccessAction>,
}

/// How many entries one read looks at where only some are shown: with a filter, a page may have few
/// of them and still go on.
pub const ENTRIES_LOOKED_AT_MAX: u32 = 10_000;

/// A part of an access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessPage {
    /// The entries, oldest first.
    pub items: Vec<StoredEntry>,
    /// Where the next part begins; `None`: this was the last one.
    pub next: Option<i64>,
}

/// Organizations.
#[async_trait]
pub trait Organizations: Send + Sync {
    /// Founds a team with this id, as [`engine::access::found`]. A key makes its retries have one effect.
    async fn found_team(
        &self,
        org_id: OrgId,
        name: &str,
        founder: UserId,
        change: &ChangeNote,
        key: Option<&CreationKey>,
    ) -> Result<Created<OrgId>, Error>;
    /// An organization with its members and the invitations that can be accepted, of one moment. A
    /// personal one of which nothing is stored is as [`Organization::unwritten`]; `None`: an unknown team.
    async fn roster(&self, org_id: OrgId) -> Result<Option<Roster>, Fault>;
    /// What is stored of these organizations, in any order; nothing of those that have no row.
    async fn organizations(&self, org_ids: &[OrgId]) -> Result<Vec<Organization>, Fault>;
    /// The members of an organization; none of one that is unknown.
    async fn members(&self, org_id: OrgId) -> Result<Vec<Member>, Fault>;
    /// The organizations of which somebody is a member, in the order of their ids, with what they are
    /// there: at most [`ORGANIZATIONS_MAX`](engine::access::ORGANIZATIONS_MAX). The personal one is not
    /// among them.
    async fn organizations_of(&self, user_id: UserId)
    -> Result<Vec<(Organization, Member)>, Fault>;
    /// The invitation whose token has this hash, and where it is for, however it ended.
    async fn invitation_by_hash(
        &self,
        token_hash: &[u8; 32],
    ) -> Result<Option<(OrgId, InvitationId)>, Fault>;
    /// Changes an organization by the rules of [`engine::access::decide`], with one entry of its access log
    /// if anything changes, or several. Returns what it is then. A personal organization gets a row where
    /// it has none.
    async fn change_organization(
        &self,
        org_id: OrgId,
        by: UserId,
        command: OrgCommand,
        change: &ChangeNote,
    ) -> Result<Roster, Error>;
    /// A part of the access log of an organization, oldest first: at most `limit` entries.
    async fn access_log(
        &self,
        org_id: OrgId,
        filter: EntryFilter,
        limit: u32,
    ) -> Result<AccessPage, Fault>;
}
