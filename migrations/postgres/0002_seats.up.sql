-- Numbered seats. A section has them when it has a layout.
ALTER TABLE sections ADD COLUMN layout_version bigint;
ALTER TABLE events ADD COLUMN prevent_orphans boolean NOT NULL DEFAULT false;

-- The seats of a section as CSV, with the point that the best of them are near to. The version is that
-- of the inventory when they were laid.
CREATE TABLE layouts (
    section_id uuid NOT NULL PRIMARY KEY REFERENCES sections (section_id),
    version    bigint NOT NULL,
    seats      text NOT NULL,
    currency   text NOT NULL,
    focal_x    bigint,
    focal_y    bigint
);

-- Which seats are held, sold and blocked, a bit for each. Its section's inventory row is its lock. The
-- bits are rewritten by every batch, and hardly get smaller when they are packed.
CREATE TABLE seat_marks (
    section_id uuid NOT NULL PRIMARY KEY REFERENCES sections (section_id),
    version    bigint NOT NULL,
    marks      bytea NOT NULL
) WITH (fillfactor = 50);
ALTER TABLE seat_marks ALTER COLUMN marks SET STORAGE EXTERNAL;

-- I3: a seat is in one live booking, or blocked (then without a booking), or in no row.
CREATE TABLE seats_taken (
    section_id uuid NOT NULL,
    seat       text NOT NULL COLLATE "C",
    booking_id uuid,
    CONSTRAINT seats_taken_once PRIMARY KEY (section_id, seat)
);

ALTER TABLE booking_log ADD COLUMN reason text;
ALTER TABLE booking_log DROP CONSTRAINT booking_log_kind_known;
ALTER TABLE booking_log ADD CONSTRAINT booking_log_kind_known
    CHECK (kind IN ('opened', 'held', 'confirmed', 'expired', 'released', 'cancelled',
                    'extended', 'resized', 'blocked', 'changed', 'laid'));
