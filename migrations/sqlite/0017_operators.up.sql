-- Operators read the whole installation, and change nothing by that. They are made on the machine, by `reservix operator
-- add`.
CREATE TABLE operators (
    user_id  BLOB NOT NULL PRIMARY KEY,
    added_at INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
-- The invitations for an address, wherever they are to: they are erased with it.
CREATE INDEX invitations_by_address ON invitations (email_folded);
