-- Ids grow in order of creation; instants are milliseconds since 1970; money is in minor units.

-- The one clock. Not now(): that is the start of the transaction, before it waited for its locks.
CREATE FUNCTION now_ms() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL SAFE
    AS $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

CREATE TABLE users (
    user_id       uuid NOT NULL PRIMARY KEY,
    email         text NOT NULL,
    email_folded  text NOT NULL CONSTRAINT users_email_unique UNIQUE,
    name          text,
    password_hash text NOT NULL,
    created_at    bigint NOT NULL
);

CREATE TABLE refresh_tokens (
    token_hash bytea NOT NULL PRIMARY KEY,
    family_id  uuid NOT NULL,
    user_id    uuid NOT NULL,
    expires_at bigint NOT NULL,
    spent_at   bigint
);
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);

CREATE TABLE events (
    event_id              uuid NOT NULL PRIMARY KEY,
    organizer_id          uuid NOT NULL,
    title                 text NOT NULL,
    title_folded          text NOT NULL,
    description           text,
    venue                 text,
    event_date            text NOT NULL,
    timezone              text NOT NULL,
    starts_at             bigint NOT NULL,
    over_at               bigint NOT NULL,
    status                text NOT NULL CONSTRAINT events_status_known
                          CHECK (status IN ('draft', 'on_sale', 'closed', 'cancelled')),
    sales_start           bigint,
    sales_end             bigint,
    max_seats_per_booking bigint,
    max_seats_per_user    bigint,
    hold_ttl_ms           bigint,
    cancellable_until     bigint,
    -- Set when the event is called off, cleared when no live booking is left.
    cancelling            boolean NOT NULL DEFAULT false,
    version               bigint NOT NULL,
    created_at            bigint NOT NULL,
    updated_at            bigint NOT NULL
);
CREATE INDEX events_by_organizer ON events (organizer_id, event_id);
CREATE INDEX events_cancelling ON events (event_id) WHERE cancelling;

CREATE TABLE sections (
    section_id  uuid NOT NULL PRIMARY KEY,
    event_id    uuid NOT NULL REFERENCES events (event_id),
    position    bigint NOT NULL,
    name        text NOT NULL,
    name_folded text NOT NULL,
    price_minor bigint NOT NULL CONSTRAINT sections_price_not_negative CHECK (price_minor >= 0),
    currency    text NOT NULL,
    CONSTRAINT sections_name_unique UNIQUE (event_id, name_folded),
    CONSTRAINT sections_position_unique UNIQUE (event_id, position)
);

-- The inventory row is the lock of everything in its section. It is rewritten by every batch, so its
-- pages are kept half empty: the new version of a row finds room beside the old one.
CREATE TABLE inventory (
    section_id  uuid NOT NULL PRIMARY KEY REFERENCES sections (section_id),
    event_id    uuid NOT NULL,
    capacity    bigint NOT NULL,
    held        bigint NOT NULL,
    sold        bigint NOT NULL,
    blocked     bigint NOT NULL,
    version     bigint NOT NULL,
    next_expiry bigint,
    -- I1
    CONSTRAINT inventory_within_capacity
        CHECK (held >= 0 AND sold >= 0 AND blocked >= 0 AND held + sold + blocked <= capacity)
) WITH (fillfactor = 50);
CREATE INDEX inventory_by_event ON inventory (event_id);
CREATE INDEX inventory_next_expiry ON inventory (next_expiry) WHERE next_expiry IS NOT NULL;

CREATE TABLE bookings (
    booking_id     uuid NOT NULL PRIMARY KEY,
    user_id        uuid NOT NULL,
    event_id       uuid NOT NULL,
    -- [{section_id, name, seats, numbers?, price, currency}], as they were when they were held.
    items          text NOT NULL,
    -- The sections of the items.
    sections       uuid[] NOT NULL,
    -- The sum over the items.
    seats          bigint NOT NULL CONSTRAINT bookings_seats_positive CHECK (seats > 0),
    status         text NOT NULL CONSTRAINT bookings_status_known
                   CHECK (status IN ('HOLD', 'CONFIRMED', 'EXPIRED', 'CANCELLED')),
    expires_at     bigint NOT NULL,
    max_expires_at bigint NOT NULL,
    confirmed_at   bigint,
    cancelled_at   bigint,
    created_at     bigint NOT NULL,
    updated_at     bigint NOT NULL,
    version        bigint NOT NULL,
    -- I5
    CONSTRAINT bookings_confirmed_before_expiry
        CHECK (confirmed_at IS NULL OR confirmed_at < expires_at)
);
CREATE INDEX bookings_by_user ON bookings (user_id, booking_id);
CREATE INDEX bookings_by_event ON bookings (event_id, booking_id);
CREATE INDEX bookings_live_by_buyer ON bookings (event_id, user_id)
    WHERE status IN ('HOLD', 'CONFIRMED');

-- The index of expiry: the live holds, once for each of their sections.
CREATE TABLE holds (
    section_id uuid NOT NULL,
    expires_at bigint NOT NULL,
    booking_id uuid NOT NULL,
    seats      bigint NOT NULL,
    PRIMARY KEY (section_id, expires_at, booking_id)
);

-- The locks of buyers at events with a cap: two batches may hold seats of two sections for one buyer.
CREATE TABLE buyers (
    event_id uuid NOT NULL,
    user_id  uuid NOT NULL,
    PRIMARY KEY (event_id, user_id)
);

-- I6: one key of a user names at most one hold, for as long as its booking is kept.
CREATE TABLE hold_keys (
    user_id     uuid NOT NULL,
    key         text NOT NULL COLLATE "C",
    booking_id  uuid NOT NULL,
    fingerprint bigint NOT NULL,
    CONSTRAINT hold_keys_unique PRIMARY KEY (user_id, key)
);

-- The same for the creation of events and sections, for a day.
CREATE TABLE creation_keys (
    user_id     uuid NOT NULL,
    operation   text NOT NULL,
    key         text NOT NULL COLLATE "C",
    resource_id uuid NOT NULL,
    fingerprint bigint NOT NULL,
    expires_at  bigint NOT NULL,
    CONSTRAINT creation_keys_unique PRIMARY KEY (user_id, operation, key)
);
CREATE INDEX creation_keys_by_expiry ON creation_keys (expires_at);

-- I7: a row exists exactly when its change committed. I4: folding them gives the inventory.
-- A later seq can be committed first, so readers go by (transaction, seq) and stop where the oldest
-- transaction under way begins.
CREATE TABLE booking_log (
    transaction bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    seq         bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    at          bigint NOT NULL,
    kind        text NOT NULL CONSTRAINT booking_log_kind_known
                CHECK (kind IN ('opened', 'held', 'confirmed', 'expired', 'released', 'cancelled',
                                'extended', 'resized', 'blocked')),
    section_id  uuid NOT NULL,
    booking_id  uuid,
    capacity    bigint NOT NULL,
    held        bigint NOT NULL,
    sold        bigint NOT NULL,
    blocked     bigint NOT NULL,
    version     bigint NOT NULL,
    expires_at  bigint,
    CONSTRAINT booking_log_unique PRIMARY KEY (transaction, seq)
);
