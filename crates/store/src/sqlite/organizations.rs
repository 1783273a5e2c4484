//! Organizations, their members, invitations and access log.

use super::events::{keep_key, replay, replayed};
use super::rows::{Binding, bind_id, read_rows};
use super::writer::Writing;
use super::{Sqlite, failed};
use crate::rows::{
    self, Columns as _, access_entry, actor_kind, api_key, confined_text, invitation, member,
    membership, ms, networks_text, noted_text, organization, scopes_text,
};
use crate::{
    AccessPage, ChangeNote, Created, CreationKey, ENTRIES_LOOKED_AT_MAX, EntryFilter,
    Organizations, Timed as _,
};
use async_trait::async_trait;
use engine::access::{
    AccessEntry, Member, ORGANIZATIONS_MAX, OrgChanges, OrgCommand, Organization, Roster, decide,
    found,
};
use engine::{Error, Fault, InvitationId, KeyId, OrgId, Refusal, UserId};
use sqlx::{Connection as _, QueryBuilder, Sqlite as Driver};
use uuid::Uuid;

const READING: &str = "reading an organization";
const CHANGING: &str = "changing an organization";
const MISSING: Refusal = Refusal::NotFound { what: "organization" };

const ORGANIZATION: &str = "SELECT * FROM organizations WHERE org_id = ?";
const MEMBERS: &str = "SELECT * FROM members WHERE org_id = ? ORDER BY user_id";
/// Those that can be accepted or are for this address, and one by its id.
const INVITATIONS: &str = "SELECT * FROM invitations WHERE org_id = ?1 AND ended_at IS NULL
        AND (expires_at > ?3 OR email_folded = ?4)
    UNION SELECT * FROM invitations WHERE invitation_id = ?2 AND org_id = ?1
    ORDER BY invitation_id";

/// Those that have not ended, and one by its id.
const KEYS: &str = "SELECT * FROM api_keys WHERE org_id = ?1 AND revoked_at IS NULL
        AND (expires_at IS NULL OR expires_at > ?3)
    UNION SELECT * FROM api_keys WHERE key_id = ?2 AND org_id = ?1 ORDER BY key_id";

/// An organization as the present transaction sees it, with what this command needs to be decided.
fn load(
    writing: &Writing<'_>,
    org_id: OrgId,
    command: Option<&OrgCommand>,
) -> Result<Option<Roster>, Fault> {
    let id = org_id.as_bytes();
    let stored = writing.one(READING, ORGANIZATION, [id], |row| organization(row))?;
    let Some(organization) = stored else { return Ok(Roster::unwritten(org_id)) };
    let named = command.and_then(OrgCommand::invitation_id);
    let named = named.as_ref().map(InvitationId::as_bytes);
    let members = writing.all(READING, MEMBERS, [id], |row| member(row))?;
    let wanted = (id, named, writing.now.unix_ms(), command.and_then(OrgCommand::address));
    let invitations = writing.all(READING, INVITATIONS, wanted, |row| invitation(row))?;
    let joined = match command.and_then(OrgCommand::joins) {
        Some(user_id) => memberships(writing, user_id)?,
        None => 0,
    };
    let keys = match command {
        Some(command) if command.concerns_keys() => {
            let named = command.key_id();
            let wanted = (id, named.as_ref().map(KeyId::as_bytes), writing.now.unix_ms());
            writing.all(READING, KEYS, wanted, |row| Ok(api_key(row)?.key))?
        }
        _ => Vec::new(),
    };
    Ok(Some(Roster { organization, members, invitations, keys, joined }))
}

/// An organization with the keys that have not ended; nothing of a personal one without a row.
pub(super) fn load_whole(writing: &Writing<'_>, org_id: OrgId) -> Result<Option<Roster>, Fault> {
    let no_key = None::<[u8; 16]>;
    let keys = (org_id.as_bytes(), no_key, writing.now.unix_ms());
    let keys = writing.all(READING, KEYS, keys, |row| Ok(api_key(row)?.key))?;
    let roster = load(writing, org_id, None)?;
    let roster = roster.filter(|roster| roster.organization.created_at.is_some());
    Ok(roster.map(|roster| Roster { keys, ..roster }))
}

/// In how many organizations a user is.
fn memberships(writing: &Writing<'_>, user_id: UserId) -> Result<usize, Fault> {
    const SQL: &str = "SELECT org_id FROM members WHERE user_id = ?";
    Ok(writing.all(READING, SQL, [user_id.as_bytes()], |_| Ok(()))?.len())
}

