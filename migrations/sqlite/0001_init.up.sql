-- Ids are 16 bytes in order of creation; instants are milliseconds since 1970; money is in minor units.

CREATE TABLE users (
    user_id       BLOB NOT NULL PRIMARY KEY,
    email         TEXT NOT NULL,
    email_folded  TEXT NOT NULL CONSTRAINT users_email_unique UNIQUE,
    name          TEXT,
    password_hash TEXT NOT NULL,
    created_at    INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

CREATE TABLE refresh_tokens (
    token_hash BLOB NOT NULL PRIMARY KEY,
    family_id  BLOB NOT NULL,
    user_id    BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    spent_at   INTEGER
) WITHOUT ROWID, STRICT;
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);

CREATE TABLE events (
    event_id              BLOB NOT NULL PRIMARY KEY,
    organizer_id          BLOB NOT NULL,
    title                 TEXT NOT NULL,
    title_folded          TEXT NOT NULL,
    description           TEXT,
    venue                 TEXT,
    event_date            TEXT NOT NULL,
    timezone              TEXT NOT NULL,
    starts_at             INTEGER NOT NULL,
    over_at               INTEGER NOT NULL,
    status                TEXT NOT NULL CONSTRAINT events_status_known
                          CHECK (status IN ('draft', 'on_sale', 'closed', 'cancelled')),
    sales_start           INTEGER,
    sales_end             INTEGER,
    max_seats_per_booking INTEGER,
    max_seats_per_user    INTEGER,
    hold_ttl_ms           INTEGER,
    cancellable_until     INTEGER,
    -- Set when the event is called off, cleared when no live booking is left.
    cancelling            INTEGER NOT NULL DEFAULT 0,
    version               INTEGER NOT NULL,
    created_at            INTEGER NOT NULL,
    updated_at            INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX events_by_organizer ON events (organizer_id, event_id);
CREATE INDEX events_cancelling ON events (event_id) WHERE cancelling = 1;

CREATE TABLE sections (
    section_id  BLOB NOT NULL PRIMARY KEY,
    event_id    BLOB NOT NULL REFERENCES events (event_id),
    position    INTEGER NOT NULL,
    name        TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    price_minor INTEGER NOT NULL CONSTRAINT sections_price_not_negative CHECK (price_minor >= 0),
    currency    TEXT NOT NULL,
    CONSTRAINT sections_name_unique UNIQUE (event_id, name_folded),
    CONSTRAINT sections_position_unique UNIQUE (event_id, position)
) WITHOUT ROWID, STRICT;

-- The inventory row is the lock of everything in its section.
CREATE TABLE inventory (
    section_id  BLOB NOT NULL PRIMARY KEY REFERENCES sections (section_id),
    event_id    BLOB NOT NULL,
    capacity    INTEGER NOT NULL,
    held        INTEGER NOT NULL,
    sold        INTEGER NOT NULL,
    blocked     INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    next_expiry INTEGER,
    -- I1
    CONSTRAINT inventory_within_capacity
        CHECK (held >= 0 AND sold >= 0 AND blocked >= 0 AND held + sold + blocked <= capacity)
) WITHOUT ROWID, STRICT;
CREATE INDEX inventory_by_event ON inventory (event_id);
CREATE INDEX inventory_next_expiry ON inventory (next_expiry) WHERE next_expiry IS NOT NULL;

CREATE TABLE bookings (
    booking_id     BLOB NOT NULL PRIMARY KEY,
    user_id        BLOB NOT NULL,
    event_id       BLOB NOT NULL,
    -- [{section_id, name, seats, numbers?, price, currency}], as they were when they were held.
    items          TEXT NOT NULL,
    -- The sum over the items.
    seats          INTEGER NOT NULL CONSTRAINT bookings_seats_positive CHECK (seats > 0),
    status         TEXT NOT NULL CONSTRAINT bookings_status_known
                   CHECK (status IN ('HOLD', 'CONFIRMED', 'EXPIRED', 'CANCELLED')),
    expires_at     INTEGER NOT NULL,
    max_expires_at INTEGER NOT NULL,
    confirmed_at   INTEGER,
    cancelled_at   INTEGER,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    version        INTEGER NOT NULL,
    -- I5
    CONSTRAINT bookings_confirmed_before_expiry
        CHECK (confirmed_at IS NULL OR confirmed_at < expires_at)
) WITHOUT ROWID, STRICT;
CREATE INDEX bookings_by_user ON bookings (user_id, booking_id);
CREATE INDEX bookings_by_event ON bookings (event_id, booking_id);
CREATE INDEX bookings_live_by_buyer ON bookings (event_id, user_id)
    WHERE status IN ('HOLD', 'CONFIRMED');

-- The index of expiry: the live holds, once for each of their sections.
CREATE TABLE holds (
    section_id BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    booking_id BLOB NOT NULL,
    seats      INTEGER NOT NULL,
    PRIMARY KEY (section_id, expires_at, booking_id)
) WITHOUT ROWID, STRICT;

-- I6: one key of a user names at most one hold, for as long as its booking is kept.
CREATE TABLE hold_keys (
    user_id     BLOB NOT NULL,
    key         TEXT NOT NULL,
    booking_id  BLOB NOT NULL,
    fingerprint INTEGER NOT NULL,
    CONSTRAINT hold_keys_unique PRIMARY KEY (user_id, key)
) WITHOUT ROWID, STRICT;

-- The same for the creation of events and sections, for a day.
CREATE TABLE creation_keys (
    user_id     BLOB NOT NULL,
    operation   TEXT NOT NULL,
    key         TEXT NOT NULL,
    resource_id BLOB NOT NULL,
    fingerprint INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    CONSTRAINT creation_keys_unique PRIMARY KEY (user_id, operation, key)
) WITHOUT ROWID, STRICT;
CREATE INDEX creation_keys_by_expiry ON creation_keys (expires_at);

-- I7: a row exists exactly when its change committed. I4: folding them gives the inventory.
CREATE TABLE booking_log (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    kind       TEXT NOT NULL CONSTRAINT booking_log_kind_known
               CHECK (kind IN ('opened', 'held', 'confirmed', 'expired', 'released', 'cancelled',
                               'extended', 'resized', 'blocked')),
    section_id BLOB NOT NULL,
    booking_id BLOB,
    capacity   INTEGER NOT NULL,
    held       INTEGER NOT NULL,
    sold       INTEGER NOT NULL,
    blocked    INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;
