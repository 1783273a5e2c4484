-- Lost: nothing that is stored.
ALTER TABLE list_segments DROP COLUMN newest;
