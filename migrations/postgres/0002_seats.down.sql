-- The counters stay as they are; which seats they were is lost.
ALTER TABLE booking_log DROP CONSTRAINT booking_log_kind_known;
UPDATE booking_log SET kind = CASE kind WHEN 'laid' THEN 'resized' ELSE 'extended' END
    WHERE kind IN ('laid', 'changed');
ALTER TABLE booking_log ADD CONSTRAINT booking_log_kind_known
    CHECK (kind IN ('opened', 'held', 'confirmed', 'expired', 'released', 'cancelled',
                    'extended', 'resized', 'blocked'));
ALTER TABLE booking_log DROP COLUMN reason;
DROP TABLE seats_taken;
DROP TABLE seat_marks;
DROP TABLE layouts;
ALTER TABLE events DROP COLUMN prevent_orphans;
ALTER TABLE sections DROP COLUMN layout_version;
