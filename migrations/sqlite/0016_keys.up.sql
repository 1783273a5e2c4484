-- Keys of organizations, by which a shop's server acts without a person. Of a secret only the hash is kept; a rotation
-- leaves the former one good until `previous_until`. Lists are JSON: the words of `scopes`; `events` and `networks`,
-- where none means all.
CREATE TABLE api_keys (
    key_id         BLOB NOT NULL PRIMARY KEY,
    org_id         BLOB NOT NULL,
    name           TEXT NOT NULL,
    scopes         TEXT NOT NULL,
    events         TEXT,
    networks       TEXT,
    rate           INTEGER,
    hash           BLOB NOT NULL,
    hint           TEXT NOT NULL,
    previous_hash  BLOB,
    previous_until INTEGER,
    created_by     BLOB NOT NULL,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER,
    revoked_at     INTEGER,
    last_used_at   INTEGER,
    version        INTEGER NOT NULL,
    CONSTRAINT api_keys_former_secret_ends CHECK ((previous_hash IS NULL) = (previous_until IS NULL))
) STRICT;
CREATE INDEX api_keys_by_org ON api_keys (org_id, key_id);
CREATE UNIQUE INDEX api_keys_by_hash ON api_keys (hash);
CREATE UNIQUE INDEX api_keys_by_former_hash ON api_keys (previous_hash) WHERE previous_hash IS NOT NULL;
CREATE INDEX api_keys_by_end ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX api_keys_by_expiry ON api_keys (expires_at) WHERE expires_at IS NOT NULL;
