//! Organizations as they are stored: how their rows are locked, read and written.

use crate::postgres::columns::{Places, columns, run};
use crate::postgres::interrupt::Interrupt;
use crate::postgres::rows::{uuid, uuids};
use crate::postgres::write::{Sql, made};
use crate::rows::{
    Columns as _, access_entry, actor_kind, api_key, confined_text, invitation, member, ms,
    networks_text, noted_text, organization, scopes_text,
};
use crate::{AccessPage, ChangeNote, ENTRIES_LOOKED_AT_MAX, EntryFilter};
use engine::access::{
    AccessEntry, ApiKey, Invitation, Member, OrgChanges, OrgCommand, Organization, Roster,
};
use engine::{Fault, KeyId, OrgId, UserId};
use sqlx::postgres::PgConnection;
use sqlx::{Postgres as Driver, QueryBuilder};
use std::slice;

columns!(
    /// What is stored of an organization.
    ORGANIZATION of Organization {
        org_id uuid => |of| uuid(of.org_id),
        name text => |of| of.name.clone(),
        version bigint => |of| of.version,
        created_at bigint => |of| ms(of.created_at),
    }
);
columns!(
    /// What is stored of a member.
    MEMBER of Member {
        org_id uuid => |of| uuid(of.org_id),
        user_id uuid => |of| uuid(of.user_id),
        role text => |of| of.access.role.as_str(),
        events text => |of| confined_text(&of.access.events),
        added_by uuid => |of| uuid(of.added_by),
        created_at bigint => |of| of.created_at.unix_ms(),
    }
);
columns!(
    /// What is stored of an invitation.
    INVITATION of Invitation {
        invitation_id uuid => |of| uuid(of.invitation_id),
        org_id uuid => |of| uuid(of.org_id),
        email text => |of| of.email.clone(),
        email_folded text => |of| of.email_folded.clone(),
        role text => |of| of.access.role.as_str(),
        events text => |of| confined_text(&of.access.events),
        token_hash bytea => |of| of.token_hash.to_vec(),
        invited_by uuid => |of| uuid(of.invited_by),
        created_at bigint => |of| of.created_at.unix_ms(),
        expires_at bigint => |of| of.expires_at.unix_ms(),
        ended_at bigint => |of| ms(of.ended.map(|(at, _)| at)),
        ended text => |of| of.ended.map(|(_, how)| how.as_str()),
    }
);
columns!(
    /// What is stored of a key, but for when it was used.
    KEY of ApiKey {
        key_id uuid => |of| uuid(of.key_id),
        org_id uuid => |of| uuid(of.org_id),
        name text => |of| of.name.clone(),
        scopes text => |of| scopes_text(of.scope.can),
        events text => |of| confined_text(&of.scope.events),
        networks text => |of| networks_text(&of.scope),
        rate bigint => |of| of.scope.rate.map(i64::from),
        hash bytea => |of| of.secret.hash.to_vec(),
        hint text => |of| of.secret.hint.clone(),
        previous_hash bytea => |of| of.previous.map(|(hash, _)| hash.to_vec()),
        previous_until bigint => |of| ms(of.previous.map(|(_, until)| until)),
        created_by uuid => |of| uuid(of.created_by),
        created_at bigint => |of| of.created_at.unix_ms(),
        expires_at bigint => |of| ms(of.scope.expires_at),
        revoked_at bigint => |of| ms(of.revoked_at),
        version bigint => |of| of.version,
    }
);
columns!(
    /// An entry of the access log, with the change that it is of; its number is given by the database.
    ENTRY of (AccessEntry, ChangeNote) {
        change_id uuid => |(_, change)| change.change_id,
        at bigint => |(entry, _)| entry.at.unix_ms(),
        org_id uuid => |(entry, _)| uuid(entry.org_id),
        actor_kind bigint => |(entry, _)| actor_kind(Some(entry.actor)),
        actor uuid => |(entry, _)| entry.actor.uuid(),
        action text => |(entry, _)| entry.action.as_str(),
        target uuid => |(entry, _)| entry.target,
        detail text => |(entry, _)| noted_text(entry),
        request_id text => |(_, change)| change.request_id.clone(),
    }
);

