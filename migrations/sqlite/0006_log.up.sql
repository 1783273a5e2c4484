-- The log becomes what everything is fed from that leaves the house: it also has rows of events, and says
-- who acted, which version of a booking came of a step, and what a section or an event is from then on.
--
-- It is read in the order of its numbers. Kinds are checked by those who read them, so that another one needs no
-- migration. `entries` is for rows that hold several steps of a section; nothing writes them yet.
CREATE TABLE new_booking_log (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    at              INTEGER NOT NULL,
    kind            TEXT NOT NULL,
    section_id      BLOB,
    event_id        BLOB,
    booking_id      BLOB,
    booking_version INTEGER,
    capacity        INTEGER NOT NULL,
    held            INTEGER NOT NULL,
    sold            INTEGER NOT NULL,
    blocked         INTEGER NOT NULL,
    version         INTEGER NOT NULL,
    expires_at      INTEGER,
    reason          TEXT,
    detail          TEXT,
    actor_kind      INTEGER,
    actor           BLOB,
    entries         BLOB,
    CONSTRAINT booking_log_of_one CHECK ((section_id IS NULL) <> (event_id IS NULL))
) STRICT;

-- The first row of a step has the version that the booking had after it: every step makes it one more. The rows of
-- a step have one time, kind and end, and each section once.
CREATE TABLE versions (seq INTEGER PRIMARY KEY, version INTEGER NOT NULL) STRICT;
INSERT INTO versions
    WITH of_sections AS (
        SELECT seq, booking_id, at, kind, expires_at, row_number() OVER (
            PARTITION BY booking_id, at, kind, expires_at, section_id ORDER BY seq) AS turn
        FROM booking_log WHERE booking_id IS NOT NULL
    ), steps AS (
        SELECT booking_id, MIN(seq) AS seq FROM of_sections
        GROUP BY booking_id, at, kind, expires_at, turn
    )
    SELECT seq, row_number() OVER (PARTITION BY booking_id ORDER BY seq) FROM steps ORDER BY seq;
INSERT INTO new_booking_log (seq, at, kind, section_id, booking_id, booking_version, capacity, held, sold,
        blocked, version, expires_at, reason)
    SELECT l.seq, l.at, l.kind, l.section_id, l.booking_id, v.version, l.capacity, l.held, l.sold,
        l.blocked, l.version, l.expires_at, l.reason
    FROM booking_log l LEFT JOIN versions v ON v.seq = l.seq ORDER BY l.seq;
DROP TABLE versions;
DROP TABLE booking_log;
ALTER TABLE new_booking_log RENAME TO booking_log;
-- For what a booking had before it was changed.
CREATE INDEX booking_log_changes ON booking_log (booking_id, booking_version)
    WHERE kind = 'changed' AND booking_version IS NOT NULL;

-- A timeline begins when numbers of the log may be given a second time: here at each start, since the file may be
-- a copy. `after` is the last number before it.
CREATE TABLE log_timelines (
    timeline INTEGER NOT NULL PRIMARY KEY,
    after    INTEGER NOT NULL
) STRICT;
