-- Which history of the database this is: what is kept or shown under a version is kept under the
-- epoch, too. Another one is drawn when the database turns out to be a copy: the mark is that of the
-- server and the database in which the epoch was seen last, empty where it was not seen yet.
CREATE TABLE store_epoch (
    one   boolean NOT NULL PRIMARY KEY DEFAULT true CONSTRAINT store_epoch_is_one CHECK (one),
    epoch bigint NOT NULL,
    mark  text NOT NULL
);
INSERT INTO store_epoch (epoch, mark)
    VALUES (('x' || translate(left(gen_random_uuid()::text, 18), '-', ''))::bit(64)::bigint, '');

-- Drawn anew with each write of the marks: equal versions with equal stamps are one state, and an
-- instance that keeps a seat map believes no version without its stamp.
ALTER TABLE seat_marks ADD COLUMN stamp bigint NOT NULL DEFAULT 0;
