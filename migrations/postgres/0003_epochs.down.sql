-- Lost: which history of the database this is, where that is kept. No booking, no seat and no layout.
ALTER TABLE seat_marks DROP COLUMN stamp;
DROP TABLE store_epoch;
