-- The roles belong to the cluster and stay; what they were granted here goes with the schemas or is taken back now.
DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY '{homeostat_owner,homeostat_controller,homeostat_declarer}'::text[] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN
            EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA homeostat FROM %I', r);
            EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA homeostat FROM %I', r);
            EXECUTE format('REVOKE ALL ON SCHEMA homeostat, homeostat_data FROM %I', r);
        END IF;
    END LOOP;
END $$;