/// Whether this change is made already.
pub(super) fn is_made(writing: &Writing<'_>, change: &ChangeNote) -> Result<bool, Fault> {
    const SQL: &str = "SELECT 1 FROM access_log WHERE change_id = ?";
    let found = writing.one(READING, SQL, [change.change_id.as_bytes()], |_| Ok(()))?;
    Ok(found.is_some())
}

/// Changes an organization by the decision of the engine. Returns what it is then.
pub(super) fn change_in(
    writing: &Writing<'_>,
    org_id: OrgId,
    by: UserId,
    command: &OrgCommand,
    change: &ChangeNote,
) -> Result<Roster, Error> {
    let roster = load(writing, org_id, Some(command))?.ok_or(MISSING)?;
    if !is_made(writing, change)? {
        let mut changes = decide(&roster, by, command, writing.now)?;
        // A personal organization gets its row with its first change.
        if !changes.entries.is_empty() && roster.organization.created_at.is_none() {
            let created_at = Some(writing.now);
            changes.organization.get_or_insert(Organization { created_at, ..roster.organization });
        }
        write(writing, &changes, change)?;
    }
    Ok(load(writing, org_id, None)?.ok_or(MISSING)?)
}

/// Writes a change; without an entry, there is none.
pub(super) fn write(
    writing: &Writing<'_>,
    changes: &OrgChanges,
    change: &ChangeNote,
) -> Result<(), Fault> {
    const ORGANIZATION: &str =
        "INSERT INTO organizations (org_id, name, version, created_at) VALUES (?, ?, ?, ?)
        ON CONFLICT (org_id) DO UPDATE SET name = excluded.name, version = excluded.version";
    const MEMBER: &str = "INSERT INTO members (org_id, user_id, role, events, added_by, created_at)
        VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (org_id, user_id) DO UPDATE SET role = excluded.role, events = excluded.events";
    const REMOVED: &str = "DELETE FROM members WHERE org_id = ? AND user_id = ?";
    const INVITATION: &str =
        "INSERT INTO invitations (invitation_id, org_id, email, email_folded, role, events,
            token_hash, invited_by, created_at, expires_at, ended_at, ended)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (invitation_id) DO UPDATE SET ended_at = excluded.ended_at,
            ended = excluded.ended";
    const KEY: &str =
        "INSERT INTO api_keys (key_id, org_id, name, scopes, events, networks, rate, hash, hint,
            previous_hash, previous_until, created_by, created_at, expires_at, revoked_at, version)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (key_id) DO UPDATE SET name = excluded.name, scopes = excluded.scopes,
            events = excluded.events, networks = excluded.networks, rate = excluded.rate,
            hash = excluded.hash, hint = excluded.hint, previous_hash = excluded.previous_hash,
            previous_until = excluded.previous_until, expires_at = excluded.expires_at,
            revoked_at = excluded.revoked_at, version = excluded.version";
    let Some(entry) = changes.entries.first() else { return Ok(()) };
    writing.run_all(CHANGING, ORGANIZATION, changes.organization.as_slice(), |of| {
        (of.org_id.as_bytes(), &of.name, of.version, ms(of.created_at))
    })?;
    writing.run_all(CHANGING, MEMBER, &changes.members, |of| {
        (
            of.org_id.as_bytes(),
            of.user_id.as_bytes(),
            of.access.role.as_str(),
            confined_text(&of.access.events),
            of.added_by.as_bytes(),
            of.created_at.unix_ms(),
        )
    })?;
    writing.run_all(CHANGING, REMOVED, &changes.removed, |user_id| {
        (entry.org_id.as_bytes(), user_id.as_bytes())
    })?;
    // In their order: invitations_open allows one for an address that has not ended.
    writing.run_all(CHANGING, INVITATION, &changes.invitations, |of| {
        (
            of.invitation_id.as_bytes(),
            of.org_id.as_bytes(),
            &of.email,
            &of.email_folded,
            of.access.role.as_str(),
            confined_text(&of.access.events),
            &of.token_hash,
            of.invited_by.as_bytes(),
            of.created_at.unix_ms(),
            of.expires_at.unix_ms(),
            ms(of.ended.map(|(at, _)| at)),
            of.ended.map(|(_, how)| how.as_str()),
        )
    })?;
    writing.run_all(CHANGING, KEY, &changes.keys, |of| {
        (
            of.key_id.as_bytes(),
            of.org_id.as_bytes(),
            &of.name,
            scopes_text(of.scope.can),
            confined_text(&of.scope.events),
            networks_text(&of.scope),
            of.scope.rate,
            &of.secret.hash,
            &of.secret.hint,
            of.previous.map(|(hash, _)| hash),
            ms(of.previous.map(|(_, until)| until)),
            of.created_by.as_bytes(),
            of.created_at.unix_ms(),
            ms(of.scope.expires_at),
            ms(of.revoked_at),
            of.version,
        )
    })?;
    for (place, entry) in changes.entries.iter().enumerate() {
        append_entry(writing, entry, &change.of_entry(place))?;
    }
    Ok(())
}

