-- Events and series may belong to a team, and a personal organization may have members. The personal organization of
-- a user has the id of its user and needs no row, so nothing is filled in: events.organizer_id and series.organizer_id
-- name an organization from now on, and are right as they stand.
CREATE TABLE organizations (
    org_id     BLOB NOT NULL PRIMARY KEY,
    -- A personal one may have none.
    name       TEXT,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
-- `events` lists the only events at which a member may act, as JSON; none: all.
CREATE TABLE members (
    org_id     BLOB NOT NULL,
    user_id    BLOB NOT NULL,
    role       TEXT NOT NULL,
    events     TEXT,
    added_by   BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org_id, user_id)
) WITHOUT ROWID, STRICT;
CREATE INDEX members_by_user ON members (user_id, org_id);
CREATE TABLE invitations (
    invitation_id BLOB NOT NULL PRIMARY KEY,
    org_id        BLOB NOT NULL,
    email         TEXT NOT NULL,
    email_folded  TEXT NOT NULL,
    role          TEXT NOT NULL,
    events        TEXT,
    token_hash    BLOB NOT NULL,
    invited_by    BLOB NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    ended_at      INTEGER,
    ended         TEXT,
    CONSTRAINT invitations_end_is_told CHECK ((ended_at IS NULL) = (ended IS NULL))
) STRICT;
CREATE UNIQUE INDEX invitations_by_token ON invitations (token_hash);
-- One for each address, of those that have not ended.
CREATE UNIQUE INDEX invitations_open ON invitations (org_id, email_folded) WHERE ended_at IS NULL;
CREATE INDEX invitations_by_end ON invitations (expires_at);
-- Who changed what of an organization, in its order: an entry is written under the lock of its organization. `change_id`
-- names the attempt, so that one whose answer was lost can be looked for.
CREATE TABLE access_log (
    seq        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    change_id  BLOB NOT NULL,
    at         INTEGER NOT NULL,
    org_id     BLOB NOT NULL,
    actor_kind INTEGER NOT NULL,
    actor      BLOB,
    action     TEXT NOT NULL,
    target     BLOB,
    detail     TEXT,
    request_id TEXT
) STRICT;
CREATE INDEX access_log_by_org ON access_log (org_id, seq);
CREATE UNIQUE INDEX access_log_by_change ON access_log (change_id);
