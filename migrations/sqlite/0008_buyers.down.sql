-- Lost: no event and no booking. Indexes by buyer are written with each hold again.
CREATE INDEX bookings_by_user ON bookings (user_id, booking_id);
DROP TABLE buyer_segments;
DROP TABLE buyer_index;
DROP INDEX bookings_live_by_buyer;
ALTER TABLE bookings DROP COLUMN counted;
ALTER TABLE events DROP COLUMN counts_buyers;
CREATE INDEX bookings_live_by_buyer ON bookings (event_id, user_id) WHERE status IN ('HOLD', 'CONFIRMED');
