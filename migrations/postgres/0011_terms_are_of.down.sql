-- Lost: nothing that is stored.
DROP FUNCTION terms_are_of(uuid, bigint, bigint);
