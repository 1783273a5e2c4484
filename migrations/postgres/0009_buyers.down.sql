-- Lost: an index of bookings by buyer, which is written with each hold again.
DROP INDEX IF EXISTS bookings_counted_by_buyer;
