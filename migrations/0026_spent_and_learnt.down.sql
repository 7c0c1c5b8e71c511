-- Locks and time as on the way up. The views are made anew, because a view cannot lose a column; they are granted as make_roles() says.
DROP VIEW homeostat.own_batch, homeostat.own_batch_history, homeostat.own_run_history, homeostat.own_provider_status;
ALTER TABLE homeostat.batch DROP COLUMN tokens, DROP COLUMN wasted_tokens;
ALTER TABLE homeostat.batch_history DROP COLUMN wasted_tokens;
COMMENT ON COLUMN homeostat.batch_history.tokens IS NULL;
ALTER TABLE homeostat.run_history DROP COLUMN tokens, DROP COLUMN wasted_tokens;
ALTER TABLE homeostat.provider_status DROP COLUMN pace, DROP COLUMN in_flight, DROP COLUMN encoding;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{batch,batch_history,run_history,provider_status}'::text[] LOOP
        EXECUTE format('CREATE VIEW homeostat.%I WITH (security_barrier) AS SELECT t.* FROM homeostat.%I t'
                       ' WHERE (SELECT homeostat.sees_all()) OR t.uid IN (%s)', 'own_' || name, name,
            CASE name WHEN 'provider_status' THEN
                'SELECT o.uid FROM homeostat.provider o WHERE homeostat.acts_for(o.declared_by) UNION ALL SELECT o.uid'
                ' FROM homeostat.provider o JOIN homeostat.pipeline p ON p.provider = o.name WHERE homeostat.acts_for(p.declared_by)'
            ELSE 'SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by)' END);
        EXECUTE format('COMMENT ON VIEW homeostat.%I IS %L', 'own_' || name, 'What of ' || name || ' concerns whoever looks');
    END LOOP;
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
