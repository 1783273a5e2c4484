-- The bookings of buyers, in segments that are each written once, in order, behind the sale. What was created after
-- the row `through` of the log is in no segment yet.
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