/// Writes the row of a personal organization, if it has none.
pub(super) fn put_personal(writing: &Writing<'_>, org_id: OrgId) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO organizations (org_id, version, created_at) VALUES (?, ?, ?)
        ON CONFLICT (org_id) DO NOTHING";
    if org_id.owner().is_none() {
        return Ok(());
    }
    let version = Organization::unwritten(org_id).version;
    writing.run(CHANGING, SQL, (org_id.as_bytes(), version, writing.now.unix_ms())).map(drop)
}

/// Adds an entry to the access log of its organization.
pub(super) fn append_entry(
    writing: &Writing<'_>,
    entry: &AccessEntry,
    change: &ChangeNote,
) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO access_log
        (change_id, at, org_id, actor_kind, actor, action, target, detail, request_id)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let row = (
        change.change_id.as_bytes(),
        entry.at.unix_ms(),
        entry.org_id.as_bytes(),
        actor_kind(Some(entry.actor)),
        entry.actor.uuid().map(Uuid::into_bytes),
        entry.action.as_str(),
        entry.target.map(Uuid::into_bytes),
        noted_text(entry),
        &change.request_id,
    );
    writing.run(CHANGING, SQL, row).map(drop)
}

#[async_trait]
impl Organizations for Sqlite {
    async fn found_team(
        &self,
        org_id: OrgId,
        name: &str,
        founder: UserId,
        change: &ChangeNote,
        key: Option<&CreationKey>,
    ) -> Result<Created<OrgId>, Error> {
        const OPERATION: &str = "create_organization";
        let (name, change, key) = (name.to_owned(), change.clone(), key.cloned());
        let create = move |writing: &Writing<'_>| {
            if let Some(id) = replay(writing, OPERATION, key.as_ref())? {
                return replayed(OrgId::from_slice(&id));
            }
            if !is_made(writing, &change)? {
                let joined = memberships(writing, founder)?;
                let changes = found(org_id, name, founder, joined, writing.now)?;
                write(writing, &changes, &change)?;
                keep_key(writing, OPERATION, key.as_ref(), org_id.as_bytes())?;
            }
            Ok(Created { id: org_id, replayed: false })
        };
        self.writer.write("founding a team", create).await
    }

    async fn roster(&self, org_id: OrgId) -> Result<Option<Roster>, Fault> {
        let id = || org_id.as_bytes().to_vec();
        let mut connection = self.readers.acquire().await.map_err(failed(READING))?;
        // One read transaction: all of it is of the same moment.
        let mut snapshot = connection.begin().await.map_err(failed(READING))?;
        let stored = sqlx::query(ORGANIZATION).bind(id()).fetch_optional(&mut *snapshot).await;
        let stored = stored.map_err(failed(READING))?;
        let members = sqlx::query(MEMBERS).bind(id()).fetch_all(&mut *snapshot).await;
        let members = members.map_err(failed(READING))?;
        let query = sqlx::query(INVITATIONS).bind(id()).bind(None::<Vec<u8>>);
        let query = query.bind(self.now().unix_ms()).bind(None::<String>);
        let invitations = query.fetch_all(&mut *snapshot).await.map_err(failed(READING))?;
        snapshot.rollback().await.map_err(failed(READING))?;
        let stored = stored.as_ref().map(organization).transpose()?;
        let Some(organization) = stored else { return Ok(Roster::unwritten(org_id)) };
        let members = members.iter().map(member).collect::<Result<_, _>>()?;
        let invitations = invitations.iter().map(invitation).collect::<Result<_, _>>()?;
        Ok(Some(Roster { organization, members, invitations, keys: Vec::new(), joined: 0 }))
    }

    async fn organizations(&self, org_ids: &[OrgId]) -> Result<Vec<Organization>, Fault> {
        const SQL: &str = "WITH wanted (org_id) AS ({})
            SELECT o.* FROM wanted CROSS JOIN organizations o USING (org_id)";
        let mut connection = self.readers.acquire().await.map_err(failed(READING))?;
        let bind = |query: Binding, id: &OrgId| bind_id(query, id);
        let found = read_rows(&mut connection, SQL, 1, org_ids, bind).await;
        found.map_err(failed(READING))?.iter().map(organization).collect()
    }

    async fn members(&self, org_id: OrgId) -> Result<Vec<Member>, Fault> {
        let query = sqlx::query(MEMBERS).bind(org_id.as_bytes().to_vec());
        let found = query.fetch_all(&self.readers).await.map_err(failed("reading members"))?;
        found.iter().map(member).collect()
    }

    async fn organizations_of(
        &self,
        user_id: UserId,
    ) -> Result<Vec<(Organization, Member)>, Fault> {
        const DOING: &str = "listing organizations";
        const SQL: &str = "SELECT m.*, o.name, o.version, o.created_at AS written_at
            FROM members m CROSS JOIN organizations o USING (org_id)
            WHERE m.user_id = ? ORDER BY m.org_id LIMIT ?";
        let limit = i64::try_from(ORGANIZATIONS_MAX).expect("a small number");
        let query = sqlx::query(SQL).bind(user_id.as_bytes().to_vec()).bind(limit);
        let found = query.fetch_all(&self.readers).await.map_err(failed(DOING))?;
        found.iter().map(membership).collect()
    }

    async fn invitation_by_hash(
        &self,
        token_hash: &[u8; 32],
    ) -> Result<Option<(OrgId, InvitationId)>, Fault> {
        const DOING: &str = "finding an invitation";
        const SQL: &str = "SELECT org_id, invitation_id FROM invitations WHERE token_hash = ?";
        let query = sqlx::query(SQL).bind(token_hash.to_vec());
        let row = query.fetch_optional(&self.readers).await.map_err(failed(DOING))?;
        let ids =
            |row| Ok((rows::org_id(row, "org_id")?, rows::invitation_id(row, "invitation_id")?));
        row.as_ref().map(ids).transpose()
    }

    async fn change_organization(
        &self,
        org_id: OrgId,
        by: UserId,
        command: OrgCommand,
        change: &ChangeNote,
    ) -> Result<Roster, Error> {
        let change = change.clone();
        let work = move |writing: &Writing<'_>| change_in(writing, org_id, by, &command, &change);
        self.writer.write(CHANGING, work).await
    }

    async fn access_log(
        &self,
        org_id: OrgId,
        filter: EntryFilter,
        limit: u32,
    ) -> Result<AccessPage, Fault> {
        read_log(self, Some(org_id), filter, limit).await
    }
}

