-- Lost: which live bookings are listed by buyer; all are again.
CREATE INDEX bookings_live_by_buyer ON bookings (event_id, user_id) WHERE status IN ('HOLD', 'CONFIRMED');
DROP INDEX bookings_counted_by_buyer;
ALTER TABLE bookings DROP COLUMN counted;
ALTER TABLE events DROP COLUMN counts_buyers;