/// Writes an organization, new or changed.
static PUT_ORGANIZATION: Sql = Sql::new(|| {
    let insert = ORGANIZATION.insert("organizations", &[], &mut Places::default());
    made(format!(
        "{insert} ON CONFLICT (org_id) DO UPDATE
            SET name = excluded.name, version = excluded.version"
    ))
});

/// Writes members, new or changed.
static PUT_MEMBERS: Sql = Sql::new(|| {
    let insert = MEMBER.insert("members", &[], &mut Places::default());
    made(format!(
        "{insert} ON CONFLICT (org_id, user_id) DO UPDATE
            SET role = excluded.role, events = excluded.events"
    ))
});

/// Writes an invitation, new or changed.
static PUT_INVITATION: Sql = Sql::new(|| {
    let insert = INVITATION.insert("invitations", &[], &mut Places::default());
    made(format!(
        "{insert} ON CONFLICT (invitation_id) DO UPDATE
            SET ended_at = excluded.ended_at, ended = excluded.ended"
    ))
});

/// Writes keys, new or changed.
static PUT_KEYS: Sql = Sql::new(|| {
    let insert = KEY.insert("api_keys", &[], &mut Places::default());
    let set = |(name, _): &(&str, &str)| format!("{name} = excluded.{name}");
    let sets: Vec<_> = KEY.list.iter().skip(1).map(set).collect();
    made(format!("{insert} ON CONFLICT (key_id) DO UPDATE SET {}", sets.join(", ")))
});

static INSERT_ENTRY: Sql =
    Sql::new(|| made(ENTRY.insert("access_log", &[], &mut Places::default())));

/// Locks an organization. The personal one of `by` is written first if it has no row.
pub(in crate::postgres) async fn lock(
    session: &mut PgConnection,
    org_id: OrgId,
    by: UserId,
) -> Result<Option<Organization>, Interrupt> {
    // ON CONFLICT waits for a concurrent insertion of the same row.
    const ADD: &str = "INSERT INTO organizations (org_id, version, created_at)
        VALUES ($1, $2, now_ms()) ON CONFLICT (org_id) DO NOTHING";
    if org_id.owner() == Some(by) {
        let version = Organization::unwritten(org_id).version;
        sqlx::query(ADD).bind(uuid(org_id)).bind(version).execute(&mut *session).await?;
    }
    lock_there(session, org_id).await
}

/// Locks an organization that has a row.
pub(in crate::postgres) async fn lock_there(
    session: &mut PgConnection,
    org_id: OrgId,
) -> Result<Option<Organization>, Interrupt> {
    const LOCK: &str = "SELECT * FROM organizations WHERE org_id = $1 FOR NO KEY UPDATE";
    let row = sqlx::query(LOCK).bind(uuid(org_id)).fetch_optional(session).await?;
    Ok(row.as_ref().map(organization).transpose()?)
}

/// Locks in how many organizations a user is, which has no row of its own: one joins at a time.
pub(in crate::postgres) async fn lock_joining(
    session: &mut PgConnection,
    user_id: UserId,
) -> Result<(), Interrupt> {
    const SQL: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))";
    sqlx::query(SQL).bind(uuid(user_id)).execute(session).await?;
    Ok(())
}

/// In how many organizations a user is.
pub(super) async fn memberships(
    session: &mut PgConnection,
    user_id: UserId,
) -> Result<usize, Interrupt> {
    const SQL: &str = "SELECT org_id FROM members WHERE user_id = $1";
    Ok(sqlx::query(SQL).bind(uuid(user_id)).fetch_all(session).await?.len())
}

/// Whether an earlier attempt at this change was committed.
pub(in crate::postgres) async fn is_made(
    session: &mut PgConnection,
    change: &ChangeNote,
) -> Result<bool, Interrupt> {
    const SQL: &str = "SELECT 1 FROM access_log WHERE change_id = $1";
    Ok(sqlx::query(SQL).bind(change.change_id).fetch_optional(session).await?.is_some())
}

