-- Keys of organizations, by which a shop's server acts without a person. Of a secret only the hash is kept; a rotation
-- leaves the former one good until `previous_until`. Lists are JSON: the words of `scopes`; `events` and `networks`,
-- where none means all.
CREATE TABLE api_keys (
    key_id         uuid NOT NULL PRIMARY KEY,
    org_id         uuid NOT NULL,
    name           text NOT NULL,
    scopes         text NOT NULL,
    events         text,
    networks       text,
    rate           bigint,
    hash           bytea NOT NULL,
    hint           text NOT NULL,
    previous_hash  bytea,
    previous_until bigint,
    created_by     uuid NOT NULL,
    created_at     bigint NOT NULL,
    expires_at     bigint,
    revoked_at     bigint,
    last_used_at   bigint,
    version        bigint NOT NULL,
    CONSTRAINT api_keys_former_secret_ends CHECK ((previous_hash IS NULL) = (previous_until IS NULL))
);
CREATE INDEX api_keys_by_org ON api_keys (org_id, key_id);
CREATE UNIQUE INDEX api_keys_by_hash ON api_keys (hash);
CREATE UNIQUE INDEX api_keys_by_former_hash ON api_keys (previous_hash) WHERE previous_hash IS NOT NULL;
CREATE INDEX api_keys_by_end ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX api_keys_by_expiry ON api_keys (expires_at) WHERE expires_at IS NOT NULL;
