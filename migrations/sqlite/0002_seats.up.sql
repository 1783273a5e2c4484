-- Numbered seats. A section has them when it has a layout.
ALTER TABLE sections ADD COLUMN layout_version INTEGER;
ALTER TABLE events ADD COLUMN prevent_orphans INTEGER NOT NULL DEFAULT 0;

-- The seats of a section as CSV, with the point that the best of them are near to. The version is that
-- of the inventory when they were laid.
CREATE TABLE layouts (
    section_id BLOB NOT NULL PRIMARY KEY REFERENCES sections (section_id),
    version    INTEGER NOT NULL,
    seats      TEXT NOT NULL,
    currency   TEXT NOT NULL,
    focal_x    INTEGER,
    focal_y    INTEGER
) STRICT;

-- Which seats are held, sold and blocked, a bit for each.
CREATE TABLE seat_marks (
    section_id BLOB NOT NULL PRIMARY KEY REFERENCES sections (section_id),
    version    INTEGER NOT NULL,
    marks      BLOB NOT NULL
) STRICT;

-- I3: a seat is in one live booking, or blocked (then without a booking), or in no row.
CREATE TABLE seats_taken (
    section_id BLOB NOT NULL,
    seat       TEXT NOT NULL,
    booking_id BLOB,
    CONSTRAINT seats_taken_once PRIMARY KEY (section_id, seat)
) WITHOUT ROWID, STRICT;

-- A constraint can only be changed with its table.
CREATE TABLE new_booking_log (
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
INSERT INTO new_booking_log SELECT *, NULL FROM booking_log;
DROP TABLE booking_log;
ALTER TABLE new_booking_log RENAME TO booking_log;