/// An organization with its members and the invitations that have not ended.
pub(super) async fn find(
    session: &mut PgConnection,
    org_id: OrgId,
) -> Result<Option<Roster>, Interrupt> {
    const SQL: &str = "SELECT * FROM organizations WHERE org_id = $1";
    let row = sqlx::query(SQL).bind(uuid(org_id)).fetch_optional(&mut *session).await?;
    match row.as_ref().map(organization).transpose()? {
        Some(organization) => load(session, organization, None).await.map(Some),
        None => Ok(Roster::unwritten(org_id)),
    }
}

/// The members of an organization.
pub(super) async fn members_of(
    session: &mut PgConnection,
    org_id: OrgId,
) -> Result<Vec<Member>, Interrupt> {
    const SQL: &str = "SELECT * FROM members WHERE org_id = $1 ORDER BY user_id";
    let found = sqlx::query(SQL).bind(uuid(org_id)).fetch_all(session).await?;
    Ok(found.iter().map(member).collect::<Result<_, _>>()?)
}

/// The rest of an organization, with what this command needs to be decided.
pub(super) async fn load(
    session: &mut PgConnection,
    organization: Organization,
    command: Option<&OrgCommand>,
) -> Result<Roster, Interrupt> {
    // Those that can be accepted or are for this address, and one by its id.
    const INVITATIONS: &str = "SELECT * FROM invitations WHERE org_id = $1 AND ended_at IS NULL
            AND (expires_at > now_ms() OR email_folded = $3)
        UNION SELECT * FROM invitations WHERE invitation_id = $2 AND org_id = $1
        ORDER BY invitation_id";
    let org_id = organization.org_id;
    let mut joined = 0;
    if let Some(user_id) = command.and_then(OrgCommand::joins) {
        lock_joining(session, user_id).await?;
        joined = memberships(session, user_id).await?;
    }
    let named = command.and_then(OrgCommand::invitation_id).map(uuid);
    let address = command.and_then(OrgCommand::address).map(str::to_owned);
    let query = sqlx::query(INVITATIONS).bind(uuid(org_id)).bind(named).bind(address);
    let invitations = query.fetch_all(&mut *session).await?;
    let invitations = invitations.iter().map(invitation).collect::<Result<_, Fault>>()?;
    let members = members_of(&mut *session, org_id).await?;
    let keys = match command {
        Some(command) if command.concerns_keys() => {
            keys_of(session, org_id, command.key_id()).await?
        }
        _ => Vec::new(),
    };
    Ok(Roster { organization, members, invitations, keys, joined })
}

/// The keys of an organization that have not ended, and one by its id.
async fn keys_of(
    session: &mut PgConnection,
    org_id: OrgId,
    named: Option<KeyId>,
) -> Result<Vec<ApiKey>, Interrupt> {
    const SQL: &str = "SELECT * FROM api_keys WHERE org_id = $1 AND revoked_at IS NULL
            AND (expires_at IS NULL OR expires_at > now_ms())
        UNION SELECT * FROM api_keys WHERE key_id = $2 AND org_id = $1 ORDER BY key_id";
    let query = sqlx::query(SQL).bind(uuid(org_id)).bind(named.map(uuid));
    let found = query.fetch_all(session).await?;
    Ok(found.iter().map(|row| Ok(api_key(row)?.key)).collect::<Result<_, Fault>>()?)
}

/// The rest of an organization, with all of its keys that have not ended.
pub(in crate::postgres) async fn load_whole(
    session: &mut PgConnection,
    organization: Organization,
) -> Result<Roster, Interrupt> {
    let keys = keys_of(&mut *session, organization.org_id, None).await?;
    Ok(Roster { keys, ..load(session, organization, None).await? })
}

