-- Lost: the highest prices of numbered sections in lists of events, until the schema goes up again.
ALTER TABLE sections DROP COLUMN price_max_minor;
