-- How names, addresses and titles compare (`engine::text::folded`), where that differs from the lower case
-- in the column beside: NULL means that they compare by that. Code fills it in, since no function of the
-- database folds alike. NULL is also left where two would be the same: both are kept, as they were.
ALTER TABLE users ADD COLUMN email_key text;
ALTER TABLE sections ADD COLUMN name_key text;
ALTER TABLE events ADD COLUMN title_key text;
CREATE UNIQUE INDEX users_email_key_unique ON users ((coalesce(email_key, email_folded)));
CREATE UNIQUE INDEX sections_name_key_unique
    ON sections (event_id, (coalesce(name_key, name_folded)));

-- How far code has filled them in, and by which version of the rule.
CREATE TABLE text_keys (
    kept_in text NOT NULL PRIMARY KEY,
    rule    bigint NOT NULL,
    after   uuid NOT NULL
);

-- An instance of an earlier version does not know the keys: what it changes compares as it did there,
-- until code has filled in the key again.
CREATE FUNCTION forget_email_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.email_folded <> OLD.email_folded AND NEW.email_key = OLD.email_key THEN
        NEW.email_key := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION forget_name_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.name_folded <> OLD.name_folded AND NEW.name_key = OLD.name_key THEN
        NEW.name_key := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION forget_title_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.title_folded <> OLD.title_folded AND NEW.title_key = OLD.title_key THEN
        NEW.title_key := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER forget_key BEFORE UPDATE OF email_folded ON users
    FOR EACH ROW EXECUTE FUNCTION forget_email_key();
CREATE TRIGGER forget_key BEFORE UPDATE OF name_folded ON sections
    FOR EACH ROW EXECUTE FUNCTION forget_name_key();
CREATE TRIGGER forget_key BEFORE UPDATE OF title_folded ON events
    FOR EACH ROW EXECUTE FUNCTION forget_title_key();
