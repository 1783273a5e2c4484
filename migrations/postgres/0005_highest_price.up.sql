-- What the dearest seat of a section with numbered seats costs, for lists of events; price_minor is what
-- the cheapest costs. Where seats are counted, all cost price_minor, and this stays null.
ALTER TABLE sections ADD COLUMN price_max_minor bigint;
