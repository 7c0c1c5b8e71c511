-- Triggers first: a function they call must not go from under the source's writers.
DO $$
DECLARE
    t record;
BEGIN
    FOR t IN SELECT tg.tgname, tg.tgrelid::regclass AS relation FROM pg_trigger tg JOIN pg_proc p ON p.oid = tg.tgfoid
             WHERE p.pronamespace = 'homeostat_data'::regnamespace AND tg.tgname ~ '^homeostat_p[0-9]+_' LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', t.tgname, t.relation);
    END LOOP;
    FOR t IN SELECT p.oid::regprocedure AS function FROM pg_proc p WHERE p.pronamespace = 'homeostat_data'::regnamespace
                                                                    AND p.proname ~ '^p[0-9]+_' LOOP
        EXECUTE format('DROP FUNCTION %s', t.function);
    END LOOP;
    FOR t IN SELECT c.oid::regclass AS relation FROM pg_class c WHERE c.relnamespace = 'homeostat_data'::regnamespace
                                                                 AND c.relkind = 'r' AND c.relname ~ '^p[0-9]+_change$' LOOP
        EXECUTE format('DROP TABLE %s', t.relation);
    END LOOP;
END $$;
DROP TABLE homeostat.feed;
ALTER TABLE homeostat.run DROP COLUMN feed_trusted, DROP COLUMN bypassed;
DROP TRIGGER capture_pipeline ON homeostat.pipeline;
DROP FUNCTION homeostat.check_capture();
ALTER TABLE homeostat.pipeline DROP COLUMN capture, DROP COLUMN capture_from, DROP COLUMN sweep_interval;
