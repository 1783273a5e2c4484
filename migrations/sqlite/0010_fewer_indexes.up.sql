-- Lists of a buyer are read from the segments.
DROP INDEX bookings_by_user;
