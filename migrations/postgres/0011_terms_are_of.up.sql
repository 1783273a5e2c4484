-- Whether a section and its event are as these transactions wrote them. VOLATILE: it sees what is committed when it is
-- called, not when its statement began, which may have waited for a lock since.
CREATE FUNCTION terms_are_of(of_section uuid, section_writer bigint, event_writer bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE AS $$ BEGIN
        RETURN EXISTS (SELECT FROM sections s JOIN events e USING (event_id) WHERE s.section_id = of_section
            AND s.xmin::text::bigint = section_writer AND e.xmin::text::bigint = event_writer);
    END $$;
