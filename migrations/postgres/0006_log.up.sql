-- The log becomes what everything is fed from that leaves the house: it also has rows of events, and says
-- who acted, which version of a booking came of a step, and what a section or an event is from then on.
--
-- It is read in the order of its numbers. Kinds are checked by those who read them, so that another one needs no
-- migration. `entries` is for rows that hold several steps of a section; nothing writes them yet.
ALTER TABLE booking_log
    ALTER COLUMN section_id DROP NOT NULL,
    ADD COLUMN event_id uuid,
    ADD COLUMN booking_version bigint,
    ADD COLUMN detail text,
    ADD COLUMN actor_kind bigint,
    ADD COLUMN actor uuid,
    ADD COLUMN entries bytea,
    DROP CONSTRAINT booking_log_kind_known,
    ADD CONSTRAINT booking_log_of_one CHECK ((section_id IS NULL) <> (event_id IS NULL));

-- The first row of a step has the version that the booking had after it: every step makes it one more. The rows of
-- a step have one time, kind and end, and each section once.
WITH of_sections AS (
    SELECT seq, booking_id, at, kind, expires_at, row_number() OVER (
        PARTITION BY booking_id, at, kind, expires_at, section_id ORDER BY seq) AS turn
    FROM booking_log WHERE booking_id IS NOT NULL
), steps AS (
    SELECT booking_id, MIN(seq) AS seq FROM of_sections
    GROUP BY booking_id, at, kind, expires_at, turn
), versions AS (
    SELECT seq, row_number() OVER (PARTITION BY booking_id ORDER BY seq) AS version FROM steps
)
UPDATE booking_log SET booking_version = versions.version
    FROM versions WHERE versions.seq = booking_log.seq;

ALTER TABLE booking_log DROP CONSTRAINT booking_log_unique;
ALTER TABLE booking_log ADD CONSTRAINT booking_log_unique PRIMARY KEY (seq);
-- For what a booking had before it was changed.
CREATE INDEX booking_log_changes ON booking_log (booking_id, booking_version)
    WHERE kind = 'changed' AND booking_version IS NOT NULL;

-- A timeline begins when numbers of the log may be given a second time: in a copy of the database, after a
-- failover. `after` is the last number before it.
CREATE TABLE log_timelines (
    timeline bigint NOT NULL PRIMARY KEY,
    after    bigint NOT NULL
);
