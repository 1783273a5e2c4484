-- One process at a time serves this file, and draws an epoch of its own at each start.
SELECT 1;
