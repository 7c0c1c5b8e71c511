-- Triggers that name the table must not outlive it; those that an older controller makes do not. Its next sweep finds what changed
-- meanwhile.
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
END $$;
UPDATE homeostat.feed SET trusted_since = NULL, fingerprint = '', asleep = false;
DROP TABLE homeostat.feed_bell;
