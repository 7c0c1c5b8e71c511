-- capture = 'Off' is always accepted, whatever became of the source since it was declared; a table in capture_from is one on which
-- whoever declares may make triggers himself, and its columns have the types of the view's.
--
-- Locks: none of a user's table. Time: milliseconds.

DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.check_pipeline()'::regprocedure);
    was text := 'changed := to_jsonb(NEW) - homeostat.control_columns() IS DISTINCT FROM to_jsonb(OLD) - homeostat.control_columns();';
    becomes text := 'changed := to_jsonb(NEW) - homeostat.control_columns() - CASE WHEN NEW.capture = ''Off'' THEN ''capture'' ELSE '''' END
                   IS DISTINCT FROM to_jsonb(OLD) - homeostat.control_columns() - CASE WHEN NEW.capture = ''Off'' THEN ''capture'' ELSE '''' END;';
BEGIN
    IF position(was IN def) = 0 THEN RAISE EXCEPTION 'homeostat.check_pipeline() is not as migration 0002 made it'; END IF;
    EXECUTE replace(def, was, becomes);
END $$;

-- Only what is declared anew is looked at: the rest stays as it was accepted.
DROP TRIGGER capture_pipeline ON homeostat.pipeline;
CREATE TRIGGER capture_pipeline BEFORE INSERT ON homeostat.pipeline FOR EACH ROW EXECUTE FUNCTION homeostat.check_capture();
CREATE TRIGGER capture_pipeline_update BEFORE UPDATE OF capture, capture_from, sweep_interval, source ON homeostat.pipeline
    FOR EACH ROW WHEN (NOT (NEW.capture = 'Off' AND NEW.capture_from = OLD.capture_from AND NEW.source = OLD.source
                            AND NEW.sweep_interval = OLD.sweep_interval))
    EXECUTE FUNCTION homeostat.check_capture();

CREATE FUNCTION homeostat.check_capture_from() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text := format('pipeline "%s"', NEW.name);
    base jsonb;
    other record;
BEGIN
    FOR base IN SELECT * FROM jsonb_array_elements(NEW.capture_from) LOOP
        -- Who runs the controller makes them in anybody's name.
        IF NOT has_table_privilege(to_regclass(base ->> 'table'), 'TRIGGER')
           AND NOT coalesce((SELECT pg_has_role(r.oid, 'MEMBER') FROM pg_roles r WHERE r.rolname = 'homeostat_controller'), false) THEN
            RAISE EXCEPTION '%: capture_from names %, on which role % may not make triggers; GRANT TRIGGER ON % TO %', what,
                homeostat.relation_text(to_regclass(base ->> 'table')), quote_ident(current_user), base ->> 'table',
                quote_ident(current_user) USING ERRCODE = 'insufficient_privilege';
        END IF;
        SELECT k.key, k.value, format_type(s.atttypid, NULL) AS is, format_type(b.atttypid, NULL) AS there INTO other
        FROM jsonb_each_text(base -> 'key') k
        JOIN pg_attribute s ON s.attrelid = to_regclass(NEW.source) AND s.attname = k.key AND s.attnum > 0
        JOIN pg_attribute b ON b.attrelid = to_regclass(base ->> 'table') AND b.attname = k.value AND b.attnum > 0
        WHERE s.atttypid <> b.atttypid LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION '%: capture_from maps column "%" (%) to column "%" (%) of %: a key has one type', what, other.key,
                other.is, other.value, other.there, homeostat.relation_text(to_regclass(base ->> 'table'))
                USING ERRCODE = 'datatype_mismatch';
        END IF;
    END LOOP;
    RETURN NEW;
END $$;
-- After those that give the source and the tables their full names: triggers fire in the order of theirs.
CREATE TRIGGER check_pipeline_capture BEFORE INSERT ON homeostat.pipeline FOR EACH ROW
    EXECUTE FUNCTION homeostat.check_capture_from();
CREATE TRIGGER check_pipeline_capture_update BEFORE UPDATE OF capture_from, source ON homeostat.pipeline
    FOR EACH ROW WHEN (NEW.capture_from <> OLD.capture_from OR NEW.source <> OLD.source)
    EXECUTE FUNCTION homeostat.check_capture_from();
