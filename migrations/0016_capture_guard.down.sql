-- Locks and time as on the way up.
DROP TRIGGER check_pipeline_capture ON homeostat.pipeline;
DROP TRIGGER check_pipeline_capture_update ON homeostat.pipeline;
DROP FUNCTION homeostat.check_capture_from();
DROP TRIGGER capture_pipeline ON homeostat.pipeline;
DROP TRIGGER capture_pipeline_update ON homeostat.pipeline;
CREATE TRIGGER capture_pipeline BEFORE INSERT OR UPDATE OF capture, capture_from, sweep_interval, source ON homeostat.pipeline
    FOR EACH ROW EXECUTE FUNCTION homeostat.check_capture();
DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.check_pipeline()'::regprocedure);
    lenient text := ' - CASE WHEN NEW.capture = ''Off'' THEN ''capture'' ELSE '''' END';
BEGIN
    EXECUTE replace(replace(def, lenient || E'\n                   ', ' '), lenient, '');
END $$;
