-- Locks and time as on the way up. The views are made anew, because a view cannot lose a column; they are granted as make_roles() says.
DROP VIEW homeostat.own_batch_history, homeostat.own_run_history;
ALTER TABLE homeostat.batch_history DROP COLUMN saved_tokens;
ALTER TABLE homeostat.run_history DROP COLUMN saved_tokens;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{batch_history,run_history}'::text[] LOOP
        EXECUTE format('CREATE VIEW homeostat.%I WITH (security_barrier) AS SELECT t.* FROM homeostat.%I t'
                       ' WHERE (SELECT homeostat.sees_all()) OR t.uid IN (SELECT p.uid FROM homeostat.pipeline p'
                       ' WHERE homeostat.acts_for(p.declared_by))', 'own_' || name, name);
        EXECUTE format('COMMENT ON VIEW homeostat.%I IS %L', 'own_' || name, 'What of ' || name || ' concerns whoever looks');
    END LOOP;
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
