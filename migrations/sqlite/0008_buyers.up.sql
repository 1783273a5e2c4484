-- A hold writes no index by buyer any more: an index whose keys begin with a buyer has a page of its own for nearly
-- every hold of a sale.
--
-- Live bookings are listed by buyer only where an event had a cap from its creation on (`counts_buyers`). The column
-- `counted` says so of a booking; it is true of all that are older than it.
ALTER TABLE events ADD COLUMN counts_buyers INTEGER NOT NULL DEFAULT 1;
UPDATE events SET counts_buyers = 0 WHERE max_seats_per_user IS NULL;
ALTER TABLE bookings ADD COLUMN counted INTEGER NOT NULL DEFAULT 1;
DROP INDEX bookings_live_by_buyer;
CREATE INDEX bookings_live_by_buyer ON bookings (event_id, user_id)
    WHERE counted = 1 AND status IN ('HOLD', 'CONFIRMED');

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
DROP INDEX bookings_by_user;