/// A part of the access log of an organization, or of all.
pub(super) async fn read_log(
    store: &Sqlite,
    org_id: Option<OrgId>,
    filter: EntryFilter,
    limit: u32,
) -> Result<AccessPage, Fault> {
    const DOING: &str = "reading an access log";
    let mut connection = store.readers.acquire().await.map_err(failed(DOING))?;
    let after = filter.after.unwrap_or(0);
    let part = |what: &str| {
        let mut query = QueryBuilder::<Driver>::new("SELECT ");
        query.push(what).push(" FROM access_log WHERE seq > ").push_bind(after);
        if let Some(org_id) = org_id {
            query.push(" AND org_id = ").push_bind(org_id.as_bytes().to_vec());
        }
        query
    };
    // The last entry that is looked at; none if the log ends before.
    let mut until = None;
    if filter.actor.is_some() || filter.action.is_some() {
        let mut query = part("seq");
        query.push(" ORDER BY seq LIMIT 1 OFFSET ").push_bind(ENTRIES_LOOKED_AT_MAX - 1);
        let row = query.build().fetch_optional(&mut *connection).await.map_err(failed(DOING))?;
        until = row.map(|row| row.int("seq")).transpose()?;
    }
    let mut query = part("*");
    if let Some(until) = until {
        query.push(" AND seq <= ").push_bind(until);
    }
    if let Some(actor) = filter.actor {
        query.push(" AND actor = ").push_bind(actor.into_bytes().to_vec());
    }
    if let Some(action) = filter.action {
        query.push(" AND action = ").push_bind(action.as_str());
    }
    // One more than is shown says whether there is more.
    query.push(" ORDER BY seq LIMIT ").push_bind(i64::from(limit) + 1);
    let found = query.build().fetch_all(&mut *connection).await.map_err(failed(DOING))?;
    let mut items = found.iter().map(access_entry).collect::<Result<Vec<_>, _>>()?;
    let is_full = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = if is_full { items.last().map(|last| last.seq) } else { until };
    Ok(AccessPage { items, next })
}
