-- Access tokens can be ended before they expire: those of a user that were issued before `not_before` are over. A row is
-- kept for as long as such a token can live, so there are few.
CREATE TABLE token_cutoffs (
    user_id    BLOB NOT NULL PRIMARY KEY,
    not_before INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX token_cutoffs_by_time ON token_cutoffs (not_before);
