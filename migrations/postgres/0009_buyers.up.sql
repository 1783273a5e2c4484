-- By itself, for bookings are not written to while it is built. Not CONCURRENTLY: instances that wait for their turn to
-- migrate have a snapshot, which that would wait for.
CREATE INDEX bookings_counted_by_buyer ON bookings (event_id, user_id)
    WHERE counted AND status IN ('HOLD', 'CONFIRMED');
