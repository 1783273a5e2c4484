-- Lost: everything: users, events, bookings and the log.
DROP FUNCTION now_ms();
DROP TABLE booking_log;
DROP TABLE creation_keys;
DROP TABLE hold_keys;
DROP TABLE buyers;
DROP TABLE holds;
DROP TABLE bookings;
DROP TABLE inventory;
DROP TABLE sections;
DROP TABLE events;
DROP TABLE refresh_tokens;
DROP TABLE users;
