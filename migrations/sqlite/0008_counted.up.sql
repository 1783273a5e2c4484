-- Live bookings are listed by buyer only where an event had a cap from its creation on (`counts_buyers`): an index
-- whose keys begin with a buyer has a page of its own for nearly every hold of a sale. `counted` says so of a
-- booking. Both are true of all that are older than they.
ALTER TABLE events ADD COLUMN counts_buyers INTEGER NOT NULL DEFAULT 1;
ALTER TABLE bookings ADD COLUMN counted INTEGER NOT NULL DEFAULT 1;
CREATE INDEX bookings_counted_by_buyer ON bookings (event_id, user_id)
    WHERE counted = 1 AND status IN ('HOLD', 'CONFIRMED');
DROP INDEX bookings_live_by_buyer;
