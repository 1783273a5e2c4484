-- Lost: who changed what, the log's rows of events, and what its rows say of sections, changed holds and the
-- versions of bookings; readers of the log begin anew. No booking, no seat and no counter.
DROP TABLE log_timelines;
CREATE TABLE old_booking_log (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    kind       TEXT NOT NULL CONSTRAINT booking_log_kind_known
               CHECK (kind IN ('opened', 'held', 'confirmed', 'expired', 'released', 'cancelled',
                               'extended', 'resized', 'blocked', 'changed', 'laid')),
    section_id BLOB NOT NULL,
    booking_id BLOB,
    capacity   INTEGER NOT NULL,
    held       INTEGER NOT NULL,
    sold       INTEGER NOT NULL,
    blocked    INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    expires_at INTEGER,
    reason     TEXT
) STRICT;
INSERT INTO old_booking_log
    SELECT seq, at, CASE kind WHEN 'section_changed' THEN 'resized' ELSE kind END, section_id, booking_id,
        capacity, held, sold, blocked, version, expires_at, reason
    FROM booking_log WHERE event_id IS NULL;
DROP TABLE booking_log;
ALTER TABLE old_booking_log RENAME TO booking_log;
