-- Lost: how names, addresses and titles compare by Unicode. The texts stay, and compare in lower case as before.
--
DROP TABLE text_keys;
DROP INDEX sections_name_key_unique;
DROP INDEX users_email_key_unique;
ALTER TABLE events DROP COLUMN title_key;
ALTER TABLE sections DROP COLUMN name_key;
ALTER TABLE users DROP COLUMN email_key;
