-- Lost: nothing that is stored.
CREATE INDEX bookings_by_event ON bookings (event_id, booking_id);
CREATE TABLE buyer_index (
    segment    INTEGER NOT NULL,
    user_id    BLOB NOT NULL,
    booking_id BLOB NOT NULL,
    PRIMARY KEY (segment, user_id, booking_id)
) WITHOUT ROWID, STRICT;
CREATE TABLE buyer_segments (
    segment  INTEGER NOT NULL PRIMARY KEY,
    bookings INTEGER NOT NULL,
    through  INTEGER NOT NULL
) STRICT;
INSERT INTO buyer_index (segment, user_id, booking_id)
    SELECT 1, user_id, booking_id FROM bookings ORDER BY user_id, booking_id;
INSERT INTO buyer_segments (segment, bookings, through)
    SELECT 1, COUNT(*), (SELECT COALESCE(MAX(seq), 0) FROM booking_log) FROM bookings HAVING COUNT(*) > 0;
DROP TABLE booking_lists;
DROP TABLE list_segments;
CREATE TABLE holds_by_section (
    section_id BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    booking_id BLOB NOT NULL,
    seats      INTEGER NOT NULL,
    PRIMARY KEY (section_id, expires_at, booking_id)
) WITHOUT ROWID, STRICT;
INSERT INTO holds_by_section (section_id, expires_at, booking_id, seats)
    SELECT section_id, expires_at, booking_id, seats FROM holds ORDER BY section_id, expires_at, booking_id;
DROP TABLE holds;
ALTER TABLE holds_by_section RENAME TO holds;
