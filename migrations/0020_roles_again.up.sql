-- The roles of migration 4 and all that they are granted, in one function: after a restore into a cluster without them, or where
-- whoever migrated could not create roles, `homeostat migrate roles` makes them and nothing else changes.
-- Locks: none that matter. Time: milliseconds.

CREATE FUNCTION homeostat.make_roles() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY '{homeostat_owner,homeostat_controller,homeostat_declarer}'::text[] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN EXECUTE format('CREATE ROLE %I NOLOGIN', r); END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- for another database of the cluster, at the same time
        END;
    END LOOP;

    GRANT ALL ON SCHEMA homeostat, homeostat_data TO homeostat_owner;
    GRANT ALL ON ALL TABLES IN SCHEMA homeostat TO homeostat_owner;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA homeostat TO homeostat_owner;

    GRANT USAGE ON SCHEMA homeostat TO homeostat_controller;
    GRANT USAGE, CREATE ON SCHEMA homeostat_data TO homeostat_controller;
    GRANT ALL ON ALL TABLES IN SCHEMA homeostat TO homeostat_controller;
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA homeostat TO homeostat_controller;
    GRANT EXECUTE ON FUNCTION homeostat.keep_partitions(date, int), homeostat.make_vector_functions() TO homeostat_controller;
    -- The declared half belongs to people. Of pipelines it writes also those that a target view owns, which keep_owned_pipeline
    -- sees to.
    REVOKE ALL ON homeostat.pipeline, homeostat.provider, homeostat.target_view, homeostat.pipelines,
        homeostat.target_views, homeostat.source_mark, homeostat.waiting FROM homeostat_controller;
    GRANT SELECT ON homeostat.pipeline, homeostat.provider, homeostat.target_view, homeostat.pipelines,
        homeostat.target_views, homeostat.source_mark, homeostat.waiting TO homeostat_controller;
    GRANT INSERT, UPDATE, DELETE ON homeostat.pipeline TO homeostat_controller;
    GRANT UPDATE (approval, finalizers, suspend, suspend_reason), DELETE ON homeostat.target_view TO homeostat_controller;

    GRANT USAGE ON SCHEMA homeostat, homeostat_data TO homeostat_declarer;  -- of the tables there, a column each, to count what waits
    GRANT SELECT ON ALL TABLES IN SCHEMA homeostat TO homeostat_declarer;
    GRANT INSERT, UPDATE, DELETE ON homeostat.pipeline, homeostat.provider, homeostat.target_view TO homeostat_declarer;
    GRANT DELETE ON homeostat.dead_letter TO homeostat_declarer;  -- to have them tried again
    GRANT USAGE ON SEQUENCE homeostat.pipeline_uid_seq TO homeostat_declarer;  -- an identity column needs none, a default does
END $$;
COMMENT ON FUNCTION homeostat.make_roles() IS 'Makes the roles of homeostat where they are not there, and grants what they have';
REVOKE EXECUTE ON FUNCTION homeostat.make_roles() FROM PUBLIC;

-- One place says who may do what: where the roles are there, it is what it says.
DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
