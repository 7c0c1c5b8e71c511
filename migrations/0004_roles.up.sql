-- Three group roles: homeostat_owner owns the schemas, homeostat_controller runs, homeostat_declarer declares and looks.
-- Roles belong to the whole cluster, so they may exist already; who may not create roles gets the tables without grants, and
-- `homeostat doctor` says so. Locks: none that matter. Time: milliseconds.

REVOKE EXECUTE ON FUNCTION homeostat.keep_partitions(date, int) FROM PUBLIC;

DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY '{homeostat_owner,homeostat_controller,homeostat_declarer}'::text[] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN EXECUTE format('CREATE ROLE %I NOLOGIN', r); END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of the cluster was migrated at the same time
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role % does not exist and may not be created here; grants for it are left out', r;
        END;
    END LOOP;

    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_owner') THEN
        GRANT ALL ON SCHEMA homeostat, homeostat_data TO homeostat_owner;
        GRANT ALL ON ALL TABLES IN SCHEMA homeostat TO homeostat_owner;
        GRANT ALL ON ALL SEQUENCES IN SCHEMA homeostat TO homeostat_owner;
    END IF;

    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_controller') THEN
        GRANT USAGE ON SCHEMA homeostat TO homeostat_controller;
        GRANT USAGE, CREATE ON SCHEMA homeostat_data TO homeostat_controller;
        GRANT ALL ON ALL TABLES IN SCHEMA homeostat TO homeostat_controller;
        GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA homeostat TO homeostat_controller;
        GRANT EXECUTE ON FUNCTION homeostat.keep_partitions(date, int) TO homeostat_controller;
        -- The declared half belongs to people: the controller may read it, lock it, finish a deletion, and nothing else.
        REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON homeostat.pipeline, homeostat.provider FROM homeostat_controller;
        GRANT UPDATE (finalizers, suspend, suspend_until), DELETE ON homeostat.pipeline TO homeostat_controller;
    END IF;

    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_declarer') THEN
        GRANT USAGE ON SCHEMA homeostat TO homeostat_declarer;
        GRANT SELECT ON ALL TABLES IN SCHEMA homeostat TO homeostat_declarer;
        GRANT INSERT, UPDATE, DELETE ON homeostat.pipeline, homeostat.provider TO homeostat_declarer;
        GRANT DELETE ON homeostat.dead_letter TO homeostat_declarer;  -- to have them tried again
    END IF;
END $$;
