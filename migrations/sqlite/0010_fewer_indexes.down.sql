-- Lost: nothing but time: an index is written again.
CREATE INDEX bookings_by_user ON bookings (user_id, booking_id);
