-- What had a context is embedded without one again.
--
-- Locks: the declared table, for dropping a column. Time: milliseconds.
DO $do$
DECLARE
    f text;
BEGIN
    FOREACH f IN ARRAY '{homeostat.refusal(homeostat.pipeline),"homeostat.check_declarer(homeostat.pipeline,homeostat.target_view)"}'::text[]
    LOOP
        EXECUTE replace(pg_get_functiondef(f::regprocedure), ' || homeostat.template_columns(coalesce(p.chunk_context, ''''))', '');
    END LOOP;
END $do$;
DROP TRIGGER check_pipeline_context ON homeostat.pipeline;
DROP TRIGGER check_pipeline_context_update ON homeostat.pipeline;
DROP FUNCTION homeostat.check_chunk_context();
ALTER TABLE homeostat.pipeline DROP COLUMN chunk_context;
