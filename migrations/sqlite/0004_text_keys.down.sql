DROP TABLE text_keys;
DROP INDEX sections_name_key_unique;
DROP INDEX users_email_key_unique;
ALTER TABLE events DROP COLUMN title_key;
ALTER TABLE sections DROP COLUMN name_key;
ALTER TABLE users DROP COLUMN email_key;
