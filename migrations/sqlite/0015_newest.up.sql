-- The newest booking of each segment of lists, so that the newest page of a list is found without a look into those
-- that are older. NULL: it was not noted.
ALTER TABLE list_segments ADD COLUMN newest BLOB;
UPDATE list_segments SET newest = (SELECT MAX(booking_id) FROM booking_lists x WHERE x.segment = list_segments.segment);
