-- Lost: nothing but time: an index is written again.
CREATE INDEX bookings_live_by_buyer ON bookings (event_id, user_id)
    WHERE status IN ('HOLD', 'CONFIRMED');
