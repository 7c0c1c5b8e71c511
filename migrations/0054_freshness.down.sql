-- Nobody can wait any more, and what was kept for it goes. Locks and time as on the way up.
DROP VIEW homeostat.staleness;
DROP FUNCTION homeostat.wait_until_fresh(text, pg_lsn, interval), homeostat.wait_until_fresh(text, xid8, interval),
    homeostat.freshness(text, pg_lsn, interval), homeostat.freshness(text, xid8, interval), homeostat.freshness_message(text),
    homeostat.await_freshness(text, xid8, pg_lsn, interval), homeostat.why_not_ended(xid8), homeostat.feed_is_full(bigint),
    homeostat.named_until(bigint, timestamptz), homeostat.freshness_basis(bigint, xid8, xid8, bigint);
DROP TRIGGER count_feed_gaps ON homeostat.feed;
DROP FUNCTION homeostat.count_feed_gaps(), homeostat.trigger_mark(bigint);
ALTER TABLE homeostat.feed DROP COLUMN gaps, DROP COLUMN served_gaps, DROP COLUMN trusted_from, DROP COLUMN trigger_mark;
ALTER TABLE homeostat.run DROP COLUMN sees;
DROP TABLE homeostat.swept;

-- As in migration 48.
CREATE OR REPLACE FUNCTION homeostat.make_roles() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off AS $$
DECLARE
    r text;
    f record;
    t record;
BEGIN
    FOREACH r IN ARRAY '{homeostat_owner,homeostat_controller,homeostat_declarer,homeostat_admin}'::text[] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN EXECUTE format('CREATE ROLE %I NOLOGIN', r); END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;  -- for another database of the cluster, at the same time
            WHEN insufficient_privilege THEN
                IF r <> 'homeostat_admin' THEN RAISE; END IF;
        END;
    END LOOP;

    GRANT ALL ON SCHEMA homeostat, homeostat_data TO homeostat_owner;
    GRANT ALL ON ALL TABLES IN SCHEMA homeostat TO homeostat_owner;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA homeostat TO homeostat_owner;

    GRANT USAGE ON SCHEMA homeostat TO homeostat_controller;
    GRANT USAGE, CREATE ON SCHEMA homeostat_data TO homeostat_controller;
    GRANT ALL ON ALL TABLES IN SCHEMA homeostat TO homeostat_controller;
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA homeostat TO homeostat_controller;
    -- The declared half belongs to people. Of pipelines it writes also those that a target view owns, which keep_owned_pipeline
    -- sees to.
    REVOKE ALL ON homeostat.pipeline, homeostat.provider, homeostat.target_view, homeostat.pipelines, homeostat.target_views,
        homeostat.source_mark, homeostat.waiting FROM homeostat_controller;
    GRANT SELECT ON homeostat.pipeline, homeostat.provider, homeostat.target_view, homeostat.pipelines, homeostat.target_views,
        homeostat.source_mark, homeostat.waiting TO homeostat_controller;
    GRANT INSERT, UPDATE, DELETE ON homeostat.pipeline TO homeostat_controller;
    GRANT UPDATE (approval, finalizers, suspend, suspend_reason), DELETE ON homeostat.target_view TO homeostat_controller;

    FOREACH r IN ARRAY '{homeostat_declarer,homeostat_admin}'::text[] LOOP
        CONTINUE WHEN to_regrole(r) IS NULL;
        EXECUTE replace($grants$
            GRANT USAGE ON SCHEMA homeostat, homeostat_data TO {0};  -- of the tables there, a column each, to count what waits
            GRANT SELECT ON ALL TABLES IN SCHEMA homeostat TO {0};
            GRANT INSERT, UPDATE, DELETE ON homeostat.pipeline, homeostat.provider, homeostat.target_view TO {0};
            GRANT DELETE ON homeostat.own_dead_letter TO {0};  -- to have them tried again
            GRANT INSERT (pipeline, relation, key, vector_column, chunk_column, text_column, sample) ON homeostat.own_adoption TO {0};
            GRANT UPDATE (grants) ON homeostat.own_budget_use TO {0};
            GRANT UPDATE (approved_at) ON homeostat.own_held_plan TO {0};
            GRANT INSERT (pipeline, name), DELETE ON homeostat.own_checkpoint TO {0};
            GRANT INSERT (pipeline, checkpoint, run, dry_run, reason) ON homeostat.own_rollback TO {0};
            GRANT INSERT (pipeline, key) ON homeostat.own_erasure TO {0};
            GRANT USAGE ON SEQUENCE homeostat.pipeline_uid_seq TO {0};  -- an identity column needs none, a default does
            $grants$, '{0}', r);
    END LOOP;
    REVOKE ALL ON homeostat.rollback_entry FROM homeostat_declarer; REVOKE ALL ON homeostat.canary, homeostat.erased_text FROM homeostat_declarer;
    IF to_regclass('homeostat.kept_vector') IS NOT NULL THEN REVOKE ALL ON homeostat.kept_vector FROM homeostat_declarer; END IF;
    IF to_regclass('homeostat.vector_scope') IS NOT NULL THEN REVOKE ALL ON homeostat.vector_scope FROM homeostat_declarer; END IF;

    -- Triggers need no right to their functions; those that run as the owner are the controller's.
    FOR f IN SELECT p.oid::regprocedure AS name, p.prosecdef OR p.proname = 'make_roles' AS apart, p.prorettype = 'trigger'::regtype AS fires
             FROM pg_proc p WHERE p.pronamespace = 'homeostat'::regnamespace AND p.proname <> 'vector_ok' LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.name);
        CONTINUE WHEN f.fires OR f.apart;
        FOREACH r IN ARRAY '{homeostat_owner,homeostat_controller,homeostat_declarer,homeostat_admin}'::text[] LOOP
            CONTINUE WHEN to_regrole(r) IS NULL;
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', f.name, r);
        END LOOP;
    END LOOP;
    GRANT EXECUTE ON FUNCTION homeostat.keep_partitions(date, int), homeostat.make_vector_functions() TO homeostat_controller;

    -- What was observed it sees through views of what is its own.
    FOR t IN SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_class v ON v.relname = 'own_' || c.relname
             WHERE c.relnamespace = 'homeostat'::regnamespace AND v.relnamespace = c.relnamespace AND v.relkind = 'v' LOOP
        EXECUTE format('REVOKE ALL ON %s FROM homeostat_declarer', t.name);
    END LOOP;
    GRANT SELECT (uid, revision) ON homeostat.dead_letter TO homeostat_declarer;  -- to count them
    -- A partition that is named itself would be read past all that.
    FOR t IN SELECT i.inhrelid::regclass AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE c.relnamespace = 'homeostat'::regnamespace AND c.relkind = 'r' LOOP
        EXECUTE format('REVOKE ALL ON %s FROM homeostat_declarer', t.name);
    END LOOP;
END $$;

DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
