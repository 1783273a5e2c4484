-- Events may be in a series, whose shard they have. It is there from their creation on, so it is never filled
-- in later.
CREATE TABLE series (
    series_id    uuid NOT NULL PRIMARY KEY,
    organizer_id uuid NOT NULL,
    title        text NOT NULL,
    version      bigint NOT NULL,
    created_at   bigint NOT NULL,
    updated_at   bigint NOT NULL
);
CREATE INDEX series_by_organizer ON series (organizer_id, series_id);
ALTER TABLE events ADD COLUMN series_id uuid;
CREATE INDEX events_by_series ON events (series_id, event_id) WHERE series_id IS NOT NULL;
