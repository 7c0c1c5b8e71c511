-- Requests go, and what they pinned stays suspended. Locks and time as on the way up.
DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.make_roles()'::regprocedure);
BEGIN
    def := replace(def, $grants$
            GRANT INSERT (pipeline, name), DELETE ON homeostat.own_checkpoint TO {0};
            GRANT INSERT (pipeline, checkpoint, run, dry_run, reason) ON homeostat.own_rollback TO {0};$grants$, '');
    EXECUTE replace(def, 'REVOKE ALL ON homeostat.rollback_entry FROM homeostat_declarer; ', '');
    def := pg_get_functiondef('homeostat.keep_partitions(date,int)'::regprocedure);
    EXECUTE replace(def, 'weeks_kept AND NOT named;', 'weeks_kept;');
    EXECUTE format('CREATE OR REPLACE FUNCTION homeostat.control_columns() RETURNS text[] LANGUAGE sql IMMUTABLE'
                   ' SET search_path = pg_catalog, pg_temp AS %L',
                   format('SELECT %L::text[]', array_remove(homeostat.control_columns(), 'pinned')));
END $$;
DROP TRIGGER z_keep_pin ON homeostat.pipeline;
DROP FUNCTION homeostat.keep_pin();
DROP VIEW homeostat.own_rollback;
DROP TABLE homeostat.rollback_entry, homeostat.rollback;
DROP FUNCTION homeostat.check_rollback();
ALTER TABLE homeostat.pipeline DROP COLUMN pinned;
DROP VIEW homeostat.own_checkpoint;
DROP TRIGGER check_checkpoint ON homeostat.checkpoint;
DROP FUNCTION homeostat.check_checkpoint();
DELETE FROM homeostat.checkpoint WHERE named OR state = 'requested';
ALTER TABLE homeostat.checkpoint DROP COLUMN pipeline, DROP COLUMN entry, DROP COLUMN named, DROP COLUMN state, DROP COLUMN created_by;
ALTER TABLE homeostat.revision DROP COLUMN journal_from, DROP COLUMN journal_limit;
DO $$
DECLARE
    j text;
BEGIN
    FOR j IN SELECT format('homeostat_data.p%s_r%s_journal', uid, revision) FROM homeostat.revision
             WHERE to_regclass(format('homeostat_data.p%s_r%s_journal', uid, revision)) IS NOT NULL LOOP
        EXECUTE format('DELETE FROM %s WHERE change IN (''inserted'', ''kept'')', j);
        EXECUTE format('ALTER TABLE %s DROP COLUMN inserted, DROP COLUMN kept', j);
    END LOOP;
END $$;
DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
