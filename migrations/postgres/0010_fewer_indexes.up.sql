-- Live bookings are listed by buyer in the index of `counted` ones.
DROP INDEX IF EXISTS bookings_live_by_buyer;
