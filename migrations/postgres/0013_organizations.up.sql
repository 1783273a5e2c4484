-- Events and series may belong to a team, and a personal organization may have members. The personal organization of
-- a user has the id of its user and needs no row, so nothing is filled in: events.organizer_id and series.organizer_id
-- name an organization from now on, and are right as they stand.
CREATE TABLE organizations (
    org_id     uuid NOT NULL PRIMARY KEY,
    -- A personal one may have none.
    name       text,
    version    bigint NOT NULL,
    created_at bigint NOT NULL
);
-- `events` lists the only events at which a member may act, as JSON; none: all.
CREATE TABLE members (
    org_id     uuid NOT NULL,
    user_id    uuid NOT NULL,
    role       text NOT NULL,
    events     text,
    added_by   uuid NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX members_by_user ON members (user_id, org_id);
CREATE TABLE invitations (
    invitation_id uuid NOT NULL PRIMARY KEY,
    org_id        uuid NOT NULL,
    email         text NOT NULL,
    email_folded  text NOT NULL,
    role          text NOT NULL,
    events        text,
    token_hash    bytea NOT NULL,
    invited_by    uuid NOT NULL,
    created_at    bigint NOT NULL,
    expires_at    bigint NOT NULL,
    ended_at      bigint,
    ended         text,
    CONSTRAINT invitations_end_is_told CHECK ((ended_at IS NULL) = (ended IS NULL))
);
CREATE UNIQUE INDEX invitations_by_token ON invitations (token_hash);
-- One for each address, of those that have not ended.
CREATE UNIQUE INDEX invitations_open ON invitations (org_id, email_folded) WHERE ended_at IS NULL;
CREATE INDEX invitations_by_end ON invitations (expires_at);
-- Who changed what of an organization, in its order: an entry is written under the lock of its organization. `change_id`
-- names the attempt, so that one whose answer was lost can be looked for.
CREATE TABLE access_log (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    change_id  uuid NOT NULL,
    at         bigint NOT NULL,
    org_id     uuid NOT NULL,
    actor_kind bigint NOT NULL,
    actor      uuid,
    action     text NOT NULL,
    target     uuid,
    detail     text,
    request_id text
);
CREATE INDEX access_log_by_org ON access_log (org_id, seq);
CREATE UNIQUE INDEX access_log_by_change ON access_log (change_id);
