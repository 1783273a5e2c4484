-- A hold writes no index of live bookings by buyer any more: its keys begin with a buyer, so nearly every hold of a
-- sale has a page of its own there.
--
-- Live bookings are listed by buyer only where an event had a cap from its creation on (`counts_buyers`). The column
-- `counted` says so of a booking; it is true of all that are older than it, and of those of older instances.
ALTER TABLE events ADD COLUMN counts_buyers boolean NOT NULL DEFAULT true;
UPDATE events SET counts_buyers = false WHERE max_seats_per_user IS NULL;
ALTER TABLE bookings ADD COLUMN counted boolean NOT NULL DEFAULT true;
DROP INDEX bookings_live_by_buyer;
CREATE INDEX bookings_live_by_buyer ON bookings (event_id, user_id)
    WHERE counted AND status IN ('HOLD', 'CONFIRMED');