/// Writes a change; without an entry, there is none.
pub(in crate::postgres) async fn write(
    session: &mut PgConnection,
    changes: &OrgChanges,
    change: &ChangeNote,
) -> Result<(), Interrupt> {
    const REMOVE: &str = "DELETE FROM members WHERE org_id = $1 AND user_id = ANY($2)";
    let Some(entry) = changes.entries.first() else { return Ok(()) };
    let organization = changes.organization.as_slice();
    run(session, *PUT_ORGANIZATION, &ORGANIZATION, organization).await?;
    run(session, *PUT_MEMBERS, &MEMBER, &changes.members).await?;
    if !changes.removed.is_empty() {
        let query = sqlx::query(REMOVE).bind(uuid(entry.org_id)).bind(uuids(&changes.removed));
        query.execute(&mut *session).await?;
    }
    // In their order: invitations_open allows one for an address that has not ended.
    for invitation in &changes.invitations {
        run(session, *PUT_INVITATION, &INVITATION, slice::from_ref(invitation)).await?;
    }
    run(session, *PUT_KEYS, &KEY, &changes.keys).await?;
    let noted = |(place, entry): (usize, &AccessEntry)| (entry.clone(), change.of_entry(place));
    let entries: Vec<_> = changes.entries.iter().enumerate().map(noted).collect();
    append_entries(session, &entries).await
}

/// Adds entries to the access logs of their organizations, which are locked.
pub(in crate::postgres) async fn append_entries(
    session: &mut PgConnection,
    entries: &[(AccessEntry, ChangeNote)],
) -> Result<(), Interrupt> {
    run(session, *INSERT_ENTRY, &ENTRY, entries).await.map(drop)
}

/// Whose entries of the access log are read.
#[derive(Clone, Copy)]
pub(in crate::postgres) enum Part {
    /// Those of an organization.
    Of(OrgId),
    /// Those of all up to this number, and those of more than [`ENDED_MS`] ago.
    Settled(i64),
}

/// No transaction that changes an organization lasts as long.
const ENDED_MS: i64 = 60_000;

impl Part {
    fn select(self, what: &str, after: i64) -> QueryBuilder<Driver> {
        let mut query = QueryBuilder::new("SELECT ");
        query.push(what).push(" FROM access_log WHERE seq > ").push_bind(after);
        match self {
            Self::Of(org_id) => query.push(" AND org_id = ").push_bind(uuid(org_id)),
            Self::Settled(until) => {
                query.push(" AND (seq <= ").push_bind(until);
                query.push(" OR at < now_ms() - ").push_bind(ENDED_MS).push(")")
            }
        };
        query
    }
}

/// A part of the access log.
pub(in crate::postgres) async fn read_log(
    session: &mut PgConnection,
    part: Part,
    filter: EntryFilter,
    limit: u32,
) -> Result<AccessPage, Interrupt> {
    let after = filter.after.unwrap_or(0);
    // The last entry that is looked at; none if the log ends before.
    let mut until = None;
    if filter.actor.is_some() || filter.action.is_some() {
        let mut query = part.select("seq", after);
        query.push(" ORDER BY seq LIMIT 1 OFFSET ");
        query.push_bind(i64::from(ENTRIES_LOOKED_AT_MAX - 1));
        let row = query.build().fetch_optional(&mut *session).await?;
        until = row.map(|row| row.int("seq")).transpose()?;
    }
    let mut query = part.select("*", after);
    if let Some(until) = until {
        query.push(" AND seq <= ").push_bind(until);
    }
    if let Some(actor) = filter.actor {
        query.push(" AND actor = ").push_bind(actor);
    }
    if let Some(action) = filter.action {
        query.push(" AND action = ").push_bind(action.as_str());
    }
    // One more than is shown says whether there is more.
    query.push(" ORDER BY seq LIMIT ").push_bind(i64::from(limit) + 1);
    let found = query.build().fetch_all(session).await?;
    let mut items = found.iter().map(access_entry).collect::<Result<Vec<_>, _>>()?;
    let is_full = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = if is_full { items.last().map(|last| last.seq) } else { until };
    Ok(AccessPage { items, next })
}
