-- The bookings of events are listed behind the sale, as those of buyers are, in the same segments: with many events on
-- sale, nearly every hold of a batch had another page of an index by event.
DROP TABLE buyer_index;
DROP TABLE buyer_segments;
CREATE TABLE booking_lists (
    segment    INTEGER NOT NULL,
    -- A buyer or an event.
    list_id    BLOB NOT NULL,
    booking_id BLOB NOT NULL,
    PRIMARY KEY (segment, list_id, booking_id)
) WITHOUT ROWID, STRICT;
-- Each booking of a segment has two entries.
CREATE TABLE list_segments (
    segment  INTEGER NOT NULL PRIMARY KEY,
    bookings INTEGER NOT NULL,
    through  INTEGER NOT NULL
) STRICT;
INSERT INTO booking_lists (segment, list_id, booking_id)
    SELECT 1, user_id AS list_id, booking_id FROM bookings
    UNION ALL SELECT 1, event_id, booking_id FROM bookings ORDER BY list_id, booking_id;
INSERT INTO list_segments (segment, bookings, through)
    SELECT 1, COUNT(*), (SELECT COALESCE(MAX(seq), 0) FROM booking_log) FROM bookings HAVING COUNT(*) > 0;
DROP INDEX bookings_by_event;

-- The index of expiry in the order in which holds end, so that those of a batch stand side by side, however many
-- sections they are of. By section they are found in memory.
CREATE TABLE holds_by_end (
    expires_at INTEGER NOT NULL,
    section_id BLOB NOT NULL,
    booking_id BLOB NOT NULL,
    seats      INTEGER NOT NULL,
    PRIMARY KEY (expires_at, section_id, booking_id)
) WITHOUT ROWID, STRICT;
INSERT INTO holds_by_end (expires_at, section_id, booking_id, seats)
    SELECT expires_at, section_id, booking_id, seats FROM holds ORDER BY expires_at, section_id, booking_id;
DROP TABLE holds;
ALTER TABLE holds_by_end RENAME TO holds;
