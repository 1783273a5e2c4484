-- How names, addresses and titles compare (`engine::text::folded`), where that differs from the lower case
-- in the column beside: NULL means that they compare by that. Code fills it in, since no function of the
-- database folds alike. NULL is also left where two would be the same: both are kept, as they were.
ALTER TABLE users ADD COLUMN email_key TEXT;
ALTER TABLE sections ADD COLUMN name_key TEXT;
ALTER TABLE events ADD COLUMN title_key TEXT;
CREATE UNIQUE INDEX users_email_key_unique ON users (coalesce(email_key, email_folded));
CREATE UNIQUE INDEX sections_name_key_unique
    ON sections (event_id, coalesce(name_key, name_folded));

-- How far code has filled them in, and by which version of the rule.
CREATE TABLE text_keys (
    kept_in TEXT NOT NULL PRIMARY KEY,
    rule    INTEGER NOT NULL,
    after   BLOB NOT NULL
) WITHOUT ROWID, STRICT;
