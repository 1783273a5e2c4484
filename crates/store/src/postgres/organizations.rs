//! Organizations, their members, invitations and access log.
//!
//! A change locks the row of its organization first, so there is one at a time, and a read after it
//! sees all that were made before. Where somebody joins, their own number of organizations is locked
//! next. Every write may be done twice (see [`super::Postgres::write`]): the entry of the access log
//! has the name of the change that it is of.

mod stored;

use super::events::{claim, clock, no_id};
use super::interrupt::Interrupt;
use super::log::SNAPSHOT;
use super::rows::{uuid, uuids};
use super::{Postgres, on};
use crate::rows::{self, membership, organization};
use crate::{AccessPage, ChangeNote, Created, CreationKey, EntryFilter, Organizations};
use async_trait::async_trait;
use engine::access::{Member, ORGANIZATIONS_MAX, OrgCommand, Organization, Roster, decide, found};
use engine::{Error, Fault, InvitationId, OrgId, Refusal, UserId};
use sqlx::Executor as _;
use sqlx::postgres::{PgConnection, PgRow};
use stored::{find, load, members_of, memberships};

pub(super) use stored::{
    Part, append_entries, is_made, load_whole, lock, lock_joining, lock_there, read_log, write,
};

const MISSING: Refusal = Refusal::NotFound { what: "organization" };

#[async_trait]
impl Organizations for Postgres {
    async fn found_team(
        &self,
        org_id: OrgId,
        name: &str,
        founder: UserId,
        change: &ChangeNote,
        key: Option<&CreationKey>,
    ) -> Result<Created<OrgId>, Error> {
        const OPERATION: &str = "create_organization";
        let create = on!(session => async {
            if let Some(id) = claim(&mut session, OPERATION, key, org_id.as_bytes()).await? {
                let found = OrgId::from_slice(&id).ok_or_else(no_id)?;
                return Ok(Created { id: found, replayed: found != org_id });
            }
            // An attempt whose COMMIT is still under way is waited for here.
            lock_joining(&mut session, founder).await?;
            if !is_made(&mut session, change).await? {
                let joined = memberships(&mut session, founder).await?;
                let now = clock(&mut session).await?;
                let changes = found(org_id, name.to_owned(), founder, joined, now)?;
                write(&mut session, &changes, change).await?;
            }
            Ok(Created { id: org_id, replayed: false })
        });
        self.write(&self.sessions, "founding a team", create).await
    }

    async fn roster(&self, org_id: OrgId) -> Result<Option<Roster>, Fault> {
        let read = on!(session => async {
            session.execute(SNAPSHOT).await?;
            let roster = find(&mut session, org_id).await;
            session.execute("ROLLBACK").await?;
            roster
        });
        self.read("reading an organization", read).await
    }

    async fn organizations(&self, org_ids: &[OrgId]) -> Result<Vec<Organization>, Fault> {
        const SQL: &str = "SELECT * FROM organizations WHERE org_id = ANY($1)";
        let read = on!(session => async {
            let found = sqlx::query(SQL).bind(uuids(org_ids)).fetch_all(&mut *session).await?;
            Ok(found.iter().map(organization).collect::<Result<_, _>>()?)
        });
        self.read("reading organizations", read).await
    }

    async fn members(&self, org_id: OrgId) -> Result<Vec<Member>, Fault> {
        self.read("reading members", on!(session => members_of(&mut session, org_id))).await
    }

    async fn organizations_of(
        &self,
        user_id: UserId,
    ) -> Result<Vec<(Organization, Member)>, Fault> {
        const SQL: &str = "SELECT m.*, o.name, o.version, o.created_at AS written_at
            FROM members m JOIN organizations o USING (org_id)
            WHERE m.user_id = $1 ORDER BY m.org_id LIMIT $2";
        let limit = i64::try_from(ORGANIZATIONS_MAX).expect("a small number");
        let read = on!(session => async {
            let query = sqlx::query(SQL).bind(uuid(user_id)).bind(limit);
            let found = query.fetch_all(&mut *session).await?;
            Ok(found.iter().map(membership).collect::<Result<_, _>>()?)
        });
        self.read("listing organizations", read).await
    }

    async fn invitation_by_hash(
        &self,
        token_hash: &[u8; 32],
    ) -> Result<Option<(OrgId, InvitationId)>, Fault> {
        const SQL: &str = "SELECT org_id, invitation_id FROM invitations WHERE token_hash = $1";
        let ids = |row: &PgRow| -> Result<_, Fault> {
            Ok((rows::org_id(row, "org_id")?, rows::invitation_id(row, "invitation_id")?))
        };
        let find = on!(session => async {
            let query = sqlx::query(SQL).bind(token_hash.to_vec());
            let row = query.fetch_optional(&mut *session).await?;
            Ok(row.as_ref().map(ids).transpose()?)
        });
        self.read("finding an invitation", find).await
    }

    async fn change_organization(
        &self,
        org_id: OrgId,
        by: UserId,
        command: OrgCommand,
        change: &ChangeNote,
    ) -> Result<Roster, Error> {
        let command = &command;
        let work = on!(session => change_in(&mut session, org_id, by, command, change));
        self.write(&self.sessions, "changing an organization", work).await
    }

    async fn access_log(
        &self,
        org_id: OrgId,
        filter: EntryFilter,
        limit: u32,
    ) -> Result<AccessPage, Fault> {
        let read = on!(session => read_log(&mut session, Part::Of(org_id), filter, limit));
        self.read("reading an access log", read).await
    }
}

/// Changes an organization by the decision of the engine. Returns what it is then.
pub(super) async fn change_in(
    session: &mut PgConnection,
    org_id: OrgId,
    by: UserId,
    command: &OrgCommand,
    change: &ChangeNote,
) -> Result<Roster, Interrupt> {
    let stored = lock(session, org_id, by).await?;
    if !is_made(session, change).await? {
        let roster = match stored {
            Some(organization) => load(session, organization, Some(command)).await?,
            // A team that is not there; or a personal one without a row, at which only its owner can
            // do anything, who has written it by now: the rules say how others are refused.
            None => Roster::unwritten(org_id).ok_or(MISSING)?,
        };
        let now = clock(session).await?;
        let changes = decide(&roster, by, command, now)?;
        let is_locked = roster.organization.created_at.is_some();
        assert!(is_locked || changes.entries.is_empty(), "what is changed was locked");
        write(session, &changes, change).await?;
    }
    Ok(find(session, org_id).await?.ok_or(MISSING)?)
}
