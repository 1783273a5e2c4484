-- Lost: which history of the database this is, and the stamps of seat marks. No booking, no seat, no layout.
ALTER TABLE seat_marks DROP COLUMN stamp;
DROP TABLE store_epoch;
