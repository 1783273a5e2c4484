-- Lost: which live bookings are listed by buyer; all are again.
ALTER TABLE bookings DROP COLUMN counted;
ALTER TABLE events DROP COLUMN counts_buyers;
