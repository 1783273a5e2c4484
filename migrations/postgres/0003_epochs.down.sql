ALTER TABLE seat_marks DROP COLUMN stamp;
DROP TABLE store_epoch;
