-- Indexes are of whole vectors again, with the methods' own parameters. Locks: the declared table, for dropping columns. Time: milliseconds.
DROP TRIGGER check_pipeline_index ON homeostat.pipeline;
DROP TRIGGER check_pipeline_index_update ON homeostat.pipeline;
DROP FUNCTION homeostat.check_index();
DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.check_vectors(homeostat.pipeline)'::regprocedure);
BEGIN
    EXECUTE replace(def, 'AND p.index_type <> ''bit'' AND (least(width, p.index_dimensions) > 4000'
        || ' OR (least(width, p.index_dimensions) > 2000', 'AND (width > 4000 OR (width > 2000');
END $$;
ALTER TABLE homeostat.pipeline DROP COLUMN index_type, DROP COLUMN index_dimensions, DROP COLUMN index_m, DROP COLUMN index_ef_construction,
    DROP COLUMN index_lists;
