-- Live bookings are listed by buyer only where an event had a cap from its creation on (`counts_buyers`): an index
-- whose keys begin with a buyer has a page of its own for nearly every hold of a sale. `counted` says so of a
-- booking. Both are true of all that are older than they, and of those of older instances.
ALTER TABLE events ADD COLUMN counts_buyers boolean NOT NULL DEFAULT true;
ALTER TABLE bookings ADD COLUMN counted boolean NOT NULL DEFAULT true;
