-- Events may be in a series, whose shard they have. It is there from their creation on, so it is never filled
-- in later.
CREATE TABLE series (
    series_id    BLOB NOT NULL PRIMARY KEY,
    organizer_id BLOB NOT NULL,
    title        TEXT NOT NULL,
    version      INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX series_by_organizer ON series (organizer_id, series_id);
ALTER TABLE events ADD COLUMN series_id BLOB;
CREATE INDEX events_by_series ON events (series_id, event_id) WHERE series_id IS NOT NULL;
