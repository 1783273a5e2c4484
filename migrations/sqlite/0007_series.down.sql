-- Lost: the series, and which events are in one. No event, no booking and no seat.
DROP INDEX events_by_series;
ALTER TABLE events DROP COLUMN series_id;
DROP TABLE series;
