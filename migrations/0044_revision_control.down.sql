-- What is pinned is not any more. Locks: homeostat.pipeline, pipeline_status and revision, for columns and triggers. Time: milliseconds.
DROP TRIGGER check_revision_control ON homeostat.pipeline;
DROP FUNCTION homeostat.check_revision_control();
DROP TRIGGER note_dropped_revision ON homeostat.revision;
DROP FUNCTION homeostat.note_dropped_revision();
DROP FUNCTION homeostat.revision_refusal(bigint, int);
DO $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION homeostat.control_columns() RETURNS text[] LANGUAGE sql IMMUTABLE'
                   ' SET search_path = pg_catalog, pg_temp AS %L',
                   format('SELECT %L::text[]', (SELECT array_agg(c ORDER BY i) FROM unnest(homeostat.control_columns()) WITH ORDINALITY AS u(c, i)
                          WHERE c <> ALL ('{revision_pin,revision_pin_reason,revision_pinned_by,revision_pinned_at,revision_drop}'::text[]))));
END $$;
ALTER TABLE homeostat.pipeline DROP COLUMN revision_pin, DROP COLUMN revision_pin_reason, DROP COLUMN revision_pinned_by,
    DROP COLUMN revision_pinned_at, DROP COLUMN revision_drop;
-- A view cannot lose a column; it is granted as make_roles() says.
DROP VIEW homeostat.own_pipeline_status;
ALTER TABLE homeostat.pipeline_status DROP COLUMN last_revision;
CREATE VIEW homeostat.own_pipeline_status WITH (security_barrier) AS SELECT t.* FROM homeostat.pipeline_status t
    WHERE (SELECT homeostat.sees_all()) OR t.uid IN (SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by));
COMMENT ON VIEW homeostat.own_pipeline_status IS 'What of pipeline_status concerns whoever looks';
DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
