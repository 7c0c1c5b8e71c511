-- Takes the observed half back, with the data of every revision and the views that serve it: there is no status without it.
DO $$
DECLARE
    v record;
BEGIN
    FOR v IN SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind = 'v' AND obj_description(c.oid, 'pg_class') = 'homeostat: served view' LOOP
        EXECUTE format('DROP VIEW %I.%I', v.nspname, v.relname);
    END LOOP;
    FOR v IN SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = 'homeostat_data' AND c.relkind = 'r' LOOP
        EXECUTE format('DROP TABLE IF EXISTS homeostat_data.%I CASCADE', v.relname);
    END LOOP;
END $$;
DROP VIEW homeostat.pipelines;
DROP FUNCTION homeostat.vector_ok(vector, int);
DROP FUNCTION homeostat.vector_ok(halfvec, int);
DROP FUNCTION homeostat.keep_partitions(date, int);
DROP TABLE homeostat.canary, homeostat.provider_status, homeostat.event, homeostat.dead_letter, homeostat.checkpoint, homeostat.prune_candidate,
    homeostat.batch_history, homeostat.batch, homeostat.run_history, homeostat.run, homeostat.replica, homeostat.lease,
    homeostat.revision, homeostat.condition, homeostat.pipeline_status;
DROP SEQUENCE homeostat.run_id, homeostat.claim_token, homeostat.observation_id;
